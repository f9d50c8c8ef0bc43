"""Control flow on values: `cond`, `while_loop`, `fori_loop`, `scan`. Eager: plain Python. Traced: ops that hold
sub-graphs.

The functions get and return trees of tensors. What they use from outside is captured; a body must not assign to outside
tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.errors import DTypeError, ShapeError, TraceError
from ..ir.graph import Graph, Value
from ..ir.interpreter import _current, current, interpreting
from ..ir.ops import F
from ..ir.types import TensorType, int64
from . import pytree
from .arguments import lift
from .tensor import Tensor
from .trace import Trace


def _as_tensor(x: Any, like: Any = None) -> Tensor:
    if isinstance(x, Tensor) and x._weak:
        return F.cast(x, dtype=like.dtype if like is not None else _float32())
    if isinstance(x, (bool, int, float)) and like is not None:
        return F.constant(value=x, dtype=like.dtype)
    return lift(x)


def _float32() -> Any:
    from ..ir.types import float32

    return float32


class Region:
    """A function traced as a sub-graph: its graph, the structure of its result, and what it captured from outside."""

    def __init__(self, name: str, function: Callable[..., Any], types: Sequence[TensorType], needs: Sequence[bool],
                 structure: Any, outer: Trace):
        self.outer = outer
        self.trace = Trace(name, parent=outer)
        self.trace.symbolic = outer.symbolic
        self.trace.hints = outer.hints
        self.trace.scopes = list(outer.scopes)
        with interpreting(self.trace):
            handles = [self.trace.argument(None, t, f"a{n}") for n, t in enumerate(types)]
            for h, n in zip(handles, needs):
                h._node = self.trace if n else None
            out = function(*pytree.unflatten(structure, handles))
            leaves, self.structure = pytree.flatten(out)
            self.tensors = [_as_tensor(x) for x in leaves]
            self.values = [self.trace.value_of(t) for t in self.tensors]
        if self.trace.written or self.trace.grads or self.trace.replaced:
            raise TraceError(f"the body of {name} changes a tensor from outside; carry it through the loop and return "
                             "it instead")
        self.captured = [t for t, _ in self.trace.captures]

    def types(self) -> list[TensorType]:
        """The types of the results."""
        return [v.type for v in self.values]

    def graph(self, captures: Sequence[Tensor], notes: dict[str, Any] | None = None) -> Graph:
        """The graph, with inputs for `captures` (of several regions) after its own."""
        own = {id(t): v for t, v in self.trace.captures}
        arguments = [v for v in self.trace.builder.inputs if v not in set(own.values())]
        with interpreting(self.trace):
            extra = [own.get(id(t)) or Value(t.type, None, 0, f"c{n}") for n, t in enumerate(captures)]
        return Graph(self.trace.builder.name, (*arguments, *extra), tuple(self.trace.builder.nodes), tuple(self.values),
                     notes or {})


def _merged(*regions: Region) -> list[Tensor]:
    """The captures of several regions, each once."""
    return list({id(t): t for r in regions for t in r.captured}.values())


def _append(trace: Trace, op: Any, operands: Sequence[Tensor], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
    out = trace.bind(op, tuple(operands), attrs)
    return out if isinstance(out, tuple) else (out,)


def _check_same(what: str, before: Sequence[TensorType], after: Sequence[TensorType], one: Any, other: Any) -> None:
    if one != other:
        raise ShapeError(f"{what} must return the same structure: {pytree.show(one, before)} against "
                         f"{pytree.show(other, after)}")
    for n, (a, b) in enumerate(zip(before, after)):
        if a != b:
            which = f"value {n} is {a} against {b}" if len(before) > 1 else f"{a} against {b}"
            raise ShapeError(f"{what} must return the same types: {which}; cast or reshape one of them")


def _needs(tensors: Sequence[Tensor]) -> list[bool]:
    return [t.requires_grad for t in tensors]


# ---- cond ------------------------------------------------------------------------------------------------------------


def cond(predicate: Any, true_function: Callable[..., Any], false_function: Callable[..., Any], *operands: Any) -> Any:
    """true_function(*operands) if the 0-d predicate holds, else false_function(*operands); only one of them runs.

    Both must return the same structure, shapes and dtypes.

    >>> braze.cond(braze.tensor(True), lambda x: x + 1, lambda x: x - 1, braze.tensor(1.0))
    tensor(2.)
    """
    trace = _current.get()
    if trace is None or not isinstance(predicate, Tensor):
        return true_function(*operands) if bool(predicate) else false_function(*operands)
    if predicate.ndim or predicate.dtype.kind != "b":
        raise DTypeError(f"cond needs a 0-d bool, not {predicate.type}")
    leaves, structure = pytree.flatten(operands)
    tensors = [_as_tensor(x) for x in leaves]
    types = [trace.value_of(t).type for t in tensors]
    then = Region("then", true_function, types, _needs(tensors), structure, trace)
    otherwise = Region("otherwise", false_function, types, _needs(tensors), structure, trace)
    _check_same("cond: both branches", then.types(), otherwise.types(), then.structure, otherwise.structure)
    captures = _merged(then, otherwise)
    attrs = {"then": then.graph(captures), "otherwise": otherwise.graph(captures)}
    return pytree.unflatten(then.structure, _append(trace, F.cond, [predicate, *tensors, *captures], attrs))


# ---- loops -----------------------------------------------------------------------------------------------------------


def while_loop(test: Callable[..., Any], body: Callable[..., Any], init: Any) -> Any:
    """`while test(state): state = body(state)`; state is a tree of tensors whose types stay the same."""
    trace = _current.get()
    if trace is None:
        state = pytree.map_leaves(_as_tensor, init)
        while bool(test(state)):
            state = body(state)
        return state
    leaves, structure = pytree.flatten(init)
    tensors = [_as_tensor(x) for x in leaves]
    types = [trace.value_of(t).type for t in tensors]
    one = (tuple, None, (structure,))
    tests = Region("test", test, types, _needs(tensors), one, trace)
    steps = Region("body", body, types, _needs(tensors), one, trace)
    if [str(t) for t in tests.types()] != ["b1[]"]:
        raise DTypeError(f"while_loop: the test must give a 0-d bool, not {', '.join(map(str, tests.types()))}")
    _check_same("while_loop: the body gets and", types, steps.types(), structure, steps.structure)
    captures = _merged(tests, steps)
    attrs = {"test": tests.graph(captures), "body": steps.graph(captures), "carried": len(tensors)}
    return pytree.unflatten(structure, _append(trace, F.while_loop, [*tensors, *captures], attrs))


def fori_loop(lower: Any, upper: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """`for i in range(lower, upper): state = body(i, state)`; i is a 0-d int64 tensor while tracing.

    >>> braze.fori_loop(0, 3, lambda i, x: x * 2, braze.tensor(1.0))
    tensor(8.)
    """
    trace = _current.get()
    if trace is None:
        state = pytree.map_leaves(_as_tensor, init)
        for i in range(int(lower), int(upper)):
            state = body(lift(i), state)
        return state
    turns = _turns(lower, upper)

    def step(i: Any, carried: Any) -> Any:
        return body(i if isinstance(lower, int) and lower == 0 else i + lower, carried), ()

    state, _ = _loop(trace, "fori_loop", step, init, (), turns, False)
    return state


def _turns(lower: Any, upper: Any) -> Any:
    if all(isinstance(x, int) for x in (lower, upper)):
        return max(0, upper - lower)
    n = upper - lower
    return F.maximum(F.cast(n, dtype=int64), 0) if isinstance(n, Tensor) else n


def scan(body: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
         reverse: bool = False) -> Any:
    """`for x in xs: carry, y = body(carry, x)`; returns the last carry and all ys stacked.

    xs is a tree of tensors that are walked along their first dimension, or None with a `length`.
    """
    sequences, _ = pytree.flatten(xs if xs is not None else ())
    sizes = {t.shape[0] for t in map(lift, sequences)}
    if len(sizes) > 1:
        raise ShapeError(f"scan: the sequences have different lengths {sorted(map(str, sizes))}")
    turns = next(iter(sizes)) if sizes else length
    if turns is None:
        raise ShapeError("scan needs sequences or a length")
    trace = _current.get()
    if trace is None:
        return _scan_eagerly(body, init, xs, int(turns), reverse)

    def step(i: Any, carried: Any, x: Any = None) -> Any:
        return body(carried, x)

    return _loop(trace, "scan", step, init, xs, turns, reverse)


def _scan_eagerly(body: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any, turns: int, reverse: bool) -> Any:
    from .manipulation import stack

    carry, found = pytree.map_leaves(_as_tensor, init), []
    for i in reversed(range(turns)) if reverse else range(turns):
        carry, y = body(carry, None if xs is None else pytree.map_leaves(lambda t: lift(t)[i], xs))
        found.append(y)
    if not found:
        raise ShapeError("an eager scan of no turns has no elements to stack; compile it, or skip it")
    found = found[::-1] if reverse else found
    structure = pytree.flatten(found[0])[1]
    columns = zip(*(pytree.flatten(y)[0] for y in found))
    return carry, pytree.unflatten(structure, [stack([lift(x) for x in c]) for c in columns])


def _loop(trace: Trace, name: str, step: Callable[..., Any], init: Any, xs: Any, turns: Any, reverse: bool) -> Any:
    from .sizes import Size

    leaves, structure = pytree.flatten(init)
    carried = [_as_tensor(x) for x in leaves]
    sequences = [lift(x) for x in pytree.flatten(xs if xs is not None else ())[0]]
    has_xs = bool(sequences)
    whole = pytree.flatten((0, init, xs) if has_xs else (0, init))[1]
    # once more if the body promotes what it was given: the carry then starts promoted
    for _ in range(2):
        types = [TensorType((), int64), *(trace.value_of(t).type for t in carried),
                 *(trace.value_of(t).type.with_shape(trace.value_of(t).type.shape[1:]) for t in sequences)]
        region = Region("body", step, types, [False, *_needs(carried), *_needs(sequences)], whole, trace)
        out = region.types()[: len(carried)]
        same_shapes = [t.shape for t in out] == [trace.value_of(t).type.shape for t in carried]
        if not same_shapes or [t.dtype for t in out] == [t.dtype for t in carried]:
            break
        carried = [F.astype(t, o.dtype) for t, o in zip(carried, out)]
    state, ys = pytree.unflatten(region.structure, range(len(region.values)))
    before = [trace.value_of(t).type for t in carried]
    _check_same(f"{name}: the body gets and", before, region.types()[: len(carried)], structure,
                pytree.flatten(state)[1])
    captures = _merged(region)
    length = turns.expression if isinstance(turns, Size) else turns
    notes = {} if isinstance(length, Tensor) else {"length": length}
    attrs = {"body": region.graph(captures, notes), "carried": len(carried), "scanned": len(sequences),
             "reverse": reverse}
    if isinstance(turns, Tensor):
        count = turns
    else:
        count = trace.constant(length, int64) if isinstance(length, int) else trace.size(length)
    out_tensors = _append(trace, F.loop, [count, *carried, *sequences, *captures], attrs)
    first = pytree.unflatten(structure, out_tensors[: len(carried)])
    return first, pytree.unflatten(pytree.flatten(ys)[1], out_tensors[len(carried):])


def run_eagerly(op: Any, operands: Sequence[Tensor], attrs: dict[str, Any]) -> Any:
    """A node with regions, met when a graph is run by eager operations (for derivatives of derivatives)."""
    from .differentiate import run_recorded

    if op is F.cond:
        region = attrs["then"] if bool(operands[0]) else attrs["otherwise"]
        return tuple(run_recorded(region, operands[1:], {}))
    if op is F.while_loop:
        n = attrs["carried"]
        carried, rest = list(operands[:n]), operands[n:]
        while bool(run_recorded(attrs["test"], [*carried, *rest], {})[0]):
            carried = run_recorded(attrs["body"], [*carried, *rest], {})
        return tuple(carried)
    if op is F.loop:
        return _loop_eagerly(operands, attrs, run_recorded)
    if op is F.custom_vjp or op is F.barrier:
        return tuple(operands[: attrs.get("count", len(operands))])
    raise TraceError(f"{op.name} cannot run eagerly")


def _loop_eagerly(operands: Sequence[Tensor], attrs: dict[str, Any], run: Any) -> tuple[Tensor, ...]:
    from .manipulation import stack

    n, m = attrs["carried"], attrs["scanned"]
    turns = int(operands[0])
    carried, sequences, rest = list(operands[1:1 + n]), operands[1 + n:1 + n + m], operands[1 + n + m:]
    found: list[Any] = [None] * turns
    for turn in range(turns):
        at = turns - 1 - turn if attrs["reverse"] else turn
        out = run(attrs["body"], [current().constant(at, int64), *carried, *(s[at] for s in sequences), *rest], {})
        carried, found[at] = out[:n], out[n:]
    columns = list(zip(*found)) if found else []
    return (*carried, *(stack(list(c)) for c in columns))
