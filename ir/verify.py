"""The rules of a graph: every use after its definition, every node as its op declares it, every region fit for its
node.

Passes are tested with it, and text that was loaded is checked by it. Symbolic sizes that differ as expressions are
taken to be equal where an op needs that: the trace has guarded them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import BrazeError, VerifyError
from .expr import Dim, Expr
from .graph import Graph, Node, Value
from .interpreter import interpreting
from .ops import F
from .ops.declare import Op
from .text import print_node, symbols_of
from .types import TensorType, bool_, int64

Types = Sequence[TensorType]


class _Trusting:
    """The interpreter of type rules while they are checked: sizes that cannot be compared are equal."""

    def decide_equal(self, a: Dim, b: Dim) -> bool:
        return isinstance(a, Expr) or isinstance(b, Expr)


def verify(graph: Graph) -> None:
    """Raise a VerifyError, with the node and its line, unless the graph keeps the rules."""
    for name, alike in symbols_of(graph).items():
        if len(alike) > 1:
            shown = " and ".join(sorted(f"{s.low} <= {name} <= {s.high}" for s in alike))
            raise VerifyError(f"graph {graph.name}: the size {name} has two ranges: {shown}")
    with interpreting(_Trusting()):              # type: ignore[arg-type]
        _verify(graph)


def _verify(graph: Graph) -> None:
    _inputs(graph)
    defined: set[Value] = set(graph.inputs)
    for node in graph.nodes:
        try:
            _node(node, defined)
        except BrazeError as error:
            line = str(node.loc) if node.loc else None
            raise VerifyError(f"{_kind(error)}{error.args[0]}\n  in {print_node(graph, node)}").at(line) from error
        defined.update(node.results)
    for n, v in enumerate(graph.outputs):
        if v not in defined:
            raise VerifyError(f"graph {graph.name}: output {n} ({v.type}) is not a value of the graph")


def _kind(error: BrazeError) -> str:
    return "" if isinstance(error, VerifyError) else "the op refuses its operands: "


def _inputs(graph: Graph) -> None:
    names = set()
    for v in graph.inputs:
        if v.node is not None:
            raise VerifyError(f"graph {graph.name}: the input {v.name} is a node's result")
        if v.name in names:
            raise VerifyError(f"graph {graph.name}: two inputs are called {v.name}")
        names.add(v.name)


def _node(node: Node, defined: set[Value]) -> None:
    op = node.op
    if op.name not in F or F[op.name] is not op:
        raise VerifyError(f"{op.name} is not an op of the registry")
    for n, v in enumerate(node.operands):
        if v not in defined:
            raise VerifyError(f"operand {n} ({v.type}) of {op.name} is not defined before it")
    for n, r in enumerate(node.results):
        if r.node is not node or r.index != n:
            raise VerifyError(f"result {n} of {op.name} does not belong to its node")
        if r in defined:
            raise VerifyError(f"{op.name} is in the graph twice")
    _arity(op, node)
    _attributes(op, node)
    _dtypes(op, [v.type for v in node.operands])
    if op.name in _REGIONS:
        _REGIONS[op.name](node, [v.type for v in node.operands])
    inferred = op.infer([v.type for v in node.operands], node.attrs)
    _types(f"{op.name} has", [r.type for r in node.results], "but its op infers", inferred)
    for region in node.regions:
        _verify(region)


def _arity(op: Op, node: Node) -> None:
    if op.arity is not None and len(node.operands) != op.arity:
        raise VerifyError(f"{op.name} takes {op.arity} operands, not {len(node.operands)}")


def _attributes(op: Op, node: Node) -> None:
    unknown = [k for k in node.attrs if k not in op.parameters]
    missing = [k for k in op.parameters if k not in node.attrs and k not in op.defaults]
    if unknown or missing:
        wrong = [f"{', '.join(names)} {verb}" for names, verb in ((unknown, "is unknown"), (missing, "is missing"))
                 if names]
        raise VerifyError(f"{op.name} has the attributes ({', '.join(op.parameters)}); {'; '.join(wrong)}")


def _dtypes(op: Op, types: Types) -> None:
    if op.kind != "pointwise" or not types:
        return
    chooses = "choice" in op.traits
    main = types[1:] if chooses else types
    if chooses and types[0].dtype is not bool_:
        raise VerifyError(f"the condition of {op.name} is a {types[0].dtype.long_name}, not a bool")
    if any(t.dtype is not main[0].dtype for t in main):
        raise VerifyError(f"{op.name} takes operands of one dtype, not {' and '.join(t.dtype.long_name for t in main)}")
    if main[0].dtype not in op.dtypes:
        raise VerifyError(f"{op.name} does not take {main[0].dtype.long_name}")


def _types(what: str, have: Types, but: str, want: Types) -> None:
    if not _alike(have, want):
        raise VerifyError(f"{what} the types {_show(have)}, {but} {_show(want)}")


def _alike(have: Types, want: Types) -> bool:
    return len(have) == len(want) and all(
        a.dtype is b.dtype and len(a.shape) == len(b.shape)
        and all(x == y or isinstance(x, Expr) or isinstance(y, Expr) for x, y in zip(a.shape, b.shape))
        for a, b in zip(have, want))


def _show(types: Types) -> str:
    return f"({', '.join(map(str, types))})"


# ---- regions ---------------------------------------------------------------------------------------------------------


def _region(node: Node, name: str, takes: Types, gives: Types | None = None) -> Types:
    region = node.attrs.get(name)
    if not isinstance(region, Graph):
        raise VerifyError(f"{node.op.name} needs a region as its attribute {name}")
    _types(f"the region {name} takes", [v.type for v in region.inputs], "but is given", takes)
    got = [v.type for v in region.outputs]
    if gives is not None:
        _types(f"the region {name} gives", got, "but must give", gives)
    return got


def _scalar(t: TensorType, dtype_name: str) -> bool:
    return t.shape == () and t.dtype.name == dtype_name


def _cond(node: Node, types: Types) -> None:
    if not types or not _scalar(types[0], "b1"):
        raise VerifyError("the first operand of cond is a 0-d bool")
    _region(node, "otherwise", types[1:], _region(node, "then", types[1:]))


def _loop(node: Node, types: Types) -> None:
    carried, scanned = node.attrs["carried"], node.attrs["scanned"]
    if len(types) < 1 + carried + scanned or not _scalar(types[0], "i64"):
        raise VerifyError(f"loop takes the number of turns (i64[]), {carried} carried values and {scanned} sequences, "
                          f"not {_show(types)}")
    sequences = types[1 + carried: 1 + carried + scanned]
    if any(not t.shape for t in sequences):
        raise VerifyError("a sequence of loop has at least one dimension")
    elements = [t.with_shape(t.shape[1:]) for t in sequences]
    first = types[1: 1 + carried]
    given = _region(node, "body", [TensorType((), int64), *first, *elements, *types[1 + carried + scanned:]])
    _types("the region body gives for the carried values", given[:carried], "but must give", first)


def _while_loop(node: Node, types: Types) -> None:
    carried = types[: node.attrs["carried"]]
    _region(node, "test", types, [TensorType((), bool_)])
    _region(node, "body", types, carried)


def _custom_vjp(node: Node, types: Types) -> None:
    count = node.attrs["count"]
    region = node.attrs.get("backward")
    inputs = len(region.outputs) if isinstance(region, Graph) else 0
    _region(node, "backward", [*types[:count], *types[count + inputs:]], types[count: count + inputs])


_REGIONS: dict[str, Callable[[Node, Types], None]] = {
    "cond": _cond, "loop": _loop, "while_loop": _while_loop, "custom_vjp": _custom_vjp,
}
