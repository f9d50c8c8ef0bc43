"""The reference interpreter of graphs: each op's NumPy evaluation, one node after the other, regions included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import expr
from .errors import VerifyError
from .expr import Dim, Expr, Symbol
from .graph import Graph, Node, Value


def read_sizes(graph: Graph, arrays: Sequence[Any]) -> dict[str, int]:
    """The symbolic sizes of a graph's inputs, read off arrays."""
    found: dict[str, int] = {}
    for v, a in zip(graph.inputs, arrays):
        for d, n in zip(v.shape, a.shape):
            name = symbol_name(d)
            if name is not None:
                found.setdefault(name, int(n))
    return found


def symbol_name(d: Dim) -> str | None:
    """The name, if a size is a symbol and nothing else."""
    if isinstance(d, Expr) and len(d.terms) == 1:
        ((m, c),) = d.terms.items()
        if c == 1 and len(m) == 1 and isinstance(m[0], Symbol):
            return m[0].name
    return None


def resolve(x: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute with its symbolic sizes replaced by numbers."""
    if isinstance(x, Expr):
        return int(expr.evaluate(x, sizes))
    if isinstance(x, tuple):
        return tuple(resolve(y, sizes) for y in x)
    return x


def evaluate_graph(graph: Graph, arrays: Sequence[Any], sizes: Mapping[str, int] | None = None) -> tuple[Any, ...]:
    """The outputs of a graph for NumPy arrays."""
    if len(arrays) != len(graph.inputs):
        raise VerifyError(f"graph {graph.name} takes {len(graph.inputs)} inputs, not {len(arrays)}")
    arrays = [np.asarray(a) for a in arrays]
    known = {**read_sizes(graph, arrays), **(sizes or {})}
    got: dict[Value, Any] = dict(zip(graph.inputs, arrays))
    for node in graph.nodes:
        operands = [got[v] for v in node.operands]
        with np.errstate(all="ignore"):
            results = evaluate_node(node, operands, known)
        for v, a in zip(node.results, results):
            got[v] = a
    return tuple(got[v] for v in graph.outputs)


def evaluate_node(node: Node, operands: Sequence[Any], sizes: Mapping[str, int], xp: Any = np) -> tuple[Any, ...]:
    """The results of one node, in NumPy or a namespace like it."""
    if node.op.kind == "control":
        return _CONTROL[node.op.name](node, operands, sizes)
    out = node.op.evaluate(xp, *operands, **{k: resolve(v, sizes) for k, v in node.attrs.items()})
    return tuple(xp.asarray(x) for x in out) if isinstance(out, tuple) else (xp.asarray(out),)


def _cond(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    region = node.attrs["then"] if operands[0] else node.attrs["otherwise"]
    return evaluate_graph(region, operands[1:], sizes)


def _while_loop(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    n = node.attrs["carried"]
    carried, rest = list(operands[:n]), operands[n:]
    while evaluate_graph(node.attrs["test"], [*carried, *rest], sizes)[0]:
        carried = list(evaluate_graph(node.attrs["body"], [*carried, *rest], sizes))
    return tuple(carried)


def _loop(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    n, m = node.attrs["carried"], node.attrs["scanned"]
    turns = int(operands[0])
    carried, sequences, rest = list(operands[1:1 + n]), operands[1 + n:1 + n + m], operands[1 + n + m:]
    stacked = [np.zeros(resolve(v.shape, sizes), v.dtype.numpy) for v in node.results[n:]]
    for turn in range(turns):
        at = turns - 1 - turn if node.attrs["reverse"] else turn
        out = evaluate_graph(node.attrs["body"], [np.asarray(at), *carried, *(s[at] for s in sequences), *rest], sizes)
        carried = list(out[:n])
        for whole, part in zip(stacked, out[n:]):
            whole[at] = part
    return (*carried, *stacked)


def _gradient(node: Node, operands: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
    raise VerifyError("a gradient node has no values before passes/autodiff.py has expanded it")


_CONTROL = {
    "cond": _cond, "while_loop": _while_loop, "loop": _loop, "gradient": _gradient,
    "custom_vjp": lambda node, operands, sizes: tuple(operands[: node.attrs["count"]]),
    "barrier": lambda node, operands, sizes: tuple(operands),
}
