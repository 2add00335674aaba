"""What a task gets of the memory and CPUs it asks for."""

from localcloud.runtime.base import Granted, HostLimits


def clamp(limits: HostLimits, host_memory_mib: int, host_cpus: float, memory_mib: int, cpus: float) -> Granted:
    """Clamp to the host and to the ceilings, and say so.

    Args:
        host_memory_mib: memory of the host, MiB.
        host_cpus: CPUs of the host.
        memory_mib: asked for, MiB.
        cpus: asked for.
    """
    most_memory = min(limits.memory_ceiling_mib or host_memory_mib * 7 // 8, host_memory_mib)
    most_cpus = min(limits.cpu_ceiling or host_cpus, host_cpus)
    notes = []
    if memory_mib > most_memory:
        notes.append(f"memory {memory_mib} MiB clamped to {most_memory} MiB")
    if cpus > most_cpus:
        notes.append(f"cpu {cpus:g} clamped to {most_cpus:g}")
    return Granted(memory_mib=min(memory_mib, most_memory), cpus=min(cpus, most_cpus), note="; ".join(notes))
