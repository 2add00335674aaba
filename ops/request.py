"""What a person asks of the heavy runner, checked before anything is uploaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ops.errors import BadRequest
from workloads.heavy_runner.contract import (
    DATA_PATH,
    MAX_SCRIPT_TIMEOUT_S,
    MIN_SCRIPT_TIMEOUT_S,
    dataset_object,
    request_document,
    script_object,
    support_object,
)

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run of a script over a table. Raises BadRequest when it is made with what cannot work."""

    data: Path
    """The table: a CSV file with a header line."""
    script: Path
    """The Python script; it finds the table at `data/cleaned_data.csv` below its working folder."""
    support: Mapping[str, Path] = field(default_factory=dict)
    """Path below the script's working folder -> local file. Default none."""
    sep: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    required_outputs: tuple[str, ...] = ()
    """Globs below the working folder; a run that leaves one without a match has failed. Default none."""
    timeout_s: int | None = None
    """Longest time of the script, seconds (60 to 7,200). Default: the job's."""
    safe_mode: bool = False
    """Passed to the script, which may do less. Default off."""

    def __post_init__(self) -> None:
        for name, file in (("data", self.data), ("script", self.script), *self.support.items()):
            if not file.is_file():
                raise BadRequest(f"{name}: there is no file {file}")
        if len(self.sep) != 1:
            raise BadRequest(f"sep: must be one character, got {self.sep!r}")
        if self.decimal not in (".", ",") or self.decimal == self.sep:
            raise BadRequest(f"decimal: must be '.' or ',' and not the separator, got {self.decimal!r}")
        if self.timeout_s is not None and not MIN_SCRIPT_TIMEOUT_S <= self.timeout_s <= MAX_SCRIPT_TIMEOUT_S:
            limits = f"{MIN_SCRIPT_TIMEOUT_S:,} to {MAX_SCRIPT_TIMEOUT_S:,} seconds"
            raise BadRequest(f"timeout: must be {limits}, got {self.timeout_s:,}")
        for path in self.support:
            _check_inside("support", path)
            if path == DATA_PATH:
                raise BadRequest(f"support: {path} is the table's own place", "name it otherwise: FILE=data/NAME")
        for glob in self.required_outputs:
            _check_inside("required-output", glob)
        _check_csv(self.data)

    def files(self, run_id: str) -> Iterator[tuple[str, Path]]:
        """Yield (object name, local file) of everything to upload."""
        yield dataset_object(run_id), self.data
        yield script_object(run_id), self.script
        for path, file in self.support.items():
            yield support_object(run_id, path), file

    def document(self, run_id: str, root: str, attempt: int | None) -> dict[str, Any]:
        """Return the request JSON for the container; `root` is where the uploads lie."""
        return request_document(
            run_id,
            root,
            script_timeout_s=self.timeout_s,
            attempt=attempt,
            read={"sep": self.sep, "decimal": self.decimal, "encoding": self.encoding},
            support_files=list(self.support),
            required_outputs=self.required_outputs,
            safe_mode=self.safe_mode,
        )


def support_files(values: list[str]) -> dict[str, Path]:
    """Read `FILE` (goes to data/FILE's name) and `FILE=PATH` from the command line. Raises BadRequest: given twice."""
    found: dict[str, Path] = {}
    for value in values:
        file, _, target = value.partition("=")
        place = target or f"data/{Path(file).name}"
        if place in found:
            raise BadRequest(f"support: {place} is given twice", "name the places: FILE=data/NAME")
        found[place] = Path(file)
    return found


def _check_inside(option: str, text: str) -> None:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text:
        raise BadRequest(f"{option}: must be a path below the script's folder, got {text!r}")


def _check_csv(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head == _PARQUET:
        remedy = "write it as CSV first: polars.scan_parquet(FILE).sink_csv(…)"
        raise BadRequest(f"data: {path} is a Parquet file; the heavy runner reads CSV", remedy)
    if head[:2] == _GZIP:
        raise BadRequest(f"data: {path} is compressed; the heavy runner reads plain CSV", "gunzip it first")
