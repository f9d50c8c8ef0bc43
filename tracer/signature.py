"""Signatures: what of a call's arguments a specialisation depends on.

A call is flattened to leaves. Their *kinds* (dtypes, ranks, static values) and their *numbers* (sizes and ints, in
order) are kept apart: a specialisation is for one tuple of kinds, and for numbers that match its pattern, in which
promoted ones are open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import pytree
from .modes import _grad_enabled, ambient
from .tensor import Tensor


@dataclass
class Call:
    """The arguments of one call, flattened."""

    leaves: list[Any]
    structure: Any
    kinds: tuple[Any, ...]
    numbers: tuple[int, ...]
    owners: tuple[tuple[int, int], ...]       # of each number: (leaf, dimension; -1 for an int)

    @property
    def key(self) -> Any:
        """What must be equal for a specialisation to be considered."""
        return self.structure, self.kinds, _grad_enabled.get(), ambient()


def describe(args: tuple[Any, ...], kwargs: dict[str, Any], static: Sequence[str] = (),
             parameters: Sequence[str] = ()) -> Call:
    """Flatten and describe the arguments; leaves under a name in `static` are static whatever they are."""
    leaves, structure = pytree.flatten((args, kwargs))
    fixed = _static_leaves(args, kwargs, static, parameters) if static else ()
    kinds: list[Any] = []
    numbers: list[int] = []
    owners: list[tuple[int, int]] = []
    for n, x in enumerate(leaves):
        if n in fixed:
            kinds.append(("static", type(x), _hashable(x)))
        elif isinstance(x, Tensor):
            kind = ("tensor", x.dtype, x.ndim, x.requires_grad)
            if type(x._array) is not np.ndarray:
                kinds.append((*kind, x.device))
            else:
                order = None if x._array.flags.c_contiguous or x.requires_grad else order_in_memory(x._array)
                kinds.append(kind if order is None else (*kind, "cpu", order))
            numbers += x.shape
            owners += [(n, d) for d in range(x.ndim)]
        elif isinstance(x, (np.ndarray, np.generic)):
            leaves[n] = x = Tensor(np.array(x))
            kinds.append(("tensor", x.dtype, x.ndim, False))
            numbers += x.shape
            owners += [(n, d) for d in range(x.ndim)]
        elif type(x) is float:
            kinds.append("float")
        elif type(x) is int:
            kinds.append("int")
            numbers.append(x)
            owners.append((n, -1))
        else:
            kinds.append(("static", type(x), _hashable(x)))
    return Call(leaves, structure, tuple(kinds), tuple(numbers), tuple(owners))


def order_in_memory(array: np.ndarray) -> tuple[int, ...] | None:
    """The order of dimensions in which an array lies in memory without gaps (a transposed one, images channels last);
    None where it does in none.
    """
    order = tuple(sorted(range(array.ndim), key=lambda d: -array.strides[d]))
    return order if array.transpose(order).flags.c_contiguous else None


def turned_arguments(call: Call) -> dict[int, tuple[int, ...]]:
    """The leaves that lie in memory in another order of dimensions, with that order."""
    return {n: kind[5] for n, kind in enumerate(call.kinds) if kind[0] == "tensor" and len(kind) > 5}


class _Identity:
    """A static argument that has no hash: the same object is the same argument."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def _hashable(x: Any) -> Any:
    try:
        hash(x)
    except TypeError:
        return _Identity(x)
    return x


def _static_leaves(args: tuple[Any, ...], kwargs: dict[str, Any], static: Sequence[str],
                   parameters: Sequence[str]) -> set[int]:
    found: set[int] = set()
    position = 0
    named = [*zip(parameters, args), *kwargs.items()]
    extra = args[len(parameters):]
    order = [*named[: min(len(args), len(parameters))], *(("", x) for x in extra), *kwargs.items()]
    for name, x in order:
        count = len(pytree.flatten(x)[0])
        if name in static:
            found.update(range(position, position + count))
        position += count
    return found


def show(call: Call) -> str:
    """A call's signature for people: `f32[32, 64], int 3, True`."""
    out, numbers = [], iter(call.numbers)
    for kind in call.kinds:
        if kind == "float":
            out.append("float")
        elif kind == "int":
            out.append(f"int {next(numbers)}")
        elif kind[0] == "tensor":
            shape = ", ".join(str(next(numbers)) for _ in range(kind[2]))
            where = f" on {kind[4]}" if kind[4:] and kind[4] != "cpu" else ""
            where += f" in the order {kind[5]}" if kind[5:] else ""
            out.append(f"{kind[1].name}[{shape}]{where}" + (" requires_grad" if kind[3] else ""))
        else:
            out.append(repr(kind[2]))
    return ", ".join(out)
