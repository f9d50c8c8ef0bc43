"""Triton source of an elementwise kernel that runs on many parts in one launch, under a `Joined` schedule.

Two arguments say what a program does: `places` has the number of its part, and which piece of it is meant, for each
program; `table` has a row of 64-bit words for each part, its extent and the addresses of its buffers. All pointers are
aligned to 16 bytes, as those that come as arguments are.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir import expr
from ...ir.gpu_joined import Joined
from ...ir.kernel import Kernel
from ...ir.schedule import Source
from .groups import Group, open_group
from .module import Function
from .names import TYPES
from .tile import Tile

PROGRAMS = "programs"            # the size that a grid has: how many pieces all parts have
ALIGNMENT = 16                   # of pointers, in bytes; and what divides the extents of aligned parts


def emit_joined(kernel: Kernel, schedule: Joined) -> Source:
    """The module of a kernel."""
    schedule.check(kernel)
    f = Function(kernel)
    table, places = f.names.fresh("table"), f.names.fresh("places")
    group, is_whole = _opened(f, schedule, table, places)
    if schedule.is_aligned:
        _store(f, group)
    else:
        with f.indented(f"if {is_whole}:"):                      # without a mask memory is accessed widely
            _store(f, replace(group, mask=""))
        with f.indented("else:"):
            _store(f, group)
    arguments = ((table, "*i64"), (places, "*i32"), *map(f.pointer, schedule.shared))
    return f.module(arguments, expr.symbol(PROGRAMS, 0), schedule)


def _opened(f: Function, schedule: Joined, table: str, places: str) -> tuple[Group, str]:
    """Writes the lines that find the part and the positions in it; a condition for them to exist all."""
    ((axis, _),) = f.kernel.axes.items()
    (size,) = f.kernel.sizes
    listed = schedule.listed(f.kernel)
    at = f.program()
    row = f.let("row", f"{table} + tl.load({places} + {at} * 2) * {len(listed) + 1}")
    piece = f.let("piece", f"tl.load({places} + {at} * 2 + 1)")
    width = "tl.int64" if f.is_wide else "tl.int32"
    extent = f"tl.load({row}).to({width})"
    f.do(f"{f.sizes[size]} = {f'tl.multiple_of({extent}, {ALIGNMENT})' if schedule.is_aligned else extent}")
    for n, b in enumerate(listed):
        kind = TYPES[f.kernel.buffers[b].dtype.name]
        pointer = f"tl.load({row} + {n + 1}).to(tl.pointer_type({kind}))"
        f.do(f"{f.buffers[b]} = tl.multiple_of({pointer}, {ALIGNMENT})")
    start = f.let("start", f"{piece}.to({width}) * {schedule.size}" if f.is_wide else f"{piece} * {schedule.size}")
    return open_group(f, (axis,), start, schedule.size, 0, 1), f"{start} + {schedule.size} <= {f.sizes[size]}"


def _store(f: Function, group: Group) -> None:
    tile = Tile(f, [group], 1)
    for s in f.kernel.stores:
        tile.store(s)
