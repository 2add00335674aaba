"""Variables, by the block they belong to."""

from collections.abc import Iterator, MutableMapping
from typing import Any


class Scope(MutableMapping[str, Any]):
    """Variables of a block; a name belongs to the innermost block that had it when it was assigned."""

    def __init__(self, outer: "Scope | None" = None):
        self._own: dict[str, Any] = {}
        self._outer = outer

    def __getitem__(self, name: str) -> Any:
        if name in self._own or self._outer is None:
            return self._own[name]
        return self._outer[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if self._outer is not None and name not in self._own and name in self._outer:
            self._outer[name] = value
        else:
            self._own[name] = value

    def declare(self, name: str, value: Any) -> None:
        """Set a variable of this very block, as a loop does."""
        self._own[name] = value

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or (self._outer is not None and name in self._outer)

    def __iter__(self) -> Iterator[str]:
        return iter({**(dict(self._outer) if self._outer else {}), **self._own})

    def __len__(self) -> int:
        return sum(1 for _ in self)
