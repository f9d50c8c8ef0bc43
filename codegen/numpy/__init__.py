"""NumPy source of a kernel: the reference, the teaching back end, and what runs where neither LLVM nor Triton can.

    def softmax(x, y):
        for i0 in range(0, 8192, 21):
            i1 = min(i0 + 21, 8192)
            v0 = x[i0:i1]
            v1 = np.maximum.reduce(v0, axis=1)
            v2 = v0 - v1[:, None]
            v3 = np.exp(v2, out=v2)
            v4 = np.add.reduce(v3, axis=1)
            np.divide(v3, v4[:, None], out=y[i0:i1])
"""

from __future__ import annotations

from ...ir.kernel import Kernel
from ...ir.schedule import Schedule, Source
from ...ir.target import Target


def emit(kernel: Kernel, schedule: Schedule | None = None, target: Target | None = None) -> Source:
    """A Python function `entry(*buffers in the kernel's order, *, sizes by name)` that writes into the output arrays.

    How it runs follows from the kernel: `schedule` is not looked at; blocks of rows take half of the target's second
    cache.
    """
    from .function import emit_function

    return emit_function(kernel, (target or Target()).l2_bytes // 2)
