"""Cutting a joint graph into a forward and a backward half: what the forward keeps, and what the backward computes
again.

A minimum cut. Each value that the backward half may need is an edge as wide as its bytes; where the edge is cut, the
value is kept. Before the cut is what runs in the forward half and is not run again (contractions, reductions, draws,
effects), behind it what needs a cotangent. Element by element operations and views in between are computed again where
that is narrower, and so are the products that attention's weights are made of, which are not in memory. Inputs are held
anyway.

A `barrier` on the results and operands of a checkpointed function says: nothing computed between them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..ir import expr
from ..ir.build import GraphBuilder
from ..ir.graph import Graph, Node, Value
from ..ir.ops.namespace import F
from ..ir.types import TensorType
from .copying import copy_node
from .dce import dce
from .pairs import is_short
from .simplify import GRADIENT_MARKERS, strip_markers
from .streaming import never_stored

CHEAP = frozenset({"pointwise", "view", "gather"})       # kinds that are computed again rather than kept
# of a dimension whose size is not known and for which there is no hint
USUAL_SIZE = 256


@dataclass(frozen=True)
class Halves:
    """`forward`: inputs → outputs, then `residuals` values that are kept. `backward`: these, the inputs of the forward
    half at the positions `held`, cotangents → gradients."""

    forward: Graph
    backward: Graph
    residuals: int
    held: tuple[int, ...]


def partition(joint: Graph, outputs: int, hints: Mapping[str, int] | None = None) -> Halves:
    """Cut the joint graph of `differentiate`, whose first `outputs` outputs are those of the forward half.

    `hints` are usual values of symbolic sizes.
    """
    joint = strip_markers(joint, GRADIENT_MARKERS)
    cotangents = sum(v.dtype.is_inexact for v in joint.outputs[:outputs])
    primals, given = joint.inputs[:len(joint.inputs) - cotangents], joint.inputs[len(joint.inputs) - cotangents:]
    late = _computed_from(joint.nodes, given)
    kept = _minimum_cut(joint, outputs, late, hints or {})
    before = [n for n in joint.nodes if not any(r in late for r in n.results)]
    notes = {k: v for k, v in joint.notes.items() if all(k != c.name for c in given)}
    forward = dce(Graph(joint.name.removesuffix("_joint"), primals, tuple(before), (*joint.outputs[:outputs], *kept),
                        notes))
    backward, held = _backward(joint, outputs, kept, primals, given)
    return Halves(strip_markers(forward), strip_markers(backward), len(kept), held)


def _computed_from(nodes: Iterable[Node], start: Iterable[Value]) -> set[Value]:
    """These values and all that depends on them, of any dtype."""
    found = set(start)
    for n in nodes:
        if any(v in found for v in n.operands):
            found.update(n.results)
    return found


def _leading_to(nodes: Sequence[Node], ends: Iterable[Value], stop: Iterable[Value] = ()) -> set[Value]:
    """These values and all that they are computed from, not going past `stop`."""
    found, border = set(ends), frozenset(stop)
    for n in reversed(nodes):
        if any(r in found and r not in border for r in n.results):
            found.update(n.operands)
    return found


def _backward(joint: Graph, outputs: int, kept: Sequence[Value], primals: Sequence[Value],
              given: Sequence[Value]) -> tuple[Graph, tuple[int, ...]]:
    """The graph of the gradients from what is kept, and the inputs that it reads besides."""
    gradients = joint.outputs[outputs:]
    used = _leading_to(joint.nodes, gradients, kept)
    held = tuple(i for i, v in enumerate(primals) if v in used)
    builder = GraphBuilder(f"{joint.name.removesuffix('_joint')}_backward")
    values = {v: builder.input(v.type, f"kept{i}") for i, v in enumerate(kept)}
    for v in (*(primals[i] for i in held), *given):
        values[v] = builder.input(v.type, v.name)
    for n in joint.nodes:
        if any(r in used and r not in values for r in n.results):
            for old, new in zip(n.results, copy_node(builder, n, [values[v] for v in n.operands])):
                values.setdefault(old, new)
    return dce(builder.build([values[v] for v in gradients])), held


# ---- the cut ---------------------------------------------------------------------------------------------------------


def _minimum_cut(joint: Graph, outputs: int, late: set[Value], hints: Mapping[str, int]) -> list[Value]:
    """The values to keep: of equally narrow cuts the last one, which computes the least again (networkx finds the one
    next to the sink).
    """
    import networkx as nx
    from networkx.algorithms.flow import boykov_kolmogorov

    ends = [v for n in joint.nodes if any(r in late for r in n.results) for v in n.operands if v not in late]
    ends += [v for v in joint.outputs[outputs:] if v not in late]
    used = _leading_to(joint.nodes, ends)
    results = frozenset(joint.outputs[:outputs])
    ahead = _leading_to(joint.nodes, results)
    inside, streamed = _checkpointed(joint), never_stored(joint)
    net = nx.DiGraph()
    net.add_nodes_from(("backward", "forward"))
    for v in ends:
        net.add_edge(v, "backward")                      # an edge without a capacity is never cut
    for n in joint.nodes:
        if not any(r in used for r in n.results):
            continue
        for r in n.results:
            must_not = r in inside and n.op.kind != "effect"
            net.add_edge(n, r, **({} if must_not else {"capacity": _width(r, r in results, r in ahead, hints)}))
        for v in n.operands:
            net.add_edge(v, n)
        if n not in streamed and _runs_once(n, inside, ahead):
            net.add_edge("forward", n)
    _, (before, _) = nx.minimum_cut(net, "forward", "backward", flow_func=boykov_kolmogorov)
    return [r for n in joint.nodes if n in before for r in n.results if r in net and r not in before]


def _width(v: Value, is_output: bool, is_ahead: bool, hints: Mapping[str, int]) -> int:
    """What keeping a value costs: its bytes, nothing where the caller gets it, a little more where only the gradient
    wants it.
    """
    return 0 if is_output else 2 * bytes_of(v.type, hints) + (not is_ahead)


def _runs_once(n: Node, inside: set[Value], ahead: set[Value]) -> bool:
    """Must it not run in both halves?"""
    if n.op.kind == "effect":
        return True
    if n.op.kind in CHEAP or n.op is F.barrier or n.results[0] in inside or is_short(n):
        return False
    return any(r in ahead for r in n.results)


def _checkpointed(joint: Graph) -> set[Value]:
    """What lies between the operands of a barrier, on the way from one to another."""
    found: set[Value] = set()
    for n in joint.nodes:
        if n.op is F.barrier:
            found |= (_computed_from(joint.nodes, n.operands) & _leading_to(joint.nodes, n.operands)) - set(n.operands)
    return found


def bytes_of(t: TensorType, hints: Mapping[str, int]) -> int:
    """The bytes of a tensor, for usual values of symbolic sizes."""
    count = expr.product(t.shape)
    known = {name: hints.get(name, USUAL_SIZE) for name in expr.symbols(count)}
    return int(expr.evaluate(count, known)) * t.dtype.itemsize
