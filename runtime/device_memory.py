"""Memory of a device beside its arrays: blocks for temporaries that are used again, and what is said when it runs out.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import memory

if TYPE_CHECKING:
    from .device import Device

_SHOWN = 5                               # kinds of arrays that an error names


class Block(NamedTuple):
    """Memory for the temporaries of a call: its first address, and the array that holds it."""

    address: int
    bytes: int
    owner: Any


class Arenas:
    """Blocks for the time in which a call is enqueued, apart for each stream.

    Work on a stream runs in order, so that the next call on it may use the same block at once; calls that overlap in
    several threads have blocks of their own. The largest is given first, so that a call that comes again finds it where
    it was (a recorded program needs that); one that is too small is given up.
    """

    def __init__(self, device: Device):
        self._device = device
        self._free: dict[int, list[Block]] = {}
        self._lock = threading.Lock()

    def take(self, size: int, stream: int) -> Block:
        """A block of at least so many bytes."""
        with self._lock:
            kept = self._free.get(stream)
            block = kept.pop() if kept else None
        if block is not None and block.bytes >= size:
            return block
        del block
        rounded = memory.size_class(size)
        owner = self._device.empty((rounded,), np.dtype(np.uint8), "the temporaries of a compiled program")
        return Block(self._device.address(owner), rounded, owner)

    def give(self, block: Block, stream: int) -> None:
        """Take a block back when all work of the call is enqueued."""
        with self._lock:
            kept = self._free.setdefault(stream, [])
            kept.append(block)
            kept.sort(key=lambda b: b.bytes)

    def release(self) -> None:
        """Give up all blocks that no call has."""
        with self._lock:
            self._free.clear()

    @property
    def kept_bytes(self) -> int:
        """Bytes that wait for a call."""
        with self._lock:
            return sum(b.bytes for kept in self._free.values() for b in kept)


def shortage_text(device: Device, size: int | None, purpose: str) -> str:
    """What was asked, what is held, and by which arrays, the largest first."""
    free, total = device.capacity()
    kinds, number, held = _holders(device)
    named = [f"{count} x {kind} ({readable(each * count)})" for (kind, each), count in kinds]
    more = number - sum(count for _, count in kinds)
    if more:
        named.append(f"{more} smaller")
    holders = f": {', '.join(named)}" if named else ""
    asked = "" if size is None else f"{readable(size)} asked, "
    return (f"{device.name} has no memory for {purpose}: {asked}{readable(free)} of {readable(total)} free; {number} "
            f"arrays hold {readable(held)}{holders}")


def _holders(device: Device) -> tuple[list[tuple[tuple[str, int], int]], int, int]:
    """Kinds of arrays with the bytes and number of each, those that hold most first; the number of all arrays and
    their bytes. Views of other arrays are none.
    """
    whole: dict[int, Any] = {}
    for x in gc.get_objects():
        if issubclass(type(x), device.xp.ndarray) and x.nbytes and device.owns(x):
            at = device.address(x)
            if at not in whole or whole[at].nbytes < x.nbytes:
                whole[at] = x
    kinds = Counter((f"{x.dtype.name}{list(x.shape)}", x.nbytes) for x in _outermost(device, whole))
    largest = sorted(kinds.items(), key=lambda kind: -kind[0][1] * kind[1])
    held = sum(each * count for (_, each), count in kinds.items())
    return largest[:_SHOWN], sum(kinds.values()), held


def _outermost(device: Device, whole: dict[int, Any]) -> list[Any]:
    """Arrays that do not lie within another one."""
    kept, end = [], 0
    for at in sorted(whole):
        if at + whole[at].nbytes > end:
            kept.append(whole[at])
            end = at + whole[at].nbytes
    return kept


def readable(size: float) -> str:
    """Bytes in the unit that a person would choose.

    >>> readable(3 * 2**29)
    '1.5 GiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}"
