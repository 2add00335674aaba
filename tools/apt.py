"""Debian packages, installed once and by one set-up at a time."""

import shutil
import subprocess

from tools.common import Machine, StepError, call, lock, say

_NON_INTERACTIVE = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
# a set-up that was killed may have left its apt-get running for a moment
_WAIT_FOR_DPKG = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]


def install(m: Machine, step: str, packages: list[str], *, where_known: tuple[str, ...] = ()) -> None:
    """Install what is missing of `packages`, and with it those of `where_known` that this release has.

    Nothing happens when all of `packages` are there.

    Raises:
        StepError: no root or no Debian (the text is the line to run), or apt-get failed.
    """
    missing = [name for name in packages if not installed(name)]
    if not missing:
        return
    if not m.can_apt:
        raise StepError(f"missing: {' '.join(missing)}. As root on Debian: apt-get install {' '.join(missing)}")
    with lock(m, "apt", step):
        missing = [name for name in packages if not installed(name)]
        if not missing:
            return
        say(step, f"apt-get install {' '.join(missing)}")
        call(m, step, ["dpkg", "--configure", "-a"], timeout_s=300, env=_NON_INTERACTIVE)
        try:
            call(m, step, ["apt-get", *_WAIT_FOR_DPKG, "update"], timeout_s=180, env=_NON_INTERACTIVE)
        except StepError as err:
            # one unreachable list of many is no obstacle; the install below says what really cannot be had
            say(step, f"apt-get update was incomplete ({str(err).splitlines()[0]}); going on with the lists there are")
        more = [name for name in where_known if known(name) and not installed(name)]
        argv = ["apt-get", *_WAIT_FOR_DPKG, "install", "-y", "--no-install-recommends", *missing, *more]
        call(m, step, argv, timeout_s=600, env=_NON_INTERACTIVE)


def installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def known(package: str) -> bool:
    """Whether the lists have a version of `package` that can be installed."""
    policy = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    return "Candidate:" in policy and "Candidate: (none)" not in policy
