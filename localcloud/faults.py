"""What the cloud does to people, on request: errors at a rate, slow visibility, doubled deliveries."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from localcloud.errors import STATUS_OF_CODE, ApiError


@dataclass(frozen=True, kw_only=True)
class FaultSettings:
    visibility_delay_s: float = 0.0
    """Seconds until a new service account, grant or enabled API takes effect. 0 to 600."""
    error_rate: float = 0.0
    """Share of requests answered with one of error_codes before they do anything. 0 to 1."""
    error_codes: tuple[int, ...] = (503,)
    """HTTP statuses to choose from: 429, 500, 502, 503, 504."""
    double_delivery_rate: float = 0.0
    """Share of scheduler and event deliveries that are sent twice. 0 to 1."""
    apis: tuple[str, ...] = ()
    """APIs that error_rate applies to; empty: all but control and metadata."""
    preemption_rate: float = 0.0
    """Share of attempts of Batch tasks on SPOT or PREEMPTIBLE machines that are preempted (exit code 50001). 0 to 1."""
    preemption_after_s: float = 0.2
    """Seconds from the start of an attempt to its preemption. 0 to 3600."""
    max_preemptions: int = 0
    """Preemptions until these settings are changed; 0: any number."""
    seed: int = 0
    """Seed of the choices, so that a failing test can be repeated."""

    def __post_init__(self) -> None:
        for name, value, top in (
            ("visibility_delay_s", self.visibility_delay_s, 600),
            ("error_rate", self.error_rate, 1),
            ("double_delivery_rate", self.double_delivery_rate, 1),
            ("preemption_rate", self.preemption_rate, 1),
            ("preemption_after_s", self.preemption_after_s, 3600),
            ("max_preemptions", self.max_preemptions, 1_000_000),
        ):
            if not 0 <= value <= top:
                raise ValueError(f"faults: {name} must be 0 to {top}, got {value}")
        allowed = {429, 500, 502, 503, 504}
        if not set(self.error_codes) <= allowed:
            raise ValueError(f"faults: error_codes must be of {sorted(allowed)}, got {list(self.error_codes)}")


@dataclass
class Faults:
    settings: FaultSettings = field(default_factory=FaultSettings)
    injected: int = 0
    """Requests failed so far."""
    preempted: int = 0
    """Attempts preempted since the settings were changed."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.settings.seed)  # noqa: S311 - faults, not secrets

    def update(self, changes: dict[str, Any]) -> None:
        """Raises TypeError for an unknown key, ValueError for a value out of range."""
        lists: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()
        }
        self.settings = replace(self.settings, **lists)
        self._random = random.Random(self.settings.seed)  # noqa: S311 - faults, not secrets
        self.preempted = 0

    def maybe_fail(self, api: str) -> None:
        """Raises the injected ApiError, or returns."""
        chosen = self.settings.apis
        if self.settings.error_rate == 0 or (api not in chosen if chosen else api in ("control", "metadata")):
            return
        if self._random.random() < self.settings.error_rate:
            self.injected += 1
            code = self._random.choice(self.settings.error_codes)
            status = STATUS_OF_CODE.get(code, "UNAVAILABLE")
            raise ApiError(code, status, f"{code} injected by the local cloud's faults.error_rate.")

    def doubled(self) -> bool:
        """Whether this delivery is to be sent a second time."""
        return self._random.random() < self.settings.double_delivery_rate

    def preempts(self) -> bool:
        """Whether this attempt on a machine that may be taken away is to lose it."""
        most = self.settings.max_preemptions
        if (most and self.preempted >= most) or self._random.random() >= self.settings.preemption_rate:
            return False
        self.preempted += 1
        return True
