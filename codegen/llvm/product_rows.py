"""Rows of a product: the register tile leaves rows of C as wide as all panels in scratch, and what goes on with them
runs on each as a nest of loops, while they are in cache.
"""

from __future__ import annotations

from ...ir.expr import Dim
from ...ir.kernel import Kernel
from ...ir.product_rows import PRODUCT, ProductRows
from ...ir.schedule import Source
from .body import Scope
from .contraction import LANES, PAGE, Tiled
from .nest import Nest
from .parts import Part, positions
from .types import INDEX, POINTER
from .unroll import unroll
from .writer import Index, X


def emit_product_rows(kernel: Kernel, schedule: ProductRows) -> Source:
    """The kernel under a schedule of rows of a product."""
    schedule.check(kernel)
    return _WithRows(kernel, schedule).source()


class _WithRows(Tiled):
    def __init__(self, kernel: Kernel, schedule: ProductRows):
        super().__init__(kernel, schedule.product)
        self.after, self.remaining = schedule.after, schedule.apart(kernel).rest
        width = self.s.panels * self.columns
        self.c_step = width + (LANES if width * self.o.dtype.itemsize % (PAGE // 4) == 0 else 0)

    def _c_elements(self) -> Dim:
        return (self.s.rows if self.one_step else self.s.block) * self.c_step

    def _c_of(self, r: Index, p: Index) -> X:
        w = self.w
        first = w.add(w.mul(0 if self.one_step else r, self.c_step), w.mul(p, self.columns))
        return w.at(self.c, first, self.o.dtype)

    def _endings(self) -> Dim:
        """The rest of some rows, one after the other."""
        self.asking = None
        own = {"c": POINTER, "i0": INDEX, "rows": INDEX, "scratch": POINTER}
        self.part = part = Part(self.module, self.kernel, "rows", own, [*self.s.g, *self.i_outer])
        w, p, scope = part.w, part.named, part.scope
        scope.kernel = kernel = unroll(self.remaining, self.after.unrolled)
        nest = Nest(kernel, self.after.order, self.after.vector, self.after.lanes, p["scratch"])
        scope.prepare(kernel.stores)

        def row(r: X) -> None:
            here = scope.enter(positions(scope, w.add(p["i0"], r), self.i_inner))
            here.pointers = {**scope.pointers, PRODUCT: w.at(p["c"], w.mul(r, self.c_step), self.o.dtype)}
            here.prepare(kernel.stores)
            nest.region(here, kernel.stores)

        w.loop(0, p["rows"], 1, row)
        return nest.scratch_bytes

    def _after_tile(self, place: Scope, last: X | bool, own: dict[str, Index]) -> None:
        """Rows are finished by all panels."""

    def _after_rows(self, here: Scope, last: X | bool, r: Index, at: Index, begin: Index) -> None:
        w = self.w
        c = w.at(self._c_of(r, 0), w.mul(w.sub(at, begin), self.c_step), self.o.dtype)
        own = {"c": c, "i0": at, "rows": w.min(w.sub(self.rows, r), self.s.rows), "scratch": self.rest}
        w.when(last, lambda: self.part.call(w, self.args, own, here.point))
