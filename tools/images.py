"""`make images`: build the heavy runner's image for the sandbox, without a stack."""

import os
import subprocess
import sys
from pathlib import Path

from tools.base_image import IMAGE as BASE

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "longhaul/heavy-runner:local"


def main() -> int:
    """Build with .local/env.sh in force. Returns docker's exit code, or 1 without an engine."""
    if "DOCKER_HOST" not in os.environ:
        print("no Docker engine on this machine: the sandbox runs processes and needs no image")
        return 1
    dockerfile = ROOT / "workloads" / "heavy_runner.Dockerfile"
    argv = ["docker", "build", "--network", "host", "--build-arg", f"BASE_IMAGE={BASE}"]
    argv += ["--file", str(dockerfile), "--tag", IMAGE, str(ROOT / "workloads")]
    return subprocess.run(argv, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
