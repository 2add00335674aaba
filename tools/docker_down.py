"""`make docker-down`: stop the private Docker engine, if the set-up started one."""

import os
import sys
from pathlib import Path

from tools import docker
from tools.common import machine


def main() -> int:
    print(docker.down(machine(Path(__file__).resolve().parent.parent, os.environ)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
