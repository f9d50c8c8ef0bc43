"""Reductions and scans on tiles: within a tile, and over the turns of a loop by accumulators.

Positions that do not exist hold the identity. A NaN wins in maxima and minima (Triton's own drop it). 16-bit floats are
folded in float32 and rounded at the end; bools are folded as small integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...ir.kernel import Value
from ...ir.scalar import COMBINE
from ...ir.types import DType, float32, int32
from . import scalar
from .groups import lanes
from .names import TYPES, is_narrow, number

if TYPE_CHECKING:
    from .groups import Group
    from .tile import Tile


def working_dtype(d: DType) -> DType:
    """What a fold is computed in."""
    return float32 if is_narrow(d) else int32 if d.kind == "b" else d


def identity(v: Value) -> str:
    """The identity of a fold in its working dtype, as a number."""
    return number(COMBINE[v.combine][1](v.dtype), working_dtype(v.dtype))


def combine(tile: Tile, v: Value, left: str, right: str) -> str:
    """The expression that combines two names of the working dtype."""
    d = working_dtype(v.dtype)
    return scalar.spell(tile.f.use, COMBINE[v.combine][0], d, d, (left, right))


def finished(v: Value, text: str) -> str:
    """The result of a fold in its own dtype."""
    d = working_dtype(v.dtype)
    if d is v.dtype:
        return text
    return f"({text}) != 0" if v.dtype.kind == "b" else f"({text}).to({TYPES[v.dtype.name]})"


def operand(tile: Tile, v: Value, over: Sequence[Group]) -> str:
    """What is folded, in its working dtype, as a tensor that varies over these groups; the identity where no position
    is. It has a name.
    """
    x, d = v.args[0], working_dtype(v.dtype)
    axes = [*x.axes, *(a for g in over for a in g.axes)]
    text = tile.spread(x, axes)
    if d is not x.dtype:
        text = f"{text}.to({TYPES[d.name]})"
    masks = tile.mask([a for g in over for a in g.axes])
    if masks:
        text = f"tl.where({' & '.join(masks)}, {text}, {identity(v)})"
    return text if text.isidentifier() else tile.name(x, text)


def reduce_tile(tile: Tile, v: Value, x: str, axes: Sequence[str], over: Sequence[Group]) -> str:
    """The fold of the named tensor x, which varies over `axes`, along the dimensions of these groups."""
    dims = [g.dim for g in over if g.dim is not None]
    kept = [g for g in tile.groups_of(axes) if g.dim is not None and g not in over]
    if not dims:
        return x
    if not kept:
        return _reduce(tile, v, x, "None" if tile.rank > 1 else "0", "")
    for n, d in enumerate(dims):
        text = _reduce(tile, v, x, str(d), ", keep_dims=True")
        x = text if n == len(dims) - 1 else tile.name(v, text)
    return x


def _reduce(tile: Tile, v: Value, x: str, dim: str, keep: str) -> str:
    d = working_dtype(v.dtype)
    if v.combine == "sum":
        small = f".to({TYPES[d.name]})" if d.is_integer and d.bits < 32 else ""
        return f"tl.sum({x}, {dim}{keep}){small}"
    if v.combine in ("max", "min") and not d.is_float:
        small = f".to({TYPES[d.name]})" if d.bits < 32 else ""
        return f"tl.{v.combine}({x}, {dim}{keep}){small}"
    return f"tl.reduce({x}, {dim}, {_combiner(tile, v)}{keep})"


def _combiner(tile: Tile, v: Value) -> str:
    names = {"sum": "add", "prod": "product", "max": "larger", "min": "smaller"}
    name = names[v.combine] if not (v.dtype.is_float and v.combine in ("max", "min")) else f"nan_{v.combine}"
    return tile.f.use(name)


def fold_in_tile(tile: Tile, v: Value) -> str:
    """A fold along dimensions that the tile holds whole; a scan may go on from what came before."""
    over = tile.groups_of(v.over)
    if v.op == "scan" and over:
        return _scan(tile, v, over[0])
    x = operand(tile, v, [g for g in over if g.dim is not None])
    text = reduce_tile(tile, v, x, (*v.args[0].axes, *v.over), over)
    return finished(v, text)


def _scan(tile: Tile, v: Value, along: Group) -> str:
    """In a loop the carried value is what the last position of the piece before gave."""
    x = operand(tile, v, [along])
    text = x if along.dim is None else _scan_tile(tile, v, x, along.dim)
    before = tile.carries.get(v)
    if before is None:
        return finished(v, text)
    here = text if text.isidentifier() and along.dim is None else tile.name(v, text)
    made = tile.name(v, combine(tile, v, before, here))
    if along.dim is None:
        tile.f.do(f"{before} = {made}")
    else:
        last = f"tl.where({lanes(along.size, along.dim, tile.rank)} == {along.size - 1}, {made}, 0)"
        axes = [*v.args[0].axes, *along.axes]
        kept = [g for g in tile.groups_of(axes) if g.dim is not None and g is not along]
        dim = f"{along.dim}, keep_dims=True" if kept else "None" if tile.rank > 1 else "0"
        d = working_dtype(v.dtype)
        small = f".to({TYPES[d.name]})" if d.is_integer and d.bits < 32 else ""
        tile.f.do(f"{before} = tl.sum({last}, {dim}){small}")
    return finished(v, made)


def _scan_tile(tile: Tile, v: Value, x: str, dim: int) -> str:
    d = working_dtype(v.dtype)
    small = f".to({TYPES[d.name]})" if d.is_integer and d.bits < 32 else ""
    if v.combine in ("sum", "prod"):
        return f"tl.cum{v.combine}({x}, {dim}){small}"
    return f"tl.associative_scan({x}, {dim}, {_combiner(tile, v)})"


def filled(shape: Sequence[int], v: Value) -> str:
    """A tensor of a fold's identity, in its working dtype: where an accumulator starts."""
    return f"tl.full({list(shape) or '()'}, {identity(v)}, {TYPES[working_dtype(v.dtype).name]})"
