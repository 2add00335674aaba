"""List prices, in one dated table, and what a run costs by it. Estimates: no free tier, no discount, no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.errors import BadRequest

RUN_PRICING = "https://cloud.google.com/run/pricing"
VM_PRICING = "https://cloud.google.com/compute/vm-instance-pricing"

AS_OF = "2026-09-28"
"""Date of the newest entry of `LIST`."""

MINIMUM_S = 60.0
"""Cloud Run bills a job's instance for at least one minute (cloud.google.com/run/pricing, read 2026-09-28)."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one unit costs, and who says so."""

    usd: float
    unit: str
    """What the price is for, such as `vCPU-s`."""
    source: str
    """Page the price was read on."""
    read_on: str
    """Date it was read, YYYY-MM-DD."""


LIST: Mapping[str, Price] = {
    "run_job_cpu": Price(usd=0.000018, unit="vCPU-s", source=RUN_PRICING, read_on="2026-08-21"),
    "run_job_memory": Price(usd=0.000002, unit="GiB-s", source=RUN_PRICING, read_on="2026-08-21"),
    "run_job_cpu_delayed": Price(usd=0.0000126, unit="vCPU-s", source=RUN_PRICING, read_on="2026-09-28"),
    "run_job_memory_delayed": Price(usd=0.0000014, unit="GiB-s", source=RUN_PRICING, read_on="2026-09-28"),
    "batch_vcpu": Price(usd=0.0671 / 2 / 3_600, unit="vCPU-s", source=VM_PRICING, read_on="2026-05-24"),
}
"""us-central1 and the other tier-1 regions."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A price table. Default: `LIST`."""

    table: Mapping[str, Price] = field(default_factory=lambda: LIST)

    def job_usd(self, *, cpu: float, memory_gib: float, seconds: float, tasks: int = 1, delayed: bool = False) -> float:
        """US dollars for `tasks` tasks of `seconds` s each on `cpu` vCPU and `memory_gib` GiB; 0 if none started.

        Raises ValueError for a negative number.
        """
        if min(cpu, memory_gib, seconds, tasks) < 0:
            raise ValueError(
                f"cpu, memory_gib, seconds and tasks must be >= 0, got {cpu}, {memory_gib}, {seconds}, {tasks}"
            )
        if seconds == 0:
            return 0.0
        suffix = "_delayed" if delayed else ""
        per_s = cpu * self.table[f"run_job_cpu{suffix}"].usd + memory_gib * self.table[f"run_job_memory{suffix}"].usd
        return per_s * max(seconds, MINIMUM_S) * tasks

    def batch_usd(self, *, cpu: float, memory_gib: float, seconds: float, tasks: int = 1) -> float:
        """US dollars for `tasks` tasks of `seconds` s each on standard E2 machines, which have 4 GiB a vCPU.

        What a task takes of a machine is the larger of its vCPU and a quarter of its GiB. Raises ValueError for a
        negative number.
        """
        if min(cpu, memory_gib, seconds, tasks) < 0:
            raise ValueError(
                f"cpu, memory_gib, seconds and tasks must be >= 0, got {cpu}, {memory_gib}, {seconds}, {tasks}"
            )
        return max(cpu, memory_gib / 4) * self.table["batch_vcpu"].usd * seconds * tasks


def load(path: Path | None = None) -> Prices:
    """Return the table, with the entries of the YAML file `path` (name -> Price fields) in place of ours.

    Raises BadRequest: the file cannot be read, or names a price or a field that does not exist.
    """
    if path is None:
        return Prices()
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        own = {name: Price(**entry) for name, entry in entries.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as exc:
        raise BadRequest(f"price file {path}: {exc}", "each entry is NAME: {usd, unit, source, read_on}") from exc
    if unknown := sorted(own.keys() - LIST.keys()):
        raise BadRequest(f"price file {path}: unknown prices {', '.join(unknown)}", f"known are {', '.join(LIST)}")
    return Prices(table={**LIST, **own})
