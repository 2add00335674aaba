"""`python -m localcloud.plugins.gcp [ENGINE_ADDRESS]`: what the engine starts as `pulumi-resource-gcp`."""

import sys

from localcloud.plugins import light


def main() -> None:
    """Serves until the engine is gone."""
    light.prepare()
    # after prepare(): these import the protocol
    from localcloud.plugins.gcp.provider import GcpPlugin
    from localcloud.plugins.server import serve

    serve(GcpPlugin(), sys.argv[1:])


if __name__ == "__main__":
    main()
