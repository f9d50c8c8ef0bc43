"""Functional transformations: `grad`, `value_and_grad`, `vjp`; `Function` with a backward of its own; `checkpoint`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..ir.errors import GradientError, TraceError
from ..ir.interpreter import _current, interpreting
from ..ir.ops import F
from ..ir.precision import _casting
from . import autograd, pytree
from .arguments import lift
from .autocast import resumed
from .modes import _GradMode, is_grad_enabled
from .tensor import Tensor


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0,
                   has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns (function(*args), gradients with respect to the arguments `argnums`).

    The arguments may be trees of tensors; the gradients have their structure. May be nested for higher orders,
    compiled, or applied to compiled functions. `has_aux`: function returns (value, anything).
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        positions = [argnums] if isinstance(argnums, int) else list(argnums)
        flat, structure = pytree.flatten([args[i] for i in positions])
        with _GradMode(True):
            fresh = [_fresh(x) for x in flat]
            given = list(args)
            for i, x in zip(positions, pytree.unflatten(structure, fresh)):
                given[i] = x
            out = function(*given, **kwargs)
            value, aux = out if has_aux else (out, None)
            if not isinstance(value, Tensor) or value.size != 1:
                shape = getattr(value, "shape", type(value).__name__)
                raise GradientError(f"grad needs a function that returns one number; this one returned {shape}; use "
                                    "vjp for tensors")
            value = value if value.ndim == 0 else F.reshape(value, shape=())
            nested = _current.get() is not None or any(isinstance(x, Tensor) and x.requires_grad
                                                       for x in flat) or _depth[0] > 0
            found = autograd.grad(value, fresh, create_graph=nested,
                                  allow_unused=True) if value.requires_grad else (None,) * len(fresh)
        gradients = pytree.unflatten(structure, [F.zeros_like(x) if g is None else g for x, g in zip(fresh, found)])
        gradients = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        if not nested:
            value = value.detach()
        return ((value, aux) if has_aux else value), gradients

    return run


_depth = [0]


def _fresh(x: Any) -> Tensor:
    """A tensor that gradients are asked for: connected with the outer one, so that outer gradients flow through."""
    t = lift(x)
    if not t.dtype.is_inexact:
        raise GradientError(f"grad with respect to a tensor of dtype {t.dtype.long_name}; only floating-point and "
                            "complex ones have gradients")
    if t.requires_grad:
        return F.mul(t, 1)
    if _current.get() is None:
        return Tensor(t._array).requires_grad_()
    trace = _current.get()
    new = trace.wrap(trace.value_of(F.mul(t, 1)))
    new._node = trace
    return new


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of `function`, a number, with respect to the arguments `argnums`.

    >>> braze.grad(lambda x: (x ** 3).sum())(braze.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return run


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """function(*primals), and a function from the result's cotangents to the primals'."""
    flat, structure = pytree.flatten(primals)
    with _GradMode(True):
        fresh = [_fresh(x) for x in flat]
        out = function(*pytree.unflatten(structure, fresh))
    leaves, _ = pytree.flatten(out)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds, _ = pytree.flatten(cotangents)
        pairs = [(y, lift(c)) for y, c in zip(leaves, seeds) if isinstance(y, Tensor) and y.requires_grad]
        found: Sequence[Any] = [None] * len(fresh)
        if pairs:
            found = autograd.grad([y for y, _ in pairs], fresh, [c for _, c in pairs], retain_graph=True,
                                  allow_unused=True, create_graph=_current.get() is not None)
        return pytree.unflatten(structure, [F.zeros_like(x) if g is None else g for x, g in zip(fresh, found)])

    return out, pull


# ---- a function with its own backward --------------------------------------------------------------------------------


class Context:
    """What `Function.forward` leaves for `backward`: saved tensors, and any attributes."""

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for `backward`, as `ctx.saved_tensors`."""
        self.saved_tensors = tensors


class Function:
    """An operation with its own derivative: subclass it with static `forward(ctx, *args)` and `backward(ctx,
    *cotangents)`.

    Call `MyFunction.apply(*args)`. `backward` returns one cotangent (or None) for each argument of `forward`.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the results."""
        raise GradientError("a Function must define forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *cotangents: Any) -> Any:
        """The cotangents of the arguments."""
        raise GradientError("a Function must define backward(ctx, *cotangents)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward, and record backward."""
        ctx = Context()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        trace = _current.get()
        if trace is not None:
            return _apply_traced(cls, ctx, args, trace)
        with _GradMode(False):
            out = cls.forward(ctx, *args)
        results = out if isinstance(out, tuple) else (out,)
        results = tuple(Tensor(t._array) if any(t is a for a in args) else t for t in results)
        if any(ctx.needs_input_grad) and is_grad_enabled():
            tensors = [a for a in args if isinstance(a, Tensor)]
            autograd.record(_Custom(cls, ctx, args), tensors, [t._array for t in tensors], {}, results)
        return results if isinstance(out, tuple) else results[0]


class _Custom:
    """The tape's view of a `Function`."""

    def __init__(self, cls: type[Function], ctx: Context, args: tuple[Any, ...]):
        self.cls, self.ctx, self.name = cls, ctx, cls.__name__
        self.is_tensor = [isinstance(a, Tensor) for a in args]

    def pullback(self, g: Any, y: Any, operands: Any, attrs: Any, wanted: Any = None) -> tuple[Any, ...]:
        cotangents = g if isinstance(g, tuple) else (g,)
        results = y if isinstance(y, tuple) else (y,)
        filled = [F.zeros_like(r) if c is None else c for c, r in zip(cotangents, results)]
        out = self.cls.backward(self.ctx, *filled)
        out = out if isinstance(out, tuple) else (out,)
        if len(out) != len(self.is_tensor):
            raise GradientError(f"{self.name}.backward returned {len(out)} cotangents for {len(self.is_tensor)} "
                                "arguments of forward")
        return tuple(c for c, t in zip(out, self.is_tensor) if t)


def _apply_traced(cls: type[Function], ctx: Context, args: tuple[Any, ...], trace: Any) -> Any:
    """In a trace backward is traced at once, as a region of the `custom_vjp` node."""
    from .control import Region

    with _GradMode(False):
        out = cls.forward(ctx, *args)
    results = [lift(t) for t in (out if isinstance(out, tuple) else (out,))]
    if not any(ctx.needs_input_grad) or not is_grad_enabled():
        return tuple(results) if isinstance(out, tuple) else results[0]
    tensors = [a for a in args if isinstance(a, Tensor)]
    custom = _Custom(cls, ctx, args)

    def backward(*cotangents: Any) -> Any:
        found = custom.pullback(tuple(cotangents), tuple(results), None, None)
        return tuple(F.zeros_like(x) if c is None else c for c, x in zip(found, tensors))

    types = [trace.value_of(t).type for t in results]
    structure = pytree.flatten(tuple(results))[1]
    with _GradMode(False):
        region = Region("backward", backward, types, [False] * len(types), structure, trace)
    captures = region.captured
    attrs = {"count": len(results), "backward": region.graph(captures)}
    values = [*results, *tensors, *captures]
    marked = trace.bind(F.custom_vjp, tuple(values), attrs)
    return marked if isinstance(out, tuple) else marked[0]


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """function(*args), not keeping its intermediate values: the backward pass computes them again (Chen et al.
    2016).
    """
    if _current.get() is not None:
        return _checkpoint_traced(function, args, kwargs)
    leaves, structure = pytree.flatten((args, kwargs))
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    if not is_grad_enabled() or not any(t.requires_grad for t in tensors):
        return function(*args, **kwargs)
    places = [n for n, x in enumerate(leaves) if isinstance(x, Tensor)]
    casts = _casting.get()

    class Recomputed(Function):
        """The function, run again in the backward pass."""

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.inputs = inputs
            return function(*args, **kwargs)

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            again = list(leaves)
            fresh = []
            for n, t in zip(places, ctx.inputs):
                again[n] = Tensor(t._array)
                if t.requires_grad:
                    again[n].requires_grad_()
                fresh.append(again[n])
            with interpreting(None), _GradMode(True):
                a, k = pytree.unflatten(structure, again)
                with resumed(casts):
                    out = function(*a, **k)
                outs = out if isinstance(out, tuple) else (out,)
                pairs = [(o, c) for o, c in zip(outs, cotangents) if o.requires_grad]
                for o, c in pairs[:-1]:
                    o.backward(c, retain_graph=True)
                pairs[-1][0].backward(pairs[-1][1])      # parameters that the function holds get their gradients too
            return tuple(t.grad for t in fresh)

    return Recomputed.apply(*tensors)


def _checkpoint_traced(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Its inputs pass a barrier, then its results with them: what lies between the two is not kept, but computed
    again.
    """
    trace = _current.get()
    leaves, structure = pytree.flatten((args, kwargs))
    places = [n for n, x in enumerate(leaves) if isinstance(x, Tensor)]
    if not places:
        raise TraceError("checkpoint needs a tensor among its arguments")
    passed = trace.bind(F.barrier, tuple(leaves[n] for n in places), {})
    for n, t in zip(places, passed):
        leaves[n] = t
    a, k = pytree.unflatten(structure, leaves)
    results, shape = pytree.flatten(function(*a, **k))
    ends = [n for n, x in enumerate(results) if isinstance(x, Tensor)]
    for n, t in zip(ends, trace.bind(F.barrier, (*(results[n] for n in ends), *passed), {})):
        results[n] = t
    return pytree.unflatten(shape, results)
