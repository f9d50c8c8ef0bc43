"""The tape: what eager operations leave behind for `backward()`, and the walk over it.

Saved are values (arrays), not handles: a tensor that is changed in place afterwards has got another value, the saved
one stays.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from ..ir.errors import GradientError
from ..ir.interpreter import _current
from ..ir.ops import F
from ..ir.precision import casting
from .devices import beside, cast, is_used, words, work_beside
from .modes import _GradMode
from .pullbacks import operand_dtype, recipe
from .tensor import Tensor

_order = count()
_NUMBERS = (int, float, bool, complex)


class TapeNode:
    """One recorded operation. `edges` lead on: None, a leaf tensor, or (node, which result)."""

    __slots__ = ("op", "attrs", "edges", "operands", "results", "order", "shapes")

    def __init__(self, op: Any, attrs: dict[str, Any], edges: tuple[Any, ...], operands: Any, results: tuple[Any, ...]):
        self.op, self.attrs, self.edges, self.operands, self.results = op, attrs, edges, operands, results
        self.order = next(_order)

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    def pullback(self, cotangents: list[Any]) -> Sequence[Any]:
        """The cotangents of the operands, as arrays, from those of the results."""
        self._refuse_freed()
        found = recipe(self.op, self.attrs, self.operands, self.results, cotangents, self.edges)
        if found is not None:
            return found(*cotangents, *self.results, *self.operands)
        operands = [Tensor(self._number(a) if type(a) in _NUMBERS else a) for a in self.operands]
        tensors = [None if c is None else Tensor(_as_array(c)) for c in cotangents]
        given = self._pulled(tensors, [Tensor(a) for a in self.results], operands)
        return [None if c is None else beside(c._array, x) for c, x in zip(given, self.operands)]

    def recorded_pullback(self, cotangents: list[Any]) -> Sequence[Any]:
        """The same on tensors, by operations that are recorded themselves."""
        self._refuse_freed()
        operands = [_restored(self._number(a) if type(a) in _NUMBERS else a, e)
                    for a, e in zip(self.operands, self.edges)]
        return self._pulled(cotangents, [_restored(a, (self, i)) for i, a in enumerate(self.results)], operands)

    def _pulled(self, cotangents: list[Any], results: list[Tensor], operands: list[Tensor]) -> Sequence[Any]:
        wanted = [e is not None for e in self.edges]
        if len(results) == 1:
            return self.op.pullback(cotangents[0], results[0], operands, self.attrs, wanted)
        return self.op.pullback(tuple(cotangents), tuple(results), operands, self.attrs, wanted)

    def _refuse_freed(self) -> None:
        if self.operands is None:
            raise GradientError(f"backward through {self.name} a second time: what it had saved was freed by the first "
                                f"backward; call backward(retain_graph=True) the first time")

    def _number(self, number: Any) -> Any:
        """A Python number as the operand that it was."""
        return np.array(number, operand_dtype(self.operands))


def _restored(array: Any, edge: Any) -> Tensor:
    if isinstance(edge, Tensor):
        return edge if edge._array is array else _with_leaf(array, edge)
    t = Tensor(array)
    if edge is not None:
        t._node, t._slot = edge
    return t


def _as_array(x: Any) -> Any:
    """NumPy's scalars as arrays; arrays of any device as they are."""
    return np.asarray(x) if isinstance(x, np.generic) else x


class _Alias:
    """An operation whose result is its operand: leads from a saved value to the leaf that has changed since."""

    name = "leaf"

    @staticmethod
    def pullback(g: Any, y: Any, operands: Any, attrs: Any, wanted: Any = None) -> tuple[Any, ...]:
        return (g,)


def _with_leaf(array: Any, leaf: Tensor) -> Tensor:
    t = Tensor(array)
    t._node = TapeNode(_Alias, {}, (leaf,), (array,), (array,))
    return t


def record(op: Any, operands: Sequence[Any], arrays: Sequence[Any], attrs: dict[str, Any],
           results: Sequence[Tensor]) -> None:
    """Put an operation on the tape, if its result can have gradients. Operands may be Python numbers, which need
    none.
    """
    edges = tuple([None if not isinstance(t, Tensor) else (t._node, t._slot) if t._node is not None else t
                   if t._requires_grad else None
                   for t in operands])
    node = TapeNode(op, attrs, edges, arrays, tuple([t._array for t in results]))
    for i, t in enumerate(results):
        if t._array.dtype.kind in "fcV":
            t._node, t._slot = node, i


def backward(root: Tensor, gradient: Tensor | None, retain_graph: bool, create_graph: bool) -> None:
    """`Tensor.backward`."""
    trace = _current.get()
    if trace is not None:
        trace.backward(root, gradient)
        return
    if not root.requires_grad:
        raise GradientError(f"backward from a tensor that requires no gradient ({root.type}): no operand of the "
                            f"operations that made it had requires_grad=True, or something cut the way (detach(), "
                            f"no_grad(), an integer result); braze.compile of the function names the operation that "
                            "does")
    grads = pull(root, _seed(root, gradient), None, retain_graph or create_graph, create_graph)
    for leaf, g in grads.values():
        g = g if create_graph else Tensor(g._array)
        if type(g._array) is not np.ndarray or type(leaf._array) is not np.ndarray:
            g = g.to(leaf.device)
        leaf._grad = g if leaf._grad is None else _sum(leaf._grad, g, create_graph)


def _seed(root: Tensor, gradient: Tensor | None) -> Tensor:
    if gradient is None:
        if root.size != 1:
            raise GradientError(f"backward from a tensor of shape {list(root.shape)}: only a single number has a "
                                f"gradient; reduce it (.sum(), .mean()) or pass the cotangent: backward(gradient)")
        ones = F.ones_like(root.detach())
        return ones.to(root.device) if is_used() else ones
    if gradient.shape != root.shape:
        raise GradientError(f"the gradient passed to backward has shape {list(gradient.shape)}, the tensor "
                            f"{list(root.shape)}")
    return gradient


def _sum(a: Tensor, b: Tensor, create_graph: bool) -> Tensor:
    with _GradMode(create_graph):
        return a + b


def pull(root: Tensor, seed: Tensor, wanted: Sequence[Tensor] | None, retain: bool,
         create_graph: bool) -> dict[int, tuple[Tensor, Tensor]]:
    """Walk the tape from the root: {id(leaf): (leaf, gradient)}. `wanted` tensors that are no leaves are collected too.

    Cotangents on the way are arrays; tensors where the walk is recorded itself.
    """
    collected: dict[int, tuple[Tensor, Any]] = {}
    targets = {(t._node, t._slot): t for t in wanted or () if t._node is not None}
    pending: dict[TapeNode, list[Any]] = {}
    heap: list[tuple[int, TapeNode]] = []

    def deliver(edge: Any, g: Any) -> None:
        if isinstance(edge, Tensor):
            old = collected.get(id(edge))
            collected[id(edge)] = (edge, g if old is None else _added(old[1], g))
            return
        node, slot = edge
        waiting = pending.get(node)
        if waiting is None:
            waiting = pending[node] = [None] * len(node.results)
            heapq.heappush(heap, (-node.order, node))
        waiting[slot] = g if waiting[slot] is None else _added(waiting[slot], g)

    with _GradMode(create_graph), casting(None), np.errstate(all="ignore"):
        deliver(root if root._node is None else (root._node, root._slot), seed if create_graph else seed._array)
        while heap:
            node = heapq.heappop(heap)[1]
            cotangents = pending.pop(node)
            if targets:
                for slot, g in enumerate(cotangents):
                    target = targets.get((node, slot))
                    if target is not None and g is not None:
                        collected[id(target)] = (target, g)
            found = node.recorded_pullback(cotangents) if create_graph else node.pullback(cotangents)
            for edge, g in zip(node.edges, found):
                if edge is not None and g is not None:
                    deliver(edge, g)
            if not retain:
                node.operands = None
    if create_graph:
        return collected
    return {key: (t, Tensor(_as_array(g))) for key, (t, g) in collected.items()}


def _added(a: Any, b: Any) -> Any:
    """The sum of two cotangents: arrays where they lie, or tensors."""
    if type(a) is np.ndarray or isinstance(a, Tensor):
        return a + b
    if words(a) is not a:
        return cast(_added(cast(a, np.float32), cast(b, np.float32)), a.dtype)
    return work_beside(a, lambda: a + b, f"a gradient of shape {list(a.shape)}")


def recording() -> _GradMode:
    """Operations in the block are recorded."""
    return _GradMode(True)


def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], grad_outputs: Any = None,
         retain_graph: bool | None = None, create_graph: bool = False,
         allow_unused: bool = False) -> tuple[Tensor | None, ...]:
    """Gradients of outputs with respect to inputs, as a tuple, leaving `.grad` alone (`torch.autograd.grad`)."""
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    wrt = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs or [None] * len(outs))
    trace = _current.get()
    if trace is not None:
        return trace.gradients(outs, wrt, seeds)
    total: list[Tensor | None] = [None] * len(wrt)
    keep = create_graph if retain_graph is None else retain_graph
    for n, (out, seed) in enumerate(zip(outs, seeds)):
        if not out.requires_grad:
            raise GradientError(f"the output {out.type} requires no gradient")
        found = pull(out, _seed(out, seed), wrt, keep or create_graph or n + 1 < len(outs), create_graph)
        for i, t in enumerate(wrt):
            if id(t) in found:
                g, before = found[id(t)][1], total[i]
                total[i] = g if before is None else _sum(before, g, create_graph)
    missing = [i for i, g in enumerate(total) if g is None]
    if missing and not allow_unused:
        raise GradientError(f"input {missing[0]} ({wrt[missing[0]].type}) was not used to compute the output; pass "
                            f"allow_unused=True to get None for it")
    return tuple(total)
