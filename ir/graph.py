"""The graph: a function as typed nodes in order, in SSA form. Pure; frozen once made.

`Value` is one result or input, with operators, so that rules read like arithmetic. `Graph.eval` is the reference
interpreter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .expr import Dim
from .location import Location
from .operators import Operators
from .types import DType, TensorType

if TYPE_CHECKING:
    from .ops.declare import Op


class Value(Operators):
    """A value of a graph: the `index`-th result of `node`, or an input (node is None) with a name."""

    __slots__ = ("type", "node", "index", "name")

    def __init__(self, type: TensorType, node: Node | None = None, index: int = 0, name: str = ""):
        self.type, self.node, self.index, self.name = type, node, index, name

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Its sizes, known or symbolic."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """Its dtype."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.type.shape)

    @property
    def literal(self) -> Any:
        """The number, if this is a 0-d constant; else None."""
        n = self.node
        return n.attrs["value"] if n is not None and n.op.name == "constant" else None

    def __repr__(self) -> str:
        return f"<{self.name or 'value'}: {self.type}>"


class Node:
    """One operation: `op` on `operands` with immutable `attrs`, giving `results`."""

    __slots__ = ("op", "operands", "attrs", "results", "loc")

    def __init__(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any], types: Iterable[TensorType],
                 loc: Location | None = None):
        self.op, self.operands, self.attrs, self.loc = op, tuple(operands), dict(attrs), loc
        self.results = tuple(Value(t, self, i) for i, t in enumerate(types))

    @property
    def result(self) -> Value:
        """The only result."""
        (only,) = self.results
        return only

    @property
    def regions(self) -> tuple[Graph, ...]:
        """The sub-graphs among its attributes."""
        return tuple(a for a in self.attrs.values() if isinstance(a, Graph))

    def __repr__(self) -> str:
        return f"<{self.op.name} at {self.loc}>"


@dataclass(frozen=True, eq=False)
class Graph:
    """A function from `inputs` to `outputs`.

    `notes` say what an input is when it is not an argument: `capture "model.0.weight"`. `facts` are relations between
    symbolic sizes that held when the graph was traced, and that guards check.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        from .text import print_graph

        return print_graph(self)

    def __eq__(self, other: object) -> bool:
        from .text import print_graph

        return isinstance(other, Graph) and print_graph(self, locations=False) == print_graph(other, locations=False)

    def __hash__(self) -> int:
        from .text import print_graph

        return hash(print_graph(self, locations=False))

    def eval(self, *arrays: Any, sizes: Mapping[str, int] | None = None) -> tuple[Any, ...]:
        """The reference interpreter: each op's NumPy evaluation, one after the other.

        `arrays` are NumPy arrays for the inputs; symbolic sizes are read off them.
        """
        from .evaluate import evaluate_graph

        return evaluate_graph(self, arrays, sizes)

    def uses(self) -> dict[Value, list[Node]]:
        """The nodes that each value is an operand of (an output counts as no node)."""
        found: dict[Value, list[Node]] = {}
        for n in self.nodes:
            for v in n.operands:
                found.setdefault(v, []).append(n)
        return found

    def to_networkx(self) -> Any:
        """A networkx.MultiDiGraph: nodes are graph nodes and input values, edges carry the value."""
        import networkx as nx

        g = nx.MultiDiGraph(name=self.name)
        for v in self.inputs:
            g.add_node(v, label=v.name, type=str(v.type))
        for n in self.nodes:
            g.add_node(n, label=n.op.name, types=[str(r.type) for r in n.results], location=str(n.loc))
            for position, v in enumerate(n.operands):
                g.add_edge(v.node or v, n, value=v, position=position)
        return g
