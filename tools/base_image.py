"""The image that the workloads' Dockerfiles start from: pulled where a registry can be reached, otherwise made here."""

import hashlib
import os
import select
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from tools import apt
from tools.common import Done, Machine, StepError, build_folder, call, end_group_of, lock, say, unmount

IMAGE = "longhaul/base:trixie"
PUBLIC_IMAGE = "python:3.13-slim-trixie"
"""https://hub.docker.com/_/python"""
SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
PULL_ANSWER_S = 20.0
"""How long a registry has to answer at all; the pull itself has PULL_S."""
PULL_S = 300.0
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
_LABEL = "longhaul.ca-bundle"


def base_image(m: Machine, client: Path | None, docker_env: dict[str, str]) -> Done:
    """Make sure that the base image is in the engine; BASE_IMAGE in the environment names another to use as it."""
    asked = m.env.get("BASE_IMAGE") or IMAGE
    if client is None:
        return Done(detail="not needed without containers")
    docker = _Docker(m, client, docker_env)
    if asked != IMAGE:
        if not docker.has(asked):
            say("base image", f"pulling {asked}")
            docker("pull", asked, timeout_s=PULL_S)
        docker("tag", asked, IMAGE)
        return Done(detail=f"{IMAGE} is {asked}, as BASE_IMAGE says")
    bundle = _bundle(m)
    with lock(m, "base-image", "base image"):
        if docker.label(IMAGE) not in ("", _digest(bundle)) or not docker.has(IMAGE):
            _make(m, docker, bundle)
    return Done(detail=IMAGE)


class _Docker:
    def __init__(self, m: Machine, client: Path, env: dict[str, str]) -> None:
        self.m, self.client, self.env = m, client, env

    def __call__(self, *words: str | Path, timeout_s: float = 60) -> str:
        return call(self.m, "base image", [self.client, *words], timeout_s=timeout_s, env=self.env)

    def has(self, image: str) -> bool:
        return self._inspect(image, "{{.Id}}").returncode == 0

    def label(self, image: str) -> str:
        """The bundle that is in our image; empty for an image that is missing or that somebody else made."""
        found = self._inspect(image, f'{{{{index .Config.Labels "{_LABEL}"}}}}').stdout.strip()
        return "" if found == "<no value>" else found

    def _inspect(self, image: str, template: str) -> subprocess.CompletedProcess[str]:
        argv: list[str | Path] = [self.client, "image", "inspect", "--format", template, image]
        env = {**self.m.env, **self.env}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)

    def pull(self, image: str) -> bool:
        """Pull if a registry answers in time; a machine without one must not wait for it."""
        argv: list[str | Path] = [self.client, "pull", image]
        env = {**self.m.env, **self.env}
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            try:
                if child.stdout is None or not select.select([child.stdout], [], [], PULL_ANSWER_S)[0]:
                    return False
                child.communicate(timeout=PULL_S)
            except subprocess.TimeoutExpired:
                return False
            finally:
                child.terminate()
        return child.returncode == 0


def _make(m: Machine, docker: _Docker, bundle: Path) -> None:
    tarball = m.cache / f"base-{SUITE}" / "rootfs.tar"
    if not tarball.exists():
        say("base image", f"asking for {PUBLIC_IMAGE}")
        if docker.pull(PUBLIC_IMAGE):
            _add_bundle(m, docker, bundle)
            return
        say("base image", f"it cannot be pulled; making one of Debian {SUITE} with debootstrap (60 s, once)")
        apt.install(m, "base image", ["debootstrap"])
        build_folder(tarball.parent, lambda draft: _debootstrap(m, draft / "rootfs.tar"))
    changes = [f"ENV SSL_CERT_FILE={BUNDLE}", f"LABEL {_LABEL}={_digest(bundle)}", 'CMD ["python3"]']
    # the host's bundle goes in at import, not into the tarball: it may change, the tarball need not
    with tempfile.TemporaryDirectory(dir=m.cache) as folder:
        full = Path(folder) / "rootfs.tar"
        shutil.copyfile(tarball, full)
        _append(m, full, bundle)
        docker("import", *[word for change in changes for word in ("--change", change)], full, IMAGE, timeout_s=300)


def _append(m: Machine, tarball: Path, bundle: Path) -> None:
    with tempfile.TemporaryDirectory(dir=m.cache) as folder:
        copy = Path(folder, *BUNDLE.parts[1:])
        copy.parent.mkdir(parents=True)
        copy.write_bytes(bundle.read_bytes())
        copy.chmod(0o644)
        argv: list[str | Path] = ["tar", "--append", "--owner=0", "--group=0", "-C", folder, "-f", tarball]
        call(m, "base image", [*argv, str(BUNDLE.relative_to("/"))], timeout_s=120)


def _debootstrap(m: Machine, tarball: Path) -> None:
    root = m.cache / "debootstrap"
    # an attempt that was killed may still run, and may have left file systems mounted
    end_group_of(str(root))
    _remove_root(root)
    try:
        include = "--include=python3,python3-venv,ca-certificates"
        mirror = m.env.get("DEBIAN_MIRROR") or MIRROR
        call(m, "base image", ["debootstrap", "--variant=minbase", include, SUITE, root, mirror], timeout_s=900)
        for cached in (root / "var/cache/apt/archives").glob("*.deb"):
            cached.unlink()
        (root / BUNDLE.relative_to("/")).unlink()  # the host's takes its place, and an import takes no path twice
        call(m, "base image", ["tar", "--one-file-system", "-C", root, "-cf", tarball, "."], timeout_s=300)
    finally:
        _remove_root(root)


def _remove_root(root: Path) -> None:
    """Remove what debootstrap made, after letting go of what it may still have mounted there."""
    unmount(root)
    if root.exists():
        shutil.rmtree(root)


def _add_bundle(m: Machine, docker: _Docker, bundle: Path) -> None:
    """Tag the public image as ours, with the host's certificate authorities if the host names any of its own."""
    if not any(m.env.get(name) for name in BUNDLE_VARIABLES):
        docker("tag", PUBLIC_IMAGE, IMAGE)
        return
    with tempfile.TemporaryDirectory(dir=m.cache) as folder:
        shutil.copyfile(bundle, Path(folder, "ca.crt"))
        lines = [f"FROM {PUBLIC_IMAGE}", f"COPY ca.crt {BUNDLE}", f"ENV SSL_CERT_FILE={BUNDLE}"]
        Path(folder, "Dockerfile").write_text("\n".join([*lines, f"LABEL {_LABEL}={_digest(bundle)}", ""]))
        docker("build", "--network", "none", "--tag", IMAGE, folder, timeout_s=300)


def _bundle(m: Machine) -> Path:
    """The certificate authorities that the host trusts: behind a proxy that re-signs TLS, builds need them too."""
    for name in BUNDLE_VARIABLES:
        path = Path(m.env.get(name, ""))
        if path.is_file():
            return path
    if BUNDLE.is_file():
        return BUNDLE
    path = Path(ssl.get_default_verify_paths().cafile or os.devnull)
    if not path.is_file():
        raise StepError("no certificate bundle on this machine: install ca-certificates or set SSL_CERT_FILE")
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
