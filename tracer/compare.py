"""`braze.compare(fn, *args)`: eager against compiled: time, peak memory, largest error, and the first op that
differs.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.graph import Graph
from . import pytree
from .compile import CompiledFunction
from .compile import compile as compile_function
from .devices import CPU, hardware, moved, on_host
from .tensor import Tensor

# Relative bounds on the difference of one operation, eager against compiled (docs/architecture.md, Numerics).
BOUND = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-4, "float64": 1e-11, "complex64": 1e-4, "complex128": 1e-11}


@dataclass
class Comparison:
    """Median seconds, peak bytes of temporaries and results, the largest error relative to the largest element."""

    eager_seconds: float
    compiled_seconds: float
    compile_seconds: float
    eager_bytes: int
    compiled_bytes: int
    error: float
    first_difference: str | None

    @property
    def speedup(self) -> float:
        """How many times faster compiled is."""
        return self.eager_seconds / self.compiled_seconds

    def __str__(self) -> str:
        lines = [
            f"{'':10}{'time':>12}{'peak memory':>14}",
            f"{'eager':10}{1e3 * self.eager_seconds:9.3f} ms{self.eager_bytes / 2**20:11.2f} MB",
            f"{'compiled':10}{1e3 * self.compiled_seconds:9.3f} ms{self.compiled_bytes / 2**20:11.2f} MB",
            f"{self.speedup:.1f} times as fast; compiled once in {1e3 * self.compile_seconds:.0f} ms; largest relative "
            f"difference {self.error:.1e}",
        ]
        if self.first_difference:
            lines.append(f"the first operation that differs by more than its bound: {self.first_difference}")
        return "\n".join(lines)

    __repr__ = __str__


def compare(function: Callable[..., Any], *args: Any, repeats: int = 5, search: bool = True,
            **kwargs: Any) -> Comparison:
    """Run a function eagerly and compiled on the same arguments, several times, from the same state: tensors that it
    changes in place, and their gradients, are compared too and are as before at the end. `search` compiles each
    operation on its own to name the first that differs.

    >>> braze.compare(lambda x: braze.exp(x).sum(), braze.ones(3)).error < 1e-6
    True
    """
    compiled = function if isinstance(function, CompiledFunction) else compile_function(function)
    eager = compiled.function
    begin = time.perf_counter()
    state = _State(compiled.specialise(*args, **kwargs), args, kwargs)
    compile_seconds = time.perf_counter() - begin
    try:
        fast = compiled(*args, **kwargs), state.now()
        state.restore()
        slow = eager(*args, **kwargs), state.now()
        state.restore()
        times: dict[str, list[float]] = {"eager": [], "compiled": []}
        for _ in range(repeats):
            for name, f in (("eager", eager), ("compiled", compiled)):
                begin = time.perf_counter()
                f(*args, **kwargs)
                _wait(compiled)
                times[name].append(time.perf_counter() - begin)
        state.restore()
        eager_bytes = _peak_bytes(lambda: eager(*args, **kwargs))
        state.restore()
        difference = _first_difference(compiled, args, kwargs) if search else None
    finally:
        state.restore()
    eager_seconds, compiled_seconds = (float(np.median(times[name])) for name in ("eager", "compiled"))
    return Comparison(eager_seconds, compiled_seconds, compile_seconds, eager_bytes, _program_bytes(compiled),
                      largest_error(slow, fast), difference)


def _wait(compiled: CompiledFunction) -> None:
    """Devices work on while Python goes on: wait for what was asked."""
    where = compiled.specialisations[-1].device
    if where != CPU:
        hardware(where).synchronize()


class _State:
    """The tensors that a specialisation changes, and what they were."""

    def __init__(self, spec: Any, args: Any, kwargs: Any):
        leaves = pytree.flatten((args, kwargs))[0]
        traced = spec.traced
        changed = [*(t for t, _ in traced.writes), *(leaves[n] for n, _ in traced.argument_writes),
                   *(t for t, _ in traced.grads)]
        self.before = [(t, t._array, t._grad) for t in changed if isinstance(t, Tensor)]

    def now(self) -> list[Tensor]:
        """Their values and gradients."""
        return [Tensor(x._array) for t, _, _ in self.before for x in (t, t._grad) if x is not None]

    def restore(self) -> None:
        """Give them back what they were. (The arrays are held here, so that no program writes into them.)"""
        for t, array, gradient in self.before:
            if t._array is not array:
                t._assign_traced(Tensor(array))
            t._grad = gradient


def largest_error(expected: Any, found: Any) -> float:
    """The largest difference of two trees of tensors, each relative to the largest element of its tensor."""
    worst = 0.0
    for a, b in zip(pytree.flatten(expected)[0], pytree.flatten(found)[0]):
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            worst = max(worst, _relative(on_host(a._array), on_host(b._array)))
    return worst


def _relative(a: Any, b: Any) -> float:
    if not a.size:
        return 0.0
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    a, b = a.astype(wide), b.astype(wide)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        difference = np.where(same, 0, np.abs(a - b))
    finite = np.abs(a[np.isfinite(a)])
    scale = finite.max() if finite.size and finite.max() > 0 else 1.0
    return float(np.nanmax(difference) / scale) if np.isfinite(difference).all() else float("inf")


def _peak_bytes(run: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        base = tracemalloc.get_traced_memory()[0]
        run()
        return max(0, tracemalloc.get_traced_memory()[1] - base)
    finally:
        tracemalloc.stop()


def _program_bytes(compiled: CompiledFunction) -> int:
    spec = compiled.specialisations[-1]
    program, sizes = spec.stages.program, spec.hints
    from ..ir import expr

    made = [s.bytes for s in program.slots.values() if s.role == "output" and not s.takes]
    return int(sum(expr.evaluate(b, sizes) for b in made) + expr.evaluate(program.arena, sizes))


def _first_difference(compiled: CompiledFunction, args: Any, kwargs: Any) -> str | None:
    """Run the optimized graph op by op and each op as a program of its own; name the first whose results differ too
    much.
    """
    from ..ir.evaluate import evaluate_node, read_sizes
    from .pipeline import compile_graph
    from .signature import describe

    spec = compiled.specialisations[-1]
    call = describe(args, kwargs, compiled.static, compiled.parameters)
    graph = spec.stages.named("optimized")
    sources = [call.leaves[x] if kind == "argument" else x for kind, x in spec.inputs]
    arrays = [on_host(s._array) if isinstance(s, Tensor) else np.asarray(s if isinstance(s, float) else s(), np.float64)
              for s in sources]
    sizes = {**read_sizes(graph, arrays), **spec.hints}
    known = dict(zip(graph.inputs, arrays))
    if spec.hints:
        return None
    for n in graph.nodes:
        operands = [known[v] for v in n.operands]
        with np.errstate(all="ignore"):
            want = evaluate_node(n, operands, sizes)
        for r, a in zip(n.results, want):
            known[r] = a
        if n.op.kind in ("control", "random", "library") or n.op.name in ("constant", "size", "iota"):
            continue
        single = _single(n, graph)
        inputs = [moved(known[v], spec.device) for v in dict.fromkeys(n.operands) if v.literal is None]
        got = compile_graph(single, spec.backend, {}, {}, spec.device).executable(inputs)
        for a, b in zip(want, got):
            if _relative(np.asarray(a), np.asarray(on_host(b))) > BOUND.get(str(np.asarray(a).dtype), 0):
                return f"{n.op.name} at {n.loc}"
    return None


def _single(n: Any, graph: Graph) -> Graph:
    """A graph of one node of another graph."""
    from ..ir.graph import Node, Value

    new: dict[Any, Value] = {}
    nodes = []
    for v in n.operands:
        if v in new:
            continue
        if v.literal is not None:
            node = Node(v.node.op, (), v.node.attrs, (v.type,))
            nodes.append(node)
            new[v] = node.results[0]
        else:
            new[v] = Value(v.type, None, 0, f"x{len(new)}")
    node = Node(n.op, [new[v] for v in n.operands], n.attrs, [r.type for r in n.results], n.loc)
    return Graph("single", tuple(v for v in new.values() if v.node is None), (*nodes, node), node.results)
