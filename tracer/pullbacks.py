"""Pullbacks of eager operations as printed functions of arrays.

A derivative rule runs on tensors, each of its operations at the price of an eager one, and computes cotangents of
operands that need none. What happens a second time for operands of the same types is therefore written down: the rule
is run once on graph values, dead nodes go, and the rest is printed as calls of the operations' NumPy evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.build import GraphBuilder
from ..ir.graph import Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.declare import Op
from ..ir.types import TensorType, dtype

Recipe = Callable[..., Sequence[Any]]

_MOST_KEPT = 4000
_UNSUITABLE = ("control", "effect", "random")

_seen: set[Any] = set()
_recipes: dict[Any, Recipe | None] = {}


def recipe(op: Any, attrs: dict[str, Any], operands: Sequence[Any], results: Sequence[Any], cotangents: Sequence[Any],
           edges: Sequence[Any]) -> Recipe | None:
    """A function (*cotangents, *results, *operands) of arrays that gives the cotangents of the operands that have
    edges; None at first.
    """
    if type(op) is not Op or type(results[0]) is not np.ndarray:
        return None
    try:
        key = (op, *[(a.shape, a.dtype) if type(a) is np.ndarray else None for a in operands],
               *[e is None for e in edges], *[c is None for c in cotangents], *attrs.items())
        found = _recipes.get(key)
        if found is not None:
            return found
        if key not in _seen:
            _remember(_seen.add, _seen, key)
            return None
    except TypeError:                         # an attribute without a hash
        return None
    if key in _recipes or op.kind in _UNSUITABLE:
        return None
    made = _make(op, attrs, operands, results, cotangents, [e is not None for e in edges])
    _remember(lambda k: _recipes.__setitem__(k, made), _recipes, key)
    return made


def _remember(enter: Callable[[Any], None], kept: Any, key: Any) -> None:
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    enter(key)


def operand_dtype(operands: Sequence[Any]) -> np.dtype:
    """The dtype of the Python numbers among the operands: that of the arrays beside them."""
    for a in operands:
        if type(a) is np.ndarray and a.dtype.kind != "b":
            return a.dtype
    return np.dtype(bool)


def _make(op: Op, attrs: dict[str, Any], operands: Sequence[Any], results: Sequence[Any], cotangents: Sequence[Any],
          wanted: Sequence[bool]) -> Recipe | None:
    builder = GraphBuilder(f"pullback_{op.name}")

    def inputs(letter: str, arrays: Sequence[Any]) -> list[Value | None]:
        return [None if a is None else builder.input(TensorType(a.shape, dtype(a.dtype)), f"{letter}{n}")
                for n, a in enumerate(arrays)]

    number = operand_dtype(operands)
    g, y = inputs("g", [None if c is None else r for c, r in zip(cotangents, results)]), inputs("y", results)
    x = inputs("x", [a if type(a) is np.ndarray else np.empty((), number) for a in operands])
    with interpreting(builder):
        found = op.pullback(g[0], y[0], x, attrs, wanted) if len(results) == 1 else op.pullback(tuple(g), tuple(y), x,
                                                                                                attrs, wanted)
    outputs = [v if w else None for v, w in zip(found, wanted)]
    parameters = [f"{letter}{n}" for letter, arrays in (("g", cotangents), ("y", results), ("x", operands))
                  for n in range(len(arrays))]
    numbers = [f"x{n}" for n, a in enumerate(operands) if type(a) is not np.ndarray]
    return _printed(builder.nodes, outputs, parameters, numbers, number)


def _printed(nodes: Sequence[Node], outputs: Sequence[Value | None], parameters: Sequence[str], numbers: Sequence[str],
             number: np.dtype) -> Recipe | None:
    live = {v for v in outputs if v is not None}
    kept = []
    for node in reversed(nodes):
        if not live.isdisjoint(node.results):
            if node.op.kind in _UNSUITABLE:
                return None
            kept.append(node)
            live.update(node.operands)
    space: dict[str, Any] = {"np": np, "array": np.array, "number": number}
    lines = [f"def pullback({', '.join(parameters)}):",
             *(f"    {x} = array({x}, number)" for x in numbers if any(v.name == x for v in live))]
    names: dict[Value, str] = {}
    for n, node in enumerate(reversed(kept)):
        for i, r in enumerate(node.results):
            names[r] = f"t{n}" if len(node.results) == 1 else f"t{n}[{i}]"
        if not node.operands:
            space[f"t{n}"] = node.op.evaluate(np, **node.attrs)
            continue
        space[f"f{n}"], space[f"k{n}"] = node.op.evaluate, node.attrs
        given = ", ".join(["np", *(names.get(v, v.name) for v in node.operands), *([f"**k{n}"] if node.attrs else [])])
        lines.append(f"    t{n} = f{n}({given})")
    lines.append(f"    return ({''.join('None, ' if v is None else names.get(v, v.name) + ', ' for v in outputs)})")
    exec("\n".join(lines), space)
    return space["pullback"]
