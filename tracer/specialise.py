"""One specialisation: a function traced for one signature, compiled, and how a call of it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.errors import TraceError
from ..ir.expr import Dim, symbol
from ..ir.graph import Graph, Value
from ..ir.interpreter import interpreting
from ..ir.ops import F
from ..ir.precision import casting
from ..ir.types import TensorType, float32
from . import pytree
from .aliasing import is_sole_owner
from .autograd import TapeNode
from .constants import fold_constants
from .devices import CPU, Unplaced, moved
from .guards import Guards, Watch
from .modes import ambient
from .pipeline import Stages, arrangement, lower, target_for
from .placement import Restart
from .retrace import CHEAP_SECONDS, difference, trace_settled
from .signature import Call, show, turned_arguments
from .sizes import Size
from .tensor import Tensor
from .trace import Trace
from .turns import context_of, turns_of


@dataclass
class Traced:
    """What tracing gave: the graph, and how its inputs and outputs hang together with the world."""

    graph: Graph
    trace: Trace
    arguments: list[int]                             # the leaf that each of the first inputs is
    result: Any                                      # structure of the result
    # of the result: ("output", n), ("argument", leaf), ("size", dim) or ("value", x)
    leaves: list[Any]
    writes: list[tuple[Tensor, int]]                 # captured tensors that get output n
    # leaves that were changed in place, and the output that is their new value
    argument_writes: list[tuple[int, int]]
    grads: list[tuple[Tensor, int | None]]           # tensors whose .grad becomes output n, or None
    attributes: list[tuple[Any, str, Any]]
    differentiable: list[int] = field(default_factory=list)     # outputs that gradients flow through
    outside: Guards = field(default_factory=lambda: Guards(()))     # on plain Python values that the function read


def trace_function(function: Callable[..., Any], call: Call, pattern: Sequence[int | None], name: str) -> Traced:
    """Run the function once on symbolic tensors; again, if the device was another one than was taken for granted."""
    try:
        return _trace_on(None, function, call, pattern, name)
    except Restart as again:
        return _trace_on(again, function, call, pattern, name)


def least(call: Call, n: int) -> int | None:
    """What a symbolic number of a call like this one is at least: a size 2, an int that was no negative one 0."""
    return 2 if call.owners[n][1] >= 0 else 0 if call.numbers[n] >= 0 else None


def _trace_on(start: Restart | None, function: Callable[..., Any], call: Call, pattern: Sequence[int | None],
              name: str) -> Traced:
    symbols = {n: f"n{n}" for n, p in enumerate(pattern) if p is None}
    hints = {s: call.numbers[n] for n, s in symbols.items()}
    trace = Trace(name, hints, start=start)
    numbers: list[Dim] = [
        symbol(symbols[n], least(call, n)) if n in symbols else v  # type: ignore[arg-type]
        for n, v in enumerate(call.numbers)]
    at = iter(numbers)
    paths = pytree.paths(pytree.unflatten(call.structure, call.leaves))
    leaves: list[Any] = []
    arguments: list[int] = []
    with interpreting(trace):
        turned = turned_arguments(call)
        for n, (x, kind) in enumerate(zip(call.leaves, call.kinds)):
            label = _label(paths[n], n)
            if kind == "float":
                leaves.append(_float_argument(trace, label))
                arguments.append(n)
            elif kind == "int":
                d = next(at)
                leaves.append(d if isinstance(d, int) else Size(d, trace))
            elif kind[0] == "tensor":
                shape = tuple(next(at) for _ in range(kind[2]))
                leaves.append(trace.argument(x, TensorType(shape, kind[1]), label, turned.get(n)))
                arguments.append(n)
            else:
                leaves.append(x)
        inputs = dict(zip([v for v in trace.builder.inputs], arguments))
        args, kwargs = pytree.unflatten(call.structure, leaves)
        watch = Watch(trace, function, leaves)
        try:
            with watch.watching():
                out = function(*args, **kwargs)
            traced = _finish(trace, out, inputs, arguments)
        finally:
            trace.close()
    traced.outside = watch.finish()
    return traced


def _float_argument(trace: Trace, label: str) -> Tensor:
    from ..ir.types import float64

    t = trace.wrap(trace.builder.input(TensorType((), float64), label, "scalar"))
    t._weak = True
    return t


def _label(path: str, n: int) -> str:
    """A name for an argument in dumps."""
    text = "".join(c if c.isalnum() else "_" for c in path).strip("_").replace("__", "_")
    head, _, rest = text.partition("_")
    return f"arg{rest}" if head == "0" and rest and rest[0].isdigit() else rest if head == "1" and rest else f"arg{n}"


def _finish(trace: Trace, out: Any, inputs: dict[Value, int], arguments: list[int]) -> Traced:
    leaves, structure = pytree.flatten(out)
    outputs: list[Value] = []
    position: dict[Value, int] = {}

    def output(v: Value) -> int:
        if v not in position:
            position[v] = len(outputs)
            outputs.append(v)
        return position[v]

    settled = trace.settle_attributes()
    written = {id(t): t for t in trace.written.values()}
    described: list[Any] = []
    differentiable: list[int] = []
    for x in leaves:
        if isinstance(x, Size):
            described.append(("size", x.expression))
        elif not isinstance(x, Tensor):
            described.append(("value", x))
        else:
            v = trace.value_of(x)
            if x._trace is not trace and id(x) not in written:
                described.append(("value", x))
                continue
            if v in inputs and v.node is None:
                described.append(("argument", inputs[v]))
                continue
            if x._weak or v.literal is not None:
                v = trace.value_of(F.broadcast_to(F.cast(x, dtype=float32) if x._weak else x, shape=v.shape))
            n = output(v)
            described.append(("output", n))
            if x._node is not None and v not in trace.consumed and n not in differentiable:
                differentiable.append(n)
    writes = [(t, output(_stored_value(trace, trace.overlay[id(t)]))) for t in written.values()]
    argument_writes = [(inputs[v if v.node is None else v.node.operands[0]], output(_stored_value(trace, h._value)))
                       for h, v in trace.handles if h._value is not v]
    grads: list[tuple[Tensor, int | None]] = []
    for key, g in trace.grads.items():
        t = trace.held[key]
        if t._trace is not trace:                      # a leaf made in the trace is gone after it
            grads.append((t, None if g is None else output(_stored_value(trace, trace.value_of(g)))))
    attributes = [(holder, name, output(trace.value_of(t))) for holder, name, t in settled]
    graph = trace.finish(outputs)
    return Traced(graph, trace, arguments, structure, described, writes, argument_writes, grads, attributes,
                  differentiable)


def _stored_value(trace: Trace, v: Value) -> Value:
    """A value that can be an output of its own: a number or an input is copied."""
    if v.literal is None and v.node is not None:
        return v
    return trace.value_of(F.broadcast_to(trace.wrap(v), shape=v.shape))


class Specialisation:
    """A traced and compiled function for one signature."""

    def __init__(self, function: Callable[..., Any], name: str, call: Call, pattern: Sequence[int | None],
                 backend: str, mode: str = "default", constant_weights: bool = False):
        begin, self.constant_weights = time.perf_counter(), constant_weights
        self.signature, self.call, self.pattern, self.backend = show(call), call, tuple(pattern), backend
        self.traced = trace_settled(trace_function, function, call, pattern, name)
        self.trace_seconds = time.perf_counter() - begin
        trace = self.traced.trace
        self.device, self.ambient, self.mode = trace.placement.final, ambient(), mode
        trace.captures[:] = [(self._placed(x), v) for x, v in trace.captures]
        self.guards = tuple(trace.guards)
        self.watches = tuple(trace.watched.values())
        self.symbols = [(n, f"n{n}") for n, p in enumerate(self.pattern) if p is None]
        self.least = [least(call, n) for n in range(len(call.numbers))]
        owners, written = trace.gradient_owners, {id(t) for t, _ in self.traced.writes}
        taken = {id(x): owners[id(x)] for x, _ in trace.captures if id(x) in owners}
        # a .grad that is only read may be another tensor at each call; one that is changed in place may not
        self.owners = {n: owner for n, owner in taken.items() if n not in written}
        self.changed = [(owner, owner._grad) for n, owner in taken.items() if n in written]
        self.gradients = [(self.owners[id(x)], x.type, x.requires_grad) for x, _ in trace.captures
                          if id(x) in self.owners]
        self.captures = [(x, x.type, x.requires_grad) if isinstance(x, Tensor) else (x, None, False)
                         for x, _ in trace.captures if id(x) not in self.owners]
        self.had_grad = [(t, had) for t, had in trace.had_grad.values() if t._trace is None]
        self.hints = trace.hints
        self.turned = turned_arguments(call)
        self.turns = turns_of(self._written())
        self.context = context_of(self.turns)
        with casting(None):
            self._connect()
        self.is_checked = self.trace_seconds > CHEAP_SECONDS       # else the second call traces again, to compare
        self.seconds = time.perf_counter() - begin
        self.when = time.time()

    # ---- compiling

    def _placed(self, x: Any) -> Any:
        """A captured tensor, or a constant that was made of sizes and numbers on the program's device."""
        if not isinstance(x, Tensor) or type(x._array) is not Unplaced:
            return x
        return Tensor(moved(x._array, self.device))

    def _connect(self) -> None:
        """Order the inputs of the graph: arguments, then captures, as they were made; compile."""
        traced = self.traced
        order = {v: n for n, v in enumerate(traced.graph.inputs)}
        captured = {order[v]: x for x, v in traced.trace.captures}
        arguments = iter(traced.arguments)
        self.inputs: list[tuple[str, Any]] = [self._source(captured[n]) if n in captured
                                              else ("argument", next(arguments))
                                              for n in range(len(traced.graph.inputs))]
        self.wrt: list[int] = []
        forward = traced.graph
        if traced.differentiable:
            self.wrt = [n for n, v in enumerate(traced.graph.inputs) if v in traced.trace.leaves
                        and not (self.constant_weights and n in captured)]
        self.residuals = 0
        self.held: tuple[int, ...] = ()
        self.backward: Stages | None = None
        if self.wrt:
            forward = self._split_for_backward()
        elif self.constant_weights:
            arrange = arrangement(target_for(self.backend, self.device))
            written = {id(t) for t, _ in traced.writes}
            forward, self.inputs = fold_constants(forward, self.inputs, written, arrange, self._lower)
        self.stages = lower(forward, self.backend, self._donations(), self.hints, self.device, self.mode)

    def _source(self, x: Any) -> tuple[str, Any]:
        """What a captured input is at each call: a tensor or a number, or the .grad of a tensor."""
        return ("gradient", self.owners[id(x)]) if id(x) in self.owners else ("capture", x)

    def _lower(self, graph: Graph) -> Stages:
        """The stages of a graph whose sizes are known."""
        return lower(graph, self.backend, {}, {}, self.device, self.mode)

    def _split_for_backward(self) -> Graph:
        from .differentiate import split

        halves = split(self.traced.graph, self.wrt, self.hints)
        self.residuals, self.held = halves.residuals, halves.held
        self.backward = lower(halves.backward, self.backend, {}, self.hints, self.device, self.mode)
        return halves.forward

    def _donations(self) -> dict[int, int]:
        """Outputs that may be written into the memory of the captured tensor they replace."""
        where = {(kind, id(x)): n for n, (kind, x) in enumerate(self.inputs)
                 if kind != "argument" and isinstance(x, Tensor) and n not in self.held}   # held: read again, backward
        found = {n: where["capture", id(t)] for t, n in self.traced.writes if ("capture", id(t)) in where}
        for t, output in self.traced.grads:
            for key in (("gradient", id(t)), ("capture", id(t._grad))):
                if output is not None and key in where:
                    found[output] = where[key]
        return found

    # ---- calling

    def accepts(self, call: Call) -> bool:
        """Is this specialisation for the call?"""
        for p, n, low in zip(self.pattern, call.numbers, self.least):
            if (n != p) if p is not None else (low is not None and n < low):
                return False
        return self.guards_hold(call)

    def distance(self, call: Call) -> int:
        """How many numbers of the call it is not for."""
        return sum(p is not None and p != n for p, n in zip(self.pattern, call.numbers))

    def guards_hold(self, call: Call) -> bool:
        """Do the relations between sizes hold, and are captured tensors what they were?"""
        if self.guards:
            values = {name: call.numbers[n] for n, name in self.symbols}
            for relation, a, b, answer in self.guards:
                x, y = expr.evaluate(a, values), expr.evaluate(b, values)
                if (x == y if relation == "==" else x < y) is not answer:
                    return False
        for x, type, needs in self.captures:
            if type is not None and (x._array is None or x._array.shape != type.shape or x.dtype is not type.dtype
                                     or x.requires_grad != needs or x.device != type.device):
                return False
        for t, type, needs in self.gradients:
            x = t._grad
            if x is None or x._array is None or (x.type, x.requires_grad) != (type, needs):
                return False
        if not self.traced.outside.check() or any(t._grad is not x for t, x in self.changed):
            return False
        return all((t._grad is not None) is had for t, had in self.had_grad) and all(w.holds() for w in self.watches)

    def failure(self, call: Call) -> str:
        """Which guard does not hold, in words."""
        outside = self.traced.outside.failure()
        if outside:
            return outside
        for w in self.watches:
            if not w.holds():
                return w.failure()
        for t, had in self.had_grad:
            if (t._grad is not None) is not had:
                was, now = ("there", "None") if had else ("None", "there")
                return f"the .grad of a captured tensor {t.type} was {was}, is {now}"
        if any(t._grad is not x for t, x in self.changed):
            return "a .grad that the function changes in place is another tensor"
        for t, type, needs in self.gradients:
            if (t._grad.type, t._grad.requires_grad) != (type, needs):
                return f"the .grad of a captured tensor was {type}, is {t._grad.type}"
        for x, type, needs in self.captures:
            if type is not None and (str(x.type) != str(type) or x.requires_grad is not needs):
                was, now = (" requires_grad" * bool(flag) for flag in (needs, x.requires_grad))
                return f"a captured tensor was {type}{was}, is {x.type}{now}"
        return "a relation of sizes that the function asked for does not hold"

    def difference(self, function: Callable[..., Any], call: Call) -> str:
        """Trace once more: what differs from the first trace, in words."""
        self.is_checked = True
        return difference(self.traced, trace_function(function, call, self.pattern, self.traced.graph.name))

    def _written(self) -> list[Tensor]:
        """The tensors outside that a call changes."""
        return [t for t, _ in (*self.traced.writes, *self.traced.grads)]

    def __call__(self, call: Call) -> Any:
        if self.context is None:
            return self._run(call)
        with self.context:
            return self._run(call)

    def _run(self, call: Call) -> Any:
        sizes = {name: call.numbers[n] for n, name in self.symbols}
        arrays, donated = [], []
        for kind, x in self.inputs:
            value = self._now(kind, x, call)
            if isinstance(value, Tensor):
                array = value._array
                if array is None:
                    raise TraceError("a traced tensor was passed to a compiled function outside its trace")
                if kind == "argument" and x in self.turned:
                    array = array.transpose(self.turned[x])
                arrays.append(array)
                donated.append(kind != "argument" and is_sole_owner(array, 4))
            else:
                arrays.append(np.asarray(value if isinstance(value, float) else value(), np.float64))
                donated.append(False)
            array = None
        results = self.stages.executable(arrays, self._sizes(self.stages, sizes), donated)
        return self._deliver(call, results, sizes, arrays)

    @staticmethod
    def _now(kind: str, x: Any, call: Call) -> Any:
        """An input of the program at a call."""
        return call.leaves[x] if kind == "argument" else x._grad if kind == "gradient" else x

    @staticmethod
    def _sizes(stages: Stages, sizes: dict[str, int]) -> dict[str, int] | None:
        return {n: sizes[n] for n in stages.program.sizes} if sizes else None

    def _deliver(self, call: Call, results: list[Any], sizes: dict[str, int], arrays: list[Any]) -> Any:
        traced = self.traced
        count = len(traced.graph.outputs)
        tensors = [Tensor(a) for a in results[:count]]
        if self.wrt:
            self._record(call, tensors, arrays, results[count:], sizes)
        for t, n in traced.writes:
            meta = t._meta
            t._assign_traced(self._for(t, tensors[n]))
            t._meta = meta if self.device != CPU else None       # elsewhere it says nothing of the layout
        for leaf, n in traced.argument_writes:
            call.leaves[leaf]._assign_traced(self._for(call.leaves[leaf], tensors[n]))
        for t, m in traced.grads:
            t._grad = None if m is None else tensors[m]
        for holder, name, n in traced.attributes:
            setattr(holder, name, tensors[n])
        leaves = []
        for kind, x in traced.leaves:
            leaves.append(tensors[x] if kind == "output" else call.leaves[x] if kind == "argument"
                          else int(expr.evaluate(x, sizes)) if kind == "size" else x)
        return pytree.unflatten(traced.result, leaves)

    def _for(self, t: Tensor, new: Tensor) -> Tensor:
        """A result where the tensor is that takes it over: one of the CPU without dimensions stays there."""
        return new if self.device == CPU or t.device == self.device else Tensor(moved(new._array, t.device))

    def _record(self, call: Call, outputs: list[Tensor], arrays: list[Any], residuals: list[Any],
                sizes: dict[str, int]) -> None:
        """One tape node for the whole call: its pullback is the compiled other half."""
        from .differentiate import CompiledPullback

        sources = [self._now(kind, x, call) for kind, x in self.inputs]
        edges = [(t._node, t._slot) if t._node is not None else t if t._requires_grad else None
                 for t in (sources[n] for n in self.wrt)]
        node = TapeNode(CompiledPullback(self, arrays, sizes, sources), {}, (*edges, *(None for _ in residuals)),
                        (*(arrays[n] for n in self.wrt), *residuals), tuple(t._array for t in outputs))
        for n in self.traced.differentiable:
            outputs[n]._node, outputs[n]._slot = node, n


class CompilationRecord:
    """One line of `fn.compilations`."""

    def __init__(self, spec: Specialisation, reason: str):
        self.when, self.seconds, self.signature, self.reason = spec.when, spec.seconds, spec.signature, reason

    def __repr__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.when))
        return f"{clock} {1e3 * self.seconds:.0f} ms  ({self.signature})  {self.reason}"
