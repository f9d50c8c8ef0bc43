"""Kernels run by their LLVM source: in one piece or cut in several, with canaries around everything that they may
write.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from braze.codegen.llvm import emit
from braze.ir import expr
from braze.ir.kernel import Kernel
from braze.ir.schedule import Schedule
from braze.ir.target import Target

from .jit import Compiled

CANARY = 64                      # bytes on either side
_LIBC = ctypes.CDLL(None)


@cache
def host() -> Target:
    """This computer as a target."""
    features = llvm.get_host_cpu_features().flatten()
    wide = "+avx512f" in features
    return Target(llvm.get_default_triple(), llvm.get_host_cpu_name(), features, 64 if wide else 32, 32 if wide else 16)


class Guarded:
    """Memory with canaries on both sides."""

    def __init__(self, nbytes: int, align: int = 64):
        self.nbytes = nbytes
        self.whole = np.full(nbytes + 2 * CANARY + align, 0xAB, np.uint8)
        self.first = CANARY + (-(self.whole.ctypes.data + CANARY)) % align
        self.address = self.whole.ctypes.data + self.first

    def view(self, dtype: Any, shape: Sequence[int]) -> np.ndarray:
        """The memory in between as an array."""
        return self.whole[self.first:self.first + self.nbytes].view(dtype).reshape(shape)

    def check(self, what: str) -> None:
        """Were the canaries left alone?"""
        after = self.whole[self.first + self.nbytes:]
        assert (self.whole[:self.first] == 0xAB).all() and (after == 0xAB).all(), f"written outside of {what}"


class Fenced(Guarded):
    """Memory that ends where the next page must not be touched, not even read: who does crashes."""

    def __init__(self, nbytes: int, align: int = 64):
        pages = -(-(nbytes + CANARY) // mmap.PAGESIZE)
        self.nbytes, self.map = nbytes, mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        self.whole = np.frombuffer(self.map, np.uint8)[:pages * mmap.PAGESIZE]
        start = self.whole.ctypes.data
        if _LIBC.mprotect(ctypes.c_void_p(start + pages * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0):
            raise OSError("mprotect")
        self.first = len(self.whole) - nbytes
        self.address = start + self.first
        self.whole[:self.first] = 0xAB


class Runner:
    """A kernel under a schedule, as a function of arrays by buffer name."""

    def __init__(self, kernel: Kernel, schedule: Schedule, level: int = 2):
        self.kernel = kernel
        self.source = emit(kernel, schedule, host())
        self._code = Compiled(self.source.text, level)
        self._entry = getattr(self._code, self.source.entry)

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], sizes: Mapping[str, int] | None = None,
                 parts: int = 1) -> dict[str, np.ndarray]:
        """What it makes of `outputs`; the units are cut into `parts` uneven chunks, run last to first, each with fresh
        scratch.
        """
        sizes = dict(sizes or {})
        held = {}
        for b in self.kernel.buffers.values():
            given = np.asarray((outputs if b.is_output else inputs)[b.name])
            assert given.dtype == b.dtype.numpy and given.shape == tuple(int(expr.evaluate(d, sizes)) for d in b.shape)
            guarded = Guarded(given.nbytes) if b.is_output else Fenced(given.nbytes)
            array = guarded.view(given.dtype, given.shape)
            array[...] = given
            held[b.name] = guarded, array
        words = np.array([g.address for g, _ in held.values()] + [sizes[s] for s in self.kernel.sizes], np.int64)
        units = int(expr.evaluate(self.source.units, sizes))
        cuts = sorted({0, units, *(units * n * n // (parts * parts) for n in range(parts))})
        for start, stop in reversed(list(zip(cuts, cuts[1:]))):
            scratch = Guarded(int(expr.evaluate(self.source.scratch, sizes)))
            self._entry(words, start, stop, scratch.address)
            scratch.check("scratch")
        for b in self.kernel.buffers.values():
            guarded, array = held[b.name]
            guarded.check(b.name)
            if not b.is_output:
                assert array.tobytes() == np.asarray(inputs[b.name]).tobytes(), f"input {b.name} was written"
        return {b.name: held[b.name][1].copy() for b in self.kernel.outputs}
