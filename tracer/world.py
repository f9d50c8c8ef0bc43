"""Who has changed: objects of ours that steer traces (modules, optimisers) count their changes, so that guards on them
are cheap.

`WORLD[0]` grows with every change of any of them; each also counts its own in `_stamp`. A `Watch` remembers what one
was like.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..ir import locks

WORLD = [0]


def bump() -> None:
    """Something changed: compiled functions look at their guards again."""
    WORLD[0] += 1


_regions = [0]
_lock = locks.lock()


def enter_region() -> None:
    """Some thread runs under another default device, or with automatic casts: compiled functions look at each call."""
    with _lock:
        _regions[0] += 1
    bump()


def leave_region() -> None:
    """That is over."""
    with _lock:
        _regions[0] -= 1


def is_steady() -> bool:
    """May a compiled function remember that nothing has changed?"""
    return not _regions[0]


_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Watched:
    """A base for objects that traces depend on: call `_changed()` after each change, `_snapshot()` says what counts."""

    _stamp = 0

    def _changed(self) -> None:
        """Note a change."""
        object.__setattr__(self, "_stamp", self._stamp + 1)
        bump()

    def _snapshot(self) -> Any:
        """What a trace may have depended on: containers of plain values (compared by value) and others (by
        identity)."""
        raise NotImplementedError


class Watch:
    """What an object was like when a trace used it. Changed and changed back counts as unchanged (`eval()`, then
    `train()`)."""

    __slots__ = ("holder", "stamp", "snapshot")

    def __init__(self, holder: Watched):
        self.holder, self.stamp, self.snapshot = holder, holder._stamp, holder._snapshot()

    def holds(self) -> bool:
        """Is it as it was?"""
        now = self.holder._stamp
        if now == self.stamp:
            return True
        if not _same(self.snapshot, self.holder._snapshot()):
            return False
        self.stamp = now
        return True


    def failure(self) -> str:
        """What has changed, in words."""
        name, before, now = type(self.holder).__name__, self.snapshot, self.holder._snapshot()
        if not isinstance(before, dict) or not isinstance(now, dict):
            return f"{name} has changed"
        return next((f"`{name}{path}` {text}" for path, text in _changes(before, now)), f"{name} has changed")


def _changes(before: dict[Any, Any], now: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for key in {**before, **now}:
        a, b = before.get(key, None), now.get(key, None)
        if _same(a, b) and (key in before) is (key in now):
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _changes(a, b)
        elif isinstance(a, _PLAIN) and isinstance(b, _PLAIN):
            yield f".{key}", f"was {a!r}, is {b!r}"
        else:
            yield f".{key}", "is another one"


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, _PLAIN) and a == b
