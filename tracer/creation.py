"""Making tensors: from data, filled, ranges. Names of the Python array API standard."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.errors import DTypeError, ShapeError
from ..ir.interpreter import _current
from ..ir.ops import F
from ..ir.ops.declare import as_dim
from ..ir.scalar import converted
from . import devices, transfer
from .arguments import as_dtype, dims, unpacked
from .tensor import Tensor
from .transfer import placed


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor with a copy of the data: numbers, nested lists, arrays, tensors. Python floats become float32, ints
    int64.

    >>> tensor([[1, 2], [3, 4]]).dtype
    braze.int64
    """
    if isinstance(data, Tensor):
        t = F.stop_gradient(data)
        t = t if dtype is None else F.astype(t, as_dtype(dtype))
        t = t if device is None else placed(t, device)
    elif _lies_elsewhere(data):
        data = _taken_in(data)
        t = Tensor(devices.copied(data) if dtype is None else devices.cast(data, as_dtype(dtype).numpy))
        t = t if device is None else placed(t, device)
    else:
        plain = not isinstance(data, (np.ndarray, np.generic))
        try:
            array = np.array([np.asarray(x) for x in data] if plain and _holds_tensors(data) else data)
        except ValueError:
            raise ShapeError(f"cannot make a tensor of this {type(data).__name__}: its parts differ in shape; pad them "
                             "to one shape") from None
        if array.dtype.kind in "OUSmM":
            raise DTypeError(f"cannot make a tensor of {type(data).__name__}: it does not hold numbers alone "
                             f"({array.dtype})")
        if dtype is not None:
            array = converted(array, as_dtype(dtype))
        elif plain and array.dtype == np.float64:
            array = array.astype(np.float32)
        elif plain and array.dtype == np.complex128:
            array = array.astype(np.complex64)
        t = Tensor(np.ascontiguousarray(array).reshape(array.shape))
        t.dtype  # noqa: B018  (refuses what Braze has no dtype for)
        t = placed(t, device)
    return t.requires_grad_() if requires_grad else t


def _lies_elsewhere(data: Any) -> bool:
    """Is it an array on a GPU, of whatever library?"""
    return hasattr(data, "__cuda_array_interface__") or (devices.is_used() and isinstance(data, np.ndarray)
                                                         and devices.of(data) != devices.CPU)


def _taken_in(data: Any) -> Any:
    """An array on a GPU, on the memory of another library's."""
    if devices.of(data) != devices.CPU:
        return data
    from ..runtime import interchange

    return interchange.from_cuda_interface(data)


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data)


def asarray(data: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor from data; a tensor of the right dtype is returned as it is, and an array on a GPU becomes a tensor on
    the same memory, which Braze never writes into. `copy=True` copies both.
    """
    if isinstance(data, Tensor) and not copy:
        return transfer.to(data, dtype=dtype, device=device)
    if not copy and _lies_elsewhere(data):
        t = Tensor(_taken_in(data).view())               # a view is never written in place
        t.dtype  # noqa: B018  (refuses what Braze has no dtype for)
        return transfer.to(t, dtype=dtype, device=device)
    return tensor(data, dtype, device=device)


def from_numpy(array: Any) -> Tensor:
    """A tensor with a copy of a NumPy array, on the CPU."""
    return tensor(array, device="cpu")


def full(shape: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of one number."""
    d = {bool: "bool", int: "int64", float: "float32", complex: "complex64"}.get(type(fill_value),
                                                                                 "float32") if dtype is None else dtype
    if _current.get() is None and isinstance(fill_value, (bool, int, float, complex)):
        number = converted(fill_value, as_dtype(d))
        if device is None and not devices._used:
            t = Tensor(np.full(dims(shape), number, number.dtype))
        else:
            t = Tensor(_filled(devices.located(device), dims(shape), number))
    else:
        t = placed(F.full(dims(shape), fill_value, as_dtype(d)), device)
    return t.requires_grad_() if requires_grad else t


def _filled(where: devices.device, shape: Any, number: np.ndarray) -> Any:
    """An array of one number on a device."""
    xp = np if where == devices.CPU else devices.hardware(where).xp
    given = number.view("uint8") if as_dtype(number.dtype).is_storage else number      # bytes, which all libraries fill
    made = devices.work_on(where, lambda: xp.full(shape, given.item(), given.dtype),
                           f"{number.dtype.name}{list(shape)}")
    return made if given is number else made.view(number.dtype)


def zeros(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros, float32 unless said otherwise."""
    return full(unpacked(shape), 0, as_dtype(dtype), requires_grad, device)


def ones(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Ones, float32 unless said otherwise."""
    return full(unpacked(shape), 1, as_dtype(dtype), requires_grad, device)


def empty(*shape: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """Zeros (memory is never handed out uninitialised)."""
    return full(unpacked(shape), 0, as_dtype(dtype), requires_grad, device)


def zeros_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros of the shape, dtype and device of x."""
    return full_like(x, 0, dtype, device)


def ones_like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones of the shape, dtype and device of x."""
    return full_like(x, 1, dtype, device)


def full_like(x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """One number in the shape, dtype and device of x."""
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype, device=x.device if device is None else device)


empty_like = zeros_like


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: Any = None) -> Tensor:
    """start, start + step, … below stop; `arange(n)` starts at 0."""
    start, stop = (0, start) if stop is None else (start, stop)
    return placed(F.arange(start, stop, step, None if dtype is None else as_dtype(dtype)), device)


def linspace(start: float, stop: float, num: int, dtype: Any = None, endpoint: bool = True,
             device: Any = None) -> Tensor:
    """`num` evenly spaced numbers from start to stop."""
    return tensor(np.linspace(start, stop, num, endpoint=endpoint), as_dtype(dtype), device=device)


def eye(n: int, m: int | None = None, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the k-th diagonal."""
    m = n if m is None else m
    rows = F.reshape(F.iota(size=as_dim(n)), shape=(as_dim(n), 1))
    return placed(F.astype(F.equal(rows + k, F.iota(size=as_dim(m))), as_dtype(dtype)), device)
