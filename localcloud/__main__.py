"""python -m localcloud serve --state DIR [--config FILE.json]"""

import argparse
import sys
from pathlib import Path

from localcloud import daemon, settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="localcloud", description="A local Google Cloud on loopback, for development and tests."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run in the foreground until SIGTERM")
    serve.add_argument("--state", type=Path, required=True, help="directory of everything it keeps")
    serve.add_argument("--config", type=Path, help="JSON file with settings, see localcloud/settings.py")
    serve.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING"])
    given = parser.parse_args(arguments)
    try:
        chosen = settings.load(given.state.resolve(), given.config)
    except (ValueError, TypeError, OSError) as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 2
    return daemon.serve(chosen, given.log_level)


if __name__ == "__main__":
    raise SystemExit(main())
