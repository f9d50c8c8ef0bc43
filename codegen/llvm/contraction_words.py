"""Copies of a contraction's operands in words, for dot products by instruction: neighbours along K side by side.

What lies past the end of K is zero on both sides. Where A's numbers flip their sign, packing a panel of B also sums its
columns.
"""

from __future__ import annotations

import math

from ...ir.kernel import Kernel, Value
from ...ir.schedule import Contraction
from ...ir.types import int32, uint32
from .body import Scope
from .contraction_packing import LANES, Operand, in_full_or_masked, transpose
from .dots import Dot, interleaved
from .parts import Part, extent_of, walk
from .types import INDEX, POINTER, vector
from .writer import Function, Index, Module, X


class Narrow(Operand):
    """An operand as it is before it is cast. `flipped`: with its highest bit changed."""

    def __init__(self, kernel: Kernel, value: Value, dot: Dot, flipped: bool):
        super().__init__(kernel, value, value.dtype)
        self.dot, self.flipped = dot, flipped

    def at(self, value: Value) -> Narrow:
        """The same of another value."""
        return Narrow(self.kernel, value, self.dot, self.flipped)

    def lanes(self, scope: Scope) -> X:
        """It at a scope, zero where lanes are off."""
        w, x = scope.w, super().lanes(scope)
        if scope.mask is not None:
            x = w.select(scope.mask, x, w.number(0, self.dtype, x.lanes))
        return self.flip(w, x)

    def flip(self, w: Function, x: X) -> X:
        """Numbers with their highest bit changed, if they are to be."""
        return w.binary("xor", x, w.constant(0x80, x.type)) if self.flipped else x


def _word_at(part: Part, operand: Narrow, s: Contraction, scopes: list[Scope], point: dict[str, Index]) -> list[X]:
    """Words at a place of K, for each of some scopes in lanes along another axis."""
    w, k = part.w, s.k[-1]
    extent = operand.kernel.axes[k]
    whole = isinstance(extent, int) and extent % s.deep == 0
    bound = extent_of(part.scope, s.k[-1:])
    rows: list[list[X]] = [[] for _ in scopes]
    for n in range(s.deep):
        at = w.add(point[k], n)
        inside = True if whole or n == 0 else w.less(at, bound)
        here = {**point, k: at if inside is True else w.min(at, w.sub(bound, 1))}
        for row, scope in zip(rows, scopes):
            x = operand.lanes(scope.enter(here))
            row.append(x if inside is True else w.select(inside, x, w.constant(0, x.type)))
    return [interleaved(w, row) for row in rows]


def copy_column_words(module: Module, operand: Narrow, s: Contraction, deep_step: int) -> Part:
    """to[word][r][n] = A at (first + r, k0 + deep * word + n), in lanes along I."""
    own = {n: INDEX if n != "to" else POINTER for n in ("to", "first", "count", "k0", "depth")}
    part = Part(module, operand.kernel, "copy_a", own, [*s.g, *s.i[:-1], *s.k[: -s.k_flat]])
    w, named = part.w, part.named
    lane = s.i[-1] if s.i else ""
    bound = extent_of(part.scope, s.i[-1:])

    def deep(point: dict[str, Index], word: Index) -> None:
        line = w.at(named["to"], w.mul(word, deep_step * s.deep), operand.dtype)

        def piece(r: X) -> None:
            at = named["first"] + r

            def write(mask: X | None) -> None:
                here = part.scope.enter({lane: at}, lane=lane, lanes=LANES, mask=mask)
                (x,) = _word_at(part, operand, s, [here], point)
                w.store(x, w.at(line, w.mul(r, s.deep), operand.dtype))

            in_full_or_masked(w, at, bound, LANES, write)

        w.loop(0, named["count"], LANES, piece)

    _walk_words(part, s, deep)
    return part


def pack_words(module: Module, operand: Narrow, s: Contraction, name: str = "pack_b") -> Part:
    """to[word][c][n] = B at (k0 + deep * word + n, first + c) for one panel, in lanes along J."""
    part = _panel_part(module, operand, s, name)
    w, own, width = part.w, part.named, s.vectors * s.lanes
    lanes = math.gcd(width, LANES)
    starts = range(0, width, lanes)
    bound = extent_of(part.scope, s.j[-1:])
    sums = _Sums(part, operand, s, lanes)

    def panel(masks: list[X | None]) -> None:
        scopes = [
            part.scope.enter({s.j[-1]: own["first"] + c}, lane=s.j[-1], lanes=lanes, mask=mask)
            for c, mask in zip(starts, masks)
        ]
        for here in scopes:
            here.prepare([operand.value])

        def deep(point: dict[str, Index], word: Index, *totals: X) -> list[X]:
            line = w.at(own["to"], w.mul(word, width * s.deep), operand.dtype)
            words = _word_at(part, operand, s, scopes, point)
            for c, x in zip(starts, words):
                w.store(x, w.at(line, c * s.deep, operand.dtype))
            return sums.added(words, totals)

        sums.write(_walk_words(part, s, deep, *sums.before()))

    whole = w.less_equal(own["first"] + width, bound)
    if isinstance(operand.kernel.axes[s.j[-1]], int) and operand.kernel.axes[s.j[-1]] % width == 0:
        whole = True
    w.when(whole, lambda: panel([None] * len(starts)),
           lambda: panel([w.mask_below(own["first"] + c, bound, lanes) for c in starts]))
    return part


def pack_row_words(module: Module, operand: Narrow, s: Contraction, name: str = "pack_b") -> Part:
    """The same panel in lanes along K; squares of words are transposed. Up to a square is written past the depth."""
    part = _panel_part(module, operand, s, name)
    w, own, width, d = part.w, part.named, s.vectors * s.lanes, operand.dtype
    side = math.gcd(width, LANES)
    k, stop = s.k[-1], own["k0"] + own["depth"]
    last = w.sub(extent_of(part.scope, s.j[-1:]), 1)
    words = vector("i32", side)
    square = w.alloca(words, side)
    sums = _Sums(part, operand, s, side)

    def strip(c: X) -> None:
        def block(kk: X, *totals: X) -> list[X]:
            at = own["k0"] + kk

            def fill(mask: X | None) -> None:
                def row(r: X) -> None:
                    point = {s.j[-1]: w.min(own["first"] + c + r, last), k: at}
                    here = part.scope.enter(point, lane=k, lanes=side * s.deep, mask=mask)
                    w.store(operand.lanes(here), w.at(square, r * side, uint32))

                w.loop(0, side, 1, row)

            in_full_or_masked(w, at, stop, side * s.deep, fill)
            columns = transpose(w, [w.load(uint32, w.at(square, r * side, uint32), side) for r in range(side)])
            line = w.at(own["to"], kk * width + c * s.deep, d)
            for n, x in enumerate(columns):
                w.store(x, w.at(line, n * width * s.deep, d))
                totals = tuple(sums.added([x], totals))
            return list(totals)

        sums.write(w.loop(0, own["depth"], side * s.deep, block, *sums.before(c, 1)), c)

    w.loop(0, width, side, strip)
    return part


class _Sums:
    """Sums of a panel's columns, which `sums` points to: started anew where `base` is 0. Nothing where none flip."""

    def __init__(self, part: Part, operand: Narrow, s: Contraction, lanes: int):
        self.part, self.dot, self.flips, self.lanes = part, operand.dot, s.flips, lanes
        self.number = s.vectors * s.lanes // lanes

    def before(self, first: Index = 0, number: int | None = None) -> list[X]:
        """What the columns from `first` on are before, a vector of lanes each."""
        if not self.flips:
            return []
        w, own = self.part.w, self.part.named
        starts = [w.add(first, n * self.lanes) for n in range(number or self.number)]
        zero = w.number(0, int32, self.lanes)
        fresh = w.equal(own["base"], 0)
        return [w.select(fresh, zero, w.load(int32, w.at(own["sums"], c, int32), self.lanes)) for c in starts]

    def added(self, words: list[X], totals: tuple[X, ...]) -> list[X]:
        """The totals with some words added."""
        return [self.dot.column_sums(self.part.w, x, t) for x, t in zip(_as_words(self.part.w, words), totals)]

    def write(self, totals: tuple[X, ...], first: Index = 0) -> None:
        """Keep them."""
        w, own = self.part.w, self.part.named
        for n, x in enumerate(totals):
            w.store(x, w.at(own["sums"], w.add(first, n * self.lanes), int32))


def _as_words(w: Function, vectors: list[X]) -> list[X]:
    words = [vector("i32", x.lanes * x.type.bits // 32) for x in vectors]
    return [x if t is x.type else w.let(t, f"bitcast {x} to {t.text}") for x, t in zip(vectors, words)]


def _walk_words(part: Part, s: Contraction, body, *carried: X) -> tuple[X, ...]:
    """body(position of each axis, word, *carried) at each word of the depth."""
    w, own = part.w, part.named
    count = w.floordiv(w.add(own["depth"], s.deep - 1), s.deep)
    return walk(part.scope, own["k0"], s.k[-s.k_flat:], count, body, *carried, step=s.deep)


def _panel_part(module: Module, operand: Narrow, s: Contraction, name: str) -> Part:
    own = {"to": POINTER, **dict.fromkeys(("first", "k0", "depth"), INDEX)}
    own.update({"base": INDEX, "sums": POINTER} if s.flips else {})
    return Part(module, operand.kernel, name, own, [*s.g, *s.j[:-1], *s.k[: -s.k_flat]])
