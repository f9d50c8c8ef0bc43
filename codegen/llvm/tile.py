"""The register tile: C[rows][vectors of lanes] = sum over a depth of A[row][k] * B[k][lanes], kept in registers all the
while.

One function serves matmul, convolution and their gradients: A is read by two strides, B and C by one each. It knows no
kernel. Sums start at zero and are added to C afterwards where C has a sum already: long sums are summed in pieces,
which is also more exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...ir.types import DType
from .dots import Dot
from .types import BOOL, INDEX, POINTER, type_of
from .writer import Function, Module, X

LINE = 64  # bytes of the cache


@dataclass(frozen=True)
class Tile:
    """Its shape, and the strides in elements: of A between rows and along the depth, of B and of C between rows. With a
    `dot`, the depth and B's rows are of words.
    """

    dtype: DType
    rows: int
    vectors: int
    lanes: int
    row_step: int
    deep_step: int
    b_step: int
    c_step: int
    dot: Dot | None = None
    is_run: bool = False  # are A's rows runs of memory, that go on below the tile?

    @property
    def stored(self) -> DType:
        """What A and B consist of."""
        return self.dot.left if self.dot else self.dtype

    @property
    def columns(self) -> int:
        """Columns of C."""
        return self.vectors * self.lanes


def multiply_add(w: Function, d: DType, a: X, b: X, c: X) -> X:
    """a * b + c: rounded once where floats, wrapping where integers."""
    return w.fma(a, b, c) if d.is_float else w.binary("add", w.binary("mul", a, b), c)


Added = Callable[[Function, X, X, X], X]
"""(w, a, b, sum) to the sum with the term of a and b added."""


def emit_tile(module: Module, name: str, tile: Tile, added: Added | None = None) -> None:
    """Write `void name(ptr a, ptr b, ptr c, i64 depth, i1 more)`; `more`: C has the sum of what came before.

    What is added is the product, or what `added` says. With a `dot`, the depth counts words.
    """
    pointers = ("a", "b", "c")
    w = module.function(
        name,
        {**dict.fromkeys(pointers, POINTER), "depth": INDEX, "more": BOOL},
        noalias=pointers,
        attributes="noinline nounwind",
    )
    a, b, c, depth, more = w.parameters
    d, t, stored, dot = tile.dtype, type_of(tile.dtype, tile.lanes), tile.stored, tile.dot
    deep = dot.deep if dot else 1
    plus: Added = added or (dot.added if dot else lambda w, a, b, total: multiply_add(w, d, a, b, total))

    def read(pointer: X, lanes: int) -> X:
        return dot.word(w, pointer, lanes) if dot else w.load(d, pointer, lanes)

    def ask(turn: X, a: X) -> None:
        line = LINE // (tile.deep_step * stored.itemsize)
        for first in range(0, tile.rows, line):
            row = w.mul(w.binary("and", turn, line - 1), tile.row_step - tile.deep_step)
            w.prefetch(w.at(w.at(a, row, stored), (tile.rows + first) * tile.row_step, stored), 2)

    def step(turn: X, a: X, b: X, *sums: X) -> tuple[X, ...]:
        if tile.is_run:
            ask(turn, a)
        right = [read(w.at(b, v * tile.lanes * deep, stored), tile.lanes) for v in range(tile.vectors)]
        out = []
        for r in range(tile.rows):
            left = w.splat(read(w.at(a, r * tile.row_step, stored), 1), tile.lanes)
            mine = sums[r * tile.vectors : (r + 1) * tile.vectors]
            out += [plus(w, left, x, total) for x, total in zip(right, mine)]
        return w.at(a, tile.deep_step, stored), w.at(b, tile.b_step, stored), *out

    zeros = [w.constant(0, t)] * (tile.rows * tile.vectors)
    sums = w.loop(0, depth, 1, step, a, b, *zeros)[2:]
    spots = [w.at(c, r * tile.c_step + v * tile.lanes, d) for r in range(tile.rows) for v in range(tile.vectors)]
    sums = w.when(more, lambda: [w.add(x, w.load(d, p, tile.lanes)) for x, p in zip(sums, spots)], lambda: sums)
    for x, p in zip(sums, spots):
        w.store(x, p)
