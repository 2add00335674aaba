"""The one exception that ends a run in FAILED, and which code each error of the stages has."""

import errno
from collections.abc import Mapping

import pyarrow as pa
from google.auth.exceptions import GoogleAuthError

from workloads.common import storage
from workloads.feature_pipeline.align import MisalignedError
from workloads.feature_pipeline.contract import ErrorCode
from workloads.feature_pipeline.extract import AbsentError, KeyInvalidError, NestedError, SchemaChangedError
from workloads.feature_pipeline.merge.footer import BadParquetError
from workloads.feature_pipeline.merge.plan import TooLargeError
from workloads.feature_pipeline.tables import TablesMissingError
from workloads.feature_pipeline.warehouse import WarehouseError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class RunFailure(Exception):
    """Carries what the status and the record say."""

    def __init__(self, code: ErrorCode, message: str, hint: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: Mapping[str, object] = details


DATA_FAULTS = frozenset(
    {
        ErrorCode.TABLES_MISSING,
        ErrorCode.SCHEMA_CHANGED,
        ErrorCode.KEY_INVALID,
        ErrorCode.MISALIGNED,
        ErrorCode.VALIDATION_FAILED,
    }
)
"""Failures that lie in the tables as they were at the snapshot's time: reading the same again cannot help."""


def terminated() -> RunFailure:
    return RunFailure(
        ErrorCode.TERMINATED,
        "The platform asked the run to stop: it was cancelled, or its time was over.",
        "Start it again: what is extracted is kept, and the run goes on from there.",
    )


def explain(error: Exception) -> RunFailure:
    """The failure that `error` of a stage means."""
    if isinstance(error, RunFailure):
        return error
    code, hint = _code(error)
    if code is ErrorCode.INTERNAL_ERROR:
        return RunFailure(
            code,
            f"The pipeline itself failed: {type(error).__name__}",
            "The container's log has the trace; please report it.",
        )
    return RunFailure(code, str(error), hint)


def _code(error: Exception) -> tuple[ErrorCode, str]:
    match error:
        case TablesMissingError() | AbsentError():
            return (
                ErrorCode.TABLES_MISSING,
                "Make the tables, or name them in missing_allowed; the next run reads anew.",
            )
        case KeyInvalidError():
            return ErrorCode.KEY_INVALID, "Mend the table's query; the next run reads anew."
        case SchemaChangedError():
            return ErrorCode.SCHEMA_CHANGED, "Let whatever writes the tables finish; the next run reads anew."
        case MisalignedError():
            return ErrorCode.MISALIGNED, "Mend the table, or choose a policy that allows such rows."
        case NestedError():
            return ErrorCode.TABLE_UNREADABLE, "Only flat columns fit a training file."
        case TooLargeError():
            return ErrorCode.TOO_LARGE, "The numbers say what does not fit; change the job's shape in the stack."
        case BadParquetError():
            return ErrorCode.MERGE_FAILED, "Start the run again; checkpoints that are damaged are extracted anew."
        case WarehouseError():
            return _of_warehouse(error)
        case GoogleAuthError():
            return ErrorCode.PERMISSION_DENIED, "The container has no identity; give the job a service account."
        case storage.StorageError():
            return _of_storage(error)
        case pa.ArrowMemoryError() | MemoryError():
            return ErrorCode.TOO_LARGE, "Give the job more memory, or read fewer tables at once (io_threads)."
        case OSError() if error.errno in _FULL:
            return ErrorCode.DISK_FULL, _ROOM
    return ErrorCode.INTERNAL_ERROR, ""


_ROOM = "The scratch space is full: give the job more memory, or a larger ephemeral disk."


def _of_warehouse(error: WarehouseError) -> tuple[ErrorCode, str]:
    if error.denied:
        return ErrorCode.PERMISSION_DENIED, (
            "Give the job's service account roles/bigquery.dataViewer on the datasets, and roles/bigquery.jobUser and "
            "roles/bigquery.readSessionUser on the project."
        )
    if error.gone:
        return ErrorCode.TABLES_MISSING, "Check the datasets in the stack's settings."
    return ErrorCode.TABLE_UNREADABLE, "Start the run again in a few minutes: what is extracted is kept."


def _of_storage(error: storage.StorageError) -> tuple[ErrorCode, str]:
    match error:
        case storage.Denied():
            return ErrorCode.PERMISSION_DENIED, "Give the job's service account roles/storage.objectUser on the bucket."
        case storage.NoSpace():
            return ErrorCode.DISK_FULL, _ROOM
        case storage.NotFound():
            return ErrorCode.STORAGE_UNAVAILABLE, "A bucket or an object is gone; check the stack, then start again."
    return ErrorCode.STORAGE_UNAVAILABLE, "Start the run again in a few minutes: what is extracted is kept."
