"""Functions inside a kernel's module: each finds buffers and sizes by the argument array, and is told the positions of
axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...ir.expr import Dim, product
from ...ir.kernel import Kernel
from ...ir.types import int64
from .body import Scope
from .types import INDEX, POINTER, Type
from .writer import Function, Index, Module, X


class Part:
    """A function of a kernel: `w` writes it, `scope` has its buffers, sizes and the positions of `axes`; `named` its
    own parameters.
    """

    def __init__(self, module: Module, kernel: Kernel, name: str, parameters: Mapping[str, Type], axes: Sequence[str]):
        positions = {f"at_{n}": INDEX for n in range(len(axes))}
        self.name, self.axes = name, tuple(axes)
        self.w = w = module.function(name, {"args": POINTER, **parameters, **positions}, attributes="noinline nounwind")
        args, *rest = w.parameters
        self.named = dict(zip(parameters, rest))
        self.scope = scope_of(w, kernel, args, dict(zip(axes, rest[len(parameters) :])))

    def call(self, w: Function, args: X, own: Mapping[str, Index], point: Mapping[str, Index]) -> None:
        """Write a call of it, at positions of its axes."""
        w.call(self.name, None, args, *(own[n] for n in self.named), *(point[a] for a in self.axes))


def scope_of(w: Function, kernel: Kernel, args: X, point: Mapping[str, Index]) -> Scope:
    """The scope of a kernel's buffers and sizes, read from the argument array."""
    pointers, sizes = {}, {}
    for n, b in enumerate(kernel.buffers):
        pointers[b] = w.let(POINTER, f"load ptr, {w.at(args, n, int64)}, align 8")
    for n, size in enumerate(kernel.sizes, len(pointers)):
        sizes[size] = w.load(int64, w.at(args, n, int64))
    return with_extents(Scope(w, kernel, pointers, {**sizes, **point}))


def with_extents(scope: Scope) -> Scope:
    """The same scope, in which the extents of all axes are written: to be found wherever they are needed."""
    for extent in scope.kernel.axes.values():
        scope.index(extent)
    return scope


def positions(scope: Scope, flat: Index, axes: Sequence[str]) -> dict[str, Index]:
    """A place in flattened axes as a position of each; no axes, none. Extents are not zero when this runs."""
    w, point = scope.w, {}
    for a in reversed(axes[1:]):
        extent = extent_of(scope, (a,))
        point[a] = unsigned(w, "urem", flat, extent)
        flat = unsigned(w, "udiv", flat, extent)
    if axes:
        point[axes[0]] = flat
    return point


def walk(
    scope: Scope, flat: Index, axes: Sequence[str], count: Index, body: Callable[..., Any], *carried: X, step: int = 1
) -> tuple[X, ...]:
    """carried = body(position of each axis, turn, *carried) at `count` places of flattened axes from `flat` on, some
    steps apart, which divide the last axis where there are several; positions are counted on, not divided out."""
    w, deep = scope.w, len(axes)
    start = positions(scope, flat, axes)

    def turn(n: X, *state: X) -> list[Index]:
        now = dict(zip(axes, state))
        after = body(now, n, *state[deep:]) or ()
        following: list[Index] = []
        carry: Index = step
        for a in reversed(axes):
            position = w.add(now[a], carry)
            if a != axes[0]:
                wraps = w.equal(position, extent_of(scope, (a,)))
                carry = int(wraps) if isinstance(wraps, bool) else w.convert("zext", wraps, "i64")
                position = w.select(wraps, 0, position)
            following.append(position)
        return [*following[::-1], *after]

    return w.loop(0, count, 1, turn, *(start[a] for a in axes), *carried)[deep:]


def unsigned(w: Function, op: str, a: Index, b: Index) -> Index:
    """a // b ("udiv") or a % b ("urem") of indices that are not negative."""
    if isinstance(b, int):
        if b == 1:
            return a if op == "udiv" else 0
        if isinstance(a, int):
            return a // b if op == "udiv" else a % b
    return w.binary(op, a, w.max(b, 1))


def extent_of(scope: Scope, axes: Sequence[str]) -> Index:
    """How many positions flattened axes have. What is written for it is not kept for the scope, which may be in another
    block.
    """
    size: Dim = product(scope.kernel.axes[a] for a in axes)
    return scope.enter({}).index(size)
