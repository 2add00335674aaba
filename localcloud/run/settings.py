"""Settings of Cloud Run in the local cloud."""

from dataclasses import dataclass
from typing import Literal

from localcloud.settings import Settings, WrongSettings, build


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What `extra.run` of the settings may hold."""

    log_mib_per_attempt: float = 32.0
    """Output of one attempt that is stored, MiB; 0.001 to 1024. What comes after is dropped, but for its end."""
    log_tail_kib: int = 64
    """End of dropped output that is stored after all, KiB; 0 to 1024."""
    start_delay_s: float = 0.0
    """Seconds from the acceptance of an execution to the start of its tasks; 0 to 600."""
    on_stop: Literal["cancel", "keep"] = "cancel"
    """What happens to running tasks when the local cloud is stopped in order. `keep` takes them up again at the next start."""
    max_parallel_tasks: int = 64
    """Tasks that run at once over all executions, if runtime.max_tasks is 0; 1 to 10,000."""
    token_ttl_s: int = 3599
    """Life of the tokens that tasks get from their metadata server, seconds; 10 to 43,200."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("log_mib_per_attempt", 0.001, 1024),
            ("log_tail_kib", 0, 1024),
            ("start_delay_s", 0, 600),
            ("max_parallel_tasks", 1, 10_000),
            ("token_ttl_s", 10, 43_200),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                raise WrongSettings(f"extra.run: {name} must be {low:g} to {high:g}, got {value:g}")
        if self.on_stop not in ("cancel", "keep"):
            raise WrongSettings(f"extra.run: on_stop must be cancel or keep, got {self.on_stop!r}")


def from_settings(settings: Settings) -> RunSettings:
    """Raises WrongSettings for an unknown key or a value out of range."""
    return build(RunSettings, "extra.run", settings.extra.get("run", {}))
