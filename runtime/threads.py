"""The worker threads: one pool for the process, in memory that native code reads (`pool_text` says how a parallel
region works).

Workers are started by the first region that wants them, spin for some microseconds after each, then sleep on a
condition variable. They are plain POSIX threads with all signals blocked, which never touch Python: nothing waits for
them when the interpreter ends. A child of `fork` gets a fresh pool, whose threads start when they are needed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

import numpy as np

from ..ir.configuration import configuration
from . import abi, link, machine

_WORD = 8


class Pool:
    """The memory of a pool: the workers' fields, and scratch memory for each of them."""

    def __init__(self, threads: int, spins: int):
        self._memory = np.zeros(abi.POOL_BYTES + 64, np.uint8)
        self.address = -(-self._memory.ctypes.data // 64) * 64
        self._scratches: list[np.ndarray] = []           # former ones too: a region may be using them
        self._lock = threading.Lock()
        self._workers = 0                                # for whom there is scratch memory
        self.scratch_bytes = 0
        self.threads = threads
        self._write(abi.WANTED, threads)
        self._write(abi.SPINS, spins)
        self._write(abi.NEXT_IDENTITY, 1)
        if hasattr(signal, "SIG_SETMASK"):
            self._fill_functions()
        else:
            self._write(abi.WANTED, 1)                # no POSIX threads here

    def _fill_functions(self) -> None:
        for n, name in enumerate(abi.POOL_FUNCTIONS):
            self._write(abi.FUNCTIONS + n * _WORD, link.address_of(name))
        self._write(abi.SET_MASK, signal.SIG_SETMASK)
        ctypes.memset(self.address + abi.SIGNALS, 0xFF, abi.MUTEX - abi.SIGNALS)
        library = link.c_library()
        library.pthread_mutex_init(ctypes.c_void_p(self.address + abi.MUTEX), None)
        library.pthread_cond_init(ctypes.c_void_p(self.address + abi.CONDITION), None)

    def _write(self, offset: int, value: int) -> None:
        ctypes.c_int64.from_address(self.address + offset).value = value

    @property
    def started(self) -> int:
        """How many workers run (awake or asleep)."""
        return ctypes.c_int64.from_address(self.address + abi.STARTED).value

    def resize(self, threads: int) -> None:
        """Let regions use this many threads, the caller included; workers beyond them stay asleep."""
        with self._lock:
            self._reserve(self.scratch_bytes, threads)
            self.threads = threads
            self._write(abi.WANTED, threads)

    def reserve(self, scratch_bytes: int) -> None:
        """Give each worker at least this much scratch memory."""
        if scratch_bytes > self.scratch_bytes:
            with self._lock:
                self._reserve(scratch_bytes, self.threads)

    def _reserve(self, scratch_bytes: int, threads: int) -> None:
        stride = -(-max(scratch_bytes, self.scratch_bytes) // 64) * 64
        workers = max(threads - 1, self._workers)            # where these get fewer for a while, the others keep theirs
        if stride > self.scratch_bytes or stride and workers > self._workers:
            self._workers = workers
            self._scratches.append(np.empty(stride * self._workers + 64, np.uint8))
            base = self._scratches[-1].ctypes.data
            self._write(abi.SCRATCH, base + -base % 64)       # before the stride: see `region`, which reads it after it
            self._write(abi.STRIDE, stride)
        self.scratch_bytes = stride


_pool: Pool | None = None
_cell = ctypes.c_int64(0)                # where native code finds the pool
_spins = 0
_lock = threading.Lock()


def pool() -> Pool:
    """The pool of this process."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                made = Pool(_wanted_threads(), _spins)
                _cell.value = made.address
                _pool = made
    return _pool


def cell_address() -> int:
    """The address of the word that holds the pool's address."""
    pool()
    return ctypes.addressof(_cell)


def _wanted_threads() -> int:
    return configuration.num_threads or machine.usable_threads()


def get_num_threads() -> int:
    """How many threads a parallel region uses, the calling one included."""
    return _wanted_threads() if _pool is None else _pool.threads


def set_num_threads(count: int) -> None:
    """Use this many threads from the next region on; results never depend on it."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"the number of threads must be a whole number of at least 1, not {count!r}")
    configuration.num_threads = count
    if _pool is not None:
        _pool.resize(count)


def calibrate(pause) -> None:
    """Learn how many pauses a worker may spin, from the native function that pauses so many times."""
    global _spins
    pause(10)
    start = time.perf_counter_ns()
    pause(400)
    each = max((time.perf_counter_ns() - start) / 400, 0.5)
    _spins = int(configuration.spin_microseconds * 1000 / each)
    ctypes.c_int64.from_address(pool().address + abi.SPINS).value = _spins


def _after_fork() -> None:
    """The child has no workers, and its copy of the pool may be locked: begin with a fresh one."""
    global _pool, _lock
    _lock = threading.Lock()
    old, _pool = _pool, None
    if old is not None:
        pool().reserve(old.scratch_bytes)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
