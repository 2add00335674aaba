"""One table of all results, written row group by row group: a row for each step of each result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workloads.batch_fanout.failure import BadRequest

ROWS_AT_ONCE = 200_000
"""Rows held in memory, and of a row group."""


class Table:
    """Collects results; the first one decides on the columns."""

    def __init__(self, path: Path, form: str) -> None:
        self._path, self._form = path, form
        self._columns: dict[str, list[Any]] = {}
        self._names: tuple[list[str], list[str]] | None = None
        self._schema: Any = None
        self._writer: Any = None
        self.rows = 0

    def add(self, index: int, result: Mapping[str, Any]) -> None:
        """Raises BadRequest: it has other columns than the results before, or series of different lengths."""
        parameters, series = _parts(index, result)
        names = (sorted(parameters), sorted(series))
        if self._names is None:
            self._names = names
        if self._names != names:
            raise BadRequest(f"result {index}: has the columns {names}, the results before it {self._names}")
        length = len(next(iter(series.values()))) if series else 1
        for name, values in {"index": index, **parameters}.items():
            self._columns.setdefault(name, []).extend([values] * length)
        for name, values in series.items():
            self._columns.setdefault(name, []).extend(values)
        self.rows += length
        if len(self._columns["index"]) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._columns:
            self._columns = {"index": []}
        try:
            block = pa.table(self._columns, schema=self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise BadRequest(f"results: a column changes its type: {error}") from error
        if self._writer is None:
            self._schema = _wide(block.schema)
            block = block.cast(self._schema)
            self._writer = self._open()
        self._writer.write_table(block)
        self._columns = {name: [] for name in self._columns}

    def _open(self) -> Any:
        if self._form == "csv":
            import pyarrow.csv

            return pyarrow.csv.CSVWriter(self._path, self._schema)
        import pyarrow.parquet

        return pyarrow.parquet.ParquetWriter(self._path, self._schema, compression="zstd")

    def close(self) -> None:
        """Write what is left."""
        if self._writer is None or self._columns.get("index"):
            self._flush()
        self._writer.close()


@contextmanager
def open_table(path: Path, form: str) -> Iterator[Table]:
    """The table at `path`, closed at the end unless something failed."""
    table = Table(path, form)
    yield table
    table.close()


def _wide(schema: Any) -> Any:
    """Numbers of any later result fit: a column that begins with nulls or whole numbers may go on with others."""
    import pyarrow as pa

    return pa.schema([item.with_type(pa.float64()) if pa.types.is_null(item.type) else item for item in schema])


def _parts(index: int, result: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    parameters, series = result.get("parameters", {}), result.get("series", {})
    if not isinstance(parameters, dict) or not isinstance(series, dict) or not (parameters or series):
        raise BadRequest(f"result {index}: must be a map with parameters and series")
    if both := sorted({"index"} & {*parameters, *series} | set(parameters) & set(series)):
        raise BadRequest(f"result {index}: the name {both[0]} is taken")
    lengths = {len(values) for values in series.values()}
    if len(lengths) > 1:
        raise BadRequest(f"result {index}: its series must have one length, have {sorted(lengths)}")
    return parameters, series
