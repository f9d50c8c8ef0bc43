"""Forward-mode differentiation: each node is followed by the node of its tangent. Regions get tangents of their own.

A tangent that is None is zero and costs nothing; nothing is written for what does not depend on the inputs in question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from .autodiff import GradientWriter, expand_gradients
from .copying import copy_inputs, copy_node
from .dce import dce
from .region_gradients import active, no_derivative

Tangents = Sequence["Value | None"]


def jvp(graph: Graph, wrt: Sequence[int]) -> Graph:
    """The graph from the inputs and a tangent for each of the inputs `wrt` to the outputs and a tangent for each
    inexact output.
    """
    inexact = [i for i, v in enumerate(graph.outputs) if v.dtype.is_inexact]
    return _tangents_of(expand_gradients(graph), wrt, inexact, GradientWriter(f"{graph.name}_tangent"))


def _tangents_of(graph: Graph, wrt: Sequence[int], outputs: Sequence[int], writer: GradientWriter) -> Graph:
    """The same with tangents for some outputs only."""
    with interpreting(writer):
        inputs = copy_inputs(graph, writer)
        values = dict(zip(graph.inputs, inputs))
        tangents: dict[Value, Value] = {}
        for i in wrt:
            tangents[inputs[i]] = writer.input(inputs[i].type, f"{inputs[i].name}_tangent", "tangent")
        for node in graph.nodes:
            operands = [values[v] for v in node.operands]
            results, pushed = _push(writer, node, operands, [tangents.get(v) for v in operands])
            values.update(zip(node.results, results))
            tangents.update((r, t) for r, t in zip(results, pushed) if t is not None)
        ends = [values[v] for v in graph.outputs]
        return dce(writer.build([*ends, *(tangents[ends[i]] if ends[i] in tangents else F.zeros_like(ends[i])
                                          for i in outputs)]))


def _push(writer: GradientWriter, node: Node, operands: list[Value], tangents: Tangents) -> tuple[Sequence[Value],
                                                                                                  Tangents]:
    """The node's copy and its results' tangents."""
    if all(t is None for t in tangents):
        return (results := copy_node(writer, node, operands)), [None] * len(results)
    if node.op.name in _PUSH:
        writer.loc = node.loc
        return _PUSH[node.op.name](writer, node, operands, tangents)
    results = copy_node(writer, node, operands)
    if not any(r.dtype.is_inexact for r in results):
        return results, [None] * len(results)
    if len(results) > 1:
        return results, node.op.pushforward(tangents, results, operands, node.attrs)
    return results, [node.op.pushforward(tangents, results[0], operands, node.attrs)]


# ---- regions ---------------------------------------------------------------------------------------------------------


def _push_barrier(writer: GradientWriter, node: Node, operands: list[Value],
                  tangents: Tangents) -> tuple[Sequence[Value], Tangents]:
    return copy_node(writer, node, operands), tangents


def _push_custom(writer: GradientWriter, node: Node, operands: list[Value],
                 tangents: Tangents) -> tuple[Sequence[Value], Tangents]:
    raise no_derivative(node,
                        "a function with a backward of its own has no forward derivative; use grad instead of jvp")


def _push_cond(writer: GradientWriter, node: Node, operands: list[Value], tangents: Tangents) -> tuple[Sequence[Value],
                                                                                                       Tangents]:
    wrt = [i - 1 for i, t in enumerate(tangents) if t is not None]
    outputs = [i for i, r in enumerate(node.results) if r.dtype.is_inexact]
    branches = {k: _tangents_of(node.attrs[k], wrt, outputs, writer.region(node.attrs[k].name))
                for k in ("then", "otherwise")}
    types = [r.type for r in node.results] + [node.results[i].type for i in outputs]
    results = writer.append(F.cond, [*operands, *(t for t in tangents if t is not None)], branches, types).results
    return _paired(results, len(node.results), outputs)


def _paired(results: Sequence[Value], count: int, outputs: Sequence[int]) -> tuple[Sequence[Value], Tangents]:
    """Results followed by tangents of some of them: the results, and a tangent or None for each."""
    found: list[Value | None] = [None] * count
    for i, t in zip(outputs, results[count:]):
        found[i] = t
    return results[:count], found


def _push_loop(writer: GradientWriter, node: Node, operands: list[Value], tangents: Tangents) -> tuple[Sequence[Value],
                                                                                                       Tangents]:
    body, n, m = (node.attrs[k] for k in ("body", "carried", "scanned"))
    moving = active(body, 1, n, [t is not None for t in tangents])
    given = [i for i, t in enumerate(tangents) if t is not None and i > n]
    stacked = [i for i in range(n, len(node.results)) if node.results[i].dtype.is_inexact]
    inner = _tangents_of(body, [*(1 + i for i in moving), *given], [*moving, *stacked], writer.region(body.name))
    sequences = sum(i <= n + m for i in given)
    taken, made = _Weave((1 + n, m), (len(moving), sequences)), _Weave((n,), (len(moving),))
    region = Graph(inner.name, taken.of(inner.inputs, len(body.inputs)), inner.nodes,
                   made.of(inner.outputs, len(body.outputs)), inner.notes)
    start = [_or_zero(tangents[1 + i], operands[1 + i]) for i in moving]
    arguments = taken.of([*operands, *start, *(tangents[i] for i in given)], len(operands))
    types = [r.type for r in (*node.results, *(node.results[i] for i in (*moving, *stacked)))]
    attrs = {**node.attrs, "body": region, "carried": n + len(moving), "scanned": m + sequences}
    results = writer.append(F.loop, arguments, attrs, made.of(types, len(node.results))).results
    return _paired(made.undone(results, len(node.results)), len(node.results), [*moving, *stacked])


def _push_while(writer: GradientWriter, node: Node, operands: list[Value], tangents: Tangents) -> tuple[Sequence[Value],
                                                                                                        Tangents]:
    body, test, n = (node.attrs[k] for k in ("body", "test", "carried"))
    moving = active(body, 0, n, [t is not None for t in tangents])
    given = [i for i, t in enumerate(tangents) if t is not None and i >= n]
    inner = _tangents_of(body, [*moving, *given], moving, writer.region(body.name))
    taken = _Weave((n,), (len(moving),))
    unused = [Value(v.type, None, 0, v.name) for v in inner.inputs[len(body.inputs):]]
    regions = {"test": Graph(test.name, taken.of([*test.inputs, *unused], len(test.inputs)), test.nodes, test.outputs,
                             test.notes),
               "body": Graph(inner.name, taken.of(inner.inputs, len(body.inputs)), inner.nodes, inner.outputs,
                             inner.notes)}
    start = [_or_zero(tangents[i], operands[i]) for i in moving]
    arguments = taken.of([*operands, *start, *(tangents[i] for i in given)], len(operands))
    types = [r.type for r in (*node.results, *(node.results[i] for i in moving))]
    results = writer.append(F.while_loop, arguments, {**regions, "carried": n + len(moving)}, types).results
    return _paired(results, n, moving)


class _Weave:
    """Values and their tangents, group by group: the order in which a loop with tangents takes and gives them.

    `sizes` are those of all groups but the last, `moving` the numbers of tangents in each of them.
    """

    def __init__(self, sizes: tuple[int, ...], moving: tuple[int, ...]):
        self.sizes, self.moving = sizes, moving

    def order(self, count: int, total: int) -> list[int]:
        """Positions in `count` values followed by tangents, woven together."""
        out: list[int] = []
        v, t = 0, count
        for size, moving in zip(self.sizes, self.moving):
            out += [*range(v, v + size), *range(t, t + moving)]
            v, t = v + size, t + moving
        return [*out, *range(v, count), *range(t, total)]

    def of(self, items: Sequence[Any], count: int) -> tuple[Any, ...]:
        """Values, then their tangents, in woven order."""
        return tuple(items[i] for i in self.order(count, len(items)))

    def undone(self, items: Sequence[Any], count: int) -> list[Any]:
        """What is in woven order as values, then their tangents."""
        return [x for _, x in sorted(zip(self.order(count, len(items)), items), key=lambda pair: pair[0])]


def _or_zero(tangent: Value | None, v: Value) -> Value:
    return F.zeros_like(v) if tangent is None else tangent


_PUSH: dict[str, Callable[..., tuple[Sequence[Value], Tangents]]] = {
    "barrier": _push_barrier, "custom_vjp": _push_custom, "cond": _push_cond, "loop": _push_loop,
    "while_loop": _push_while}
