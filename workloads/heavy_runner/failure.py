"""The one exception that ends a run in FAILED."""

from collections.abc import Mapping, Sequence

from workloads.common import storage
from workloads.heavy_runner.contract import ErrorCode


class RunFailure(Exception):
    """Carries what error.json says."""

    def __init__(self, code: ErrorCode, message: str, hint: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: Mapping[str, object] = details


def from_input(error: storage.StorageError, what: str) -> RunFailure:
    """A failure to read `what`, such as 'the dataset'."""
    match error:
        case storage.NotFound():
            code, hint = ErrorCode.INPUT_MISSING, "Upload it first, and check the URI in the request letter by letter."
        case storage.Denied():
            code = ErrorCode.INPUT_UNREADABLE
            hint = (
                "Give the job's service account roles/storage.objectUser on that bucket; to an account that may not "
                "list, an object that does not exist looks the same."
            )
        case storage.Changed() | storage.Corrupt():
            code, hint = ErrorCode.INPUT_CHANGED, "Leave the inputs alone until the run has ended, then start it again."
        case storage.NoSpace():
            code, hint = ErrorCode.DISK_FULL, "The inputs do not fit into the run folder: give the job more memory."
        case storage.Unavailable():
            code, hint = ErrorCode.STORAGE_UNAVAILABLE, "Start the run again in a few minutes."
        case _:
            code, hint = ErrorCode.INPUT_UNREADABLE, "Check that it can be read where the run takes place."
    return RunFailure(code, f"{what} cannot be read: {error}", hint, uri=error.uri)


def from_output(error: storage.StorageError, what: str) -> RunFailure:
    """A failure to write `what`."""
    match error:
        case storage.Denied():
            code = ErrorCode.PERMISSION_LOST
            hint = (
                "Give the job's service account roles/storage.objectUser on the output bucket, or the user the folder."
            )
        case storage.NoSpace():
            code, hint = ErrorCode.DISK_FULL, "Free space where the outputs go, or let the script write less."
        case storage.NotFound():
            code, hint = ErrorCode.PERMISSION_LOST, "The bucket or folder of the outputs is gone: create it again."
        case _:
            code, hint = ErrorCode.STORAGE_UNAVAILABLE, "Start the run again in a few minutes."
    return RunFailure(code, f"{what} cannot be written: {error}", hint, uri=error.uri)


def missing_outputs(missing: Sequence[str], skipped: Mapping[str, str]) -> RunFailure:
    names = ", ".join(missing[:10])
    return RunFailure(
        ErrorCode.MISSING_REQUIRED_OUTPUTS,
        f"The script ended without writing what the request requires: {names}",
        "Paths are relative to the working directory the script starts in; it must not change it.",
        missing=list(missing),
        not_uploaded=dict(skipped),
    )


def unreadable_request(uri: str, error: Exception) -> RunFailure:
    if isinstance(error, storage.StorageError):
        seen = from_input(error, "The request")
        return RunFailure(ErrorCode.REQUEST_UNREADABLE, seen.message, seen.hint, uri=uri)
    return RunFailure(ErrorCode.REQUEST_UNREADABLE, f"INPUT_URI: {error}", "Set it to gs://BUCKET/OBJECT or a path.")


def internal(error: Exception) -> RunFailure:
    return RunFailure(
        ErrorCode.INTERNAL_ERROR,
        f"The runner itself failed: {type(error).__name__}",
        "The container's log has the trace; please report it.",
    )
