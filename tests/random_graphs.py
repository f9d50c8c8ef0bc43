"""Random graphs for property tests: `random_graph()` draws a graph and arrays for its inputs.

A node is kept only if its values are tame (finite, not large), and what jumps (comparisons, rounding, casts to
integers, sorting) is applied only to values that carry no rounding error: so two right implementations agree within a
small tolerance on every graph drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from braze.ir.build import GraphBuilder
from braze.ir.graph import Graph, Value
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, bool_, float32, int32, int64
from hypothesis import strategies as st

SIZES = (1, 2, 3, 5, 8, 17)
LARGE = 1e4

SMOOTH = ("neg", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "sin", "cos", "tanh", "sigmoid", "erf",
          "atan", "abs", "relu", "sinh", "asinh")
JUMPING = ("floor", "ceil", "trunc", "round", "sign")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "atan2", "copysign")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
INTEGER = ("add", "sub", "mul", "maximum", "minimum", "floor_divide", "remainder", "bitwise_and", "bitwise_or",
           "bitwise_xor")
LOGIC = ("logical_and", "logical_or", "logical_xor")
REDUCTIONS = ("sum", "max", "min", "mean")


@dataclass
class Drawn:
    """A value of the graph, its array, and whether it is free of rounding errors."""

    value: Value
    array: Any
    exact: bool


@st.composite
def random_graph(draw: Any, nodes: int = 12, dtypes: tuple = (float32,)) -> tuple[Graph, list[Any]]:
    """A graph of at most about `nodes` steps over float inputs of the dtypes, small integers and bools; and its
    inputs.
    """
    state = _State(draw, dtypes)
    with interpreting(state.builder):
        for _ in range(draw(st.integers(1, 3))):
            state.input()
        for _ in range(draw(st.integers(1, nodes))):
            draw(st.sampled_from(_STEPS))(state)
    made = [d for d in state.drawn if d.value.node is not None]
    outputs = [made[-1]] if made else [state.drawn[0]]
    outputs += draw(st.lists(st.sampled_from(state.drawn), max_size=2))
    return state.builder.build([d.value for d in outputs]), state.arrays


class _State:
    """The graph while it grows."""

    def __init__(self, draw: Any, dtypes: tuple):
        self.draw, self.dtypes = draw, dtypes
        self.builder = GraphBuilder("random")
        self.drawn: list[Drawn] = []
        self.arrays: list[Any] = []

    def input(self) -> None:
        d = self.draw(st.sampled_from((*self.dtypes * 3, int32, int64, bool_)))
        shape = tuple(self.draw(st.lists(st.sampled_from(SIZES), max_size=3)))
        rng = np.random.default_rng(self.draw(st.integers(0, 1000)))
        array = (rng.integers(0, 2, shape) if d.kind == "b" else rng.integers(-9, 10, shape) if d.is_integer
                 else np.round(rng.uniform(-2, 2, shape), 2)).astype(d.numpy)
        value = self.builder.input(TensorType(shape, d), f"x{len(self.arrays)}")
        self.arrays.append(array)
        self.drawn.append(Drawn(value, array, True))

    def pick(self, kinds: str, exact: bool = False) -> Drawn | None:
        fit = [d for d in self.drawn if d.value.dtype.kind in kinds and (d.exact or not exact)]
        return self.draw(st.sampled_from(fit)) if fit else None

    def pair(self, kinds: str, exact: bool = False) -> tuple[Drawn, Drawn] | None:
        """Two values of one dtype that broadcast."""
        x = self.pick(kinds, exact)
        if x is None:
            return None
        fit = [d for d in self.drawn if d.value.dtype is x.value.dtype and (d.exact or not exact)
               and _broadcast(d.array, x.array)]
        return x, self.draw(st.sampled_from(fit))

    def keep(self, value: Value, of: list[Drawn], exact: bool) -> None:
        """The value joins if its numbers are tame; what was built for it otherwise is never used."""
        got = self.builder.build([value]).eval(*self.arrays)[0]
        wide = np.abs(got.astype(np.float64))
        if got.size > 4000 or not np.all(np.isfinite(wide)) or (got.size and np.max(wide) > LARGE):
            return
        self.drawn.append(Drawn(value, got, exact and all(d.exact for d in of)))


def _broadcast(a: Any, b: Any) -> bool:
    try:
        return len(np.broadcast_shapes(a.shape, b.shape)) <= 4
    except ValueError:
        return False


def _unary(s: _State) -> None:
    x = s.pick("f")
    if x is not None:
        s.keep(F[s.draw(st.sampled_from(SMOOTH))](x.value), [x], False)


def _jump(s: _State) -> None:
    x = s.pick("f", exact=True)
    if x is not None:
        s.keep(F[s.draw(st.sampled_from(JUMPING))](x.value), [x], True)


def _binary(s: _State) -> None:
    found = s.pair("f")
    if found is not None:
        s.keep(F[s.draw(st.sampled_from(BINARY))](found[0].value, found[1].value), list(found), False)


def _with_number(s: _State) -> None:
    x = s.pick("f")
    if x is not None:
        number = s.draw(st.sampled_from((0.5, -1.5, 2.0, 3.0)))
        s.keep(F[s.draw(st.sampled_from(("add", "mul", "maximum")))](x.value, number), [x], False)


def _integer(s: _State) -> None:
    found = s.pair("i")
    if found is not None:
        s.keep(F[s.draw(st.sampled_from(INTEGER))](found[0].value, found[1].value), list(found), True)


def _logic(s: _State) -> None:
    found = s.pair("b")
    if found is not None:
        s.keep(F[s.draw(st.sampled_from(LOGIC))](found[0].value, found[1].value), list(found), True)


def _compare(s: _State) -> None:
    found = s.pair("fi", exact=True)
    if found is not None:
        s.keep(F[s.draw(st.sampled_from(COMPARISONS))](found[0].value, found[1].value), list(found), True)


def _where(s: _State) -> None:
    c, found = s.pick("b"), s.pair("fi")
    if c is not None and found is not None:
        try:
            np.broadcast_shapes(c.array.shape, found[0].array.shape, found[1].array.shape)
        except ValueError:
            return
        s.keep(F.where(c.value, found[0].value, found[1].value), [c, *found], True)


def _cast(s: _State) -> None:
    x = s.pick("ib")
    if x is not None:
        s.keep(F.cast(x.value, dtype=s.draw(st.sampled_from((*s.dtypes, int32, int64)))), [x], True)


def _axis(s: _State, x: Drawn) -> int:
    return s.draw(st.integers(0, x.array.ndim - 1))


def _reduce(s: _State) -> None:
    x = s.pick("f")
    if x is None or not x.array.ndim:
        return
    axes = tuple(sorted(s.draw(st.sets(st.integers(0, x.array.ndim - 1), min_size=1))))
    name = s.draw(st.sampled_from(REDUCTIONS))
    s.keep(F[name](x.value, axes=axes), [x], name in ("max", "min"))


def _scan(s: _State) -> None:
    x = s.pick("f")
    if x is not None and x.array.ndim:
        name = s.draw(st.sampled_from(("cumsum", "cummax", "cummin")))
        s.keep(F[name](x.value, axis=_axis(s, x), reverse=s.draw(st.booleans())), [x], name != "cumsum")


def _softmax(s: _State) -> None:
    x = s.pick("f")
    if x is not None and x.array.ndim:
        s.keep(F.softmax(x.value, _axis(s, x)), [x], False)


def _reshape(s: _State) -> None:
    x = s.pick("fib")
    if x is not None:
        n = x.array.size
        first = s.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
        s.keep(F.reshape(x.value, shape=(first, n // first)), [x], True)


def _permute(s: _State) -> None:
    x = s.pick("fib")
    if x is not None:
        s.keep(F.permute(x.value, axes=tuple(s.draw(st.permutations(range(x.array.ndim))))), [x], True)


def _broadcast_to(s: _State) -> None:
    x = s.pick("fib")
    if x is None:
        return
    shape = tuple(s.draw(st.sampled_from((2, 3))) if d == 1 else d for d in x.array.shape)
    extra = s.draw(st.sampled_from(((), (2,))))
    s.keep(F.broadcast_to(x.value, shape=(*extra, *shape)), [x], True)


def _slice(s: _State) -> None:
    x = s.pick("fib")
    if x is None:
        return
    start, shape, step = [], [], []
    for d in x.array.shape:
        a = s.draw(st.integers(0, d - 1))
        k = s.draw(st.sampled_from((1, 2, -1)))
        room = (d - 1 - a) // k + 1 if k > 0 else a + 1
        start.append(a)
        step.append(k)
        shape.append(s.draw(st.integers(1, room)))
    s.keep(F.slice(x.value, start=tuple(start), shape=tuple(shape), step=tuple(step)), [x], True)


def _pad(s: _State) -> None:
    x = s.pick("fi")
    if x is not None:
        low = tuple(s.draw(st.integers(0, 2)) for _ in x.array.shape)
        high = tuple(s.draw(st.integers(0, 2)) for _ in x.array.shape)
        s.keep(F.pad(x.value, low=low, high=high, value=1), [x], True)


def _concat(s: _State) -> None:
    x = s.pick("fi")
    if x is not None and x.array.ndim:
        fit = [d for d in s.drawn if d.value.type == x.value.type]
        other = s.draw(st.sampled_from(fit))
        s.keep(F.concat(x.value, other.value, axis=_axis(s, x)), [x, other], True)


def _matmul(s: _State) -> None:
    x = s.pick("f")
    if x is not None and x.array.ndim >= 2:
        other = F.permute(x.value, axes=(*range(x.array.ndim - 2), x.array.ndim - 1, x.array.ndim - 2))
        s.keep(F.matmul(x.value, other), [x], False)


def _gather(s: _State) -> None:
    x = s.pick("fi")
    if x is None or not x.array.ndim:
        return
    axis = _axis(s, x)
    index = F.iota(size=s.draw(st.integers(1, 4)))
    s.keep(F.gather(x.value, F.remainder(index * 3 + 1, x.array.shape[axis]), axes=(axis,)), [x], True)


def _arg(s: _State) -> None:
    x = s.pick("fi", exact=True)
    if x is not None and x.array.ndim:
        s.keep(F[s.draw(st.sampled_from(("argmax", "argmin")))](x.value, axes=(_axis(s, x),)), [x], True)


_STEPS = (_unary, _unary, _jump, _binary, _binary, _with_number, _integer, _logic, _compare, _where, _cast, _reduce,
          _reduce, _scan, _softmax, _reshape, _permute, _broadcast_to, _slice, _pad, _concat, _matmul, _gather, _arg)
