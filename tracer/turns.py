"""Who writes the same captured tensors takes turns: concurrent calls of compiled functions lose no update.

Each tensor that some program writes belongs to a *turn*, a lock that lives as long as such a program. Programs that
write tensors of one turn share it; one that meets tensors of several takes these in the order in which they were made,
so that nobody waits in a circle. Programs that write different tensors run side by side, and pure ones take no turn:
what another thread reads while a program writes it may be old, new, or partly written.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from itertools import count
from types import TracebackType
from typing import Any

from ..ir import locks
from .tensor import Tensor


class Turn:
    """One lock, re-entrant: a call may be interrupted by code of its own thread that calls again."""

    __slots__ = ("lock", "number", "__weakref__")

    def __init__(self) -> None:
        self.lock, self.number = locks.lock(), next(_numbers)


class Turns:
    """Several locks as one context."""

    __slots__ = ("locks",)

    def __init__(self, locks: Iterable[Any]):
        self.locks = tuple(locks)

    def __enter__(self) -> None:
        taken = 0
        try:
            for lock in self.locks:
                lock.acquire()
                taken += 1
        except BaseException:                     # an interrupt while it waits
            for lock in self.locks[:taken]:
                lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for lock in reversed(self.locks):
            lock.release()


_numbers = count()
_registry = locks.lock()
# by id: a program keeps its turns and its tensors alive, and an id that is used again shares a lock needlessly at worst
_turn_of: weakref.WeakValueDictionary[int, Turn] = weakref.WeakValueDictionary()


def turns_of(written: Iterable[Tensor]) -> tuple[Turn, ...]:
    """The turns of a program that writes these tensors; none for a pure one."""
    tensors = list(written)
    with _registry:
        known = {id(t): _turn_of.get(id(t)) for t in tensors}
        found = {turn for turn in known.values() if turn is not None}
        if tensors and not found:
            found = {Turn()}
        in_order = sorted(found, key=lambda turn: turn.number)
        for key, turn in known.items():
            if turn is None:
                _turn_of[key] = in_order[0]
    return tuple(in_order)


def context_of(turns: tuple[Turn, ...]) -> Any:
    """What a call of the program runs `with`; None where it need not wait for anybody."""
    return None if not turns else turns[0].lock if len(turns) == 1 else Turns(turn.lock for turn in turns)
