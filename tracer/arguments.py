"""What users write as arguments, made uniform: tensors, shapes, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.interpreter import current
from ..ir.ops.declare import as_dim
from ..ir.types import DType, dtype, float32
from .devices import unplaced
from .tensor import Tensor


def lift(x: Any) -> Tensor:
    """A tensor from a tensor, array or number."""
    if isinstance(x, Tensor):
        return x
    if not isinstance(x, (list, tuple)):
        return current().lift(x)
    t = current().lift(np.asarray(x))
    t._array = unplaced(t._array)              # numbers belong to no device
    return t


def dims(shape: Any) -> tuple[Any, ...]:
    """A shape as the user gives it: (2, 3), 2, symbolic sizes."""
    if isinstance(shape, (list, tuple)):
        return tuple([d if type(d) is int else as_dim(d) for d in shape])
    return (as_dim(shape),)


def as_dtype(d: Any, default: DType = float32) -> DType:
    """A dtype from what the user gives; None is the default."""
    return default if d is None else dtype(d)


def unpacked(shape: tuple[Any, ...]) -> Any:
    """`f(2, 3)` and `f((2, 3))` mean the same shape."""
    return shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
