"""Kernels that sort, on a GPU: a tile holds whole rows, and sorts them in registers. Of longer rows the first few
places are found in turns. What does not fit is sorted by several kernels (`gpu_merge.py`), which needs rows of a known
length; others are for the host.
"""

from __future__ import annotations

from ..ir import expr
from ..ir.errors import CompileError
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget, holding
from ..ir.gpu_tiled import Block, Tiled
from ..ir.graph import Node
from ..ir.kernel import Kernel
from ..ir.sorted_rows import Sorting, sorting_of, sorts
from ..ir.sorting import fits_a_word
from . import gpu_parts
from .collapse import collapse
from .gpu_merge import LONGEST, merging_sort
from .walks import usual

MOST_SORTED = 4096              # elements of a row: the network of a longer one takes minutes to compile, and spills
MOST_KEPT = 128                 # places of longer rows, run through in turns, and of rows of unknown length
TURN = 2048                     # elements of a turn
MOST_CHOSEN = 16                # places that do not begin at the first: each is looked for in the whole row
ELEMENTS = 1024                 # of a tile of short rows
THREADS_ELEMENTS, MOST_WARPS = 8, 16
FEW_PROGRAMS = 128              # with fewer, most of a device has nothing to do

Part = tuple[Kernel, Tiled]


def fits(n: Node) -> bool:
    """Are there kernels for a sort?"""
    (x,), (places,), axis = n.operands, n.results, n.attrs["axis"]
    extent, count, start = x.shape[axis], places.shape[axis], n.attrs.get("start", 0)
    if isinstance(extent, int):
        return extent < LONGEST
    return start == 0 and isinstance(count, int) and count <= MOST_KEPT and fits_a_word(x.dtype)


def in_several(kernel: Kernel) -> list[Kernel] | None:
    """Kernels that do together what no tile can; None where one can."""
    found = sorts(kernel)
    if len(found) != 1:
        return None
    sorting = sorting_of(kernel, found[0])
    return None if _holds(kernel, sorting) else merging_sort(kernel, MOST_SORTED)


def _holds(kernel: Kernel, sorting: Sorting) -> bool:
    """Can a tile sort the rows, or find their first places in turns?"""
    extent, wanted = kernel.axes[sorting.axis], sorting.wanted(kernel)
    if not isinstance(extent, int) or extent <= 1:
        return True
    if not fits_a_word(sorting.argsort.args[0].dtype) or not isinstance(wanted, int):
        return False
    (place,) = sorting.argsort.index
    first = expr.substitute(place, dict.fromkeys(kernel.axes, 0))       # type: ignore[arg-type]
    if extent <= MOST_SORTED:
        return first == 0 or isinstance(first, int) and wanted - first <= MOST_CHOSEN
    return first == 0 and wanted <= MOST_KEPT


def plan(kernel: Kernel, target: GpuTarget) -> list[Part]:
    """Kernels that do the same, with their schedules."""
    parts = [collapse(k) for k in gpu_parts.by_stores(gpu_parts.with_used_axes(collapse(kernel)))]
    return [(k, schedule(k, target)) for k in parts]


def schedule(kernel: Kernel, target: GpuTarget) -> Tiled:
    """Rows side by side in a tile, as short as they are, with all of their places."""
    if len(sorts(kernel)) != 1:
        raise CompileError(f"a GPU sorts once in a kernel, and not\n{kernel}")
    sorting = sorting_of(kernel, sorts(kernel)[0])
    inner = [a for a in kernel.axes if a in _inner_axes(kernel)]
    rows = tuple(a for a in kernel.axes if a not in inner)
    extent = kernel.axes[sorting.axis]
    in_turns = not isinstance(extent, int) or extent > MOST_SORTED
    length = TURN if in_turns else _held(extent)
    held = [a for a in inner if not (in_turns and a == sorting.axis)]
    count = usual(expr.product(kernel.axes[a] for a in rows))
    beside = max(1, min(ELEMENTS // length, _held(count // FEW_PROGRAMS)))
    warps = max(1, min(MOST_WARPS, beside * length // (target.warp * THREADS_ELEMENTS)))
    grid = (Block(rows, beside),) if rows else ()
    turns = Block((sorting.axis,), length) if in_turns else None
    whole = tuple(Block((a,), _held(kernel.axes[a])) for a in held)
    return Tiled(warps=warps, stages=2, grid=grid, turns=turns, whole=whole)


def _inner_axes(kernel: Kernel) -> set[str]:
    """The axes inside of a row: what is sorted or folded over, and places."""
    (sort,) = sorts(kernel)
    folded = {a for v in kernel.values for a in v.over}
    return folded | {a for i in sort.index for a in expr.symbols(i) & set(kernel.axes)}  # type: ignore[arg-type]


def _held(n: Dim) -> int:
    if not isinstance(n, int):
        raise CompileError(f"a tile holds axes of a known length, and not of {n}")
    return holding(n)
