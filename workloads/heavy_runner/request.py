"""The request: JSON to checked values, every mistake named by its field."""

import json
import os.path
import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from workloads.common.contract import RUN_METADATA, check_run_id
from workloads.common.storage import is_bucket, split
from workloads.heavy_runner.contract import (
    DATA_PATH,
    ERROR,
    EXECUTION_LOG,
    PROTOCOL_VERSION,
    READ_SETTINGS,
    SCRIPT_NAME,
    STATUS,
    ErrorCode,
    outputs_prefix,
)
from workloads.heavy_runner.failure import RunFailure

MAX_REQUEST_BYTES = 1 << 20
MAX_SUPPORT_FILES = 1_000
MAX_REQUIRED_OUTPUTS = 1_000

_OURS = frozenset({STATUS, ERROR, EXECUTION_LOG, RUN_METADATA})
_ESCAPE = "path leads out of the run folder: it must be relative, without '..', backslashes or control characters"


def inside(path: str) -> str:
    """The path in its shortest form; raises ValueError unless it stays under the run folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or len(path) > 512:
        raise ValueError(_ESCAPE)
    if re.search(r"[\x00-\x1f\x7f\\]", path):
        raise ValueError(_ESCAPE)
    return "/".join(parts)


def _input_path(path: str) -> str:
    short = inside(path)
    if short in _OURS or short in (READ_SETTINGS, SCRIPT_NAME):
        raise ValueError(f"{short} is written by the runner itself: choose another name")
    return short


def _output_pattern(value: Any) -> Any:
    return value.get("path") if isinstance(value, dict) else value


def _checked_pattern(pattern: str) -> str:
    short = inside(pattern)
    if short in _OURS or short.startswith("attempt_"):
        raise ValueError(f"{short} is written by the runner itself: it needs no asking for")
    return short


def _separator(sep: str) -> str:
    sep = "\t" if sep == "\\t" else sep
    if len(sep) != 1 or sep in "\r\n\"'":
        raise ValueError("must be one character such as ',' ';' '|' or a tab")
    return sep


def _encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise ValueError("is no encoding Python knows: try utf-8, cp1252 or latin-1") from error
    return name


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class ReadSettings(_Model):
    """How the dataset is read; more keys than these are handed to the script as they are."""

    sep: Annotated[str, AfterValidator(_separator)] = ","
    decimal: Annotated[str, Field(pattern=r"^[.,]$")] = "."
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"


class SupportFile(_Model):
    uri: str
    path: Annotated[str, AfterValidator(_input_path)]


class Request(_Model):
    """A run to do."""

    run_id: Annotated[str, AfterValidator(check_run_id)]
    dataset_uri: str
    code_uri: str
    output_uri: str = ""
    data_path: Annotated[str, AfterValidator(_input_path)] = DATA_PATH
    read: ReadSettings = ReadSettings()
    support_files: Annotated[list[SupportFile], Field(max_length=MAX_SUPPORT_FILES)] = []
    required_outputs: Annotated[
        list[Annotated[str, BeforeValidator(_output_pattern), AfterValidator(_checked_pattern)]],
        Field(max_length=MAX_REQUIRED_OUTPUTS),
    ] = []
    script_timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    attempt: Annotated[int, Field(ge=1, le=10_000)] | None = None
    safe_mode: bool = False
    protocol_version: str = PROTOCOL_VERSION

    @property
    def unknown(self) -> list[str]:
        """Fields this version does not know; they are named in the log and the record, and ignored."""
        return sorted(self.model_extra or {})


class Ping(_Model):
    """A check that the container starts, reads and writes: nothing is run."""

    ping: bool | str
    run_id: Annotated[str, AfterValidator(check_run_id)] = "ping"
    output_uri: str = ""
    protocol_version: str = PROTOCOL_VERSION


def parse(data: bytes, source: str) -> Request | Ping:
    """The request in `data`, which came from `source`; raises RunFailure naming the first wrong field."""
    raw = _load(data, source)
    _check_version(raw.get("protocol_version", PROTOCOL_VERSION))
    model = Ping if raw.get("ping") else Request
    try:
        parsed = model.model_validate(raw)
    except ValidationError as error:
        raise _explain(error) from error
    if isinstance(parsed, Request):
        _check_places(parsed)
        return _resolved(parsed, source)
    return parsed


def default_output(source: str) -> str:
    """Where outputs go if nobody said: beside the request, if that lies in the standard layout; else ''."""
    found = re.fullmatch(r"(?P<root>.*/)inputs/(?P<run_id>[^/]+)\.json", source)
    if not found:
        return ""
    try:
        return found["root"] + outputs_prefix(found["run_id"])
    except ValueError:
        return ""


def _load(data: bytes, source: str) -> dict[str, Any]:
    hint = "The request is one JSON object; docs/heavy-runner.md has an example."
    if not data.strip():
        raise RunFailure(ErrorCode.REQUEST_UNREADABLE, f"The request {source} is empty.", hint)
    try:
        raw = json.loads(data)  # takes UTF-8, UTF-16 and UTF-32, each with or without a byte order mark
    except (ValueError, RecursionError) as error:
        raise RunFailure(ErrorCode.REQUEST_UNREADABLE, f"The request {source} is not JSON: {error}", hint) from error
    if not isinstance(raw, dict):
        raise RunFailure(
            ErrorCode.REQUEST_INVALID, f"The request must be a JSON object, got {type(raw).__name__}.", hint
        )
    return raw


def _check_version(version: object) -> None:
    if str(version).partition(".")[0] != PROTOCOL_VERSION.partition(".")[0]:
        raise RunFailure(
            ErrorCode.PROTOCOL_MISMATCH,
            f"protocol_version: must be {PROTOCOL_VERSION}, got {str(version)[:40]!r}",
            "Update the calling system or this job, so that both speak the same version.",
        )


def _explain(error: ValidationError) -> RunFailure:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    code = ErrorCode.PATH_ESCAPE if text == _ESCAPE else ErrorCode.REQUEST_INVALID
    others = len(error.errors()) - 1
    more = f" (and {others} more)" if others else ""
    return RunFailure(code, f"{field}: {text}{more}", "Correct this field of the request and start again.", field=field)


def _check_places(request: Request) -> None:
    seen: set[str] = set()
    for path in (request.data_path, *(file.path for file in request.support_files)):
        above = {str(folder) for folder in PurePosixPath(path).parents}
        clash = path in seen or above & seen or any(PurePosixPath(path) in PurePosixPath(one).parents for one in seen)
        if clash:
            raise RunFailure(
                ErrorCode.REQUEST_INVALID,
                f"support_files: two inputs would lie at {path}",
                "Give every input a path of its own.",
                field="support_files",
            )
        seen.add(path)
    if request.read.sep == request.read.decimal:
        raise RunFailure(
            ErrorCode.REQUEST_INVALID,
            f"read.sep: must differ from read.decimal, both are {request.read.sep!r}",
            "Say how the file is really written.",
            field="read.sep",
        )


def _resolved(request: Request, source: str) -> Request:
    """Every URI in full: relative paths are relative to the request's own folder."""
    places = {name: _place(name, getattr(request, name), source) for name in ("dataset_uri", "code_uri")}
    if request.output_uri:
        places["output_uri"] = _place("output_uri", request.output_uri.rstrip("/") + "/", source)
    files = [
        file.model_copy(update={"uri": _place(f"support_files.{index}.uri", file.uri, source)})
        for index, file in enumerate(request.support_files)
    ]
    return request.model_copy(update={**places, "support_files": files})


def _place(field: str, uri: str, source: str) -> str:
    problem = ""
    if is_bucket(uri):
        try:
            split(uri if not uri.endswith("/") else uri + "x")
            return uri
        except ValueError:
            problem = "must be gs://BUCKET/OBJECT"
    elif "://" in uri or not uri or "\x00" in uri:
        problem = "must be a gs:// URI or a path"
    elif is_bucket(source):
        # A file of the container itself is nothing a request from a bucket has a say over.
        problem = "must be a gs:// URI, as the request itself lies in a bucket"
    if problem:
        raise RunFailure(
            ErrorCode.REQUEST_INVALID,
            f"{field}: {problem}, got {uri[:200]!r}",
            "Correct this field of the request and start again.",
            field=field,
        )
    path = os.path.join(os.path.dirname(os.path.abspath(source)), uri)
    return os.path.normpath(path) + ("/" if uri.endswith("/") else "")
