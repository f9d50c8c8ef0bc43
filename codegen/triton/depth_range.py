"""Sums of which a program needs a part: both operands are zero outside of a range of K, whose ends are numbers of the
place of g. The loop over K runs from one end to the other, and what lies outside is not read. (The gradient of a ragged
product: the rows of a group.)
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir import expr
from ...ir.expr import Dim
from ...ir.gpu_contraction import GpuContraction
from ...ir.kernel import Kernel, Value
from .tile import Tile

# comparisons of the position along K with an end: whether it is the lower one, and by how much it moves
_ENDS = {"ge": (True, 0), "gt": (True, 1), "lt": (False, 0), "le": (False, 1)}
_TURNED = {"ge": "le", "gt": "lt", "lt": "gt", "le": "ge"}

Ends = tuple[tuple[bool, Value, Dim], ...]       # lower?, the end, what is added to it


def chosen(v: Value) -> tuple[Value, Value] | None:
    """The condition and the value of `select(condition, value, 0)`."""
    if v.op != "select" or v.args[2].op != "const" or v.args[2].number != 0:
        return None
    return v.args[0], v.args[1]


def ends_of_depth(kernel: Kernel, s: GpuContraction, left: Value, right: Value) -> Ends:
    """The ends of the range outside of which both operands are zero; none where there is no such range."""
    sides = [chosen(v) for v in (left, right)]
    axes = [a for a in s.k if kernel.axes[a] != 1]
    if len(axes) != 1 or any(side is None for side in sides):
        return ()
    first, second = (tuple(_ends(kernel, s, side[0], axes[0])) for side in sides if side is not None)
    return tuple(end for end in first if end in second)


def _ends(kernel: Kernel, s: GpuContraction, condition: Value, axis: str) -> Iterator[tuple[bool, Value, Dim]]:
    if condition.op == "and":
        for v in condition.args:
            yield from _ends(kernel, s, v, axis)
        return
    if condition.op not in _ENDS:
        return
    (position, end), op = condition.args, condition.op
    if position.op != "index":
        position, end, op = end, position, _TURNED[op]
    if position.op != "index" or not {*end.axes} <= {*s.g} or not end.dtype.is_integer:
        return
    place: Dim = position.index[0]                                  # type: ignore[assignment]
    before = place - kernel.axis(axis)
    if not expr.symbols(before) & {axis, *s.i, *s.j}:
        is_lower, more = _ENDS[op]
        yield is_lower, end, more - before


def write_range(tile: Tile, s: GpuContraction, ends: Ends, depth: Dim) -> tuple[str, str]:
    """The first position of K, a multiple of a step, and the one behind the last."""
    f, extent = tile.f, tile.f.spell(depth)

    def inside(is_lower: bool, better: str, otherwise: str) -> str:
        """The better one of the ends on a side, inside of K."""
        found = [" + ".join(x for x in (tile.value(v), tile.spell(more)) if x != "0")
                 for side, v, more in ends if side is is_lower]
        if not found:
            return otherwise
        text, *others = found
        for end in others:
            text = f"tl.{better}({text}, {end})"
        text = f"tl.minimum(tl.maximum({text}, 0), {extent})"
        return text if f.is_wide else f"{text}.to(tl.int32)"

    first = inside(True, "maximum", "0")
    if first != "0":
        first = f.let("first", f"{first} // {s.tile[2]} * {s.tile[2]}")
    return first, f.let("last", inside(False, "minimum", extent))
