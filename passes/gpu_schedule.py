"""How kernels run on a GPU: `plan(kernel, target)` gives kernels that do the same, each with a schedule.

Contractions, and contractions that share an axis, have tiles of their own (`gpu_contraction.py`, `gpu_streamed.py`).
All others become `Tiled`: here it is decided which axes are cut among programs, which are held whole and which are run
through in turns, and how many elements of each a tile has. A kernel that does not fit one nest is taken apart
(`gpu_parts.py`), a long reduction with few results is cut in two (`split.py`), a long scan in three
(`gpu_split_scan.py`). Rows that are sorted are held whole, or merged of such (`gpu_sorted.py`). What decides the order
of a sum depends on the kernel alone, not on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ir import expr
from ..ir.errors import VerifyError
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget, holding, rounded_up
from ..ir.gpu_joined import Joined
from ..ir.gpu_tiled import Block, Tiled
from ..ir.kernel import Kernel
from ..ir.scalar import CORE
from ..ir.schedule import Schedule, Serial, independent_axes
from ..ir.sorted_rows import sorts
from . import (
    contraction,
    gpu_contraction,
    gpu_pack,
    gpu_parts,
    gpu_rows,
    gpu_sorted,
    gpu_split,
    gpu_split_stream,
    gpu_streamed,
)
from .collapse import collapse
from .gpu_access import Access
from .gpu_sorted import FEW_PROGRAMS
from .gpu_split_scan import cut_scan
from .grouping import split_groups
from .patch import split_patch
from .split import cut_reduction
from .walks import usual

ELEMENTS = 1024                 # of a tile: a thread of 128 has 8, so that it loads 16 bytes at a time
THREADS_ELEMENTS = 8            # elements that a thread should have
HEAVY_ELEMENTS = 4              # the same where each needs many registers
HEAVY_COST, HEAVY_ACCESSES = 100, 12        # of the operations of an element, in additions; its loads and stores
MOST_WARPS = 16
MOST_WHOLE = 16384              # elements of a row that is held in registers
MOST_TOGETHER = 8192            # elements of a tile with several reduced axes
TURN = 2048                     # elements of a row that is run through in turns
UNKNOWN_TURN = 1024             # of one whose length is not known
COLUMNS = 64                    # columns side by side where a reduction runs down them
MANY_PROGRAMS = 512             # what cutting a long reduction aims at
LONG = 1 << 14                  # elements that a program reduces: below, a second kernel costs more than it gains
VERY_LONG = 1 << 16             # the same for taking a kernel apart, which makes several
LEAST_PIECE = 1024              # elements of a piece of a cut reduction
TRANSPOSED = (32, 64)           # a tile that is read along one side and written along the other
SHORT = 64                      # an innermost axis below it is flattened with those around it
RANGES = 256                    # programs that share the places of a scatter
SCATTER_WARPS = 4
ALIGNED = 16                    # what divides extents whose memory is accessed widely to the end

Part = tuple[Kernel, Schedule]


def plan(kernel: Kernel, target: GpuTarget) -> list[Part]:
    """Kernels that do what one does, in order, with their schedules."""
    if sorts(kernel):
        several = gpu_sorted.in_several(kernel)
        return [*gpu_sorted.plan(kernel, target)] if several is None else [p for k in several for p in plan(k, target)]
    found = gpu_rows.with_rows(kernel)
    if found is not None:
        return _streamed(*found, target)
    patch = split_patch(kernel)
    if patch is not None:
        return [p for k in patch for p in plan(k, target)]
    product = contraction.match(kernel)
    if product is not None and 0 not in kernel.axes.values() and gpu_contraction.suits(kernel, product):
        return _contraction(kernel, product, target)
    grouped = None if product is None else split_groups(kernel, gpu_contraction.suits)
    return tiled(collapse(kernel), target) if grouped is None else plan(grouped, target)


def _streamed(kernel: Kernel, row, stream, roles, target: GpuTarget) -> list[Part]:
    halves = gpu_split_stream.split_stream(kernel, row, stream, roles, target)
    if halves is None:
        return _in_one_turn(kernel, row, stream, roles, target)
    first, second = halves
    found = gpu_rows.with_rows(first)
    return [*(plan(first, target) if found is None else _in_one_turn(*found, target)), *plan(second, target)]


def _in_one_turn(kernel: Kernel, row, stream, roles, target: GpuTarget) -> list[Part]:
    chosen = gpu_streamed.schedule(kernel, row, stream, roles, target)
    if chosen is not None:
        return [(kernel, chosen)]
    return [p for k in gpu_streamed.take_apart(kernel, roles) for p in plan(k, target)]


def _contraction(kernel: Kernel, product: contraction.Match, target: GpuTarget) -> list[Part]:
    packed = gpu_pack.pack(kernel, product)
    if packed is not None:
        return [p for k in packed for p in plan(k, target)]
    halves = gpu_split.split_depth(kernel, product, target)
    if halves is not None:
        return [p for k in halves for p in plan(k, target)]
    return [(kernel, gpu_contraction.schedule(kernel, product, target))]


def tiled(kernel: Kernel, target: GpuTarget) -> list[Part]:
    """Kernels on tiles; a contraction may be among them that is worth none of its own, and a kernel by the schedule
    that is always legal, which Triton cannot print.
    """
    parts = gpu_parts.by_stores(gpu_parts.with_used_axes(kernel))
    if len(parts) != 1:
        return [p for k in parts for p in tiled(collapse(k), target)]
    (kernel,) = parts
    chosen = _Shape(kernel, target).schedule()
    if chosen is None:
        return _apart(kernel, target) or [(kernel, Serial())]    # not for Triton: it runs as NumPy source
    each = _reduced(kernel) // max(1, usual(chosen.programs(kernel)))
    if _is_idle(kernel, chosen) and each >= LONG:
        cut = cut_reduction(kernel, _pieces(kernel, chosen)) or cut_scan(kernel, _pieces(kernel, chosen))
        if cut is not None:
            return [p for k in cut for p in tiled(collapse(k), target)]
    is_worth_parts = _is_idle(kernel, chosen) and each >= VERY_LONG and len(_folds(kernel)) > 1
    return (_apart(kernel, target) if is_worth_parts else []) or [(kernel, chosen)]


def joined_schedule(kernel: Kernel, target: GpuTarget, extents: Sequence[Dim], shared: tuple[str, ...]) -> Joined:
    """How a kernel on a flat axis runs on several parts at once."""
    size = elements_for(sum(map(usual, extents))) if all(isinstance(n, int) for n in extents) else ELEMENTS
    tile = _Shape(kernel, target).on_tile([Block(tuple(kernel.axes), size)])
    return Joined(warps=tile.warps, stages=tile.stages, size=size, shared=shared,
                  is_aligned=all(expr.mod(n, ALIGNED) == 0 for n in extents))


def elements_for(count: int) -> int:
    """Elements of a tile, so that small kernels have programs for all processors."""
    return min(ELEMENTS, max(128, rounded_up(count // (4 * FEW_PROGRAMS))))


def _apart(kernel: Kernel, target: GpuTarget) -> list[Part]:
    """Reductions that do not fit one nest, each in a kernel of its own; none where there is nothing to take apart."""
    parts = gpu_parts.by_reductions(kernel)
    return [p for k in parts for p in tiled(collapse(k), target)] if len(parts) > 1 else []


def _folds(kernel: Kernel) -> list:
    return [v for v in kernel.values if v.op in ("reduce", "scan")]


def _is_idle(kernel: Kernel, chosen: Tiled) -> bool:
    """Are there fewer programs than a device could run?"""
    return usual(chosen.programs(kernel)) < FEW_PROGRAMS


def _reduced(kernel: Kernel) -> int:
    """How many elements the largest reduction has."""
    return max((usual(expr.product(kernel.axes[a] for a in {*v.args[0].axes, *v.over})) for v in _folds(kernel)),
               default=0)


def _pieces(kernel: Kernel, chosen: Tiled) -> int:
    """In how many pieces the longest reduction should be cut."""
    programs = max(1, usual(chosen.programs(kernel)))
    longest = max(usual(expr.product(kernel.axes[a] for a in v.over)) for v in _folds(kernel))
    wanted = min(MANY_PROGRAMS // programs, longest // 16, _reduced(kernel) // programs // LEAST_PIECE)
    return 1 << max(1, wanted.bit_length() - 1)


class _Shape:
    """What the choice needs to know of a kernel."""

    def __init__(self, kernel: Kernel, target: GpuTarget):
        self.kernel, self.target = kernel, target
        self.access = Access(kernel)
        self.extents = {a: max(1, usual(n)) for a, n in kernel.axes.items()}
        folds = _folds(kernel)
        self.folded = [a for a in kernel.axes if any(a in v.over for v in folds)]
        self.classes = self._classes(folds)
        stores = kernel.stores
        self.colliding = [a for a in kernel.axes if a not in self.folded
                          and any(a in s.axes and a not in independent_axes(kernel, s) for s in stores)]
        self.free = [a for a in kernel.axes if a not in self.folded and a not in self.colliding]

    def _classes(self, folds) -> list[tuple[str, ...]]:
        """Folded axes that all reductions take together."""
        found: dict[tuple[bool, ...], list[str]] = {}
        for a in self.folded:
            found.setdefault(tuple(a in v.over for v in folds), []).append(a)
        return [tuple(axes) for axes in found.values()]

    def schedule(self) -> Tiled | None:
        """A legal schedule; None where there is none."""
        if self.colliding:
            chosen = self._scatter() if not self.folded else None
        elif not self.folded:
            chosen = self._pointwise()
        else:
            chosen = self._rows()
        return chosen if chosen is not None and self._is_legal(chosen) else None

    def _is_legal(self, chosen: Tiled) -> bool:
        try:
            chosen.check(self.kernel)
        except VerifyError:
            return False
        return True

    def _size(self, axes) -> int:
        out = 1
        for a in axes:
            out *= self.extents[a]
        return out

    def _is_static(self, axes) -> bool:
        return all(isinstance(self.kernel.axes[a], int) for a in axes)

    def on_tile(self, grid: list[Block], turns: Block | None = None, whole: tuple[Block, ...] = (),
               ranges: int = 1) -> Tiled:
        """With warps for the elements of the tile."""
        elements = 1
        for b in (*grid, *((turns,) if turns else ()), *whole):
            elements *= b.size
        each = HEAVY_ELEMENTS if self._is_heavy() else THREADS_ELEMENTS
        warps = min(MOST_WARPS, max(1, elements // (self.target.warp * each)))
        return Tiled(warps=min(warps, 8) if turns is None and not whole else warps, stages=2,
                     grid=tuple(b for b in grid if b.axes), turns=turns, whole=whole, ranges=ranges)

    def _is_heavy(self) -> bool:
        """Does an element need many registers?"""
        cost = sum(CORE[v.op].cost for v in self.kernel.values if v.op in CORE and v.axes)
        return cost > HEAVY_COST or len(self.access.all) > HEAVY_ACCESSES

    def _elements(self, axes: list[str]) -> int:
        """Of a tile, so that small kernels have programs for all processors."""
        return elements_for(self._size(axes)) if self._is_static(axes) else ELEMENTS

    def _side(self, axes: tuple[str, ...], most: int) -> int:
        """Of a tile along some axes: no longer than they are, if that is known."""
        return max(1, min(most, rounded_up(self._size(axes))) if self._is_static(axes) else most)

    # ---- no reductions

    def _pointwise(self) -> Tiled:
        axes = list(self.kernel.axes)
        elements = self._elements(axes)
        if len(axes) <= 1:
            return self.on_tile([Block(tuple(axes), elements)] if axes else [])
        lane = self.access.lane(axes) or axes[-1]
        other = self.access.other_lane(axes, lane)
        rest = [a for a in axes if a not in (lane, other)]
        if other:
            rows, columns = (self._side((a,), side) for side, a in zip(TRANSPOSED, (other, lane)))
            return self.on_tile([Block(tuple(rest)), Block((other,), rows), Block((lane,), columns)])
        if self._is_static(axes) and self.extents[lane] < SHORT and lane == axes[-1]:
            return self.on_tile([Block(tuple(axes), elements)])
        columns = min(elements, rounded_up(self.extents[lane]))
        rows = self._side(tuple(rest), elements // columns)
        return self.on_tile([Block(tuple(rest), rows), Block((lane,), columns)])

    def _scatter(self) -> Tiled:
        """Places that may meet are taken one by one."""
        lane = self.access.lane(self.free) if self.free else ""
        rest = [a for a in self.free if a != lane]
        grid = [Block(tuple(rest)), *([Block((lane,), min(256, rounded_up(self.extents[lane])))] if lane else [])]
        varying = [a for a in self.access.axes_of_place() if self.kernel.axes[a] != 1]
        ranged = len(self.kernel.stores) == 1 and lane not in varying and bool(set(varying) & set(self.colliding))
        turns = Block(tuple(self.colliding))
        programs = 1
        for b in grid:
            programs *= -(-self._size(b.axes) // b.size)
        ranges = max(1, min(RANGES, 2048 // programs, self.access.places())) if ranged else 1
        return replace(self.on_tile(grid, turns, (), ranges), warps=SCATTER_WARPS)

    # ---- reductions

    def _rows(self) -> Tiled | None:
        lane = self.access.lane(list(self.kernel.axes))
        inner, turned = self._held(lane)
        if inner is None:
            return None
        held = 1
        for axes in inner:
            held *= rounded_up(self._size(axes))
        grid, beside = self._grid(lane, held, turned)
        turns = None
        if turned:
            most = MOST_TOGETHER if inner else TURN if self._is_static(turned) else UNKNOWN_TURN
            turns = Block(turned, self._side(turned, most // (held * beside)))
        whole = tuple(Block(axes, self._whole(axes)) for axes in inner)
        return self.on_tile(grid, turns, whole)

    def _whole(self, axes: tuple[str, ...]) -> int:
        """What holds all positions."""
        extent = expr.product(self.kernel.axes[a] for a in axes)
        return holding(extent)                       # type: ignore[arg-type]

    def _held(self, lane: str) -> tuple[list[tuple[str, ...]] | None, tuple[str, ...]]:
        """Which classes of reduced axes are held whole, and which one is run through in turns; None: neither."""
        static = [c for c in self.classes if self._is_static(c) and not self._is_scanned_with_others(c)]
        moving = [c for c in self.classes if c not in static]
        held = 1
        for c in static:
            held *= rounded_up(self._size(c))
        limit = MOST_WHOLE if len(self.classes) == 1 else MOST_TOGETHER
        if lane in self.free:
            limit = MOST_TOGETHER // COLUMNS
        if not moving and held > limit:
            longest = max(static, key=lambda c: (self._size(c)))
            static = [c for c in static if c is not longest]
            moving = [longest]
            held //= rounded_up(self._size(longest))
        if len(moving) > 1 or held > min(limit, MOST_TOGETHER if moving else limit):
            return None, ()
        return static, moving[0] if moving else ()

    def _is_scanned_with_others(self, axes: tuple[str, ...]) -> bool:
        return len(axes) > 1 and any(v.op == "scan" and set(v.over) & set(axes) for v in _folds(self.kernel))

    def _grid(self, lane: str, held: int, turned: tuple[str, ...]) -> tuple[list[Block], int]:
        """The blocks of the grid, and how many results are side by side in a tile."""
        if lane in self.free:                                    # a reduction down columns
            rest = tuple(a for a in self.free if a != lane)
            columns = self._side((lane,), COLUMNS)
            return [Block(rest), Block((lane,), columns)], columns
        count = self._size(self.free)
        width = held * (TURN if turned else 1)
        beside = max(1, min(2 * ELEMENTS // width, rounded_up(count // FEW_PROGRAMS)))
        if not self.free:
            return [], 1
        return [Block(tuple(self.free), 1 << (beside.bit_length() - 1))], beside

