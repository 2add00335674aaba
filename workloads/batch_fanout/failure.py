"""Errors that no retry can cure."""

from workloads.common.contract import ExitCode
from workloads.common.storage import Corrupt, Denied, NotFound, StorageError


class BadRequest(Exception):
    """What was asked for, or what was found, is wrong; the same start again would end the same way.

    A model raises it too, for an input it cannot work on.
    """


def exit_code(error: BaseException) -> ExitCode:
    """How the container exits after `error`; the lifecycle policies of Batch retry 1 and never 2."""
    if isinstance(error, BadRequest):
        return ExitCode.BAD_REQUEST
    if isinstance(error, StorageError) and isinstance(error, NotFound | Denied) and not isinstance(error, Corrupt):
        return ExitCode.BAD_REQUEST
    return ExitCode.RETRY
