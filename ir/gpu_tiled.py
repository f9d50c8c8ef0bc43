"""How kernels that are no contractions run on a GPU: their axes are the dimensions of a tile.

Each axis belongs to one `Block`. The blocks of the `grid` are cut among programs; a program runs through the block of
its `turns` piece by piece, once for each sweep that the reductions force, and holds its `whole` blocks at once. A block
of size 1 is a plain number and no dimension of the tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import expr
from .errors import VerifyError
from .expr import Dim
from .gpu import GpuSchedule
from .kernel import Kernel, Store, Value
from .schedule import are_disjoint, independent_axes


@dataclass(frozen=True)
class Block:
    """Axes flattened, outermost first, of which a tile holds `size` positions at a time, a power of two."""

    axes: tuple[str, ...]
    size: int = 1

    def extent(self, kernel: Kernel) -> Dim:
        """The number of positions."""
        return expr.product(kernel.axes[a] for a in self.axes)

    def pieces(self, kernel: Kernel) -> Dim:
        """How many tiles cover them."""
        return expr.floordiv(self.extent(kernel) + self.size - 1, self.size)


@dataclass(frozen=True)
class Tiled(GpuSchedule):
    """See above. The last block of the grid changes fastest from program to program.

    Where stores may collide along the axes of the turns (a scatter), these are taken one by one, in order, and
    `ranges` programs share the work: each stores only what falls into its range of the first computed place.
    """

    grid: tuple[Block, ...] = ()
    turns: Block | None = None
    whole: tuple[Block, ...] = ()
    ranges: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order of the tile's dimensions."""
        return (*self.grid, *((self.turns,) if self.turns else ()), *self.whole)

    def programs(self, kernel: Kernel) -> Dim:
        """How many programs run."""
        return expr.product([self.ranges, *(b.pieces(kernel) for b in self.grid)])

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        named = [a for b in self.blocks for a in b.axes]
        if sorted(named) != sorted(kernel.axes):
            yield f"{named} are not the kernel's axes"
        for b in self.blocks:
            if b.size < 1 or b.size & (b.size - 1):
                yield f"a tile of {b.size} is no power of two"
        for b in self.whole:
            if not expr.is_less_equal(b.extent(kernel), b.size):
                yield f"{b.axes} are not held whole by {b.size}"
            elif b.size == 1 and b.extent(kernel) != 1:
                yield f"{b.axes} may have no position"
        yield from self._fold_objections(kernel)
        yield from self._store_objections(kernel)

    def _fold_objections(self, kernel: Kernel) -> Iterator[str]:
        cut = {a for b in self.grid for a in b.axes}
        inside = [b for b in self.blocks if b not in self.grid]
        for v in kernel.values:
            over = set(v.over)
            if v.op == "argsort" and any(b.size > 1 and b not in self.whole for b in self.blocks
                                         if set(b.axes) & _places(v) or b in self.grid and set(b.axes) & over):
                yield f"the argsort over {v.over} is cut, or not all of its places are held whole"
            if over & cut:
                yield f"the {v.combine} over {v.over} is cut among programs"
            for b in inside:
                if over & set(b.axes) and (not set(b.axes) <= over or v.op == "scan" and len(b.axes) > 1):
                    yield f"the {v.combine} over {v.over} takes a part of {b.axes}"

    def _store_objections(self, kernel: Kernel) -> Iterator[str]:
        cut = {a for b in self.grid for a in b.axes}
        in_lanes = {a for b in self.blocks if b.size > 1 for a in b.axes}
        for s in kernel.stores:
            if cut - set(s.axes):
                yield f"the store to {s.buffer} does not vary over {cut - set(s.axes)}"
            for b in self.blocks:
                if b not in self.grid and 0 < len(set(b.axes) & set(s.axes)) < len(b.axes):
                    yield f"the store to {s.buffer} takes a part of {b.axes}"
            bad = (cut | in_lanes) & set(s.axes) - independent_axes(kernel, s)
            if bad:
                yield f"the store to {s.buffer} may meet itself along {sorted(bad)}"
        if not all(are_disjoint(kernel, s, t) for n, s in enumerate(kernel.stores) for t in kernel.stores[:n]):
            yield "two stores may write to the same place"
        if self.ranges > 1 and not all(may_collide(kernel, s) for s in kernel.stores):
            yield "ranges are for scatters alone"


def _places(v: Value) -> set[str]:
    """Symbols in the place that an argsort asks for."""
    return {a for i in v.index if not isinstance(i, Value) for a in expr.symbols(i)}


def may_collide(kernel: Kernel, s: Store) -> bool:
    """Is it a scatter, along some axis of which two positions may have one place?"""
    return s.is_scatter and bool(set(s.axes) - independent_axes(kernel, s))
