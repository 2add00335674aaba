"""`python -m localcloud.bigquery`: makes the engine's image, so that the first call to BigQuery need not wait for it."""

import asyncio
import os
import sys
import time

from localcloud.bigquery import image
from localcloud.bigquery.settings import BigQuerySettings
from localcloud.runtime.base import RuntimeUnavailable
from localcloud.runtime.choose import DEFAULT_HOST
from localcloud.runtime.engine import Engine, EngineError


async def main() -> int:
    """0: it is there. 1: it cannot be made, and why."""
    base = BigQuerySettings().base_image
    engine = Engine(os.environ.get("DOCKER_HOST") or DEFAULT_HOST)
    began = time.monotonic()
    try:
        if await engine.image(image.tag(base)) is None:
            print(f"making {image.tag(base)} (20 to 60 s, 1.2 GB, once)", flush=True)
            await image.build(engine, base)
    except (EngineError, RuntimeUnavailable) as problem:
        print(f"localcloud.bigquery: the image cannot be made: {problem}", file=sys.stderr)
        return 1
    finally:
        await engine.close()
    print(f"{image.tag(base)} is there ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
