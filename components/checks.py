"""Argument checks: one wording for every error, `name: argument must be RANGE UNIT, got VALUE; remedy`."""

import re
from collections.abc import Collection

import pulumi

DIGEST = r"sha256:[0-9a-f]{64}"
_PINNED = re.compile(rf"[^\s@:]+(?::[0-9]+)?/[^\s@:]+@{DIGEST}")


class ArgumentError(pulumi.RunError, ValueError):
    """An argument is not as it must be. The engine shows its text alone, without a traceback."""


def refusal(name: str, argument: str, must: str, got: object, remedy: str = "") -> ArgumentError:
    """The error for an argument that is not as it must be; `name` is the component or the configuration key."""
    return ArgumentError(f"{name}: {argument} must be {must}, got {got}{f'; {remedy}' if remedy else ''}")


def in_range(
    name: str, argument: str, value: float, low: float, high: float, unit: str = "", *, remedy: str = ""
) -> None:
    """Raises ArgumentError: `value` is below `low` or above `high`."""
    if not low <= value <= high:
        raise refusal(name, argument, f"{low:g}..{high:g} {unit}".rstrip(), f"{value:g}", remedy)


def one_of(name: str, argument: str, value: str, allowed: Collection[str], *, remedy: str = "") -> None:
    """Raises ArgumentError: `value` is none of `allowed`."""
    if value not in allowed:
        raise refusal(name, argument, f"one of {', '.join(sorted(allowed))}", repr(value), remedy)


def matching(name: str, argument: str, value: str, pattern: str, described: str, *, remedy: str = "") -> None:
    """Raises ArgumentError: `value` as a whole does not match `pattern`, which `described` puts into words."""
    if not re.fullmatch(pattern, value):
        raise refusal(name, argument, described, repr(value), remedy)


def is_pinned(image: str) -> bool:
    """Whether `image` is HOST/PATH@sha256:DIGEST: a digest names one image for ever, a tag does not."""
    return _PINNED.fullmatch(image) is not None


def pinned(name: str, image: pulumi.Input[str], argument: str = "image") -> pulumi.Output[str]:
    """Return `image` unchanged.

    Raises:
        ArgumentError: no digest; at once for a string, when it is known for an Output.
    """

    def check(ref: str) -> str:
        if not is_pinned(ref):
            remedy = "a tag can name another image tomorrow: build it, or pin it under longhaul:images"
            raise refusal(name, argument, "HOST/PATH@sha256:DIGEST", repr(ref), remedy)
        return ref

    return pulumi.Output.from_input(check(image) if isinstance(image, str) else image).apply(check)
