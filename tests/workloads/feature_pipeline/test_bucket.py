"""A whole run on a real object server: preconditions, checksums and resumable uploads are the server's own."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from features_support import KEY, PAIR, Place, dataset, features
from gcs_support import BUCKET, object_server, store

from workloads.common.contract import ExitCode
from workloads.common.gcs import ONE_PIECE_BYTES
from workloads.common.storage import Transfer
from workloads.feature_pipeline.contract import records_prefix


def test_a_run_from_bucket_to_bucket_and_another_over_its_file(tmp_path: Path) -> None:
    place = Place(tmp_path, {**dataset(rows=60_000, tables=4), f"wide_{PAIR}": features("wide", 60_000, columns=8)})
    with object_server(tmp_path / "objects") as url:
        bucket = store(url)
        place.buckets = bucket  # type: ignore[assignment]  # the same calls on a server
        options: dict[str, Any] = {"output_bucket": BUCKET, "staging_bucket": BUCKET}
        assert place.run(**options) is ExitCode.DONE, place.logged()[-1]
        uri = f"gs://{BUCKET}/training_{PAIR}.parquet"
        first = bucket.stat(uri)
        assert first.size > ONE_PIECE_BYTES
        place.later(hours=1)
        place.warehouse.tables["shared_more"] = features("more", 60_000)
        assert place.run(run_id="r2", **options) is ExitCode.DONE, place.logged()[-1]
        second = bucket.stat(uri)
        assert second.generation != first.generation
        copy = tmp_path / "copy.parquet"
        with copy.open("w+b") as file:
            bucket.download(second, file.fileno(), Transfer())
        prefix = f"gs://{BUCKET}/{records_prefix(PAIR, 'r2')}"
        for name in ("status.json", "run_metadata.json", "manifest.json", "validation.json", "validation.html"):
            assert bucket.stat(f"{prefix}{name}").size
    frame = pl.read_parquet(copy)
    assert frame[KEY].to_arrow().equals(pa.chunked_array(place.warehouse.tables["shared_more"][KEY]).combine_chunks())
    assert {"more_0", "wide_7", "return_h105"} <= set(frame.columns)
