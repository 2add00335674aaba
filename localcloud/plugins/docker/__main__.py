"""`python -m localcloud.plugins.docker [ENGINE_ADDRESS]`: what the engine starts as `pulumi-resource-docker`."""

import sys

from localcloud.plugins import light


def main() -> None:
    """Serves until the engine is gone."""
    light.prepare()
    # after prepare(): these import the protocol
    from localcloud.plugins.docker.provider import DockerPlugin
    from localcloud.plugins.server import serve

    serve(DockerPlugin(), sys.argv[1:])


if __name__ == "__main__":
    main()
