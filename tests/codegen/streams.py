"""Kernels that stream, as fusion makes them of attention and its gradient: what the tests of GPU schedules share."""

from __future__ import annotations

import math
from typing import Any

from braze.ir.expr import Dim, floordiv
from braze.ir.kernel import Kernel, Value
from braze.ir.types import dtype
from kernel_zoo import Zoo


class Streams(Zoo):
    """A builder on axes b(atch), h(ead), q(uery), k(ey), d(epth of keys), e (depth of values); 16-bit arrays are
    widened when they are read, and results rounded when they are written.
    """

    def __init__(self, name: str, sizes: dict[str, Dim], order: str, d: str):
        super().__init__(name, {a: sizes[a] for a in order})
        self.d = dtype(d)
        self.wide = dtype("f32") if self.d.bits == 16 else self.d

    def operand(self, name: str, axes: str, heads: int = 1) -> Value:
        """name[axes], each of its heads serving so many."""
        shape: list[Any] = [self.axes[a] for a in axes]
        index: list[Any] = [self.axis(a) for a in axes]
        if heads > 1:
            shape[1], index[1] = floordiv(shape[1], heads), floordiv(index[1], heads)
        return self.cast(self.load(name, shape, self.d, index), self.wide)

    def result(self, name: str, axes: str, x: Value) -> None:
        """name[axes] = x, rounded."""
        self.write(name, axes, self.cast(x, self.d))

    def scores(self, queries: Value, keys: Value, causal: Dim | None) -> Value:
        """Scaled products of queries and keys; query i sees the keys up to i + causal."""
        x = self.mul(self.reduce("sum", self.mul(queries, keys), "d"), 1 / math.sqrt(int(self.axes["d"])))
        if causal is None:
            return x
        seen = self.ge(self.index(self.axis("q") + causal), self.index(self.axis("k")))
        return self.select(seen, x, -math.inf)


def sizes_of(b: Dim, h: Dim, l: Dim, m: Dim, d: int, e: int) -> dict[str, Dim]:
    """Extents by axis."""
    return {"b": b, "h": h, "q": l, "k": m, "d": d, "e": e}


def attention(b, h, l, m, d, e, of="f32", causal=None, heads=1, keeps=False, mask="", bias="", window=0) -> Kernel:
    """softmax(scores) values; `keeps` stores the maximum and the sum of each row too, `mask` and `bias` are axes.

    With a `window`, a query sees so many keys up to its own, said by differences of positions.
    """
    k = Streams("attention", sizes_of(b, h, l, m, d, e), "bhqked", of)
    x = k.scores(k.operand("query", "bhqd"), k.operand("key", "bhkd", heads), causal)
    x = k.add(x, k.operand("bias", bias)) if bias else x
    x = k.select(k.read("mask", mask, "b1"), x, -math.inf) if mask else x
    if window:
        back = k.sub(k.index(k.axis("q")), k.index(k.axis("k")))
        x = k.select(k.and_(k.ge(back, 0), k.lt(back, window)), x, -math.inf)
    peak = k.reduce("max", x, "k")
    weights = k.exp(k.sub(x, peak))
    norm = k.reduce("sum", weights, "k")
    k.result("out", "bhqe", k.reduce("sum", k.mul(k.div(weights, norm), k.operand("value", "bhke", heads)), "k"))
    if keeps:
        k.write("peak", "bhq", peak)
        k.write("norm", "bhq", norm)
    return k.build()


def gradient(b, h, l, m, d, e, towards: str, of="f32", causal=None) -> Kernel:
    """The gradients of attention towards keys and values ("kv"), or queries ("q"), from what the forward pass kept."""
    rows, stream = ("k", "q") if towards == "kv" else ("q", "k")
    k = Streams(f"gradient_{towards}", sizes_of(b, h, l, m, d, e), f"bh{rows}{stream}ed", of)
    queries, keys = k.operand("query", "bhqd"), k.operand("key", "bhkd")
    given, values = k.operand("given", "bhqe"), k.operand("value", "bhke")
    x = k.scores(queries, keys, causal)
    weights = k.div(k.exp(k.sub(x, k.read("peak", "bhq", k.wide))), k.read("norm", "bhq", k.wide))
    change = k.sub(k.reduce("sum", k.mul(given, values), "e"), k.read("delta", "bhq", k.wide))
    slope = k.mul(k.mul(weights, change), 1 / math.sqrt(d))
    if towards == "kv":
        k.add_axis("f", e)
        k.add_axis("g", d)
        k.result("to_value", "bhkf", k.reduce("sum", k.mul(weights, k.operand("given", "bhqf")), "q"))
        k.result("to_key", "bhkg", k.reduce("sum", k.mul(slope, k.operand("query", "bhqg")), "q"))
    else:
        k.add_axis("g", d)
        k.result("to_query", "bhqg", k.reduce("sum", k.mul(slope, k.operand("key", "bhkg")), "k"))
    return k.build()
