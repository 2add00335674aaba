"""Errors a person can act on."""

from workloads.common.contract import ExitCode


class OpsError(Exception):
    """Something failed. `str()` is one line: what happened; `remedy` is what to do about it.

    `exit_code` is what the command ends with: 1, a retry may help; 2, the request is wrong.
    """

    exit_code = ExitCode.RETRY

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class BadRequest(OpsError):
    """The request itself is wrong: sending it again cannot help."""

    exit_code = ExitCode.BAD_REQUEST
