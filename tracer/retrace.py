"""Tracing twice: what a trace changed must settle, and a second trace must give the same graph as the first.

The second call of a specialisation is checked so where tracing is cheap, every call under `BRAZE_CHECK=1`: it finds
what guards cannot see (`random.random()`, a file that is read, values behind calls).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..ir.errors import TraceError
from ..ir.graph import Graph, Node, Value
from .devices import on_host
from .signature import Call
from .tensor import Tensor

if TYPE_CHECKING:
    from .specialise import Traced

CHEAP_SECONDS = 0.01                 # traces that take longer are not repeated at the second call


def checks_always() -> bool:
    """Is `BRAZE_CHECK` set?"""
    return os.environ.get("BRAZE_CHECK", "") not in ("", "0")


def trace_settled(trace: Callable[..., Traced], function: Any, call: Call, pattern: Sequence[int | None],
                  name: str) -> Traced:
    """The trace of a function that may fill a memo or set an attribute on its first run; an error if it changes
    something each time.
    """
    traced = trace(function, call, pattern, name)
    changed = traced.outside.changed()
    if not changed:
        return traced
    for g in changed:
        if isinstance(g.now(), Tensor) and g.now()._trace is not None:
            g.restore()
            raise TraceError(f"{g.label} was set to a traced tensor: that happens once, while tracing, and not in each "
                             f"call. Change the tensor in place (`t -= step`, `t.copy_(new)`), or return the new one")
    again = trace(function, call, pattern, name)
    still = again.outside.changed()
    if still:
        text = str(still[0])
        for g in changed:
            g.restore()
        raise TraceError(f"the function changes a plain Python value: {text} after tracing. That happens once, while "
                         f"tracing, and not in each call. Keep it in a tensor (braze.tensor(0), then `t += 1`), or "
                         "change it outside the compiled function")
    return again


def difference(one: Traced, other: Traced) -> str:
    """The first thing in which two traces differ, in words; empty if there is none."""
    owners, others = one.trace.gradient_owners, other.trace.gradient_owners
    if len(one.trace.captures) != len(other.trace.captures) or not all(
            _same_capture(x, y) if id(x) not in owners else owners[id(x)] is others.get(id(y))
            for (x, _), (y, _) in zip(one.trace.captures, other.trace.captures)):
        return "other tensors are captured"
    found = _differ(one.graph, other.graph)
    if found:
        return found
    same_writes = [(id(t), n) for t, n in one.writes] == [(id(t), n) for t, n in other.writes]
    return "" if same_writes and one.result == other.result else "the results or the tensors that are written differ"


def _same_capture(x: Any, y: Any) -> bool:
    """The same tensor, or equal constants that each trace has made for itself; numbers are read at each call."""
    if x is y or not isinstance(x, Tensor):
        return isinstance(y, Tensor) is isinstance(x, Tensor)
    if not isinstance(y, Tensor) or x.shape != y.shape or x.dtype is not y.dtype or x.requires_grad or y.requires_grad:
        return False
    return on_host(x._array).tobytes() == on_host(y._array).tobytes()


def _differ(one: Graph, other: Graph) -> str:
    names: dict[Value, Any] = {v: n for n, v in enumerate(one.inputs)}
    others: dict[Value, Any] = {v: n for n, v in enumerate(other.inputs)}
    if [v.type for v in one.inputs] != [v.type for v in other.inputs]:
        return "the inputs differ"
    for n, (a, b) in enumerate(zip(one.nodes, other.nodes)):
        found = _node_difference(a, b, names, others)
        if found:
            return found
        for i, (x, y) in enumerate(zip(a.results, b.results)):
            names[x], others[y] = (n, i), (n, i)
    if len(one.nodes) != len(other.nodes):
        longer = one if len(one.nodes) > len(other.nodes) else other
        extra = longer.nodes[min(len(one.nodes), len(other.nodes))]
        return f"{_show(extra)} stands in one of the graphs only"
    return "" if [names.get(v) for v in one.outputs] == [others.get(v)
                                                         for v in other.outputs] else "the outputs are other values"


def _node_difference(a: Node, b: Node, names: dict[Value, Any], others: dict[Value, Any]) -> str:
    if a.op is not b.op or len(a.results) != len(b.results):
        return f"{_show(a)} was {a.op.name}, is {b.op.name}"
    for key, value in a.attrs.items():
        now = b.attrs.get(key)
        if isinstance(value, Graph) and isinstance(now, Graph):
            inner = _differ(value, now)
            if inner:
                return inner
        elif repr(value) != repr(now):
            return f"{_show(a)}: {key} was {value!r}, is {now!r}"
    if [names.get(v) for v in a.operands] != [others.get(v) for v in b.operands]:
        return f"{_show(a)} has other operands"
    if [r.type for r in a.results] != [r.type for r in b.results]:
        return f"{_show(a)} was {a.results[0].type}, is {b.results[0].type}"
    return ""


def _show(n: Node) -> str:
    return f"{n.op.name} at {n.loc}" if n.loc is not None else n.op.name
