"""Captured tensors that are taken for constants: what is made of them alone is computed at compile time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..ir.graph import Graph
from ..ir.interpreter import interpreting
from .tensor import Tensor

Source = tuple[str, Any]
"""An input of a graph: ("capture", what) or ("argument", its number)."""


def fold_constants(
    graph: Graph,
    inputs: Sequence[Source],
    written: Collection[int],
    arrange: Callable[[Graph], Graph],
    lower: Callable[[Graph], Any],
) -> tuple[Graph, list[Source]]:
    """The graph without what depends on captured tensors alone, and its inputs, results of that among them.

    `written` are the ids of the tensors that the program changes: they stay what they are. `arrange` takes out of loops
    what need not be in them, `lower` gives the stages of a graph.
    """
    from ..passes.autodiff import expand_gradients
    from ..passes.prepare import prepare
    from ..passes.simplify import simplify, strip_markers
    from ..passes.take_apart import take_apart

    constants = [
        n for n, (kind, x) in enumerate(inputs) if kind == "capture" and isinstance(x, Tensor) and id(x) not in written
    ]
    if not constants:
        return graph, list(inputs)
    with interpreting(None):
        plain = simplify(take_apart(strip_markers(expand_gradients(graph))))
        halves = prepare(arrange(plain), constants)
    if not halves.first.outputs:
        return graph, list(inputs)
    made = lower(halves.first).executable([inputs[n][1]._array for n in constants])
    return halves.main, [inputs[n] if kind == "input" else ("capture", Tensor(made[n])) for kind, n in halves.sources]
