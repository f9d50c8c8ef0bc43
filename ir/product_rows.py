"""Rows of a product: how a kernel that goes on with whole rows of a contraction's result (an argmin over centres, a
softmax, a norm) runs on a CPU.

The register tile leaves some rows of the result in scratch, in cache. All else is a kernel of its own, the `rest`,
which reads a row of them as a buffer and runs as loops over rows do. The result is in memory only if it is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import VerifyError
from .expr import Dim, floordiv
from .kernel import Buffer, Kernel, Store, Value, made_of, replaced
from .schedule import Contraction, Rows, Schedule
from .types import compute_dtype

PRODUCT = "row of a product"             # the buffer that the rest reads; no kernel can have one of this name


class Apart(NamedTuple):
    """A kernel in two: the `product` stores its `total` whole, row by row, the `rest` does everything else."""

    total: Value
    product: Kernel
    rest: Kernel


def take_apart(kernel: Kernel, total: Value, rows: Collection[str], columns: tuple[str, ...], panel: int = 1) -> Apart:
    """A kernel whose `total` varies over `rows` and `columns`, in two. A row lies in panels of so many columns along
    the last axis.
    """
    rows = tuple(a for a in kernel.axes if a in rows)
    names = (*rows, *columns)
    whole = Store(PRODUCT, tuple(kernel.axis(a) for a in names), total, total.axes)
    shape = tuple(kernel.axes[a] for a in names)
    needed = made_of(total)
    inner = [v for v in kernel.values if v in needed]
    axes = {a: n for a, n in kernel.axes.items() if any(a in (*v.axes, *v.over) for v in inner)}
    read = {v.buffer for v in inner if v.op == "load"}
    buffers = {name: b for name, b in kernel.buffers.items() if name in read}
    buffers[PRODUCT] = Buffer(PRODUCT, shape, total.dtype, True)
    product = Kernel(kernel.name, axes, buffers, tuple(inner), (whole,), kernel.origin)
    return Apart(total, product, _rest(kernel, total, columns, panel))


def _rest(kernel: Kernel, total: Value, columns: tuple[str, ...], panel: int) -> Kernel:
    """The kernel with a load in place of the total."""
    extents: list[Dim] = [kernel.axes[a] for a in columns]
    extents[-1] = floordiv(extents[-1] + panel - 1, panel) * panel
    kept = compute_dtype(total.dtype)
    load = Value("load", (), total.axes, kept, buffer=PRODUCT, index=tuple(kernel.axis(a) for a in columns))
    rounded = [] if kept is total.dtype else [Value("cast", (load,), total.axes, total.dtype)]
    values, stores = replaced(kernel, total, [load, *rounded])
    used = {a for v in values for a in (*v.axes, *v.over)} | {a for s in stores for a in s.axes}
    axes = {a: n for a, n in kernel.axes.items() if a in used}
    buffers = {**kernel.buffers, PRODUCT: Buffer(PRODUCT, tuple(extents), kept)}
    return Kernel(kernel.name, axes, buffers, values, stores, kernel.origin)


@dataclass(frozen=True)
class ProductRows(Schedule):
    """The contraction over its `k` runs as `product` says, all columns in a unit, and the rest, row by row, as `after`
    says.
    """

    product: Contraction = field(default_factory=Contraction)
    after: Rows = field(default_factory=Rows)

    def apart(self, kernel: Kernel) -> Apart:
        """The kernel's two parts."""
        p = self.product
        found = [v for v in kernel.values if v.op == "reduce" and set(v.over) == set(p.k)]
        if len(found) != 1 or not p.j:
            raise VerifyError(f"kernel {kernel.name} has {len(found)} sums over {p.k}, where one is wanted")
        return take_apart(kernel, found[0], (*p.g, *p.i), p.j, p.vectors * p.lanes)

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        _, product, rest = self.apart(kernel)
        for why in self._objections(kernel, product, rest):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")
        self.product.check(product)
        self.after.check(rest)

    def _objections(self, kernel: Kernel, product: Kernel, rest: Kernel) -> Iterator[str]:
        p, after = self.product, self.after
        if p.variant != "tile" or p.parts != 1 or p.flips or p.outside != "rows":
            yield "rows are not finished one after the other"
        if (self.units, self.grain) != (p.units, p.grain):
            yield f"{self.units} units are not those of the product"
        if set(after.parallel) != {*p.g, *p.i} or after.block:
            yield f"rows are {(*p.g, *p.i)}, units {after.parallel}"
        if set(p.k) & set(rest.axes):
            yield f"what follows the sums runs over {p.k} too"
        width = kernel.axes[p.j[-1]]
        panels: Dim = floordiv(width + p.vectors * p.lanes - 1, p.vectors * p.lanes)
        for a in p.j[:-1]:
            panels = panels * kernel.axes[a]
        if panels != p.panels:
            yield f"{p.panels} panels of a unit are not all {panels} of them"
        if not {*product.sizes, *rest.sizes} <= set(kernel.sizes):
            yield "its parts need other sizes than it has"
