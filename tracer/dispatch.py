"""The hit path: calls like one that was served before go to a function printed for them (printed.py), and cost half a
microsecond.

A tensor's type, layout and need for gradients are interned in one object, its `_meta`, so that a guard is one
comparison by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.types import DType
from .tensor import Tensor, dtype_of_array

if TYPE_CHECKING:
    from .signature import Call
    from .specialise import Specialisation

MOST_CAPTURES = 2000
MOST_ATTEMPTS = 20                     # at a function for one specialisation, before its calls stay on the general path
LONGEST = 8                            # printed functions that are asked one after the other


class Meta:
    """One for each (shape, dtype, needs gradients, device) of a tensor that is contiguous, or not on the CPU; `family`
    is shared by those of one rank.
    """

    __slots__ = ("shape", "dtype", "requires_grad", "device", "family")

    def __init__(self, shape: tuple[int, ...], dtype: DType, requires_grad: bool, device: str, family: Any):
        self.shape, self.dtype, self.requires_grad, self.device = shape, dtype, requires_grad, device
        self.family = family


_interned: dict[Any, Meta] = {}
_families: dict[Any, Any] = {}


def intern(shape: tuple[int, ...], dtype: DType, requires_grad: bool, device: str = "cpu") -> Meta:
    """The Meta of this type."""
    key = (shape, dtype, requires_grad, device)
    found = _interned.get(key)
    if found is None:
        kind = (len(shape), dtype, requires_grad, device)
        found = _interned.setdefault(key, Meta(*key, _families.setdefault(kind, kind)))
    return found


_AS_NEEDED = 0x1 | 0x100               # NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_ALIGNED


def prepare(t: Tensor) -> Meta | None:
    """Give a tensor its `_meta`; None if its memory cannot be passed as it is."""
    if t._meta is None:
        array = t._array
        if type(array) is not np.ndarray:
            return _prepare_elsewhere(t)
        if array.flags.num & _AS_NEEDED != _AS_NEEDED:
            return None
        t._meta = intern(array.shape, dtype_of_array(array), t._requires_grad or t._node is not None)
    return t._meta


def _prepare_elsewhere(t: Tensor) -> Meta | None:
    where = None if t._array is None else t.device
    if where is None or where == "cpu":
        return None
    t._meta = intern(t._array.shape, t.dtype, t._requires_grad or t._node is not None, where)
    return t._meta


class Chain:
    """The printed functions of a compiled function: what one does not know goes to the next, and at last to the general
    path.
    """

    def __init__(self, general: Callable[..., Any]):
        self.general = self.first = general
        self.functions: dict[Any, Callable[..., Any]] = {}          # by specialisation, the newest last
        self.attempts: dict[Any, int] = {}

    def extend(self, spec: Specialisation, call: Call) -> None:
        """After a call that the general path has served: print (anew) the function for calls like it, and ask it
        first.
        """
        attempts = self.attempts.get(spec, 0)
        if attempts >= MOST_ATTEMPTS or len(spec.captures) > MOST_CAPTURES:
            return
        from .printed import printed

        self.attempts[spec] = attempts + 1
        self.functions.pop(spec, None)
        function = printed(spec, call, self.general)
        if function is not None:
            self.functions[spec] = function
        while len(self.functions) > LONGEST:
            del self.functions[next(iter(self.functions))]
        self._link()

    def drop(self, spec: Specialisation) -> None:
        """Its calls go the general path from now on."""
        if self.functions.pop(spec, None) is not None:
            self._link()

    def _link(self) -> None:
        self.first = self.general
        for function in self.functions.values():
            function.__globals__["miss"] = self.first
            self.first = function
