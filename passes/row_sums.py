"""Row sums of a product's gradient, taken from its result: what the gradient of a softmax asks for.

For o = w @ v with the cotangent g, the gradient of what makes the weights needs the sum over j of (g @ v^T)_ij w_ij,
for each row i. That is the sum over c of g_ic o_ic (Dao et al. 2022, appendix B): as many terms as the result has, all
of which are in memory. Where nobody asks for the result (but for w^T @ g, the gradient of v), it is made. Factors of a
row may stand beside. The terms are associated anew, as in a contraction; where weights and products are rounded to 16
bits on the way, the sum is of what was not, and of the rounded result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..ir import expr
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.types import DType
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .walks import usual

Shape = Sequence[Dim]
_View = tuple[Value, tuple[int, ...]]


class _Term(NamedTuple):
    """A number times the product of `above`, divided by `below`; ("where", condition) chooses 0."""

    above: Counter
    below: Counter
    number: float


class _Shorter(NamedTuple):
    """The sum is that of g times `product` (its result, or both its matrices) along the last axis, times and divided
    by factors of a row.
    """

    g: Value
    product: tuple[Value, ...]
    term: _Term


def shorten_row_sums(graph: Graph) -> Graph:
    """The graph with such sums taken from the results of products. Gradients have been expanded."""
    found = dict(_found(graph))
    inside = any(n.regions for n in graph.nodes)
    if not found and not inside:
        return graph
    builder = PassBuilder(graph.name)
    now: dict[Value, Value] = {}

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        now.update(zip(node.operands, operands))
        if node in found:
            builder.loc = node.loc
            results: Sequence[Value] = (_written(found[node], node, now),)
        else:
            results = copy_node(builder, node, operands, map_regions(node, shorten_row_sums) if node.regions else None)
        now.update(zip(node.results, results))
        return results

    with interpreting(builder):
        inputs = copy_inputs(graph, builder)
        now.update(zip(graph.inputs, inputs))
        outputs = inline(graph, inputs, emit)
    return dce(builder.build(outputs))


def _written(found: _Shorter, node: Node, now: Mapping[Value, Value]) -> Value:
    result, *others = (now[v] for v in found.product)
    for other in others:
        result = F.matmul(result, _turned(other))
    dtype = node.results[0].dtype
    x = F.sum(_as(now[found.g], dtype) * _as(result, dtype), axes=(len(found.g.shape) - 1,))
    shape = node.results[0].shape
    for v in found.term.above.elements():
        x = x * _as(F.reshape(now[v], shape=shape), dtype)
    for v in found.term.below.elements():
        x = x / _as(F.reshape(now[v], shape=shape), dtype)
    number = found.term.number
    return x if number == 1 else -x if number == -1 else x * number


def _as(v: Value, dtype: DType) -> Value:
    return v if v.dtype is dtype else F.cast(v, dtype=dtype)


def _found(graph: Graph) -> list[tuple[Node, _Shorter]]:
    products: dict[_View, list[Node]] = {}                 # by what they weigh
    out = []
    for n in graph.nodes:
        if n.op is F.sum and n.attrs["axes"] == (len(n.operands[0].shape) - 1,) and products:
            shorter = _shorter(n, products)
            if shorter is not None:
                out.append((n, shorter))
        elif n.op is F.matmul and n.results[0].dtype.kind == "f":
            products.setdefault(_view(n.operands[1]), []).append(n)
    return out


def _shorter(n: Node, products: Mapping[_View, list[Node]]) -> _Shorter | None:
    """The sum in terms of a product's result."""
    shape = n.operands[0].shape
    term = _factors(n.operands[0])
    for v in [v for v in term.above if isinstance(v, Value) and v.node is not None and v.node.op is F.matmul]:
        g, other = v.node.operands                         # type: ignore[union-attr]
        if not usual(expr.product(g.shape)) < usual(expr.product(shape)):
            continue
        for product, weights in _weighing(g, other, products):
            if _alike(weights.shape, shape):
                rest = _quotient(term, v, _factors(weights))
                if rest is not None and all(_is_of_a_row(x, shape) for x in (*rest.above, *rest.below)):
                    return _Shorter(g, product, rest)
    return None


def _weighing(g: Value, other: Value,
              products: Mapping[_View, list[Node]]) -> Iterator[tuple[tuple[Value, ...], Value]]:
    """Products that weigh what `other` is the transpose of, with their weights: those that are made, then one that may
    be made, by the weights that g is multiplied with.
    """
    for n in products.get(_transposed(_view(other)), ()):
        if _alike(n.results[0].shape, g.shape):
            yield (n.results[0],), n.operands[0]
    for n in products.get(_view(g), ()):
        weights, axes = _view(n.operands[0])
        if axes == _transposed((weights, tuple(range(len(axes)))))[1] and _alike(other.shape[:-2], g.shape[:-2]):
            yield (weights, other), weights


def _quotient(term: _Term, towards: Value, weights: _Term) -> _Term | None:
    """The term without (g @ v^T) and the weights; None if they are not its factors."""
    above, below = Counter(term.above), Counter(term.below)
    above.subtract(Counter({towards: 1}) + weights.above)
    below.subtract(weights.below)
    if min((*above.values(), *below.values()), default=0) < 0:
        return None
    return _Term(+above, +below, term.number / weights.number) if weights.number else None


def _factors(v: Value) -> _Term:
    """v as a product."""
    v = _unrounded(v)
    n, shape = v.node, v.shape
    if n is None or n.op not in (F.mul, F.div, F.neg, F.where):
        return _alone(v)
    if n.op is F.neg:
        term = _factors(n.operands[0])
        return term._replace(number=-term.number)
    if n.op is F.where:
        condition, x, y = n.operands
        if y.literal != 0 or y.literal is None or not _alike(x.shape, shape):
            return _alone(v)
        inner = _factors(x)
        return inner._replace(above=inner.above + Counter({("where", condition): 1}))
    left, right = (_factors(x) if _alike(x.shape, shape) else _alone(x) for x in n.operands)
    if n.op is F.mul:
        return _Term(left.above + right.above, left.below + right.below, left.number * right.number)
    if right.number == 0:
        return _alone(v)
    return _Term(left.above + right.below, left.below + right.above, left.number / right.number)


def _alone(v: Value) -> _Term:
    if v.literal is not None and v.dtype.is_float and math.isfinite(v.literal):
        return _Term(Counter(), Counter(), float(v.literal))
    return _Term(Counter({v: 1}), Counter(), 1.0)


def _unrounded(v: Value) -> Value:
    """What v is a rounded or widened form of."""
    while v.node is not None and v.node.op is F.cast and v.dtype.is_float and v.node.operands[0].dtype.is_float:
        v = v.node.operands[0]
    return v


def _view(v: Value) -> _View:
    """v as a value with its dimensions in an order."""
    n = v.node
    if n is not None and n.op is F.permute:
        return n.operands[0], tuple(n.attrs["axes"])
    return v, tuple(range(len(v.shape)))


def _transposed(view: _View) -> _View:
    """Its last two dimensions exchanged."""
    v, axes = view
    return v, (*axes[:-2], axes[-1], axes[-2])


def _turned(v: Value) -> Value:
    """v with its last two dimensions exchanged."""
    base, axes = _transposed(_view(v))
    return base if axes == tuple(range(len(axes))) else F.permute(base, axes=axes)


def _is_of_a_row(v: object, shape: Shape) -> bool:
    """Is it one number for each row of this shape?"""
    return isinstance(v, Value) and _alike(v.shape, (*shape[:-1], 1))


def _alike(a: Shape, b: Shape) -> bool:
    """May they be the same? Where sizes differ as expressions, those that an operation needs to be equal are."""
    return len(a) == len(b) and all(x == y or not isinstance(x, int) and not isinstance(y, int) for x, y in zip(a, b))
