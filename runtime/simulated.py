"""A GPU that is none: NumPy memory behind arrays that nothing takes for the CPU's, for teaching, debugging and tests.

Under BRAZE_TRITON_INTERPRET=1 it is the device "cuda:0", whose kernels Triton's interpreter runs. Its arrays behave as
CuPy's do where that differs from NumPy: results without dimensions are arrays, and NumPy's arrays are refused as
operands.
"""

from __future__ import annotations

import ctypes
import time
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..ir.gpu import GpuTarget
from ..ir.schedule import Source
from . import memory, triton_interpreter
from .device import Device, DeviceKernel, Frame, MatrixProduct
from .triton_compiler import Request

NAME = "cuda:0"
_FROM_HOST = frozenset({"array", "asarray", "asanyarray", "ascontiguousarray"})   # take NumPy's arrays, and copy them


class SimulatedArray(np.ndarray):
    """An array in the memory of the simulated device."""

    __array_priority__ = 1000.0

    @property
    def device(self) -> str:  # type: ignore[override]
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


class _Kernel(DeviceKernel):
    """A source in Triton's interpreter."""

    def __init__(self, source: Source):
        self._run = triton_interpreter.Interpreted(source)
        self._count = len(source.facts["arguments"])

    def launch(self, grid: tuple[int, int, int], frame: Frame, start: int, stream: int) -> None:
        """Run it, now."""
        self._run(grid, frame.words[start:start + self._count].tolist())


class Simulated(Device):
    """The simulated device. `limit_bytes` is how much memory it has: a test of scarcity lowers it."""

    memory_errors = (MemoryError,)
    is_timed = False                     # an interpreter's times say nothing of a GPU's

    def __init__(self) -> None:
        super().__init__()
        self.name = NAME
        self.xp = _Namespace(np)
        self.target = GpuTarget()
        self.limit_bytes = 1 << 40
        self._kernels: dict[tuple[str, Any], _Kernel] = {}

    # ---- arrays ----

    def from_host(self, array: np.ndarray) -> SimulatedArray:
        """A copy of a NumPy array on this device, contiguous."""
        made = self.empty(np.shape(array), np.asarray(array).dtype)
        made.view(np.ndarray)[...] = np.asarray(array)
        return made

    def from_device(self, array: SimulatedArray) -> SimulatedArray:
        """A copy: there is no other device."""
        return self.from_host(array.get())

    def to_host(self, array: SimulatedArray) -> np.ndarray:
        """A copy of one of its arrays in NumPy."""
        return array.get()

    def owns(self, array: Any) -> bool:
        """Does this array lie on this device?"""
        return isinstance(array, SimulatedArray)

    def address(self, array: SimulatedArray) -> int:
        """Where the data of one of its arrays begins."""
        return array.__array_interface__["data"][0]

    def view(self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any) -> SimulatedArray:
        """Its memory at an address as an array that keeps `owner` alive."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size == 0:
            return np.empty(shape, dtype).view(SimulatedArray)
        window: Any = (ctypes.c_char * size).from_address(address)
        window.owner = owner
        return np.ndarray(shape, dtype, buffer=window).view(SimulatedArray)

    def synchronize(self) -> None:
        """Nothing runs beside the host."""

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> SimulatedArray:
        """A new array with undefined contents."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size > self.capacity()[0]:
            raise MemoryError(f"{size} bytes")
        return empty(shape, np.dtype(dtype))

    # ---- memory facts ----

    @property
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""
        return _ledger.allocated - self.arenas.kept_bytes

    @property
    def peak_bytes(self) -> int:
        """The most bytes that were in use at a time since the start or the last `reset_peak`."""
        return _ledger.peak

    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now."""
        _ledger.peak = _ledger.allocated

    def capacity(self) -> tuple[int, int]:
        """Bytes that are free, and bytes that there are."""
        return self.limit_bytes - _ledger.allocated, self.limit_bytes

    # ---- programs ----

    def activate(self) -> AbstractContextManager[Any]:
        """It is always the current device."""
        return nullcontext()

    def stream(self) -> int:
        """There is one, and its work is done at once."""
        return 0

    def expect_kernels(self) -> None:
        """The interpreter compiles none."""

    def kernels(self, requests: Sequence[Request]) -> list[DeviceKernel]:
        """These kernels in the interpreter, equal ones once."""
        return [self._kernel(r.source) for r in requests]

    def _kernel(self, source: Source) -> _Kernel:
        key = source.text, source.facts["arguments"]        # one text may serve several dtypes
        if key not in self._kernels:
            self._kernels[key] = _Kernel(source)
        return self._kernels[key]

    def zero(self, address: int, size: int, stream: int) -> None:
        """Clear memory."""
        ctypes.memset(address, 0, size)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy memory on the device."""
        ctypes.memmove(target, source, size)

    def multiply(self, product: MatrixProduct, left: int, right: int, result: int, stream: int) -> None:
        """A product by NumPy, which is the library here."""
        b, m, n, k = product.batch, product.rows, product.columns, product.depth
        wide = np.promote_types(product.operand, np.float32)
        x = self.view(left, (b, k, m) if product.turned_left else (b, m, k), product.operand, None).view(np.ndarray)
        y = self.view(right, (b, n, k) if product.turned_right else (b, k, n), product.operand, None).view(np.ndarray)
        x, y = (np.swapaxes(a, 1, 2) if turned else a for a, turned in ((x, product.turned_left),
                                                                        (y, product.turned_right)))
        made = np.matmul(x.astype(wide), y.astype(wide)).astype(product.result)
        self.view(result, (b, m, n), product.result, None).view(np.ndarray)[...] = made

    def read(self, address: int, dtype: np.dtype, stream: int) -> Any:
        """The number at an address."""
        return self.view(address, (), dtype, None).view(np.ndarray)[()]

    def record(self, work: Callable[[int], None]) -> Callable[[int], None] | None:
        """The work itself: it asks the same each time."""
        return work

    def timer(self) -> Callable[[], Callable[[], float]]:
        """A clock of the host."""

        def start() -> Callable[[], float]:
            begin = time.perf_counter_ns()
            return lambda: float(time.perf_counter_ns() - begin)

        return start
