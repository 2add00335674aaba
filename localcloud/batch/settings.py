"""Settings of Batch in the local cloud."""

import os
from dataclasses import dataclass

from localcloud.settings import Settings, WrongSettings, build


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What `extra.batch` of the settings may hold."""

    max_parallel_tasks: int = 0
    """Tasks that run at once over all jobs, whatever their parallelism; 0: four per CPU of this machine, 8 at least. Up to 5,000."""
    agent_timeout_s: float = 1080.0
    """How long a job waits for a VM that may report, by this cloud's clock; 1 to 86,400 seconds."""
    queue_delay_s: float = 0.0
    """Seconds from the acceptance of a job to the start of its tasks (minutes in the cloud); 0 to 600."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_parallel_tasks", 0, 5000),
            ("agent_timeout_s", 1, 86_400),
            ("queue_delay_s", 0, 600),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                raise WrongSettings(f"extra.batch: {name} must be {low:g} to {high:g}, got {value:g}")

    @property
    def slots(self) -> int:
        return self.max_parallel_tasks or max(8, 4 * (os.cpu_count() or 1))


def from_settings(settings: Settings) -> BatchSettings:
    """Raises WrongSettings for an unknown key or a value out of range."""
    return build(BatchSettings, "extra.batch", settings.extra.get("batch", {}))
