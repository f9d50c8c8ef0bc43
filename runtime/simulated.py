"""A GPU that is none: NumPy memory behind arrays that nothing takes for the CPU's, for teaching, debugging and tests.

Under BRAZE_TRITON_INTERPRET=1 it is the device "cuda:0", whose kernels Triton's interpreter runs. Its arrays behave as
CuPy's do where that differs from NumPy: results without dimensions are arrays, and NumPy's arrays are refused as
operands.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ir.errors import DeviceError
from ..ir.gpu import GpuTarget
from . import memory
from .device import Device

NAME = "cuda:0"
_FROM_HOST = frozenset({"array", "asarray", "asanyarray", "ascontiguousarray"})   # take NumPy's arrays, and copy them


class SimulatedArray(np.ndarray):
    """An array in the memory of the simulated device."""

    __array_priority__ = 1000.0

    @property
    def device(self) -> str:
        """The name of its device."""
        return NAME

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] = (),
                        **options: Any) -> Any:
        options = _plain({**options, "out": out} if out else options)
        results = getattr(ufunc, method)(*map(_plain, inputs), **options)
        return (out[0] if len(out) == 1 else out) if out else _on_device(results)

    def __array_function__(self, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return _on_device(function(*_plain(args), **_plain(kwargs)))

    def __getitem__(self, key: Any) -> Any:
        return _on_device(self.view(np.ndarray)[_plain(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view(np.ndarray)[_plain(key)] = _plain(value)

    def get(self) -> np.ndarray:
        """A copy in NumPy."""
        return np.array(self.view(np.ndarray), order="C")


def _plain(x: Any) -> Any:
    """x with NumPy's view of the device's arrays; an array that is NumPy's already does not belong here."""
    if isinstance(x, SimulatedArray):
        return x.view(np.ndarray)
    if isinstance(x, np.ndarray):
        raise TypeError(f"an array of NumPy, {x.dtype}{list(x.shape)}, where one on {NAME} is meant")
    if isinstance(x, (tuple, list)):
        return type(x)(map(_plain, x)) if type(x) in (tuple, list) else x
    return {name: _plain(y) for name, y in x.items()} if isinstance(x, Mapping) else x


def _on_device(x: Any) -> Any:
    """What NumPy gave, as the device gives it: scalars become arrays."""
    if isinstance(x, SimulatedArray):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        array = np.asarray(x)
        if array.base is None:
            _ledger.count(array, array.nbytes)
        return array.view(SimulatedArray)
    if isinstance(x, tuple):
        parts = [_on_device(y) for y in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return [_on_device(y) for y in x] if isinstance(x, list) else x


class _Ledger:
    """Bytes in use: counted when memory is made, and again when it goes."""

    def __init__(self) -> None:
        self.allocated = self.peak = 0

    def count(self, owner: np.ndarray, size: int) -> None:
        """Count memory for as long as its owner lives."""
        self.allocated += size
        self.peak = max(self.peak, self.allocated)
        weakref.finalize(owner, self._gone, size).atexit = False

    def _gone(self, size: int) -> None:
        self.allocated -= size


_ledger = _Ledger()


# ---- the namespace -----------------------------------------------------------------------------------------------


class _Namespace:
    """A module of NumPy (or a class of its functions) whose functions take and give the device's arrays."""

    ndarray = SimulatedArray

    def __init__(self, module: Any):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, types.ModuleType):
            found = _Namespace(found)
        elif callable(found) and not isinstance(found, type):
            found = _Function(found, name)
        setattr(self, name, found)
        return found


class _Function(_Namespace):
    """A function of NumPy on the device; those of a ufunc (`at`, `reduce`) are found as its attributes."""

    def __init__(self, function: Callable, name: str):
        super().__init__(function)
        self._name = name

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._name not in _FROM_HOST:
            return _on_device(self._module(*_plain(args), **_plain(options)))
        given, *rest = args
        if isinstance(given, np.ndarray) and not isinstance(given, SimulatedArray):
            given = copy_of(given)
        return _on_device(self._module(_plain(given), *rest, **options))


def copy_of(array: np.ndarray) -> SimulatedArray:
    """A contiguous copy of a NumPy array on the simulated device."""
    made = empty(array.shape, array.dtype)
    made.view(np.ndarray)[...] = array
    return made


def empty(shape: tuple[int, ...], dtype: np.dtype) -> SimulatedArray:
    """A new array with undefined contents, aligned as memory of a GPU is."""
    owner, _ = memory.empty(shape, dtype)
    _ledger.count(owner, owner.nbytes)
    return owner.view(SimulatedArray)


# ---- the device --------------------------------------------------------------------------------------------------


class Simulated(Device):
    """The simulated device. `limit_bytes` is how much memory it has: a test of scarcity lowers it."""

    def __init__(self) -> None:
        self.name = NAME
        self.xp = _Namespace(np)
        self.target = GpuTarget()
        self.limit_bytes = 1 << 40

    def from_host(self, array: np.ndarray) -> SimulatedArray:
        """A copy of a NumPy array on this device, contiguous."""
        made = self.empty(np.shape(array), np.asarray(array).dtype)
        made.view(np.ndarray)[...] = np.asarray(array)
        return made

    def to_host(self, array: SimulatedArray) -> np.ndarray:
        """A copy of one of its arrays in NumPy."""
        return array.get()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> SimulatedArray:
        """A new array with undefined contents; a DeviceError where there is no memory left."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if _ledger.allocated + size > self.limit_bytes:
            raise DeviceError(f"{NAME} has no room for {size} bytes")
        return empty(shape, np.dtype(dtype))

    def synchronize(self) -> None:
        """Nothing runs beside the host."""

    @property
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""
        return _ledger.allocated

    @property
    def peak_bytes(self) -> int:
        """The most bytes that were in use at a time since the start or the last `reset_peak`."""
        return _ledger.peak

    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now."""
        _ledger.peak = _ledger.allocated

    def release(self) -> None:
        """Give up memory that is kept for later and not in use: there is none."""
