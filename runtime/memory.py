"""Memory that is used again: outputs that nobody holds any more, and blocks for temporaries.

An `OutputPool` hands out arrays of one shape and dtype. It keeps them, and takes one back when its reference count says
that nobody else has it: a view, an export or a handle each hold the array. A `BlockPool` hands out blocks of one size
for the time of a call. In the steady state nothing is allocated, and no page is touched for the first time, which for
large outputs costs more than the work itself. What is kept is bounded by `configuration.pool_bytes`.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir import locks
from ..ir.configuration import configuration

ALIGNMENT = 64
_MAPPED_BYTES = 64 << 10                 # from here on a buffer has pages of its own
_HUGE_BYTES = 4 << 20                    # from here on the system is asked for huge pages
_ARRAYS_KEPT = 8                         # of one shape and dtype
# Python shares anonymous pages with children of `fork` if it is not told otherwise
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}

_lock = locks.lock()
_kept: dict[Any, OutputPool | BlockPool] = {}    # the least recently grown first
_kept_bytes = 0


def buffer(size: int) -> tuple[Any, int, int]:
    """New memory of at least `size` bytes: its owner, the offset of the first aligned byte in it, and that byte's
    address.
    """
    if size >= _MAPPED_BYTES:
        pages = mmap.mmap(-1, size, **_PRIVATE)
        if size >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        return pages, 0, ctypes.addressof(ctypes.c_char.from_buffer(pages))
    block = (ctypes.c_char * (size + ALIGNMENT))()
    start = ctypes.addressof(block)
    return block, -start % ALIGNMENT, start + -start % ALIGNMENT


def empty(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, int]:
    """A new aligned array with undefined contents, and its address. Its base is no array, so that a view of it holds
    it.
    """
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    owner, offset, address = buffer(size)
    return np.ndarray(shape, dtype, buffer=owner, offset=offset), address


def _references_when_free() -> int:
    entry = (np.empty(1), 0)
    array, _ = entry
    return sys.getrefcount(array)


_FREE = _references_when_free()          # of an array in an entry and a local variable: it depends on the Python
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    _FREE = -1                           # counts of other threads are not seen at once: nothing is used again


def _taker(entries: list[tuple[np.ndarray, int]], grow: Callable) -> Callable[[], tuple[np.ndarray, int]]:
    def take(count=sys.getrefcount, free=_FREE):
        # `array` is held before it is counted: two threads never take the same one
        for array, address in entries:
            if count(array) == free:
                return array, address
        return grow()

    return take


class OutputPool:
    """Arrays of one shape and dtype; made by `outputs`. `take()` gives one that nobody holds, and its address."""

    __slots__ = ("shape", "dtype", "bytes", "take", "_entries", "_key")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype
        self.bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._entries: list[tuple[np.ndarray, int]] = []
        self._key = (shape, dtype)
        self.take: Callable[[], tuple[np.ndarray, int]] = _taker(self._entries, self._grow)

    def _grow(self) -> tuple[np.ndarray, int]:
        entry = empty(self.shape, self.dtype)
        with _lock:
            if _admit(self, self._key, self.bytes):
                if len(self._entries) >= _ARRAYS_KEPT:
                    self._drop_one()             # one that somebody holds: it leaves the pool, no more
                self._entries.append(entry)
        return entry[0], entry[1]                        # the entry itself would not count as a holder of its array

    def _drop_one(self) -> int:
        try:
            self._entries.pop(0)
        except IndexError:
            return 0
        _forget(self.bytes)
        return self.bytes


class BlockPool:
    """Blocks of one size for the time of a call; made by `blocks`. Hot code pops from `free` itself, and appends
    afterwards.
    """

    __slots__ = ("bytes", "free", "_key")

    def __init__(self, size: int):
        self.bytes = size
        self.free: list[tuple[int, Any]] = []    # address, owner
        self._key = size

    def take(self) -> tuple[int, Any]:
        """A block: its address (aligned) and its owner."""
        try:
            return self.free.pop()
        except IndexError:
            return self.allocate()

    def give(self, block: tuple[int, Any]) -> None:
        """Take a block back."""
        self.free.append(block)

    def allocate(self) -> tuple[int, Any]:
        """A new block."""
        owner, _, address = buffer(self.bytes)
        with _lock:
            _admit(self, self._key, self.bytes)
        return address, owner

    def _drop_one(self) -> int:
        try:
            self.free.pop()
        except IndexError:
            return 0
        _forget(self.bytes)
        return self.bytes


_output_pools: dict[tuple[tuple[int, ...], np.dtype], OutputPool] = {}
_block_pools: dict[int, BlockPool] = {}


def outputs(shape: tuple[int, ...], dtype: np.dtype) -> OutputPool:
    """The pool of arrays of this shape and dtype."""
    found = _output_pools.get((shape, dtype))
    return _output_pools.setdefault((shape, dtype), OutputPool(shape, dtype)) if found is None else found


def is_pooled(array: np.ndarray) -> bool:
    """Does a pool keep this array? It then has one reference more than its users have, and memory of its own though it
    has a base.
    """
    pool = _output_pools.get((array.shape, array.dtype))
    return pool is not None and any(kept is array for kept, _ in pool._entries)


def blocks(size: int) -> BlockPool:
    """The pool of blocks of at least this size."""
    rounded = size_class(size)
    found = _block_pools.get(rounded)
    return _block_pools.setdefault(rounded, BlockPool(rounded)) if found is None else found


def size_class(size: int) -> int:
    """The size rounded up to a quarter of a power of two: 4 KiB at least, and at most a quarter too much."""
    step = 1 << max((size - 1).bit_length() - 3, 10)
    return max(-(-size // step) * step, 4096)


def kept_bytes() -> int:
    """The bytes that are kept for later calls, those in use included."""
    return _kept_bytes


def _admit(pool: OutputPool | BlockPool, key: Any, size: int) -> bool:
    """Count bytes that a pool keeps from now on; others give up theirs where it gets too much."""
    global _kept_bytes
    limit = configuration.pool_bytes
    if size > limit and isinstance(pool, OutputPool):
        return False
    _kept.pop(key, None)
    _kept[key] = pool
    _kept_bytes += size
    for other in list(_kept.values()):
        while _kept_bytes > limit and other is not pool and other._drop_one():
            pass
    while _kept_bytes > limit and pool._drop_one():
        pass
    return True


def _forget(size: int) -> None:
    global _kept_bytes
    _kept_bytes -= size


def release() -> None:
    """Give up all memory that is kept for later calls."""
    with _lock:
        for pool in _kept.values():
            while pool._drop_one():
                pass
        _kept.clear()
