"""Rows of a tile in order: words of a key over a position, sorted by Triton's bitonic network.

Positions that do not exist have the largest word. Where only the first places are asked for, so many words are kept on
the way, a power of two of them; a row may then be longer than a tile, and is run through in turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir import expr
from ...ir.expr import Dim
from ...ir.kernel import KernelBuilder, Value
from ...ir.sorted_rows import last_place
from ...ir.sorting import POSITION_BITS, packed
from .groups import lanes

if TYPE_CHECKING:
    from .groups import Group
    from .tile import Tile

_LARGEST, _POSITION = (1 << 64) - 1, (1 << POSITION_BITS) - 1


def sort_in_tile(tile: Tile, v: Value) -> str:
    """The positions of what is at the places that are asked for, along an axis that the tile holds whole."""
    along = tile.groups_of(v.over)
    if not along:                                         # one position is in order
        shape = tile.shape(v.axes)
        return f"tl.full({shape}, 0, tl.int64)" if shape else "tl.cast(0, tl.int64)"
    (group,) = along
    words, kept = _rows(tile, v, group), kept_words(tile, v, group.size)
    words = tile.f.let("ordered", f"tl.sort({words})" if kept == group.size else _smallest(words, kept))
    return positions(tile, v, group, words, kept)


def kept_words(tile: Tile, v: Value, size: int) -> int:
    """How many of so many words are kept, a power of two: those up to the last place that is asked for."""
    last = last_place(tile.f.kernel, v)
    return min(size, 1 << max(1, last.bit_length())) if isinstance(last, int) else size


def start(tile: Tile, v: Value, kept: int) -> str:
    """The smallest words before any were met in a loop over turns."""
    rows = [n for n in tile.shape(a for a in v.args[0].axes if a not in v.over) if n > 1]
    return tile.f.let("best", f"tl.full({[*rows, kept]}, {_LARGEST}, tl.uint64)")


def turn(tile: Tile, v: Value, best: str, kept: int) -> None:
    """The smallest words of those before and those of this turn."""
    (group,) = tile.groups_of(v.over)
    here = tile.f.let("here", _smallest(_rows(tile, v, group), kept))
    sizes = [*_row_sizes(tile, v, group), 2 * kept]
    both = tile.f.let("both", f"tl.reshape(tl.join({best}, {here}), {sizes})")
    tile.f.do(f"{best} = {_smallest(both, kept)}")


def positions(tile: Tile, v: Value, group: Group, words: str, kept: int) -> str:
    """The positions in sorted words at the places that are asked for."""
    (place,) = v.index
    assert not isinstance(place, Value)
    return f"({_at_places(tile, v, place, group, words, kept)} & {_POSITION}).to(tl.int64)"


def _smallest(words: str, kept: int) -> str:
    return f"~tl.topk(~{words}, {kept})"


def _row_sizes(tile: Tile, v: Value, group: Group) -> list[int]:
    return [n for d, n in enumerate(tile.shape((*v.args[0].axes, *v.over))) if d != group.dim and n > 1]


def _rows(tile: Tile, v: Value, group: Group) -> str:
    """The words with what is sorted as the last dimension, as Triton asks."""
    words = tile.f.let("words", _words(tile, v, group))
    if tile.rank == 1:
        return words
    return tile.f.let("rows", f"tl.reshape({words}, {[*_row_sizes(tile, v, group), group.size]})")


def _words(tile: Tile, v: Value, group: Group) -> str:
    """The words of a tile; values that make them get numbers behind those of the kernel."""
    kernel, numbers = tile.f.kernel, tile.f.numbers
    k = KernelBuilder(kernel.name, kernel.axes)
    word = packed(k, v.args[0], k.index(k.axis(v.over[0])), v.combine)
    for made in k.values:
        numbers.setdefault(made, len(numbers))
    text = tile.spread(word, (*v.args[0].axes, *v.over))
    return f"tl.where({group.mask}, {text}, {_LARGEST})" if group.mask else text


def _at_places(tile: Tile, v: Value, place: Dim, group: Group, words: str, kept: int) -> str:
    """The first `kept` sorted words as they are laid out along the axis of places, or those that are asked for."""
    shape = tile.shape((*v.args[0].axes, *v.over))
    places = tile.groups_of(expr.symbols(place) & set(tile.f.kernel.axes))
    along = places[0] if len(places) == 1 else group
    if along.size == kept and along.dim is not None and expr.substitute(place, tile.positions) == along.symbol:
        shape = [kept if d == along.dim else 1 if d == group.dim else n for d, n in enumerate(shape)]
        return f"tl.reshape({words}, {shape})" if tile.rank > 1 else words
    shape = [kept if d == group.dim else n for d, n in enumerate(shape)]
    spread = tile.f.let("spread", f"tl.reshape({words}, {shape})" if tile.rank > 1 else words)
    asked = f"tl.where({lanes(kept, group.dim or 0, tile.rank)} == {tile.spell(place)}, {spread}, 0)"
    if not tile.shape(v.axes):
        return f"tl.sum({asked}, {'None' if tile.rank > 1 else '0'})"
    return f"tl.sum({asked}, {group.dim}, keep_dims=True)"
