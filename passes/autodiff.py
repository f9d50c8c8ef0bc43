"""Differentiation: `gradient` nodes become the nodes of the vjp rules, and whole graphs get their gradients.

The walk is over the graph that is being written, backwards from the output, along paths to what the gradient is with
respect to. A later gradient finds the nodes of an earlier one written out, so that higher orders need nothing special.
Nodes with regions have their rules in region_gradients.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import Any

from ..ir.build import GraphBuilder
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.location import Location
from ..ir.ops.namespace import F
from ..ir.types import TensorType
from .copying import assume_equal, copy_inputs, copy_node, inline, map_regions
from .dce import dce
from .flow import dependents
from .region_gradients import PULL, no_derivative, with_states
from .shifts import maxima_of_softmaxes


def expand_gradients(graph: Graph) -> Graph:
    """The graph with every `gradient` node replaced by what it stands for, dead nodes removed."""
    if not has_gradients(graph):
        return graph
    writer = GradientWriter(graph.name)
    with interpreting(writer):
        outputs = writer.inline(graph, copy_inputs(graph, writer))
    return dce(writer.build(outputs))


def differentiate(graph: Graph, wrt: Sequence[int]) -> Graph:
    """The joint graph: inputs and a cotangent for each inexact output → outputs and the gradients for the inputs
    `wrt`.
    """
    writer = GradientWriter(f"{graph.name}_joint")
    with interpreting(writer):
        inputs = copy_inputs(graph, writer)
        outputs = writer.inline(graph, inputs)
        given = [(v, writer.cotangent(v, n)) for n, v in enumerate(outputs) if v.dtype.is_inexact]
        gradients = writer.pull(given, [inputs[i] for i in wrt])
    return dce(writer.build([*outputs, *gradients]))


def has_gradients(graph: Graph) -> bool:
    """Does it hold a `gradient` node, in its regions too?"""
    return any(n.op is F.gradient or any(map(has_gradients, n.regions)) for n in graph.nodes)


class GradientWriter(GraphBuilder):
    """A graph builder that differentiates what it has written so far."""

    decide_equal = staticmethod(assume_equal)

    def __init__(self, name: str):
        super().__init__(name)
        # of a loop: its carried values at the start of each turn, stacked
        self.states: dict[Node, tuple[Value, ...]] = {}

    def emit(self, node: Node, operands: list[Value]) -> Sequence[Value]:
        """A node of the graph that is being copied; a gradient is expanded, a loop keeps its states."""
        if node.op is F.gradient:
            self.loc = node.loc
            output, cotangent, *wrt = operands
            return self.pull([(output, cotangent)], wrt)
        if not node.regions:
            return copy_node(self, node, operands)
        attrs = map_regions(node, expand_gradients)
        if node.op is not F.loop:
            return copy_node(self, node, operands, attrs)
        self.loc = node.loc
        return self.loop(operands, attrs, [r.type for r in node.results])

    def loop(self, operands: Sequence[Value], attrs: dict[str, Any], types: Sequence[TensorType]) -> tuple[Value, ...]:
        """A `loop` node that also stacks its states, where the number of its turns is known; the results it was asked
        for.
        """
        extended = with_states(operands, attrs, types)
        if extended is None:
            return self.append(F.loop, operands, attrs, types).results
        node = self.append(F.loop, *extended)
        self.states[node] = node.results[len(types):]
        return node.results[:len(types)]

    def inline(self, graph: Graph, arguments: Sequence[Value]) -> list[Value]:
        """The outputs of a graph written out here."""
        return inline(graph, arguments, self.emit)

    def region(self, name: str) -> GradientWriter:
        """A writer for a region."""
        return GradientWriter(name)

    def input(self, type: TensorType, name: str, note: str = "") -> Value:
        """A further input, under a name of its own."""
        taken = {v.name for v in self.inputs}
        unique = next(n for n in chain((name,), (f"{name}_{i}" for i in count(1))) if n not in taken)
        return super().input(type, unique, note)

    def cotangent(self, output: Value, number: int) -> Value:
        """An input for the cotangent of the output with this number."""
        return self.input(output.type, f"cotangent{number}", "cotangent")

    def pull(self, given: Iterable[tuple[Value, Value]], wrt: Sequence[Value]) -> list[Value]:
        """The gradients with respect to values, from outputs and their cotangents; zeros where no path leads."""
        line, nodes = self.loc, tuple(self.nodes)
        cotangents: dict[Value, Value] = {}
        for output, cotangent in given:
            _accumulate(cotangents, output, cotangent)
        flowing = dependents(nodes, (v for v in wrt if v.dtype.is_inexact))
        still = maxima_of_softmaxes(nodes)
        for node in reversed([n for n in nodes if n not in still]):
            if any(r in cotangents for r in node.results) and any(v in flowing for v in node.operands):
                wanted = [v in flowing for v in node.operands]
                for v, want, c in zip(node.operands, wanted, self.pull_node(node, cotangents, wanted)):
                    if want and c is not None:
                        _accumulate(cotangents, v, c)
        self.loc = line
        return [cotangents[v] if v in cotangents and v.dtype.is_inexact else F.zeros_like(v) for v in wrt]

    def pull_node(self, node: Node, cotangents: dict[Value, Value], wanted: list[bool]) -> Sequence[Value | None]:
        """The cotangents of a node's operands, at a location that says what they are the gradient of."""
        self.loc = _gradient_location(node)
        found = tuple(cotangents.get(r) for r in node.results)
        rule = PULL.get(node.op.name)
        if rule is not None:
            return rule(self, node, found, wanted)
        if not node.op.is_differentiable:
            raise no_derivative(node,
                                f"{node.op.name} has no derivative; use stop_gradient on what should not be "
                                "differentiated")
        if len(node.results) > 1:
            return node.op.pullback(found, node.results, node.operands, node.attrs, wanted)
        return node.op.pullback(found[0], node.results[0], node.operands, node.attrs, wanted)

    def region_gradient(self, region: Graph, outputs: Sequence[int], wrt: Sequence[int]) -> Graph:
        """The graph from a region's inputs and the cotangents of some outputs to the gradients of some inputs."""
        writer = self.region(f"{region.name}_gradient")
        with interpreting(writer):
            inputs = copy_inputs(region, writer)
            results = writer.inline(region, inputs)
            given = [(results[i], writer.cotangent(results[i], i)) for i in outputs]
            gradients = writer.pull(given, [inputs[i] for i in wrt])
        return dce(writer.build(gradients))


def _accumulate(cotangents: dict[Value, Value], v: Value, c: Value) -> None:
    known = cotangents.get(v)
    cotangents[v] = c if known is None else F.add(known, c)


def _gradient_location(node: Node) -> Location | None:
    """The forward node's line, in the scope "gradient of …"."""
    at = node.loc
    if at is None:
        return None
    line = () if at.code is not None else (at.file, at.line)
    return Location(at.code, at.offset, f"gradient of {at.scope or node.op.name}", *line)
