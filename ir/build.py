"""Building graphs: the interpreter that appends nodes, and what every tracing interpreter shares (promotion of
arguments).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import DTypeError
from .expr import Dim, Expr
from .graph import Graph, Node, Value
from .location import Location
from .ops.declare import Op, operand_dtype
from .ops.namespace import F
from .types import DType, TensorType, bool_, complex64, float32, int64, promote, weak

_PLAIN = {bool: bool_, int: int64, float: float32, complex: complex64}


def agree(interpreter: Any, op: Op, args: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments as operands of one dtype that the op takes: promotion among operands, Python scalars weak."""
    operands = [a if type(a) in _PLAIN or isinstance(a, Expr) else interpreter.lift(a) for a in args]
    choices = 1 if "choice" in op.traits else 0
    d = operand_dtype(op, _common_dtype(operands[choices:]))
    out = []
    for n, a in enumerate(operands):
        want = bool_ if n < choices else d
        if isinstance(a, Expr):
            a = interpreter.size(a)
        elif type(a) in _PLAIN:
            out.append(interpreter.constant(a, want))
            continue
        out.append(a if a.dtype is want else F.cast(a, dtype=want))
    return tuple(out)


def _common_dtype(operands: Sequence[Any]) -> DType:
    """What operands are promoted to: those with a dtype decide, numbers and sizes follow."""
    common: DType | None = None
    for a in operands:
        if type(a) not in _PLAIN and not isinstance(a, Expr):
            common = a.dtype if common is None else promote(common, a.dtype)
    for a in operands:
        if isinstance(a, Expr):
            common = int64 if common is None or common.kind == "b" else common
        elif type(a) in _PLAIN:
            common = _PLAIN[type(a)] if common is None else weak(a, common)
    assert common is not None
    return common


def check_arity(op: Op, args: Sequence[Any]) -> None:
    """A TypeError-like error for the wrong number of operands."""
    if op.arity is not None and len(args) != op.arity:
        raise DTypeError(f"{op.name} takes {op.arity} operand{'s' * (op.arity != 1)}, not {len(args)}")


class GraphBuilder:
    """Appends nodes: the interpreter of passes. Types are inferred, constants and pure nodes are shared
    (hash-consing). `decide_equal`, where set, says whether two symbolic sizes are equal.
    """

    decide_equal: Any = None

    def __init__(self, name: str = "graph"):
        self.name = name
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.notes: dict[str, str] = {}
        self.loc: Location | None = None
        self._known: dict[Any, tuple[Value, ...]] = {}

    def input(self, type: TensorType, name: str, note: str = "") -> Value:
        """A further input."""
        v = Value(type, None, len(self.inputs), name)
        self.inputs.append(v)
        if note:
            self.notes[name] = note
        return v

    def lift(self, x: Any) -> Value:
        """A value is itself; anything else is refused."""
        if isinstance(x, Value):
            return x
        raise DTypeError(f"a {type(x).__name__} is not a value of the graph")

    def constant(self, number: Any, dtype: DType) -> Value:
        """A 0-d constant."""
        kind = {"b": bool, "u": int, "i": int, "f": float, "c": complex}[dtype.kind]
        return self.bind(F.constant, (), {"value": kind(number), "dtype": dtype})

    def size(self, dim: Dim) -> Value:
        """A size as a 0-d int64."""
        return self.constant(dim, int64) if isinstance(dim, int) else self.bind(F.size, (), {"dim": dim})

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on values and plain numbers."""
        check_arity(op, args)
        if op.kind == "pointwise" and not op.parameters:
            args = agree(self, op, args)
        elif op.name == "constant":
            return self.constant(attrs["value"], attrs["dtype"])
        return self.bind(op, args, attrs)

    def bind(self, op: Op, operands: tuple[Any, ...], attrs: Mapping[str, Any]) -> Any:
        """Append the node, or find the same one."""
        key = (op, operands, tuple((k, repr(v) if isinstance(v, (float, complex)) else v) for k, v in attrs.items())) \
            if op.kind not in ("control", "effect", "random") else None
        if key is not None:
            known = self._known.get(key)
            if known is not None:
                return known if op.results == -1 else known[0]
        node = self.append(op, operands, attrs, op.infer([v.type for v in operands], attrs))
        if key is not None:
            self._known[key] = node.results
        return node.results if op.results == -1 else node.results[0]

    def append(self, op: Op, operands: Sequence[Value], attrs: Mapping[str, Any], types: Sequence[TensorType]) -> Node:
        """A node as it is, at the current location."""
        node = Node(op, operands, attrs, types, self.loc)
        self.nodes.append(node)
        return node

    def build(self, outputs: Sequence[Value]) -> Graph:
        """The frozen graph."""
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), tuple(outputs), dict(self.notes))
