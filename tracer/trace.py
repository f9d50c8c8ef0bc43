"""Tracing: the interpreter under which a function runs once, on handles without arrays, and leaves a graph.

A trace touches no handle that existed before: what happens to captured tensors (rebinding, `.grad`) stands in an
overlay, which becomes outputs of the graph and is written back after each call. A failed trace leaves nothing behind.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.build import GraphBuilder, agree, check_arity
from ..ir.errors import DTypeError, TraceError
from ..ir.expr import Dim, Expr
from ..ir.graph import Graph, Node, Value
from ..ir.location import here
from ..ir.ops import F
from ..ir.ops.declare import Op
from ..ir.precision import _casting
from ..ir.types import DType, TensorType, float64
from . import traced_gradients
from .devices import device
from .modes import _grad_enabled
from .placement import Placement, Restart
from .sizes import Size, plain
from .tensor import Tensor
from .world import Watch, Watched

_UNSET = object()
Guard = tuple[str, Dim, Dim, bool]                   # "<" or "==", two sizes, the answer


class Trace:
    """One run of a function. `captures` are the tensors that it found besides its arguments, in the order of their
    inputs.
    """

    def __init__(self, name: str, hints: Mapping[str, int] | None = None, parent: Trace | None = None,
                 start: Restart | None = None):
        self.builder = GraphBuilder(name)
        self.hints = dict(hints or {})
        self.parent = parent
        # what watches the function while it runs (guards.py)
        self.profile: Any = None if parent is None else parent.profile
        self.captures: list[tuple[Any, Value]] = []      # (tensor or scalar source, input)
        self.overlay: dict[int, Value] = {}              # id(captured tensor) -> its value now
        self.held: dict[int, Tensor] = {}                # keeps captured tensors alive, so that ids stay theirs
        self.grads: dict[int, Tensor | None] = {}        # id(tensor) -> its .grad now
        self.had_grad: dict[int, tuple[Tensor, bool]] = {}
        # whose .grad a tensor from outside is, by its id: another one may be in its place at the next call
        self.gradient_owners: dict[int, Tensor] = {} if parent is None else parent.gradient_owners
        self.written: dict[int, Tensor] = {}             # tensors whose value or grad changed
        self.leaves: dict[Value, Tensor] = {}            # values of tensors that require gradients
        self.stopped: dict[Value, Value] = {}
        self.consumed: set[Value] = set()                # what a backward() has gone through
        self.guards: list[Guard] = []
        self.handles: list[tuple[Tensor, Value]] = []    # of the arguments, and what they were at first
        # attributes set: (holder, dict, what stood there, name)
        self.replaced: dict[Any, tuple[Any, dict[str, Any], Any, str]] = {}
        self.names: dict[int, str] = {}                  # id(tensor) -> name for dumps
        self.scopes: list[str] = []
        self.paths: dict[int, str] = {}                  # id(module) -> its path, below the module that was called
        self.born: dict[int, Any] = {}                   # modules made in this trace
        self.watched: dict[int, Watch] = {}              # modules and optimisers that the trace depends on
        self.scalars: dict[Any, Tensor] = {}             # hyperparameters that are inputs already
        self.placement: Placement = Placement(start) if parent is None else parent.placement
        self.symbolic = bool(self.hints)
        self.alive = True

    # ---- interpreter

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on tensors, arrays, numbers. (Guards are found by a profile function: our own code need not be
        profiled.)
        """
        profile = self.profile
        if profile is None:
            return self._call(op, args, attrs)
        self.profile = None                              # operations inside this one leave it as it is
        sys.setprofile(None)
        try:
            return self._call(op, args, attrs)
        finally:
            self.profile = profile
            sys.setprofile(profile)

    def _call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        if self.symbolic:
            attrs = {k: plain(v) for k, v in attrs.items()}
            args = tuple([a.expression if isinstance(a, Size) else a for a in args])
        check_arity(op, args)
        casts = _casting.get()
        if casts is not None:
            args = casts.for_op(op, args)
        if op.kind != "pointwise" or op.parameters:
            return self.bind(op, tuple([self.lift(a) for a in args]), attrs)
        weak = [isinstance(a, Tensor) and a._weak for a in args]
        if any(weak):
            return self._weak_call(op, args, weak, attrs)
        return self.bind(op, agree(self, op, args), attrs)

    def _weak_call(self, op: Op, args: tuple[Any, ...], weak: list[bool], attrs: dict[str, Any]) -> Any:
        """Floats that are inputs of the program (arguments, learning rates) promote as Python floats do."""
        firm = [a for a, w in zip(args, weak) if not w and not isinstance(a, (bool, int, float, Expr))]
        if firm:
            from ..ir.types import weak as weak_dtype

            common = self.lift(firm[0]).dtype
            args = tuple([F.cast(a, dtype=weak_dtype(1.0, common)) if w else a for a, w in zip(args, weak)])
            return self.bind(op, agree(self, op, args), attrs)
        result = self.bind(op, agree(self, op, args), attrs)
        result._weak = result.dtype is float64
        return result

    def bind(self, op: Op, operands: tuple[Tensor, ...], attrs: dict[str, Any]) -> Any:
        """Append the node."""
        values = [self.value_of(t) for t in operands]
        needs = [t._requires_grad or t._node is not None for t in operands]
        flows = False
        if any(needs):
            if _grad_enabled.get() and op.name != "stop_gradient":
                flows = True
            elif op.name != "stop_gradient":
                values = [self.stop(v) if n else v for v, n in zip(values, needs)]
        node = Node(op, values, attrs, op.infer([v.type for v in values], attrs),
                    here(self.scopes[-1] if self.scopes else ""))
        self.builder.nodes.append(node)
        results = tuple([self.wrap(v, flows and v.dtype.is_inexact) for v in node.results])
        return results if op.results == -1 else results[0]

    def wrap(self, value: Value, requires_grad: bool = False) -> Tensor:
        """A handle on a value of this trace."""
        t = Tensor(None)
        t._trace, t._value = self, value
        if requires_grad:
            t._node = self                # anything that is not None: a recorded result
        return t

    def stop(self, v: Value) -> Value:
        """The value with no gradient through it."""
        known = self.stopped.get(v)
        if known is None:
            node = Node(F.stop_gradient, (v,), {}, (v.type,), here())
            self.builder.nodes.append(node)
            known = self.stopped[v] = node.results[0]
        return known

    def constant(self, number: Any, dtype: DType) -> Tensor:
        """A 0-d constant."""
        return self.wrap(self.builder.constant(number, dtype))

    def size(self, dim: Dim) -> Tensor:
        """A size as a 0-d int64."""
        return self.wrap(self.builder.size(dim))

    def lift(self, x: Any) -> Tensor:
        """A tensor; arrays become captured constants."""
        if isinstance(x, Tensor):
            return x
        if isinstance(x, Size):
            return self.size(x.expression)
        if isinstance(x, (bool, int, float, complex)):
            kind = {bool: "b1", int: "i64", float: "f32", complex: "c64"}[type(x)]
            from ..ir.types import dtype

            return self.constant(x, dtype(kind))
        if isinstance(x, (np.ndarray, np.generic)):
            return Tensor(np.array(x))
        raise DTypeError(f"expected a tensor, an array or a number, not {type(x).__name__}")

    # ---- values

    def value_of(self, t: Tensor) -> Value:
        """The graph value that a handle means now."""
        if t._trace is self:
            return t._value
        found = self.overlay.get(id(t))
        if found is not None:
            return found
        if t._trace is not None and not self._is_outer(t._trace):
            raise TraceError(f"a tensor made while {t._trace.builder.name!r} was traced is used after that trace ended "
                             f"(made at {t._value.node.loc if t._value.node else 'its start'}); return it from the "
                             "function instead")
        return self.capture(t)

    def _is_outer(self, trace: Any) -> bool:
        outer = self.parent
        while outer is not None:
            if outer is trace:
                return True
            outer = outer.parent
        return False

    def capture(self, t: Tensor) -> Value:
        """A tensor from outside becomes an input."""
        self.placement.place(t)
        type = TensorType(t.shape, t.dtype)
        name = self.names.get(id(t)) or f"c{len(self.captures)}"
        v = self.builder.input(type, name, f'capture "{name}"')
        self.captures.append((t, v))
        self.overlay[id(t)], self.held[id(t)] = v, t
        if t.requires_grad:
            self.leaves[v] = t
        return v

    def argument(self, t: Tensor | None, type: TensorType, name: str, order: tuple[int, ...] | None = None) -> Tensor:
        """The handle that the function gets for a tensor argument. The input has the `order` of dimensions in which the
        argument lies in memory.
        """
        if order is None:
            v = self.builder.input(type, name)
            handle = self.wrap(v)
        else:
            turned = self.builder.input(type.with_shape(tuple(type.shape[d] for d in order)), name)
            axes = tuple(map(order.index, range(len(order))))
            v = self.builder.append(F.permute, [turned], {"axes": axes}, [type]).result
            handle = self.wrap(v)
        self.handles.append((handle, v))
        if t is not None:
            self.placement.place(t)
            self.overlay[id(t)], self.held[id(t)] = v, t
            if t.requires_grad:
                handle._requires_grad = t._node is None
                handle._node = None if t._node is None else self
                self.leaves[v] = t
        return handle

    def make_leaf(self, t: Tensor) -> None:
        """A tensor of this trace asks for gradients: it becomes a value of its own."""
        t._value = self.value_of(F.mul(t, 1))
        self.leaves[t._value] = t

    def scalar(self, read: Any, name: str, key: Any = None) -> Tensor:
        """A float that is an input: `read()` gives it at each call. With a key, the same one each time."""
        if key is not None:
            root = self.root
            if key not in root.scalars:
                root.scalars[key] = root.scalar(read, name)
            return root.scalars[key]
        v = self.builder.input(TensorType((), float64), name, f'scalar "{name}"')
        self.captures.append((read, v))                  # a function without arguments
        t = self.wrap(v)
        t._weak = True
        return t

    def watch(self, holder: Watched) -> None:
        """The trace depends on what a module or an optimiser is like now."""
        if id(holder) not in self.root.watched:
            self.root.watched[id(holder)] = Watch(holder)

    def set_attribute(self, holder: Any, space: dict[str, Any], name: str, t: Tensor) -> None:
        """`holder.name = t`, kept in the dict `space`: the trace sees it at once, others what was there until the call
        is over.
        """
        if self.parent is not None:
            raise TraceError(f"setting the attribute {name!r} inside the body of a loop or a branch: return the tensor "
                             "from it instead")
        key = (id(space), name)
        old = self.replaced[key][2] if key in self.replaced else space.get(name, _UNSET)
        self.replaced[key] = (holder, space, old, name)
        space[name] = t

    def settle_attributes(self) -> list[tuple[Any, str, Tensor]]:
        """The attributes to set after each call. One that held a tensor like the new one keeps it, with another
        value.
        """
        out = []
        for holder, space, old, name in self.replaced.values():
            t = space[name]
            if isinstance(old, Tensor) and old.shape == t.shape and old.dtype is t.dtype:
                self.rebind(old, t)
            else:
                out.append((holder, name, t))
        return out

    def close(self) -> None:
        """The function has returned, or failed: no handle outside knows of the trace any more."""
        self.alive = False
        for _, space, old, name in self.replaced.values():
            if old is _UNSET:
                del space[name]
            else:
                space[name] = old

    def rebind(self, t: Tensor, new: Tensor) -> None:
        """In place: the handle means another value from now on."""
        v = self.value_of(new)
        if t._trace is self:
            t._value = v
            t._node = new._node
            return
        self.value_of(t)
        self.overlay[id(t)], self.written[id(t)] = v, t
        if t._requires_grad:
            self.leaves[v] = t

    # ---- gradients

    def grad_of(self, t: Tensor) -> Tensor | None:
        """`t.grad` as the trace sees it."""
        known = self.grads.get(id(t), _UNSET)
        if known is not _UNSET:
            return known  # type: ignore[return-value]
        owner = self.leaves.get(t._value, t) if t._trace is self else t
        if owner is not t:
            return self.grad_of(owner)
        self._note_grad(t)
        if t._grad is not None:
            self.gradient_owners[id(t._grad)] = t
        return t._grad

    def _note_grad(self, t: Tensor) -> None:
        if id(t) not in self.had_grad:
            self.had_grad[id(t)] = (t, t._grad is not None)
            self.held[id(t)] = t

    def set_grad(self, t: Tensor, g: Tensor | None) -> None:
        """`t.grad = g`."""
        owner = self.leaves.get(t._value, t) if t._trace is self else t
        self._note_grad(owner)
        self.grads[id(owner)] = g

    def backward(self, root: Tensor, gradient: Tensor | None) -> None:
        """`loss.backward()`: one gradient node; its results are added to `.grad` of the leaves."""
        traced_gradients.backward(self, root, gradient)

    def gradients(self, outs: Sequence[Tensor], wrt: Sequence[Tensor],
                  seeds: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """`braze.autograd.grad` inside a trace: gradients as new values, differentiable again."""
        return traced_gradients.gradients(self, outs, wrt, seeds)

    # ---- sizes

    def sizes_of(self, shape: tuple[Dim, ...]) -> tuple[Any, ...]:
        """A shape as the user sees it."""
        if not self.symbolic:
            return shape
        return tuple([Size(d, self) if isinstance(d, Expr) else d for d in shape])

    def decide(self, relation: str, a: Dim, b: Dim) -> bool:
        """Compare two sizes: by what is known of all sizes, else by the sizes seen, guarded."""
        if relation == "==":
            if a == b:
                return True
            if isinstance(a, int) and isinstance(b, int) or expr.is_less(a, b) or expr.is_less(b, a):
                return False
        else:
            if expr.is_less(a, b):
                return True
            if expr.is_less_equal(b, a):
                return False
        root = self.root
        x, y = expr.evaluate(a, root.hints), expr.evaluate(b, root.hints)
        answer = bool(x == y if relation == "==" else x < y)
        guard = (relation, a, b, answer)
        if guard not in root.guards and not _follows(guard, root.guards):
            root.guards.append(guard)
        return answer

    def decide_equal(self, a: Dim, b: Dim) -> bool:
        """Are two sizes equal (asked by type rules)?"""
        return self.decide("==", a, b)

    def pin(self, e: Expr) -> int:
        """The number that a size was when traced, guarded."""
        value = int(expr.evaluate(e, self.root.hints))
        guard = ("==", e, value, True)
        if guard not in self.root.guards:
            self.root.guards.append(guard)
        return value

    @property
    def device(self) -> device:
        """Where the program will run: what is made in the trace is there."""
        return self.placement.device

    @property
    def root(self) -> Trace:
        """The outermost trace, which holds sizes and guards."""
        return self if self.parent is None else self.parent.root

    # ---- the end

    def refuse_value(self, t: Tensor, what: str, instead: str) -> None:
        """The error for asking a traced tensor for its value."""
        made = t._value.node.loc if t._value.node is not None else None
        where = f" (made at {made})" if made is not None else ""
        if not self.alive:
            raise TraceError(f"{what}: this tensor was made while {self.builder.name!r} was traced{where} and has no "
                             f"value; return it from the function instead")
        raise TraceError(f"{what}: the value of a tensor ({t.type}){where} is not known while the function is being "
                         f"traced; {instead}")

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """The graph, dead nodes and all."""
        return self.builder.build(outputs)


def _follows(guard: Guard, known: Sequence[Guard]) -> bool:
    """Does the answer about an order follow from one of the guards before? (`i < size` from `i + 1 <= size`.)"""
    relation, a, b, answer = guard
    if relation == "==":
        return False
    wanted = b - a - 1 if answer else a - b                  # at least 0
    return any(expr.is_less_equal(fact, wanted) for g in known for fact in _facts(g))


def _facts(guard: Guard) -> tuple[Dim, ...]:
    """What is at least 0 where the guard holds."""
    relation, a, b, answer = guard
    if relation == "<":
        return (b - a - 1 if answer else a - b,)
    return (a - b, b - a) if answer else ()
