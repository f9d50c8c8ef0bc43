"""Scatters whose places may meet, shared by programs: each program looks at all places, many at once, and does what
falls into its own range of them, one after the other. So sums are added in the order of the kernel's axes, with the
same bits each time, and nothing is atomic.
"""

from __future__ import annotations

from ...ir import expr
from ...ir.gpu_tiled import Tiled
from ...ir.kernel import Value
from .groups import Group, open_group
from .indices import factor
from .module import Function
from .tile import Tile

NEAR = 1024                     # places that are looked at together


def write_ranges(f: Function, tile: Tile, schedule: Tiled, program: str) -> None:
    """The kernel's only store, by the program whose number among the ranges is given."""
    (s,) = f.kernel.stores
    turns = schedule.turns
    assert turns is not None
    extent = turns.extent(f.kernel)
    place = next(i for i in s.index if isinstance(i, Value))
    size = f.kernel.buffers[s.buffer].shape[s.index.index(place)]
    length = factor(f.spell(expr.floordiv(size + schedule.ranges - 1, schedule.ranges)))
    name = "".join(turns.axes)
    start = f.names.fresh(f"{name}0")
    with f.indented(f"for {start} in range(0, {f.spell(extent)}, {NEAR}):"):
        near = open_group(f, turns.axes, start, NEAR, 0, 1, name=f"{name}_near")
        look = Tile(f, [*(g for g in tile.groups if g.dim is None), near], 1)
        tests = [f"({look.value(place)} // {length} == {program})", *look.mask(turns.axes)]
        mine = f.let("mine", " & ".join(tests))
        count = f.let("count", f"tl.sum({mine}.to(tl.int32), 0)")
        here = f.let(name, f"{start} - 1")
        with f.indented(f"for _ in range(0, {count}):"):
            following = f"tl.where({mine} & ({near.name} > {here}), {near.name}, {f.spell(extent)})"
            f.do(f"{here} = tl.min({following}, 0)")
            tile.inside(Group(turns.axes, here, 1, None, extent)).store(s)
            f.do("tl.debug_barrier()")
