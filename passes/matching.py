"""Recognising a contraction in a kernel: a sum of products of two operands, or several of the same left one.

A contraction is one `sum over K of mul(A, B)`, or of another term of A and B alone, such as the square of their
difference. What A and B are made of is its prologue, what is made of the sum its epilogue. G are the axes of A, B and
the result (batches, groups), I those of A alone, J those of B alone. The names of the operands are ours to choose: B is
the one whose axes hold the result's contiguous axis, so that stores are contiguous along J.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..ir import expr
from ..ir.expr import Dim, Expr, coefficient, product
from ..ir.kernel import FOLDS, Index, Kernel, Value, is_affine, made_of
from ..ir.schedule import DEPTHS
from ..ir.types import DType, compute_dtype
from . import dots
from .walks import contiguous_axis, main_load, usual, walked_axis

SHORT_LINE = 8  # elements in a row that fill half a vector
LEAST_TURNED = 32  # columns that pay for turning an image's lines
FEW_PLACES = 6  # a line shorter than this wastes registers, or is read with too many others
MOST_LINES = 9  # of a window's places that the other operand is packed for again and again
MIN_RUN = 16  # a stretch of K shorter than this does not pay for a pass over the accumulators


@dataclass(frozen=True, eq=False)
class Match:
    """`total = sum over k of mul(left, right)`: left varies over g, i and k, right over g, k and j. j is not empty.

    Or of a term that is made of left and right otherwise; then i is not empty either. With a `dot`, left and right are
    what is cast before it is multiplied. `others` are further sums of products of left with what varies as right does,
    and that.
    """

    total: Value
    left: Value
    right: Value
    g: tuple[str, ...]
    i: tuple[str, ...]
    j: tuple[str, ...]
    k: tuple[str, ...]
    dot: str = ""
    others: tuple[tuple[Value, Value], ...] = ()

    @property
    def parts(self) -> int:
        """How many sums there are."""
        return 1 + len(self.others)

    @property
    def packed(self) -> DType:
        """What operands are packed as."""
        return self.left.dtype if self.dot else compute_dtype(self.total.dtype)

    @property
    def flips(self) -> bool:
        """Does the left operand change its sign?"""
        return bool(self.dot) and dots.is_flipped(self.left, self.right)

    def divides(self, extent: Dim) -> bool:
        """Is an extent along K one of whole words?"""
        deep = DEPTHS[self.dot]
        return deep == 1 or isinstance(extent, int) and extent % deep == 0

    @property
    def is_product(self) -> bool:
        """Is the term left times right?"""
        term = self.total.args[0]
        return term.op == "mul" and set(term.args) == {self.left, self.right}


def match(kernel: Kernel) -> Match | None:
    """The contraction that this kernel is, or None."""
    folds = [v for v in kernel.values if v.op in FOLDS]
    if not folds or any(v.op != "reduce" or v.combine != "sum" or v.over != folds[0].over for v in folds):
        return None
    total, *more = folds
    sides = _sides(kernel, total)
    if sides is None:
        return None
    a, b = sides
    others = tuple(_others(more, a, b))
    if len(others) != len(more):
        a, b = b, a
        others = tuple(_others(more, a, b))
    if len(others) != len(more):
        return None
    k = set(total.over)
    left, right = set(a.axes) - k, set(b.axes) - k
    found = Match(
        total,
        a,
        b,
        _in_order(kernel, left & right),
        _in_order(kernel, left - right),
        _in_order(kernel, right - left),
        total.over,
        others=others,
    )
    if not _only_prologue_and_epilogue(kernel, found) or _contiguous_in_batch(kernel, found):
        return None
    if others:
        return found if found.i and found.j else None
    return _oriented(kernel, found)


def _others(totals: Sequence[Value], left: Value, right: Value) -> Iterator[tuple[Value, Value]]:
    """Those of the sums that are of products of left with something like right, and that."""
    for total in totals:
        term = total.args[0]
        if term.op == "mul" and left in term.args and total.dtype is right.dtype and left.dtype is right.dtype:
            other = term.args[0] if term.args[1] is left else term.args[1]
            if other.axes == right.axes and other.dtype is right.dtype:
                yield total, other


def _sides(kernel: Kernel, total: Value) -> tuple[Value, Value] | None:
    """The two values whose product is summed, or, where they meet otherwise, those that the term is made of."""
    term, k = total.args[0], set(total.over)
    if term.dtype.kind not in "uif":
        return None
    if term.op == "mul" and term.args[0].axes != term.args[1].axes:
        a, b = term.args
        if k <= {*a.axes, *b.axes} and k & set(a.axes) and k & set(b.axes) and set(a.axes) - k != set(b.axes) - k:
            return a, b
        return None
    if usual(product(kernel.axes[a] for a in k)) < MIN_RUN or compute_dtype(term.dtype) is not term.dtype:
        return None
    found = [v for v in _ends(term) if v.op != "const"]
    if len(found) != 2 or any(v.dtype is not term.dtype for v in made_of_both(term, found)):
        return None
    a, b = found
    alone = set(a.axes) - set(b.axes), set(b.axes) - set(a.axes)
    return (a, b) if all(alone) and k <= set(a.axes) & set(b.axes) else None


def _ends(term: Value) -> list[Value]:
    """What a term is made of that does not vary over all of its axes; a load that does is one too many."""
    found: dict[Value, None] = {}
    todo = [*term.args]
    while todo:
        v = todo.pop(0)
        if v.axes == term.axes and v.op not in ("load", "index", "reduce"):
            todo += v.args
        else:
            found[v] = None
    return list(found) if all(v.axes != term.axes for v in found) else []


def made_of_both(term: Value, sides: Sequence[Value]) -> set[Value]:
    """A term and what it is made of, down to its sides."""
    found: set[Value] = set()
    todo = [term]
    while todo:
        v = todo.pop()
        if v not in found:
            found.add(v)
            todo += [x for x in v.args if x not in sides and x.op != "const"]
    return found


def _in_order(kernel: Kernel, axes: set[str]) -> tuple[str, ...]:
    return tuple(a for a in kernel.axes if a in axes)


def _only_prologue_and_epilogue(kernel: Kernel, m: Match) -> bool:
    """Are all other values made of the sum or of loads over the result's axes, and all stores plain ones over all of
    these?
    """
    sums = [(m.total, m.right), *m.others]
    both = {v for total, right in sums for v in made_of_both(total.args[0], (m.left, right))}
    inner = {v for total, _ in sums for v in made_of(total.args[0])}
    result = {*m.g, *m.i, *m.j}
    if any(not set(v.axes) <= result for v in kernel.values if v not in inner):
        return False
    totals = [total for total, _ in sums]
    if any(both & set(v.inputs) for v in kernel.values if v not in totals and v not in both):
        return False
    needed = {a for a in result if kernel.axes[a] != 1}
    return all(s.mode == "set" and not s.is_scatter and needed <= set(s.axes) <= result for s in kernel.stores)


def _contiguous_in_batch(kernel: Kernel, m: Match) -> bool:
    """Does memory run in a batch axis, of both operands or of the one that is not shared (a depthwise convolution)?
    Rows do that better.
    """
    runs = [bool(v.axes) and contiguous_axis(kernel, v) in m.g for v in (m.left, m.right)]
    return all(runs) or not m.i and runs[1] or not m.j and runs[0]


def _oriented(kernel: Kernel, m: Match) -> Match:
    """The same contraction with its operands in the order that makes stores contiguous along J; where they are so along
    no axis that fills lanes, the loads of one operand. An image that is read by windows of channels is A, whatever is
    stored: so its windows need not be taken apart.
    """
    swap = not m.j or bool(m.i) and _runs_along_rows(kernel, m)
    return Match(m.total, m.right, m.left, m.g, m.j, m.i, m.k) if swap else m


def _runs_along_rows(kernel: Kernel, m: Match) -> bool:
    """Does memory run along I rather than along J?"""
    width = [usual(product(kernel.axes[a] for a in axes)) for axes in (m.j, m.i)]
    slides = [_slides(kernel, v, m.k, columns) for v, columns in zip((m.left, m.right), width)]
    if any(slides):
        return not slides[0]

    def is_long(axis: str) -> bool:
        return usual(kernel.axes.get(axis, 0)) >= SHORT_LINE

    last = {walked_axis(kernel, kernel.buffers[s.buffer], s.index, s.axes) for s in kernel.stores}
    if not any(map(is_long, last)):
        loaded = {a for v in (m.left, m.right) for a in [contiguous_axis(kernel, v)] if a not in m.k and is_long(a)}
        last = loaded if len(loaded) == 1 else last
        if not loaded and _has_short_window(kernel, m.left, m.i, m.k, m.j):
            return False
        if not loaded and _has_short_window(kernel, m.right, m.j, m.k, m.i):
            return True
    return bool(last & set(m.i) and not last & set(m.j))


def _slides(kernel: Kernel, v: Value, k: tuple[str, ...], columns: int) -> bool:
    """Is it an image that a window of channels slides over? These lie last, or are turned for many columns."""
    if v.op != "load" or not is_affine(v.index):
        return False
    walk, window = contiguous_axis(kernel, v), {a for a in k if kernel.axes[a] != 1}
    slid = [i for i in v.index if window & expr.symbols(i) and expr.symbols(i) - set(k) & set(kernel.axes)]
    if walk in k and usual(kernel.axes[walk]) >= MIN_RUN and v.index[-1] not in slid:
        return bool(slid)
    return columns >= LEAST_TURNED and bool(slid) and bool(turned_channels(kernel, v, k))


def turned_channels(kernel: Kernel, v: Value, k: tuple[str, ...]) -> str:
    """The axis of channels of an image whose long lines are read by windows, where these do not lie last but may be
    turned so in whole squares; else "".
    """
    if v.op != "load" or not is_affine(v.index) or not isinstance(v.index[-1], Expr):
        return ""
    walked = expr.symbols(v.index[-1])
    lines = [a for a in v.axes if a in walked and a not in k and usual(kernel.axes[a]) >= FEW_PLACES]
    found = [a for a in k if any(is_channel(i, a, k) for i in v.index[:-1]) and usual(kernel.axes[a]) % MIN_RUN == 0]
    window = [a for a in k if a in walked and kernel.axes[a] != 1]
    return found[0] if lines and window and len(found) == 1 and isinstance(kernel.axes[found[0]], int) else ""


def _has_short_window(
    kernel: Kernel, v: Value, spots: tuple[str, ...], k: tuple[str, ...], others: tuple[str, ...]
) -> bool:
    """Does an operand slide over few channels, along axes that are short and sum what is longer, where the other
    operand has one that fills lanes?
    """
    lengths = [usual(kernel.axes[a]) for a in spots]
    fills = any(usual(kernel.axes[a]) >= MIN_RUN for a in others)
    longest = max(lengths, default=MIN_RUN)
    summed = [usual(kernel.axes[a]) for x in _slid(kernel, v, spots, k) for a in expr.symbols(x) & set(k)]
    return fills and longest < max(summed, default=0) and longest < MIN_RUN and (
        math.prod(lengths) <= MOST_LINES * longest)


def is_window(kernel: Kernel, v: Value, spots: tuple[str, ...], k: tuple[str, ...]) -> bool:
    """Does an operand slide over an image, so that places along its own axes and along K are added up?"""
    return bool(_slid(kernel, v, spots, k))


def _slid(kernel: Kernel, v: Value, spots: tuple[str, ...], k: tuple[str, ...]) -> list[Expr]:
    load = main_load(v)
    entries = () if load is None else load.index
    return [i for i in entries if isinstance(i, Expr) and expr.symbols(i) & set(k) and expr.symbols(i) & set(spots)]


def is_channel(i: Index, axis: str, k: tuple[str, ...]) -> bool:
    """Does an index count along an axis of K, from where a group's channels begin?"""
    return isinstance(i, Expr) and coefficient(i, axis) == 1 and expr.symbols(i) & set(k) == {axis}
