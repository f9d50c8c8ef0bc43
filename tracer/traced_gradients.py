"""Gradients while tracing: `backward()` and `autograd.grad` append one `gradient` node, which a pass expands later.

Which leaves are reached is decided at once; what cuts the way to them is found for the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ir.errors import GradientError
from ..ir.graph import Node, Value
from ..ir.location import here
from ..ir.ops import F
from .tensor import Tensor

if TYPE_CHECKING:
    from .trace import Trace


def backward(trace: Trace, root: Tensor, gradient: Tensor | None) -> None:
    """`loss.backward()`: one gradient node; its results are added to `.grad` of the leaves."""
    if root._node is None and not root._requires_grad:
        raise GradientError(f"backward from a tensor that requires no gradient ({root.type}): {_cut_by(trace, root)}")
    if gradient is None and root.ndim and root.size != 1:
        raise GradientError(f"backward from a tensor of shape {list(root.shape)}: only a single number has a "
                            f"gradient; reduce it (.sum(), .mean()) or pass the cotangent: backward(gradient)")
    wanted = _reached(trace, trace.value_of(root))
    if not wanted:
        raise GradientError(f"backward from {root.type} reaches no tensor with requires_grad=True: "
                            f"{_cut_by(trace, root)}")
    by_owner: dict[int, tuple[Tensor, list[Value]]] = {}
    for v in wanted:
        by_owner.setdefault(id(trace.leaves[v]), (trace.leaves[v], []))[1].append(v)
    gradients = iter(_gradient(trace, root, gradient, wanted))
    found = dict(zip(wanted, gradients))
    for owner, values in by_owner.values():
        if owner._node is not None:
            continue
        total = found[values[0]]
        for v in values[1:]:
            total = total + found[v]
        old = trace.grad_of(owner)
        trace.set_grad(owner, total if old is None else F.add(old, total))


def _cut_by(trace: Trace, root: Tensor) -> str:
    """What stands between a value and the tensors that require gradients."""
    todo, seen = [trace.value_of(root)], set()
    while todo:
        v = todo.pop(0)
        n = v.node
        if n is None or v in seen:
            continue
        seen.add(v)
        if (n.op.name == "stop_gradient" or not v.dtype.is_inexact) and _depends_on_leaf(trace, v):
            stopped = n.op.name == "stop_gradient"
            name = "detach() or no_grad()" if stopped else f"{n.op.name}, whose result is {v.dtype.long_name},"
            return f"{name} at {n.loc} cuts the way to what requires gradients"
        todo += n.operands
    return "nothing that it was computed from has requires_grad=True; set it on the parameters (requires_grad_())"


def _depends_on_leaf(trace: Trace, v: Value) -> bool:
    todo, seen = [v], {v}
    while todo:
        v = todo.pop()
        if v in trace.leaves:
            return True
        new = [o for o in (v.node.operands if v.node is not None else ()) if o not in seen]
        seen.update(new)
        todo += new
    return False


def _reached(trace: Trace, root: Value) -> list[Value]:
    """The values of leaves that the root depends on, not through stopped gradients."""
    seen, found, todo = {root}, [], [root]
    while todo:
        v = todo.pop()
        if v in trace.leaves:
            found.append(v)
        if v.node is not None and v.node.op.name != "stop_gradient":
            for o in v.node.operands:
                if o not in seen and o.dtype.is_inexact:
                    seen.add(o)
                    todo.append(o)
    trace.consumed |= seen
    order = {v: i for i, v in enumerate(trace.leaves)}
    return sorted(found, key=order.__getitem__)


def _gradient(trace: Trace, root: Tensor, seed: Tensor | None, wanted: Sequence[Value]) -> tuple[Tensor, ...]:
    cotangent = F.ones_like(root) if seed is None else seed
    values = [trace.value_of(root), trace.value_of(cotangent), *wanted]
    attrs = {"count": len(wanted)}
    node = Node(F.gradient, values, attrs, F.gradient.infer([v.type for v in values], attrs), here())
    trace.builder.nodes.append(node)
    return tuple([trace.wrap(v) for v in node.results])


def gradients(trace: Trace, outs: Sequence[Tensor], wrt: Sequence[Tensor],
              seeds: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """`braze.autograd.grad` inside a trace: gradients as new values, differentiable again."""
    values = [trace.value_of(t) for t in wrt]
    total: list[Tensor] | None = None
    for out, seed in zip(outs, seeds):
        got = _gradient(trace, out, seed, values)
        for g in got:
            g._node = trace
        total = list(got) if total is None else [a + b for a, b in zip(total, got)]
    return tuple(total or ())
