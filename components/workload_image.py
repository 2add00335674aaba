"""WorkloadImage: the container of one workload, built and pushed, or taken as pinned."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

import pulumi

from components.checks import DIGEST, is_pinned, matching, pinned, refusal

PROJECT_ROOT = Path(__file__).parent.parent
"""Folder of Pulumi.yaml: engine, plugins and this program read relative paths from there."""
CONTEXT = "workloads"
PLATFORM = "linux/amd64"
"""The one platform of Cloud Run: https://cloud.google.com/run/docs/container-contract#languages (2026-08)."""


class WorkloadImageArgs(TypedDict):
    workload: str
    """Folder of the workload under workloads/, such as `heavy_runner`."""
    repository: pulumi.Input[str]
    """Where the image is pushed: HOST/PROJECT/REPOSITORY."""
    base_image: NotRequired[str]
    """`BASE_IMAGE` of the Dockerfile. Default the Dockerfile's own."""
    network: NotRequired[str]
    """Network of the build's RUN steps, `host` where the engine has no bridge. Default the engine's own."""
    pin: NotRequired[str]
    """HOST/PATH@sha256:DIGEST to use as it is; then nothing is built. Default: build."""


class WorkloadImage(pulumi.ComponentResource):
    """An image of this repository by digest.

    The build runs in `pulumi up` only. A preview says which files changed, because this component records their
    digests, and leaves `ref` unknown until the image is built. The tag is a digest of everything the build is made of:
    it stays with its version for as long as nothing changes, so that no cleanup takes a version that was ever pushed
    from a tree. It never reaches a job. The push uses the credentials of the Docker configuration (`gcloud auth
    configure-docker`); none is an input, so none is in the state.

    Raises:
        ValueError: no such workload, an ignore file that is no allow-list, or a pin without digest.
    """

    ref: pulumi.Output[str]
    """HOST/PATH@sha256:DIGEST."""

    def __init__(self, name: str, args: WorkloadImageArgs, opts: pulumi.ResourceOptions | None = None):
        workload, pin = args["workload"], args.get("pin")
        matching(name, "workload", workload, r"[a-z][a-z0-9_]*", "the name of a folder under workloads/")
        if pin is not None:
            recorded: dict[str, object] = {"workload": workload, "pin": pin}
            ref = pinned(name, pin, "pin")
        else:
            files = context_files(name, workload)
            recorded = {"workload": workload, "files": files}
        super().__init__("longhaul:index:WorkloadImage", name, recorded, opts)
        if pin is None:
            tag = content_tag(files, args.get("base_image", ""), args.get("network", ""))
            path = pulumi.Output.concat(args["repository"], "/", workload.replace("_", "-"))
            ref = self._build(name, args, path, tag)
        self.ref = ref
        self.register_outputs({"ref": self.ref})

    def _build(self, name: str, args: WorkloadImageArgs, path: pulumi.Output[str], tag: str) -> pulumi.Output[str]:
        # A quarter of the program's start, and a stack that pins its images does not need it.
        import pulumi_docker as docker

        build: docker.DockerBuildArgsDict = {
            "context": CONTEXT,
            "dockerfile": dockerfile_of(args["workload"]),
            "platform": PLATFORM,
            "builder_version": docker.BuilderVersion.BUILDER_BUILD_KIT,
        }
        if "base_image" in args:
            build["args"] = {"BASE_IMAGE": args["base_image"]}
        if "network" in args:
            build["network"] = args["network"]
        image = docker.Image(
            f"{name}-build",
            image_name=pulumi.Output.concat(path, ":", tag),
            build=build,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # The plugin reports the first digest the engine knows the image by, which can be one under another name.
        return pulumi.Output.all(path, image.repo_digest).apply(lambda both: with_digest(name, both[0], both[1]))


def with_digest(name: str, path: str, repo_digest: str) -> str:
    """PATH@sha256:DIGEST of what was pushed to `path`. Raises ValueError: `repo_digest` holds no digest."""
    ref = f"{path}@{repo_digest.rpartition('@')[2]}"
    if not is_pinned(ref):
        remedy = "the push gave none back: see the log of the build"
        raise refusal(name, "repo_digest", f"NAME@{DIGEST}", repr(repo_digest), remedy)
    return ref


def dockerfile_of(workload: str) -> str:
    """Path of the workload's Dockerfile under the project's root.

    It lies at the root of the context: there the plugin, which looks for CONTEXT/NAME.dockerignore, and BuildKit, which
    looks beside the Dockerfile, find the same ignore file.
    """
    return f"{CONTEXT}/{workload}.Dockerfile"


def context_files(name: str, workload: str, root: Path = PROJECT_ROOT) -> dict[str, str]:
    """Digests of the files that the build of `workload` is made of, by path under workloads/.

    Raises:
        ValueError: there is no Dockerfile, or its ignore file is no allow-list (`*`, then lines `!GLOB`), so that an
            edit elsewhere would rebuild the image.
    """
    context, dockerfile = root / CONTEXT, root / dockerfile_of(workload)
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    if not dockerfile.is_file() or not ignore.is_file():
        raise refusal(
            name, "workload", f"a folder with {dockerfile.name} and its .dockerignore beside it", repr(workload)
        )
    lines = [line.strip() for line in ignore.read_text().splitlines()]
    first, *allowed = [line for line in lines if line and not line.startswith("#")]
    if first != "*" or not all(line.startswith("!") for line in allowed):
        raise refusal(name, ignore.name, "an allow-list: `*`, then lines `!GLOB`", repr(str(workload)))
    found = {file for line in allowed for file in context.glob(line.removeprefix("!")) if file.is_file()}
    return {file.relative_to(context).as_posix(): _digest(file.read_bytes()) for file in sorted({*found, dockerfile})}


def content_tag(files: Mapping[str, str], base_image: str = "", network: str = "") -> str:
    """Tag of an image: the same for the same inputs of the build, whoever builds it.

    Every input counts that makes the plugin build again, because two builds of one tree differ in their digest, and the
    first would lose its tag to the second.
    """
    return f"src-{_digest(json.dumps([dict(files), base_image, network, PLATFORM], sort_keys=True).encode())}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
