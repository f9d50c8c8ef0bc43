"""A compiled forward whose backward runs later: the joint graph cut in two, and the tape's way into the second half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.graph import Graph, Value
from ..ir.interpreter import interpreting
from . import autograd
from .devices import device, moved
from .tensor import Tensor

if TYPE_CHECKING:
    from ..passes.partition import Halves
    from .specialise import Specialisation


def split(graph: Graph, wrt: Sequence[int], hints: Mapping[str, int]) -> Halves:
    """The forward and the backward half of a graph, with respect to the inputs `wrt`."""
    from ..passes.autodiff import differentiate, expand_gradients
    from ..passes.partition import partition
    from ..passes.row_sums import shorten_row_sums
    from ..passes.simplify import simplify

    with interpreting(None):
        joint = simplify(differentiate(expand_gradients(graph), wrt))
        return partition(shorten_row_sums(joint), len(graph.outputs), hints)


class CompiledPullback:
    """The pullback of one call, as the tape wants it: an op with a name."""

    name = "compiled"

    def __init__(self, spec: Specialisation, arrays: list[Any], sizes: dict[str, int], sources: list[Any]):
        self.spec, self.sizes = spec, sizes
        self.arrays, self.sources = arrays, sources

    def pullback(self, g: Any, y: Any, operands: Sequence[Tensor], attrs: Any, wanted: Any = None) -> tuple[Any, ...]:
        """Gradients for the inputs that need them."""
        spec, count = self.spec, len(self.spec.wrt)
        outputs = spec.traced.graph.outputs
        given = g if isinstance(g, tuple) else (g,)
        results = y if isinstance(y, tuple) else (y,)
        if any(t.requires_grad for t in (*operands, *(x for x in given if x is not None))):
            return self._differentiably(given, operands)
        cotangents = [self._cotangent(c, t, spec.device) for c, t, v in zip(given, results, outputs)
                      if v.dtype.is_inexact]
        arrays = [*(t._array for t in operands[count:]), *(self.arrays[n] for n in spec.held), *cotangents]
        assert spec.backward is not None
        sizes = spec._sizes(spec.backward, self.sizes)
        found = spec.backward.executable(arrays, sizes)
        return (*(Tensor(a) for a in found), *(None for _ in operands[count:]))

    @staticmethod
    def _cotangent(c: Tensor | None, result: Tensor, where: device) -> Any:
        return moved(np.zeros(result.shape, result.dtype.numpy) if c is None else c._array, where)

    def _differentiably(self, given: Sequence[Any], operands: Sequence[Tensor]) -> tuple[Any, ...]:
        """For derivatives of derivatives the graph is run again by recorded operations."""
        spec = self.spec
        inputs: list[Tensor] = [Tensor(a) for a in self.arrays]
        for n, t in zip(spec.wrt, operands):
            inputs[n] = t
        with autograd.recording():
            outputs = run_recorded(spec.traced.graph, inputs, self.sizes)
            wanted = [t for n, t in zip(spec.wrt, operands)]
            pairs = [(o, c) for o, c in zip(outputs, given) if c is not None and o.requires_grad]
            found = autograd.grad([o for o, _ in pairs], wanted, [c for _, c in pairs], create_graph=True,
                                  allow_unused=True)
        return (*found, *(None for _ in operands[len(spec.wrt):]))


def run_recorded(graph: Graph, inputs: Sequence[Tensor], sizes: dict[str, int]) -> list[Tensor]:
    """The graph by eager operations, which the tape records."""
    from ..ir.evaluate import resolve
    from ..ir.interpreter import current

    with interpreting(None):
        known: dict[Value, Tensor] = dict(zip(graph.inputs, inputs))
        for n in graph.nodes:
            attrs = {k: resolve(a, sizes) for k, a in n.attrs.items()}
            out = current().bind(n.op, tuple(known[v] for v in n.operands), attrs)
            for r, t in zip(n.results, out if isinstance(out, tuple) else (out,)):
                known[r] = t
        return [known[v] for v in graph.outputs]
