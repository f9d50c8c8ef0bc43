"""Kernels planned for a GPU, run by the interpreter (or a GPU) with canaries around everything that they may write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from braze.codegen.triton import emit
from braze.ir import expr
from braze.ir.kernel import Kernel
from braze.passes.gpu_schedule import Part, plan

from .device_runner import run_source, target

CANARY = 64                      # bytes on either side


class Guarded:
    """An array with canaries on both sides."""

    def __init__(self, array: np.ndarray):
        room = np.full(array.nbytes + 2 * CANARY + 16, 0xAB, np.uint8)
        self.whole, self.first = room, CANARY + (-(room.ctypes.data + CANARY)) % 16
        self.array = room[self.first:self.first + array.nbytes].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    def check(self, name: str) -> None:
        """Were the canaries left alone?"""
        after = self.first + self.array.nbytes
        assert (self.whole[:self.first] == 0xAB).all() and (self.whole[after:] == 0xAB).all(), f"outside of {name}"


def run(kernel: Kernel, inputs: Mapping[str, Any], outputs: Mapping[str, Any], sizes: Mapping[str, int],
        parts: list[Part] | None = None) -> dict[str, np.ndarray]:
    """What the plan of a kernel (or these parts) makes of `outputs`."""
    held = {n: Guarded(np.asarray(a)) for n, a in {**inputs, **outputs}.items()}
    for k, s in plan(kernel, target()) if parts is None else parts:
        for b in k.buffers.values():
            if b.name not in held:
                shape = tuple(int(expr.evaluate(d, sizes)) for d in b.shape)
                held[b.name] = Guarded(np.full(shape, 7).astype(b.dtype.numpy))
        needed = {n: sizes[n] for n in k.sizes}
        buffers = [held[b] for b in k.buffers]
        run_source(emit(k, s, target()), [b.whole for b in buffers], [b.first for b in buffers], needed)
    for name, guarded in held.items():
        guarded.check(name)
        if name in inputs and name not in outputs:
            assert guarded.array.tobytes() == np.asarray(inputs[name]).tobytes(), f"input {name} was written"
    return {b.name: held[b.name].array.copy() for b in kernel.outputs}
