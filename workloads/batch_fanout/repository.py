"""The private repository: cloned once by stage A, handed to the tasks as one archive.

The token reaches git through an anonymous file in memory that only this process and git's children hold open. It is in
no argument, variable, remote URL or file.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from workloads.batch_fanout.contract import REPOSITORY, FanoutEnv, Repository
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.places import inputs_prefix
from workloads.common.storage import Storage, Transfer

CLONE_TIMEOUT_S = 600
MAX_ARCHIVE_BYTES = 512 << 20
_NO_RETRY = ("authentication failed", "not found", "could not read", "couldn't find remote ref", "access denied")


def clone(env: FanoutEnv, token: Callable[[], bytes], path: str) -> str:
    """Check `github_repo` out into `repo_dir`, without history; gives the commit.

    `path` is where git is looked for. Raises BadRequest: the server refuses, or has no such repository or reference.
    """
    folder = Path(env.repo_dir)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    url = f"{env.git_url.rstrip('/')}/{env.github_repo}.git"
    git = _Git(folder, path, b"" if env.github_secret == "none" else token(), env.git_url)  # noqa: S105  # a name
    try:
        git.run("init", "--quiet")
        git.run("fetch", "--quiet", "--depth", "1", "--no-tags", url, env.git_ref or "HEAD")
        git.run("checkout", "--quiet", "--detach", "FETCH_HEAD")
        return git.run("rev-parse", "HEAD").strip()
    finally:
        git.close()


class _Git:
    """Runs git in `folder` with nothing of this process's environment, and a token for one server."""

    def __init__(self, folder: Path, path: str, token: bytes, server: str) -> None:
        self._folder, self._token = folder, token
        self._env: Mapping[str, str] = {
            "PATH": path,
            "HOME": str(folder),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }
        self._secret = os.memfd_create("token") if token else -1
        # No other helper is asked or told, and ours answers for this server alone, whatever redirects say.
        self._options = ["-c", "credential.helper=", "-c", "core.hooksPath=/dev/null"]
        if token:
            os.write(self._secret, token)
            helper = (
                '!f() { test "$1" = get || exit 0; echo username=x-access-token; '
                f"printf password=; cat /proc/self/fd/{self._secret}; echo; }}; f"
            )
            self._options += ["-c", f"credential.{server.rstrip('/')}.helper={helper}"]

    def run(self, *arguments: str) -> str:
        """Raises BadRequest or OSError with what git said."""
        try:
            done = subprocess.run(  # noqa: S603  # arguments are checked by the contract
                ["git", *self._options, *arguments],  # noqa: S607  # found on the path this process was given
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=[self._secret] if self._token else [],
                timeout=CLONE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"git {arguments[0]} did not end within {CLONE_TIMEOUT_S} s") from error
        if done.returncode == 0:
            return done.stdout.decode()
        said = (done.stderr.replace(self._token, b"***") if self._token else done.stderr).decode(errors="replace")
        message = f"git {arguments[0]}: {' '.join(said.split())[:500] or f'exit {done.returncode}'}"
        if any(words in said.lower() for words in _NO_RETRY):
            raise BadRequest(message)
        raise OSError(message)

    def close(self) -> None:
        if self._secret >= 0:
            os.close(self._secret)


def store_archive(storage: Storage, env: FanoutEnv, commit: str, path: str) -> Repository:
    """Upload the cloned files as one archive beside the inputs. Raises BadRequest: it is too large."""
    archive = Path(env.repo_dir).with_name(f"{Path(env.repo_dir).name}.tar")
    git = _Git(Path(env.repo_dir), path, b"", env.git_url)
    git.run("archive", "--format=tar", f"--output={archive}", "HEAD")
    try:
        size = archive.stat().st_size
        if size > MAX_ARCHIVE_BYTES:
            raise BadRequest(f"{env.github_repo}: has {size:,} bytes, {MAX_ARCHIVE_BYTES:,} are allowed")
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            uri = env.uri(f"{env.out_prefix}{REPOSITORY}")
            storage.at(uri).upload(file.fileno(), uri, Transfer(total=size))
    finally:
        archive.unlink(missing_ok=True)
    return Repository(repository=env.github_repo, commit=commit, name=REPOSITORY, size=size, sha256=digest)


def unpack(storage: Storage, env: FanoutEnv, repository: Repository) -> None:
    """The files that stage A cloned, into `repo_dir`. Raises BadRequest: they are not the ones it stored."""
    folder = Path(env.repo_dir)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder.with_name(f"{folder.name}.tar")
    uri = env.uri(f"{inputs_prefix(env)}{repository.name}")
    blob = storage.at(uri).stat(uri)
    if blob.size != repository.size or blob.size > MAX_ARCHIVE_BYTES:
        raise BadRequest(f"{uri}: has {blob.size:,} bytes where the manifest names {repository.size:,}")
    try:
        with archive.open("w+b") as file:
            storage.at(uri).download(blob, file.fileno(), Transfer(total=blob.size))
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != repository.sha256:
                raise BadRequest(f"{uri}: its SHA-256 is not the one in the manifest: it was changed after stage A")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                tar.extractall(folder, filter="data")
    finally:
        archive.unlink(missing_ok=True)
