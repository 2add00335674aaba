"""What runs cost at list price, and how that comes about."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ops import prices
from ops.errors import BadRequest
from ops.places import Places
from ops.prices import Prices
from ops.progress import usd
from ops.results import DEFAULT_CPU, DEFAULT_MEMORY_GIB, seconds_of
from ops.router import Place
from ops.runs import Run, recent
from ops.store import FolderStore
from ops.systems import FANOUT, FEATURES
from ops.targets import Target


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """List price of one run on a job of a shape."""

    run_id: str
    place: str
    cpu: float
    memory_gib: float
    seconds: float
    usd: float
    usd_delayed: float
    """The same as a delayed execution."""
    delayed: bool = False
    """Whether it was one; then `usd` is that price."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "prices_of": prices.AS_OF}

    def lines(self, table: Prices) -> list[str]:
        """Return it for a person, with the formula."""
        suffix = "_delayed" if self.delayed else ""
        cpu_usd, memory_usd = (table.table[f"run_job_{kind}{suffix}"].usd for kind in ("cpu", "memory"))
        billed = max(self.seconds, prices.MINIMUM_S) if self.seconds else 0
        each = f"{self.cpu:g} vCPU x ${cpu_usd:.7f} + {self.memory_gib:g} GiB x ${memory_usd:.7f}"
        where = "ran in the sandbox for nothing; as a job " if self.place == Place.SANDBOX else ""
        return [
            f"{self.run_id} {where}{usd(self.usd)} = ({each}) x {billed:,.1f} s",
            f"{'as a' if not self.delayed else 'it was a'} delayed execution {usd(self.usd_delayed)}; list prices of {prices.AS_OF}, {prices.RUN_PRICING}",
        ]


def of_run(
    run: Run, target: Target, table: Prices, cpu: float | None = None, memory_gib: float | None = None
) -> RunCost:
    """Return the price of a run; `cpu` and `memory_gib` ask what it would have been on another shape."""
    held = (DEFAULT_CPU, DEFAULT_MEMORY_GIB) if target.place == Place.SANDBOX else (target.cpu, target.memory_gib)
    cpu, memory_gib, seconds = cpu or held[0], memory_gib or held[1], seconds_of(run)
    delayed = bool(run.index.platform.get("delayed"))
    full, cheaper = (
        table.job_usd(cpu=cpu, memory_gib=memory_gib, seconds=seconds, delayed=is_delayed)
        for is_delayed in (False, True)
    )
    return RunCost(
        run_id=run.run_id,
        place=target.place,
        cpu=cpu,
        memory_gib=memory_gib,
        seconds=seconds,
        usd=cheaper if delayed else full,
        usd_delayed=cheaper,
        delayed=delayed,
    )


def of_systems(places: Places, table: Prices) -> list[dict[str, Any]]:
    """Return what each of a stack's jobs costs an hour of running, and what its recorded runs have cost.

    Raises BadRequest: the stack is not deployed, or has no job.
    """
    # what a fan-out's machines cost depends on its tasks: `longhaul run fanout` says it
    jobs = [s for s in places.shelves if not isinstance(s.store, FolderStore) and s.system != FANOUT.name]
    if not jobs:
        raise BadRequest(f"stack {places.stack} has no job", f"longhaul up --stack {places.stack}")
    found = []
    for shelf in jobs:
        target = places.features if shelf.system == FEATURES.name else places.job
        runs = list(recent([shelf], _COUNTED))
        found.append({"system": shelf.system, **of_stack(target, runs, table)})
    return found


_COUNTED = 1_000


def of_stack(target: Target, runs: Sequence[Run], table: Prices) -> dict[str, Any]:
    """Return what a job costs an hour of running, and what its recorded runs have cost."""
    each = [of_run(run, target, table) for run in runs]
    return {
        "cpu": target.cpu,
        "memory_gib": target.memory_gib,
        "usd_per_hour": table.job_usd(cpu=target.cpu, memory_gib=target.memory_gib, seconds=3_600),
        "usd_least": table.job_usd(cpu=target.cpu, memory_gib=target.memory_gib, seconds=prices.MINIMUM_S),
        "runs": len(each),
        "seconds": sum(one.seconds for one in each),
        "usd": sum(one.usd for one in each),
    }


def stack_lines(systems: Sequence[dict[str, Any]]) -> list[str]:
    """Return it for a person."""
    lines = []
    for whole in systems:
        shape = f"{whole['cpu']:g} vCPU, {whole['memory_gib']:g} GiB"
        lines += [
            f"{whole['system']} ({shape}): {usd(whole['usd_per_hour'])} an hour of running, "
            f"{usd(whole['usd_least'])} a run at least, nothing between runs",
            f"  the {whole['runs']:,} runs on record: {whole['seconds']:,.0f} s, {usd(whole['usd'])}",
        ]
    return [*lines, f"list prices of {prices.AS_OF}, {prices.RUN_PRICING}; no free tier, discount, storage or network"]
