"""Settings that several systems share, and those of building and keeping images."""

from dataclasses import dataclass

from settings.checks import between, like


@dataclass(frozen=True, kw_only=True)
class Build:
    """How images are built; a stack that pins all of its images needs none of it."""

    base_image: str = ""
    """`BASE_IMAGE` of the Dockerfiles. Default theirs, python:3.13-slim-trixie."""
    network: str = ""
    """Network of the build's RUN steps, `host` where the engine has no bridge. Default the engine's own."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept for how long."""

    expire_after_days: int = 30
    """Age at which datasets and inputs of runs are deleted, days (1 to 3,650). Default 30."""
    keep_versions: int = 20
    """Versions of each image that are never deleted (1 to 1,000). Default 20."""
    untagged_after_days: int = 90
    """Age at which images without a tag are deleted, days (1 to 3,650). Default 90."""
    kept_digests: tuple[str, ...] = ()
    """Digests that another stack pins from this stack's repository, as sha256:…. Default none."""

    def __post_init__(self) -> None:
        between("expire_after_days", self.expire_after_days, 1, 3_650, "days")
        between("keep_versions", self.keep_versions, 1, 1_000, "versions")
        between("untagged_after_days", self.untagged_after_days, 1, 3_650, "days")
        for digest in self.kept_digests:
            like("kept_digests", digest, r"sha256:[0-9a-f]{64}", "sha256:DIGEST")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When runs start by themselves."""

    cron: str
    """Five fields of cron, as in `0 3 * * 1-5`."""
    time_zone: str = "Etc/UTC"
    """Time zone of `cron`. Default Etc/UTC."""
    only: tuple[str, ...] = ()
    """What is started, of all that can be. Default all of it."""
    delayed: bool = False
    """Whether executions may begin up to 12 hours later, for about 30 % less. Default false."""
    paused: bool = False
    """Whether nothing is started for now. Default false."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Who is told of an execution that failed."""

    channels: tuple[str, ...] = ()
    """Notification channels, as projects/PROJECT/notificationChannels/ID. Default none: the console alone shows it."""
