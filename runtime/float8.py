"""8-bit floats on a device whose namespace (CuPy's, version 14) views them but has no kernels for them: their bytes are
moved, and numbers are converted by tables, exactly, and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.ops import F
from ..ir.ops.declare import Op
from ..ir.scalar import converted, to_odd
from ..ir.types import FLOAT8, TensorType, dtype, float32

if TYPE_CHECKING:
    from .device import Device

STORED = frozenset(d.numpy for d in FLOAT8)
_KEPT = 17                               # bits of a float32: sign, exponent, 7 digits, and one that stands for the rest


def is_stored(array: Any) -> bool:
    """Is it an array (or a number) of 8-bit floats?"""
    return array.dtype in STORED


def words(array: Any) -> Any:
    """The bytes of 8-bit floats, to be copied; other arrays as they are."""
    return array.view("uint8") if is_stored(array) else array


def takes_part(arrays: Sequence[Any], attrs: Mapping[str, Any]) -> bool:
    """Has an operation operands or results of 8-bit floats?"""
    return getattr(attrs.get("dtype"), "is_storage", False) or any(a.dtype in STORED for a in arrays)


def evaluate(device: Device, op: Op, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """An op's rule, where 8-bit floats take part: what only moves them moves bytes, all else gets float32."""
    xp = device.xp
    if op is F.bitcast:
        return op.evaluate(xp, *arrays, **attrs)
    wide = [_widened(device, a) if is_stored(a) else a for a in arrays]
    if op is F.cast:
        to = attrs["dtype"]
        if not to.is_storage:
            return op.evaluate(xp, *wide, **attrs)
        (x,) = (to_odd(a) if a.dtype == np.float64 else op.evaluate(xp, a, dtype=float32) for a in wide)
        return _narrowed(device, x, to.numpy)
    (result,) = op.infer([TensorType(a.shape, dtype(a.dtype)) for a in arrays], dict(attrs))
    if not result.dtype.is_storage:
        return op.evaluate(xp, *wide, **attrs)
    fill = {"value": _byte(attrs["value"], result.dtype.numpy)} if "value" in attrs else {}
    return op.evaluate(xp, *map(words, arrays), **{**attrs, **fill}).view(result.dtype.numpy)


def _byte(number: float, of: np.dtype) -> int:
    return int(converted(number, dtype(of)).view(np.uint8))


def _widened(device: Device, x: Any) -> Any:
    """8-bit floats as float32; numbers of the host stay there."""
    return x.astype(np.float32) if isinstance(x, np.generic) else device.xp.take(_numbers(device, x.dtype), words(x))


def _narrowed(device: Device, x: Any, to: np.dtype) -> Any:
    """float32 as 8-bit floats: what is cut off sticks to the last bit that is kept, so that all is rounded once."""
    bits, cut = x.view(np.uint32), np.uint32(32 - _KEPT)
    rest = (bits & np.uint32((1 << (32 - _KEPT)) - 1)) != 0
    return device.xp.take(_bytes(device, to), (bits >> cut) | rest).view(to)


@lru_cache(maxsize=16)
def _numbers(device: Device, of: np.dtype) -> Any:
    """The number of each byte."""
    return device.from_host(np.arange(256, dtype=np.uint8).view(of).astype(np.float32))


@lru_cache(maxsize=16)
def _bytes(device: Device, of: np.dtype) -> Any:
    """The byte of each float32 that has no more digits than are kept."""
    numbers = (np.arange(1 << _KEPT, dtype=np.uint32) << np.uint32(32 - _KEPT)).view(np.float32)
    with np.errstate(all="ignore"):
        return device.from_host(numbers.astype(of).view(np.uint8))
