"""Random well-formed kernels (a hypothesis strategy): nothing is read outside a buffer without a fill, values stay
moderate, and what jumps (comparisons, rounding, places of a scatter) is computed only from numbers that every correct
evaluation gets exactly.
"""

from __future__ import annotations

import math

from braze.ir import expr
from braze.ir.expr import bounds
from braze.ir.kernel import KernelBuilder, Value
from braze.ir.types import bool_, dtype, float32, int64
from hypothesis import strategies as st

_SMOOTH = ("tanh", "sin", "cos", "erf", "atan")            # bounded functions, fine on any argument
_LARGEST = 100.0                                           # magnitudes above this are not built upon


class _Pool:
    """Values that are there to be used, with a bound on their magnitude and whether they are exact."""

    def __init__(self, draw, k: KernelBuilder):
        self.draw, self.k = draw, k
        self.known: list[tuple[Value, float, bool]] = []

    def add(self, value: Value, magnitude: float, exact: bool) -> None:
        if magnitude <= _LARGEST or value.dtype.kind != "f":
            self.known.append((value, magnitude, exact))

    def pick(self, fits=lambda v, exact: True) -> tuple[Value, float, bool] | None:
        found = [e for e in self.known if fits(e[0], e[2])]
        return self.draw(st.sampled_from(found)) if found else None

    def extent(self, axis: str) -> int:
        e = self.k.axes[axis]
        return e if isinstance(e, int) else 8              # of a symbol: only for the magnitude


def _index(draw, k: KernelBuilder) -> expr.Dim:
    """An index expression of one or two axes, or a constant."""
    names = list(k.axes)
    i, j = (k.axis(draw(st.sampled_from(names))) for _ in range(2))
    shift, step = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    top = bounds(i)[1]
    choices = [i, i, i, i + shift, step * i + shift, i + j, step * i + j, expr.floordiv(i, step), i % (step + 1),
               i - shift, shift]
    if top is not None:
        choices.append(top - i)
    return draw(st.sampled_from(choices))


def _load(draw, k: KernelBuilder, pool: _Pool, number: int) -> None:
    index = tuple(_index(draw, k) for _ in range(draw(st.integers(0, 3))))
    d = dtype(draw(st.sampled_from(("f32", "f32", "f32", "f64", "i32", "i64", "b1"))))
    shape, is_inside = [], True
    for x in index:
        low, high = bounds(x)
        cut = draw(st.booleans())
        whole = 6 if high is None else max(high + 1, 1)
        shape.append(max(whole - 2, 1) if cut else whole)
        is_inside &= not cut and low is not None and low >= 0 and high is not None
    fill = None if is_inside else {"f": 0.5, "i": 3, "b": True}[d.kind]
    pool.add(k.load(f"x{number}", shape, d, index, fill), 4.0, True)


def _pointwise(draw, k: KernelBuilder, pool: _Pool) -> None:
    x, size, exact = pool.pick()
    y = pool.pick(lambda v, _: v.dtype is x.dtype)
    assert y is not None
    y, size_y, exact_y = y
    if x.dtype.kind == "b":
        op = draw(st.sampled_from(("and", "or", "xor", "not")))
        pool.add(k.apply(op, (x,) if op == "not" else (x, y)), 1, exact and exact_y)
        chosen = pool.pick(lambda v, _: v.dtype is float32)
        if chosen:
            pool.add(k.select(x, chosen[0], 0.25), chosen[1], False)
        return
    op = draw(st.sampled_from(("add", "sub", "mul", "max", "min", "neg", "abs", "compare", "index", "cast", "smooth",
                               "divide")))
    both = exact and exact_y
    if op in ("add", "sub"):
        pool.add(k.apply(op, (x, y)), size + size_y, both and x.dtype.is_integer)
    elif op == "mul":
        pool.add(k.mul(x, y), size * size_y, both and x.dtype.is_integer)
    elif op in ("max", "min"):
        pool.add(k.apply(op, (x, y)), max(size, size_y), both)
    elif op in ("neg", "abs"):
        pool.add(k.apply(op, (x,)), size, exact)
    elif op == "compare" and both:
        pool.add(k.apply(draw(st.sampled_from(("lt", "le", "gt", "ge", "eq", "ne"))), (x, y)), 1, True)
    elif op == "index":
        pool.add(k.index(_index(draw, k)), 8, True)
    elif op == "cast" and exact:
        to = dtype(draw(st.sampled_from(("f32", "f64", "i32", "i64", "b1"))))
        pool.add(k.cast(x, to), size, to.kind != "f" or x.dtype is to)
    elif op == "smooth" and x.dtype.is_float:
        pool.add(k.apply(draw(st.sampled_from(_SMOOTH)), (x,)), 2.0, False)
    elif op == "divide" and x.dtype.is_integer:
        pool.add(k.apply(draw(st.sampled_from(("floordiv", "mod", "shl", "shr", "xor"))), (x, y)), 64, both)
    elif x.dtype.is_float:
        pool.add(k.div(x, k.add(k.abs(y), 1.0)), size, False)


def _reduction(draw, k: KernelBuilder, pool: _Pool) -> None:
    x, size, exact = pool.pick()
    over = draw(st.lists(st.sampled_from(list(k.axes)), min_size=1, unique=True))
    count = math.prod(pool.extent(a) for a in over)
    combine = draw(st.sampled_from(("max", "min") if x.dtype is bool_ else ("sum", "sum", "max", "min", "prod")))
    if any(k.axes[a] == 0 for a in over) and x.dtype.is_float and combine in ("max", "min"):
        return                                             # infinities: nothing after them is moderate
    largest = {"sum": size * max(count, 1), "prod": 1e9 if x.dtype.is_float else 8}.get(combine, size)
    exact &= combine in ("max", "min") or x.dtype.is_integer
    if draw(st.booleans()):
        pool.add(k.reduce(combine, x, over), largest, exact)
    else:
        pool.add(k.scan(combine, x, over[0]), largest, exact)


def _contraction(draw, k: KernelBuilder, pool: _Pool) -> None:
    """A product that is only ever summed: what the back ends take for a matmul."""
    x, size, _ = pool.pick(lambda v, _: v.dtype.is_float) or (None, 0, False)
    y, size_y, _ = pool.pick(lambda v, _: x is not None and v.dtype is x.dtype) or (None, 0, False)
    shared = [a for a in k.axes if x is not None and (a in x.axes or a in y.axes)]
    if shared:
        over = draw(st.lists(st.sampled_from(shared), min_size=1, unique=True))
        pool.add(k.reduce("sum", k.mul(x, y), over), size * size_y * math.prod(max(pool.extent(a), 1) for a in over),
                 False)


def _store(draw, k: KernelBuilder, pool: _Pool, number: int) -> None:
    value, _, _ = draw(st.sampled_from(pool.known[-4:]))   # late ones: the rest is what they are made of
    place = pool.pick(lambda v, exact: exact and v.dtype is int64) if draw(st.integers(0, 4)) == 0 else None
    if place is not None and value.dtype.is_integer:
        k.store(f"y{number}", (5,), (place[0],), value, mode="add")
        return
    axes = draw(st.permutations(value.axes))
    gap = draw(st.sampled_from((0, 0, 0, 1)))              # a store that is shifted: the last places are dropped
    k.store(f"y{number}", [k.axes[a] for a in axes], [k.axis(a) + gap for a in axes], value)


@st.composite
def random_kernels(draw, symbolic: bool = True):
    """Kernels of one to three axes, some of symbolic size ("M", "N"), with up to four inputs and a dozen values."""
    extents = st.sampled_from((1, 2, 3, 5, 7, 17, 0))
    axes = {a: draw(extents) for a in "ijk"[: draw(st.integers(1, 3))]}
    if symbolic and draw(st.integers(0, 3)) == 0:
        axes["i"] = expr.symbol(draw(st.sampled_from("MN")), 1)
    k = KernelBuilder("random", axes)
    pool = _Pool(draw, k)
    for n in range(draw(st.integers(1, 4))):
        _load(draw, k, pool, n)
    steps = st.sampled_from((_pointwise,) * 6 + (_reduction, _contraction))
    for _ in range(draw(st.integers(1, 9))):
        draw(steps)(draw, k, pool)
    for n in range(draw(st.integers(1, 3))):
        _store(draw, k, pool, n)
    return k.build()
