"""The streamed schedule: sums along one axis whose terms are made of contractions, worked through tile by tile
(attention, its gradient).

    scores[g, row, stream] = sum of left * right over a depth          (contractions inside, one or several)
    weights                = whatever is made of scores at one place; with a softmax: exp(x - max of x over the stream)
    result[g, row, column] = sum of weights * right over the stream    (contractions outside, one or several)

`roles` finds these parts in a kernel, or says why it is not so; what it accepts is what may run as `Streamed`.

Where conditions on positions leave no weight (a causal mask), what would be weighed is mostly not read: an infinity or
a NaN there, times 0, makes a NaN in the definition and in the few rows around the mask's edge, but none in the rows
before. Rows that see nothing are NaN, as in the definition.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from .claims import conditions, need
from .errors import VerifyError
from .expr import Dim, Expr, coefficient, product
from .kernel import Kernel, Value
from .schedule import Schedule


@dataclass(frozen=True, eq=False)
class Product:
    """`total = sum over axis of mul(left, right)`: left varies over the rows, right does not; `column` is the axis of
    right alone.
    """

    total: Value
    left: Value
    right: Value
    axis: str
    column: str


@dataclass(frozen=True, eq=False)
class Softmax:
    """`weights = exp(scores - peak)`, peak being the maximum of the scores and `norm` (perhaps) the sum of the weights
    over the stream.
    """

    scores: Value
    peak: Value
    weights: Value
    norm: Value | None


@dataclass(frozen=True, eq=False)
class Limit:
    """A weight is zero unless `claim` (an index expression) is not negative; `condition` is then true."""

    claim: Dim
    condition: Value | None


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of a kernel that streams: `g` are its other axes. `divided` says for each result whether its weights
    hold 1 / norm.
    """

    g: tuple[str, ...]
    inner: tuple[Product, ...]
    softmax: Softmax | None
    outer: tuple[Product, ...]
    divided: tuple[bool, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Streamed(Schedule):
    """A unit is a `block` of rows of one place of g. Tiles of `span` positions of the stream pass by; each is a block
    of scores, made by a register tile of `rows` x `vectors` of `lanes`, then weighed row by row, then multiplied into
    the results by the same tile.

    With a softmax, the maximum and the sum of a row run along, and what is summed already is rescaled when the maximum
    grows. The right sides of the inner products are packed once for units that follow each other (`packs`: "rows" if
    they are contiguous along the depth and are transposed, else "columns"); those of the outer ones are read in place
    ("direct") or packed (`reads`). Products with a dot product by instruction (`inner_dots`, `outer_dots`: its name,
    else "") multiply narrow numbers: scores those that they are cast from, results weights that are rounded to them.
    """

    row: str = ""
    stream: str = ""
    rows: int = 8
    vectors: int = 2
    lanes: int = 16
    block: int = 64
    span: int = 512
    packs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    inner_dots: tuple[str, ...] = ()
    outer_dots: tuple[str, ...] = ()

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        found = roles(kernel, self.row, self.stream)
        panel = self.vectors * self.lanes
        blocks = (kernel.axes[self.row] + self.block - 1) // self.block
        if self.units != product([*(kernel.axes[a] for a in found.g), blocks]):
            raise VerifyError(f"kernel {kernel.name}: {self.units} units are not its blocks of {self.block} rows")
        if min(self.rows, panel) < 1 or self.block % self.rows or self.span % panel or self.span % 16:
            raise VerifyError(f"kernel {kernel.name}: tiles of {self.rows} x {panel} do not divide blocks of "
                              f"{self.block} x {self.span}")
        if len(self.packs) != len(found.inner) or len(self.reads) != len(found.outer):
            raise VerifyError(f"kernel {kernel.name}: {self} speaks of other products than the kernel has")
        sides = [v for p, dot in zip(found.inner, self.inner_dots) if dot for v in (p.left, p.right)]
        sides += [p.right for p, dot in zip(found.outer, self.outer_dots) if dot]
        if any(v.op != "cast" for v in sides) or any(d and r == "direct" for d, r in zip(self.outer_dots, self.reads)):
            raise VerifyError(f"kernel {kernel.name}: {self} multiplies narrow numbers that are none")


def roles(kernel: Kernel, row: str, stream: str) -> Roles:
    """The parts of the kernel when rows run along one axis and sums along another; VerifyError where it has no such
    form.
    """
    return _Reader(kernel, row, stream).roles()


class _Reader:
    def __init__(self, kernel: Kernel, row: str, stream: str):
        self.kernel, self.row, self.stream = kernel, row, stream
        self.tile = {row, stream}
        self.totals: list[Value] = []

    def need(self, holds: bool, why: str) -> None:
        if not holds:
            raise VerifyError(f"kernel {self.kernel.name} does not stream along {self.stream}: {why}")

    def roles(self) -> Roles:
        inner, outer, peaks, norms = [], [], [], []
        for v in self.kernel.values:
            self.need(v.op != "scan", "it has a scan")
            if v.op != "reduce":
                continue
            if v.combine == "sum" and self.tile <= set(v.axes):
                inner.append(self.product(v))
            elif v.over != (self.stream,) or self.row not in v.axes:
                self.need(False, f"the {v.combine} over {v.over} is something else")
            elif v.combine == "max":
                peaks.append(v)
            elif v.combine == "sum" and v.args[0].op == "mul" and set(v.axes) - set(self._left(v).axes):
                outer.append(self.product(v))
            else:
                self.need(v.combine == "sum", f"a {v.combine} is no sum")
                norms.append(v)
        self.need(bool(inner) and bool(outer), "there are no contractions inside and outside")
        self.need(len({p.total.dtype for p in inner + outer}) == 1 and inner[0].total.dtype.is_float
                  and inner[0].total.dtype.bits >= 32, "products are not summed in one type of float")
        softmax = self.softmax(peaks, norms)
        own = {self.row, self.stream, *(p.axis for p in inner), *(p.column for p in outer)}
        g = tuple(a for a in self.kernel.axes if a not in own)
        self.need(softmax is None or len(inner) == 1, "a softmax is made of several scores")
        self.totals = [p.total for p in inner]
        divided = tuple(self.is_divided(p.left, softmax) for p in outer)
        found = Roles(g, tuple(inner), softmax, tuple(outer), divided, self.limits(softmax, outer))
        self.check_places(found)
        return found

    # ---- products ----------------------------------------------------------------------------------------------------

    def _left(self, v: Value) -> Value:
        a, b = v.args[0].args
        return a if self.row in a.axes else b

    def product(self, v: Value) -> Product:
        """A sum of products as a product of rows."""
        self.need(v.args[0].op == "mul" and len(v.over) == 1, "a sum inside is not one of products over one axis")
        left = self._left(v)
        right = next((x for x in v.args[0].args if x is not left), left)
        self.need(self.row in left.axes and self.row not in right.axes,
                  "a product does not have rows on one side alone")
        columns = set(right.axes) - set(left.axes) - set(v.over)
        if self.stream in v.axes:                              # other axes of the right side are places of g
            self.need(self.stream in columns, "scores are not made of a side along the rows and one along the stream")
            columns = {self.stream}
        self.need(len(columns) == 1 and set(v.over) <= set(left.axes) & set(right.axes),
                  "a product has not one axis of columns")
        (column,) = columns
        for a in (column, *v.over):
            self.need(a == self.stream or isinstance(self.kernel.axes[a], int), f"the extent of {a} is not known")
        return Product(v, left, right, v.over[0], column)

    # ---- the softmax -------------------------------------------------------------------------------------------------

    def softmax(self, peaks: list[Value], norms: list[Value]) -> Softmax | None:
        """The online part, where there is a maximum."""
        if not peaks:
            self.need(not norms, "there is a sum of no softmax")
            return None
        self.need(len(peaks) == 1 and len(norms) <= 1, "there are several softmaxes")
        (peak,) = peaks
        scores = peak.args[0]
        weights = [v for v in self.kernel.values if v.op == "exp" and v.args[0].op == "sub"
                   and v.args[0].args == (scores, peak)]
        self.need(len(weights) == 1, "the maximum is not subtracted under one exponential")
        norm = norms[0] if norms else None
        self.need(norm is None or norm.args == (weights[0],), "what is summed are not the weights")
        self.need(self.tile <= set(scores.axes), "the scores do not vary over rows and stream")
        self.need(scores.dtype.bits >= 32, "the softmax is rounded to 16 bits")
        seen = {weights[0].args[0]}
        for v in self.kernel.values:
            if self.stream in v.axes and v not in seen:
                self.need(peak not in v.inputs, "the maximum is used again along the stream")
        return Softmax(scores, peak, weights[0], norm)

    def is_divided(self, v: Value, softmax: Softmax | None) -> bool:
        """Do these weights of a result hold 1 / norm? They must be in proportion to the softmax's, since both are
        rescaled.
        """
        if softmax is None or v is softmax.weights:
            return False
        running = (softmax.weights, softmax.norm, softmax.peak, *self.totals)
        if _is_rounding(v):                                   # relative errors are the same before and after
            return self.is_divided(v.args[0], softmax)
        if v.op == "div" and v.args[1] is softmax.norm:
            self.need(not self.is_divided(v.args[0], softmax), "weights are divided twice")
            return True
        if v.op in ("mul", "div", "select"):
            arms = v.args[:2] if v.op == "mul" else v.args[:1] if v.op == "div" else v.args[1:]
            other = [x for x in v.args if not _reaches(x, running)]
            mine = [x for x in arms if x not in other]
            self.need(len(mine) == 1 and len(other) == len(v.args) - 1, "weights are not in proportion to the softmax")
            self.need(v.op != "select" or any(x.op == "const" and x.number == 0 for x in other),
                      "weights are replaced by something else")
            return self.is_divided(mine[0], softmax)
        self.need(False, f"weights pass through {v.op}")
        return False

    # ---- what is zero ------------------------------------------------------------------------------------------------

    def limits(self, softmax: Softmax | None, outer: list[Product]) -> tuple[Limit, ...]:
        """Conditions on positions without which a weight is zero in all results, as far as they bound the stream for a
        row.
        """
        if softmax is not None:
            found = self.bounds_of(softmax.scores, -math.inf)
        else:
            first, *rest = [self.zero_unless(p.left) for p in outer]
            found = [x for x in first if all(any(x.claim == y.claim for y in other) for other in rest)]
        return tuple(x for x in found if self.is_bound(x.claim))

    def zero_unless(self, v: Value) -> list[Limit]:
        if v.op == "exp" and v.args[0].op == "sub":
            return self.bounds_of(v.args[0].args[0], -math.inf)
        if _is_rounding(v):
            return self.zero_unless(v.args[0])
        if v.op in ("mul", "div"):
            return [x for a in (v.args if v.op == "mul" else v.args[:1]) if self.tile <= set(a.axes)
                    for x in self.zero_unless(a)]
        return self.bounds_of(v, 0.0)

    def bounds_of(self, v: Value, nothing: float) -> list[Limit]:
        """The conditions under which `v` is not a certain constant."""
        if _is_rounding(v):
            return self.bounds_of(v.args[0], nothing)
        if v.op != "select":
            return []
        condition, x, y = v.args
        if y.op == "const" and y.number == nothing:
            return [Limit(claim, c) for c, claim in conditions(condition) or []] + self.bounds_of(x, nothing)
        if x.op == "const" and x.number == nothing:
            claim = need(condition)
            return ([] if claim is None else [Limit(-claim - 1, None)]) + self.bounds_of(y, nothing)
        return []

    def is_bound(self, claim: Dim) -> bool:
        """Is it linear along the rows, and by steps of one along the stream?"""
        steps = isinstance(claim, Expr) and coefficient(claim, self.stream) in (-1, 1)
        return steps and isinstance(coefficient(claim, self.row), int)

    # ---- where everything is -----------------------------------------------------------------------------------------

    def check_places(self, found: Roles) -> None:
        """What is made at one place of tile, row or result may only be made of what is known there."""
        base, columns = {*found.g, self.row}, {p.column for p in found.outer}
        folds = [v for v in self.kernel.values if v.op == "reduce"]
        totals = [p.total for p in found.outer]
        for p in found.inner:
            self.need(not _reaches(p.left, folds) and not _reaches(p.right, folds), "scores are made of sums")
        for p in found.outer:
            self.need(not _reaches(p.right, folds), "what is weighed is made of sums")
            self.need(not _reaches(p.left, totals), "weights are made of results")
            self.need(set(p.left.axes) <= {*base, self.stream}, "weights vary over more than rows and stream")
        needed = {a for a in base if self.kernel.axes[a] != 1}
        for s in self.kernel.stores:
            rest = set(s.axes) - base
            self.need(s.mode == "set" and not s.is_scatter and needed <= set(s.axes) and len(rest) <= 1
                      and rest <= columns, f"the store to {s.buffer} is not one for each row")
            mixed = any(rest != {p.column} and _reaches(s.value, (p.total,)) for p in found.outer)
            self.need(not mixed, f"the store to {s.buffer} mixes columns")


def _is_rounding(v: Value) -> bool:
    """Is it a cast between floats? Zeros and infinities stay."""
    return v.op == "cast" and v.dtype.is_float and v.args[0].dtype.is_float


def _reaches(v: Value, wanted: Collection[Value | None]) -> bool:
    """Is v made of one of these?"""
    seen: set[Value] = set()
    todo = [v]
    while todo:
        x = todo.pop()
        if x in wanted:
            return True
        if x not in seen:
            seen.add(x)
            todo += x.inputs
    return False
