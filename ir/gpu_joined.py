"""How one launch runs an elementwise kernel on many parts, each with memory and an extent of its own: the updates of an
optimiser, the casts of a model's weights.

The kernel is written for any part: it has one axis, whose extent is a size that each part gives. Where the parts lie
stands in a table in the memory of the device, which the runtime fills (`runtime/device_tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import expr
from .errors import VerifyError
from .gpu import GpuSchedule
from .kernel import FOLDS, Kernel, Store, Value


@dataclass(frozen=True)
class Joined(GpuSchedule):
    """A program runs `size` positions of one part. The `shared` buffers are one element that all parts read; each part
    has its own of the others. `is_aligned` promises that 16 divides every part's extent.
    """

    size: int = 1024
    shared: tuple[str, ...] = ()
    is_aligned: bool = False

    def listed(self, kernel: Kernel) -> tuple[str, ...]:
        """The buffers that each part has of its own, in the order in which a row of the table has their addresses."""
        return tuple(b for b in kernel.buffers if b not in self.shared)

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        if self.size < 16 or self.size & (self.size - 1):
            yield f"a tile of {self.size} is no power of two from 16 on"
        if len(kernel.axes) != 1 or len(kernel.sizes) != 1 or set(map(str, kernel.axes.values())) != set(kernel.sizes):
            yield f"axes {dict(kernel.axes)} are not one, whose extent is the kernel's only size"
            return
        ((axis, extent),) = kernel.axes.items()
        whole = ((extent,), (kernel.axis(axis),))
        accesses: list[Value | Store] = [*(v for v in kernel.values if v.op == "load"), *kernel.stores]
        for x in accesses:
            shape = kernel.buffers[x.buffer].shape
            is_read_by_all = isinstance(x, Value) and expr.product(shape) == 1 and not x.axes
            if isinstance(x, Value) and x.fill is not None or (shape, x.index) != whole and not is_read_by_all:
                yield f"{x.buffer} is accessed elsewhere than at the position along {axis}"
        if any(v.op in FOLDS for v in kernel.values):
            yield "it reduces, scans, or sorts"
        stored = [s.buffer for s in kernel.stores]
        if len(set(stored)) != len(stored) or not all(map(_is_set, kernel.stores)):
            yield "a buffer is stored twice, or added to"
        for name in self.shared:
            if name not in kernel.buffers or kernel.buffers[name].is_output or kernel.buffers[name].shape == (extent,):
                yield f"{name} is no number that is read by all"


def _is_set(s: Store) -> bool:
    return s.mode == "set" and not s.is_scatter
