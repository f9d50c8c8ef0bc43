"""Gradients of nodes with regions, and of the markers that a gradient passes through or stops at.

A branch is computed again by the branch of its gradient. A loop's gradient runs over its turns backwards, from the
carried values that the loop has stacked on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..ir.errors import GradientError
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.types import TensorType, int64
from .flow import dependents

if TYPE_CHECKING:
    from .autodiff import GradientWriter

Cotangents = Sequence["Value | None"]
Rule = Callable[["GradientWriter", Node, Cotangents, "list[bool]"], Cotangents]


def no_derivative(node: Node, message: str) -> GradientError:
    """The error, with the user's line."""
    error = GradientError(message)
    error.at(str(node.loc) if node.loc is not None else None)
    return error


def scatter(positions: Sequence[int], values: Sequence[Value], count: int) -> list[Value | None]:
    """A list with the values at their positions, None elsewhere."""
    out: list[Value | None] = [None] * count
    for i, v in zip(positions, values):
        out[i] = v
    return out


# ---- markers ---------------------------------------------------------------------------------------------------------


def _pull_barrier(writer: GradientWriter, node: Node, found: Cotangents, wanted: list[bool]) -> Cotangents:
    return found


def _pull_custom(writer: GradientWriter, node: Node, found: Cotangents, wanted: list[bool]) -> Cotangents:
    backward, count = node.attrs["backward"], node.attrs["count"]
    given = [F.zeros_like(r) if g is None else g for r, g in zip(node.results, found)]
    start, stop = count, count + len(backward.outputs)
    gradients = writer.inline(backward, [*given, *node.operands[stop:]])
    return scatter(range(start, stop), gradients, len(node.operands))


# ---- branches --------------------------------------------------------------------------------------------------------


def _pull_cond(writer: GradientWriter, node: Node, found: Cotangents, wanted: list[bool]) -> Cotangents:
    given = [i for i, g in enumerate(found) if g is not None]
    wrt = [i - 1 for i, want in enumerate(wanted) if want]
    branches = {k: writer.region_gradient(node.attrs[k], given, wrt) for k in ("then", "otherwise")}
    types = [node.operands[1 + i].type for i in wrt]
    operands = [*node.operands, *(g for g in found if g is not None)]
    return scatter([1 + i for i in wrt], writer.append(F.cond, operands, branches, types).results, len(wanted))


def _pull_while(writer: GradientWriter, node: Node, found: Cotangents, wanted: list[bool]) -> Cotangents:
    raise no_derivative(node, "while_loop has no reverse derivative, as the number of its turns is not known; use "
                              "fori_loop or scan, with where(done, x, step(x)) to stop early")


# ---- loops -----------------------------------------------------------------------------------------------------------


def with_states(operands: Sequence[Value], attrs: dict[str, Any], types: Sequence[TensorType]) -> tuple | None:
    """The operands, attributes and types of the loop that also stacks its carried values as they are before each turn.

    None where the number of turns is known neither from a sequence nor from the first operand.
    """
    body, n, scanned = attrs["body"], attrs["carried"], attrs["scanned"]
    length = operands[1 + n].shape[0] if scanned else number_of(operands[0])
    if length is None:
        return None
    inputs, start = list(body.inputs), 1 + n
    # the positions are the sequence that says how many elements are stacked
    if not scanned:
        operands = [*operands[:start], F.iota(size=length), *operands[start:]]
        inputs.insert(start, Value(TensorType((), int64), None, start, _fresh("position", inputs)))
    body = Graph(body.name, tuple(inputs), body.nodes, (*body.outputs, *body.inputs[1:start]), body.notes)
    states = [TensorType((length, *t.shape), t.dtype, t.device) for t in types[:n]]
    return operands, {**attrs, "body": body, "scanned": max(scanned, 1)}, [*types, *states]


def _fresh(name: str, among: Sequence[Value]) -> str:
    return name if all(v.name != name for v in among) else _fresh(name + "_", among)


def number_of(v: Value) -> Dim | None:
    """The size that a 0-d integer value is, if it is a constant or a symbolic size."""
    if v.node is not None and v.node.op is F.size:
        return v.node.attrs["dim"]
    return v.literal


def _pull_loop(writer: GradientWriter, node: Node, found: Cotangents, wanted: list[bool]) -> Cotangents:
    states = writer.states.get(node)
    if states is None:
        raise no_derivative(node,
                            "the gradient of a loop needs the number of its turns: pass a Python int or a size, or "
                            "loop over "
                                  "a sequence")
    body, n, scanned, reverse = (node.attrs[k] for k in ("body", "carried", "scanned", "reverse"))
    carried = active(body, 1, n, wanted)
    sequences = [i for i in range(1 + n, 1 + n + scanned) if wanted[i]]
    invariants = [i for i in range(1 + n + scanned, len(wanted)) if wanted[i]]
    given = [i for i in range(n, len(found)) if found[i] is not None]
    inner = writer.region_gradient(body, [*carried, *given], [*(1 + i for i in carried), *sequences, *invariants])
    elements = [*node.operands[1 + n:1 + n + scanned], *states, *(found[i] for i in given)]
    start = [found[i] if found[i] is not None else F.zeros_like(node.results[i]) for i in carried]
    sums = [F.zeros_like(node.operands[i]) for i in invariants]
    operands = [node.operands[0], *start, *sums, *elements, *node.operands[1 + n + scanned:]]
    attrs = {"body": _reverse_body(writer, body, inner, (n, scanned), carried, given, invariants),
             "carried": len(start) + len(sums), "scanned": len(elements), "reverse": not reverse}
    types = [*(node.operands[i].type for i in (*(1 + i for i in carried), *invariants, *sequences))]
    return scatter([*(1 + i for i in carried), *invariants, *sequences], writer.loop(operands, attrs, types),
                   len(wanted))


def active(body: Graph, first: int, n: int, wanted: list[bool]) -> list[int]:
    """Which of the `n` carried values, the inputs from `first` on, depend on what is differentiated, in the first turn
    or a later one.
    """
    start = {body.inputs[i] for i, want in enumerate(wanted) if want}
    while True:
        flowing = dependents(body.nodes, start)
        more = {v for v, out in zip(body.inputs[first:first + n], body.outputs) if out in flowing} - start
        if not more:
            return [i for i in range(n) if body.inputs[first + i] in start]
        start |= more


def _reverse_body(writer: GradientWriter, body: Graph, inner: Graph, counts: tuple[int, int], carried: Sequence[int],
                  given: Sequence[int], invariants: Sequence[int]) -> Graph:
    """One turn backwards: (turn, cotangents carried, sums, elements of sequences, states and cotangents,
    invariants).
    """
    n, scanned = counts
    w = writer.region(inner.name)
    with interpreting(w):
        turn = w.input(body.inputs[0].type, "turn")
        cotangents = [w.input(body.inputs[1 + i].type, f"cotangent{i}") for i in carried]
        sums = [w.input(body.inputs[i].type, f"sum{i}") for i in invariants]
        elements = [w.input(v.type, v.name) for v in body.inputs[1 + n:1 + n + scanned]]
        states = [w.input(v.type, v.name) for v in body.inputs[1:1 + n]]
        outer = [w.input(body.outputs[i].type, f"cotangent{i}") for i in given]
        rest = [w.input(v.type, v.name) for v in body.inputs[1 + n + scanned:]]
        gradients = w.inline(inner, [turn, *states, *elements, *rest, *cotangents, *outer])
        first, last = len(carried), len(gradients) - len(invariants)
        added = [F.add(s, g) for s, g in zip(sums, gradients[last:])]
        return w.build([*gradients[:first], *added, *gradients[first:last]])


PULL: dict[str, Rule] = {"barrier": _pull_barrier, "custom_vjp": _pull_custom, "cond": _pull_cond,
                         "while_loop": _pull_while, "loop": _pull_loop}
