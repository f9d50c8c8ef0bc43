"""Removing dead code: nodes that no output needs, and what control flow computes, carries and stacks for nobody.

Effects stay. A graph without dead nodes is returned as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.graph import Graph, Node, Value
from .flow import needed

# the operands and results that stay (positions), the attributes
Trimmed = tuple[list[int], list[int], dict[str, Any]]


def dce(graph: Graph) -> Graph:
    """The graph without dead nodes, in its regions too."""
    live, trimmed = set(graph.outputs), {}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op.kind != "effect" and live.isdisjoint(node.results):
            continue
        kept.append(node)
        change = _trim(node, [r in live for r in node.results]) if node.op.name in _TRIM else None
        if change is None:
            live.update(node.operands)
        else:
            trimmed[node] = change
            live.update(node.operands[i] for i in change[0])
    if len(kept) == len(graph.nodes) and not trimmed:
        return graph
    return _rebuild(graph, kept[::-1], trimmed)


def _rebuild(graph: Graph, nodes: Sequence[Node], trimmed: dict[Node, Trimmed]) -> Graph:
    if not trimmed:
        return Graph(graph.name, graph.inputs, tuple(nodes), graph.outputs, graph.notes)
    moved: dict[Value, Value] = {}
    out = []
    for node in nodes:
        operands = [moved.get(v, v) for v in node.operands]
        if node in trimmed:
            stay, results, attrs = trimmed[node]
            new = Node(node.op, [operands[i] for i in stay], attrs, [node.results[i].type for i in results], node.loc)
            moved.update(zip((node.results[i] for i in results), new.results))
        elif any(a is not b for a, b in zip(operands, node.operands)):
            new = Node(node.op, operands, node.attrs, [r.type for r in node.results], node.loc)
            moved.update(zip(node.results, new.results))
        else:
            new = node
        out.append(new)
    return Graph(graph.name, graph.inputs, tuple(out), tuple(moved.get(v, v) for v in graph.outputs), graph.notes)


def select(graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
    """The graph with some of its inputs and outputs only, its dead nodes removed."""
    kept = tuple(graph.inputs[i] for i in inputs)
    return dce(Graph(graph.name, kept, graph.nodes, tuple(graph.outputs[i] for i in outputs), graph.notes))


# ---- control flow ----------------------------------------------------------------------------------------------------


def _trim(node: Node, live: list[bool]) -> Trimmed | None:
    """What of a node with regions stays, when some of its results are not needed; None: all of it, unchanged."""
    operands, results, attrs = _TRIM[node.op.name](node, live)
    same = len(operands) == len(node.operands) and len(results) == len(node.results)
    return None if same and all(attrs[k] is a for k, a in node.attrs.items()) else (operands, results, attrs)


def _trim_cond(node: Node, live: list[bool]) -> Trimmed:
    results = [i for i, one in enumerate(live) if one]
    branches = [node.attrs["then"], node.attrs["otherwise"]]
    inputs = sorted(set().union(*(needed(b, results) for b in branches)))
    then, otherwise = (_narrow(b, inputs, results) for b in branches)
    return [0, *(1 + i for i in inputs)], results, {"then": then, "otherwise": otherwise}


def _trim_loop(node: Node, live: list[bool]) -> Trimmed:
    body, carried, scanned = node.attrs["body"], node.attrs["carried"], node.attrs["scanned"]
    stacked = [i for i in range(carried, len(live)) if live[i]]
    kept = {i for i in range(carried) if live[i]}
    while True:                              # a carried value that a live one is computed from is live
        inputs = needed(body, [*sorted(kept), *stacked])
        more = kept | {i - 1 for i in inputs if 1 <= i <= carried}
        if more == kept:
            break
        kept = more
    sequences = [i for i in range(1 + carried, 1 + carried + scanned) if i in inputs]
    if not sequences and stacked and scanned and "length" not in body.notes:
        sequences = [1 + carried]            # it says how many elements are stacked
    invariants = [i for i in range(1 + carried + scanned, len(body.inputs)) if i in inputs]
    positions = [0, *(1 + i for i in sorted(kept)), *sequences, *invariants]
    results = [*sorted(kept), *stacked]
    attrs = {**node.attrs, "body": _narrow(body, positions, results), "carried": len(kept), "scanned": len(sequences)}
    return positions, results, attrs


def _trim_while(node: Node, live: list[bool]) -> Trimmed:
    attrs = {**node.attrs, "test": dce(node.attrs["test"]), "body": dce(node.attrs["body"])}
    return list(range(len(node.operands))), list(range(len(live))), attrs


def _narrow(region: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
    whole = len(inputs) == len(region.inputs) and len(outputs) == len(region.outputs)
    return dce(region) if whole else select(region, inputs, outputs)


_TRIM: dict[str, Callable[[Node, list[bool]], Trimmed]] = {"cond": _trim_cond, "loop": _trim_loop,
                                                           "while_loop": _trim_while}
