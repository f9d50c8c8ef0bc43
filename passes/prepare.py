"""Cutting a graph in two where some of its inputs never change: what is made of them alone is computed once.

The first half computes it; the second runs at each call and reads its results. On the way, constants are brought into
the form in which kernels read them best: what scales and shifts the channels of a convolution (batch norm at inference)
is multiplied into its weights, which rounds otherwise, and weights are laid out in the panels of the register tile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..ir import expr
from ..ir.expr import Dim
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from ..ir.types import float32, float64
from .copying import PassBuilder, copy_node
from .dce import dce
from .panels import FEW_ROWS, PANEL, from_panels, has_panels, in_panels
from .walks import usual

PURE = frozenset({"pointwise", "view", "reduction", "contraction", "gather"})


@dataclass(frozen=True)
class Prepared:
    """`first`: constant inputs → what is kept of them. `main`: the rest of the graph; `sources` says of each of its
    inputs where it comes from: ("input", position in the graph) or ("prepared", output of the first half).
    """

    first: Graph
    main: Graph
    sources: tuple[tuple[str, int], ...]


def prepare(graph: Graph, constants: Collection[int]) -> Prepared:
    """Cut a simplified graph, the inputs at some positions being constant."""
    return _Cut(graph, constants).result()


@dataclass
class _Scaled:
    """A convolution whose result is only read to be scaled and shifted by channel: `last` is what comes of it."""

    last: Node
    scale: Value | None = None  # vectors of the first half
    shift: Value | None = None


class _Cut:
    def __init__(self, graph: Graph, constants: Collection[int]):
        self.graph, self.constants, self.readers = graph, constants, graph.uses()
        self.first, self.main = PassBuilder(f"{graph.name}_first"), PassBuilder(graph.name)
        self.sources: list[tuple[str, int]] = []
        self.outputs: list[Value] = []  # of the first half
        self.steady: dict[Value, Value] = {}  # to the values of the first half
        self.now: dict[Value, Value] = {}  # to those of the main half
        self.shared: dict[Value, Value] = {}  # outputs of the first half to inputs of the main one
        self.position = {v: n for n, v in enumerate(graph.inputs)}
        self.needless: set[Node] = set()

    def result(self) -> Prepared:
        """Both halves."""
        for n, v in enumerate(self.graph.inputs):
            if n in self.constants:
                self.steady[v] = self.first.input(v.type, v.name)
            else:
                self._enter(v)
        for node in self.graph.nodes:
            if self._is_steady(node):
                early = [self._early(v) for v in node.operands]
                self.steady.update(zip(node.results, copy_node(self.first, node, early)))
        for node in self.graph.nodes:
            if node.op is not F.constant and node not in self.needless and node.results[0] not in self.steady:
                self._emit(node)
        outputs = [self._late(v) for v in self.graph.outputs]
        return Prepared(dce(self.first.build(self.outputs)), dce(self.main.build(outputs)), tuple(self.sources))

    def _is_steady(self, node: Node) -> bool:
        if node.op.kind not in PURE or not any(v in self.steady for v in node.operands):
            return False
        return all(v in self.steady or v.literal is not None for v in node.operands)

    def _early(self, v: Value) -> Value:
        """A constant in the first half."""
        if v not in self.steady:
            with interpreting(self.first):
                return self.first.constant(v.literal, v.dtype)
        return self.steady[v]

    def _late(self, v: Value) -> Value:
        """A value in the main half: constants are read from the first."""
        if v not in self.now:
            if v in self.position:
                self._enter(v)
            elif v not in self.steady or v.node is not None and "repeats" in v.node.op.traits:
                assert v.node is not None  # a number, or what repeats itself: it is not stored
                self.now[v] = copy_node(self.main, v.node, [self._late(x) for x in v.node.operands])[v.index]
            else:
                self.now[v] = self._share(self.steady[v])
        return self.now[v]

    def _enter(self, v: Value) -> None:
        """An input of the graph as one of the main half."""
        self.sources.append(("input", self.position[v]))
        self.now[v] = self.main.input(v.type, v.name, self.graph.notes.get(v.name, ""))

    def _share(self, early: Value) -> Value:
        """A value of the first half as an input of the main one."""
        if early not in self.shared:
            self.sources.append(("prepared", len(self.outputs)))
            self.shared[early] = self.main.input(early.type, f"prepared{len(self.outputs)}")
            self.outputs.append(early)
        return self.shared[early]

    # ---- what is written otherwise

    def _emit(self, node: Node) -> None:
        """A node of the main half."""
        self.first.loc = self.main.loc = node.loc
        rewrite = _REWRITES.get(node.op.name)
        if rewrite and node.operands[1] in self.steady and node.operands[0] not in self.steady:
            rewrite(self, node)
        else:
            self.now.update(zip(node.results, copy_node(self.main, node, [self._late(v) for v in node.operands])))

    def _matmul(self, node: Node) -> None:
        x, w = node.operands
        rows = usual(expr.product(node.results[0].shape[:-1]))
        weights = None
        if len(w.shape) == 2 and has_panels(w) and rows > FEW_ROWS:
            with interpreting(self.first):
                panels = in_panels(self.steady[w])
            with interpreting(self.main):
                weights = from_panels(self._share(panels), *w.shape)
        weights = self._late(w) if weights is None else weights
        with interpreting(self.main):
            self.now[node.results[0]] = F.matmul(self._late(x), weights)

    def _convolution(self, node: Node) -> None:
        scaled = self._scaled(node) if node.results[0].dtype in (float32, float64) else _Scaled(node)
        w = self.steady[node.operands[1]]
        ones = (1,) * (len(w.shape) - 2)
        with interpreting(self.first):
            if scaled.scale is not None:
                w = F.mul(w, F.reshape(scaled.scale, shape=(w.shape[0], 1, *ones)))
            panels = _weights_in_panels(w) if node.attrs["groups"] == 1 else w
            shift = None if scaled.shift is None else F.reshape(scaled.shift, shape=(w.shape[0], *ones))
        with interpreting(self.main):
            is_given = panels is self.steady[node.operands[1]]
            weights = self._late(node.operands[1]) if is_given else self._share(panels)
            weights = weights if panels is w else _weights_from_panels(weights, w)
            y = F.conv(self._late(node.operands[0]), weights, **node.attrs)
            self.now[scaled.last.results[0]] = y if shift is None else F.add(y, self._share(shift))
        while node is not scaled.last:
            (node,) = self.readers[node.results[0]]
            self.needless.add(node)

    def _scaled(self, node: Node) -> _Scaled:
        """The chain of constant scales and shifts that reads a convolution."""
        found, outputs = _Scaled(node), set(self.graph.outputs)
        with interpreting(self.first):
            while True:
                y = found.last.results[0]
                readers = self.readers.get(y, [])
                factor = self._factor(readers[0], y) if len(readers) == 1 and y not in outputs else None
                if factor is None:
                    return found
                _STEPS[readers[0].op.name](found, factor)
                found.last = readers[0]

    def _factor(self, reader: Node, y: Value) -> Value | None:
        """What a reader scales or shifts y's channels by, as a vector of the first half; None where it does not."""
        if reader.op.name not in _STEPS or reader.results[0].type != y.type:
            return None
        a, b = reader.operands
        if b is y and "commutative" in reader.op.traits:
            a, b = b, a
        if a is not y or b is y or b not in self.steady and b.literal is None:
            return None
        shape: tuple[Dim, ...] = (*(1,) * (len(y.shape) - len(b.shape)), *b.shape)
        if any(d != 1 for n, d in enumerate(shape) if n != 1):
            return None
        return F.broadcast_to(F.reshape(self._early(b), shape=(shape[1],)), shape=(y.shape[1],))


def _are_in_panels(w: Value) -> bool:
    return isinstance(w.shape[0], int) and w.shape[0] % PANEL == 0 and w.dtype is float32


def _weights_in_panels(w: Value) -> Value:
    """[O / PANEL, *K, C, PANEL] of weights [O, C, *K]; [*K, C, O] where these have no whole panels."""
    outputs, channels, *window = w.shape
    places = range(len(window))
    if not _are_in_panels(w):
        return F.permute(w, axes=(*(2 + n for n in places), 1, 0))
    parts = F.reshape(w, shape=(outputs // PANEL, PANEL, channels, *window))  # type: ignore[operator]
    return F.permute(parts, axes=(0, *(3 + n for n in places), 2, 1))


def _weights_from_panels(panels: Value, w: Value) -> Value:
    """The weights that were laid out so."""
    rank = len(panels.shape)
    if not _are_in_panels(w):
        return F.permute(panels, axes=(rank - 1, rank - 2, *range(rank - 2)))
    return F.reshape(F.permute(panels, axes=(0, rank - 1, rank - 2, *range(1, rank - 2))), shape=w.shape)


def _shift(found: _Scaled, by: Value) -> None:
    found.shift = by if found.shift is None else F.add(found.shift, by)


def _scale(found: _Scaled, by: Value) -> None:
    found.scale = by if found.scale is None else F.mul(found.scale, by)
    found.shift = None if found.shift is None else F.mul(found.shift, by)


_STEPS: dict[str, Callable[[_Scaled, Value], None]] = {
    "add": _shift,
    "sub": lambda found, by: _shift(found, F.neg(by)),
    "mul": _scale,
    "div": lambda found, by: _scale(found, F.div(F.constant(value=1.0, dtype=by.dtype), by)),
}
_REWRITES: dict[str, Callable[[_Cut, Node], None]] = {"conv": _Cut._convolution, "matmul": _Cut._matmul}
