"""`F`: the op registry as a namespace. `F.exp` is looked up when it is called, so that rules may name each other
freely.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Namespace:
    """All declared ops and composite functions, by name."""

    def __init__(self) -> None:
        self._ops: dict[str, Any] = {}

    def declare(self, name: str, op: Any) -> Any:
        """Enter an op; each name once."""
        if name in self._ops:
            raise ValueError(f"the op {name!r} is declared twice")
        self._ops[name] = op
        setattr(self, name, op)
        return op

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no op {name!r}")

    def __getitem__(self, name: str) -> Any:
        return self._ops[name]

    def __contains__(self, name: str) -> bool:
        return name in self._ops

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ops.values())


F = Namespace()
