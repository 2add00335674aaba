"""Gives up everything the script shall not have, then becomes the script.

Started as `python -I -S launch.py SETTINGS PROGRAM ARG…`, alone, with the standard library only: between fork and exec
of a process with threads nothing of this could be done safely. If a step fails the script is not started: what went
wrong is written to the descriptor `report`, which closes on exec.
"""

import ctypes
import json
import os
import resource
import sys

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int = 0) -> None:
    """One call of prctl(2); raises OSError."""
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def limit(which: int, value: int) -> None:
    """Lower a limit for good; never above what is allowed already."""
    hard = resource.getrlimit(which)[1]
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (ceiling, ceiling))


def drop(uid: int) -> None:
    """Become `uid` with its own group only and without a single capability, now or by any later exec."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    settings = json.loads(sys.argv[1])
    command = sys.argv[2:]
    report = int(settings["report"])
    os.set_inheritable(report, False)
    try:
        # The kernel ends the process with the highest score first when memory runs out.
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_FSIZE, int(settings["max_file_bytes"]))
        if settings["uid"]:
            drop(int(settings["uid"]))
        # Counted per user: set after the change of user, so that other users' processes do not count.
        limit(resource.RLIMIT_NPROC, int(settings["max_processes"]))
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        os.umask(0o022)
        os.execv(command[0], command)  # noqa: S606  # the command is the runner's own, and no shell is wanted
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode())
        os._exit(126)


if __name__ == "__main__":
    main()
