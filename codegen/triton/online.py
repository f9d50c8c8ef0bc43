"""A maximum and the sum of exp(x - maximum) in one sweep: the sum is kept relative to the largest x so far, and scaled
when a larger one comes (Milakov and Gimelshein 2018).

As long as all x are -inf the sum is relative to 0, so that no NaN is made; the definition's NaN for a row of them is
made at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...ir.kernel import Kernel, Value
from ...ir.types import float32, float64
from . import folds

if TYPE_CHECKING:
    from .groups import Group
    from .tile import Tile


class Pair(NamedTuple):
    """`total` is the sum over the turns of exp(x - top), where `top` is the maximum of x."""

    total: Value
    top: Value
    x: Value


class Total(NamedTuple):
    """The names of the accumulators."""

    total: str
    top: str


def pairs(kernel: Kernel, turns: Collection[str]) -> dict[Value, Pair]:
    """The sums that can be made in one sweep with their maxima."""
    found: dict[Value, Pair] = {}
    taken: set[Value] = set()
    for v in kernel.values:
        if v.combine != "sum" or v.op != "reduce" or not set(v.over) & set(turns) or v.dtype not in (float32, float64):
            continue
        e = v.args[0]
        if e.op != "exp" or e.args[0].op != "sub":
            continue
        x, top = e.args[0].args
        is_pair = top.op == "reduce" and top.combine == "max" and top.args[0] is x and top.over == v.over
        if is_pair and top not in taken and set(v.axes) == set(top.axes):
            found[v] = Pair(v, top, x)
            taken.add(top)
    return found


def start(tile: Tile, pair: Pair, shape: Sequence[int]) -> Total:
    """Names what is before the first turn: no sum, and no x."""
    total, top = (tile.name(v, folds.filled(shape, v)) for v in (pair.total, pair.top))
    return Total(total, top)


def turn(tile: Tile, pair: Pair, acc: Total, over: Sequence[Group]) -> None:
    """Writes what one turn adds."""
    f, exp = tile.f, tile.f.use(f"exp_{pair.x.dtype.name}")
    x = folds.operand(tile, pair.top, over)
    higher = f.let("higher", folds.combine(tile, pair.top, acc.top, x))
    base = _base(tile, higher)
    f.do(f"{acc.total} = {acc.total} * {exp}({acc.top} - {base}) + {exp}({x} - {base})")
    f.do(f"{acc.top} = {higher}")


def finish(tile: Tile, pair: Pair, acc: Total) -> None:
    """Folds the accumulators to one position and makes both values known."""
    f, exp = tile.f, tile.f.use(f"exp_{pair.x.dtype.name}")
    axes, over = (*pair.x.axes, *pair.top.over), tile.groups_of(pair.top.over)
    top = tile.name(pair.top, folds.reduce_tile(tile, pair.top, acc.top, axes, over))
    f.do(f"{acc.total} = {acc.total} * {exp}({acc.top} - {_base(tile, top)})")
    total = tile.name(pair.total, folds.reduce_tile(tile, pair.total, acc.total, axes, over))
    tile.known[pair.top] = top
    tile.known[pair.total] = tile.name(pair.total, f"{total} + ({top} - {top})")      # NaN for infinite maxima


def _base(tile: Tile, top: str) -> str:
    return tile.f.let("base", f"tl.where({top} == float('-inf'), 0.0, {top})")
