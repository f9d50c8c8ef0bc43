"""Groups: axes flattened into one dimension of a tile, and the lines that make their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import expr
from ...ir.expr import Dim, Expr
from .module import Function


@dataclass(frozen=True)
class Group:
    """Axes flattened into one dimension of a tile. `name` is the tensor of flat positions, `size` how many there are,
    `dim` which dimension of the tile they are (None: one position, a plain number); `mask` says which of them exist
    ("": all).
    """

    axes: tuple[str, ...]
    name: str
    size: int
    dim: int | None
    extent: Dim
    mask: str = ""

    @property
    def symbol(self) -> Expr:
        """The flat position as an expression."""
        return expr.symbol(f"<{self.name}>", 0, self.extent - 1)


def lanes(size: int, dim: int, rank: int) -> str:
    """The positions in a dimension of a tile."""
    where = ", ".join(":" if d == dim else "None" for d in range(rank))
    return f"tl.arange(0, {size})" + (f"[{where}]" if rank > 1 else "")


def open_group(f: Function, axes: Sequence[str], start: str, size: int, dim: int | None, rank: int,
               is_whole: bool = False, name: str = "", tile: int = 0) -> Group:
    """Writes the positions from `start` (text; "" is 0) on, and the mask where the size does not divide the extent (or
    that of the `tile` which they are a part of).

    `is_whole` promises that they all exist.
    """
    extent = expr.product(f.kernel.axes[a] for a in axes)
    wish = name or "".join(axes)
    if dim is None:
        if start.isidentifier():
            return Group(tuple(axes), start, 1, None, extent)
        return Group(tuple(axes), f.let(wish, start or "0"), 1, None, extent)
    at = lanes(size, dim, rank)
    if f.is_wide and (not start or start.isdigit()):
        at = f"{at}.to(tl.int64)"
    name = f.let(wish, f"{start} + {at}" if start else at)
    mask = ""
    if not is_whole and not is_multiple(extent, tile or size):
        mask = f.let(f"{name}_in", f"{name} < {f.spell(extent)}")
    return Group(tuple(axes), name, size, dim, extent, mask)


def is_multiple(extent: Dim, size: int) -> bool:
    """Is an extent surely a multiple of the size, and not zero?"""
    return extent != 0 and expr.mod(extent, size) == 0
