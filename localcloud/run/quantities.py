"""CPU and memory as Kubernetes quantities, and durations."""

import re

_MEMORY_UNIT = {
    "": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def memory_mib(text: str) -> float:
    """Return MiB. Raises ValueError for what is no quantity."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGT]i?|)", text)
    if not found or found[2] not in _MEMORY_UNIT:
        raise ValueError(text)
    return float(found[1]) * _MEMORY_UNIT[found[2]] / 2**20


def cpus(text: str) -> float:
    """Return CPUs; 500m is a half. Raises ValueError for what is no quantity."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    if not found:
        raise ValueError(text)
    return float(found[1]) / (1000 if found[2] else 1)


def seconds(text: str) -> float:
    """Return the seconds of a google-duration such as 600s. Raises ValueError for anything else."""
    if not re.fullmatch(r"\d+(\.\d{1,9})?s", text):
        raise ValueError(text)
    return float(text[:-1])
