"""NVIDIA GPUs: CuPy holds memory, streams and events and launches kernels through the driver. CuPy is imported when a
device is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import numpy as np

from ..ir.errors import DeviceError
from ..ir.gpu import GpuTarget
from .device import Device


@cache
def _cupy() -> Any:
    """CuPy, or a sentence that says why it is not to be had."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (pip install cupy-cuda12x)"
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy does not import ({error})"


def _search() -> tuple[int, str]:
    """The number of GPUs, and what was found on the way."""
    cupy = _cupy()
    if isinstance(cupy, str):
        return 0, cupy
    found = f"CuPy {cupy.__version__} is here"
    try:
        number = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return 0, f"{found}, and CUDA answers {error}"
    return number, f"{found}, and CUDA has {number} device{'s' * (number != 1)}"


def count() -> int:
    """The number of GPUs; 0 where CuPy or a driver is missing."""
    return _search()[0]


def current() -> int:
    """The number of the GPU that CuPy uses now; 0 where there is none."""
    return _cupy().cuda.Device().id if count() else 0


def open_device(number: int) -> Cuda:
    """The GPU of this number; a DeviceError says what was looked for where it is not there."""
    available, found = _search()
    if number >= available:
        raise DeviceError(f"there is no device cuda:{number}: {found}")
    return Cuda(_cupy(), number)


class Cuda(Device):
    """A GPU, by its number."""

    def __init__(self, cupy: Any, number: int):
        self.name = f"cuda:{number}"
        self.xp = cupy
        self.number = number
        self.target = GpuTarget()
        self._peak = 0

    def from_host(self, array: np.ndarray) -> Any:
        """A copy of a NumPy array on this device, contiguous."""
        with self.xp.cuda.Device(self.number):
            return self.xp.asarray(array, order="C")

    def to_host(self, array: Any) -> np.ndarray:
        """A copy of one of its arrays in NumPy; waits for what computes it."""
        return array.get()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """A new array with undefined contents; a DeviceError where there is no memory left."""
        with self.xp.cuda.Device(self.number):
            return self.xp.empty(shape, dtype)

    def synchronize(self) -> None:
        """Wait until all that was asked of the device is done."""
        self.xp.cuda.Device(self.number).synchronize()

    @property
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""
        with self.xp.cuda.Device(self.number):
            return self.xp.get_default_memory_pool().used_bytes()

    @property
    def peak_bytes(self) -> int:
        """The most bytes that were in use at a time since the start or the last `reset_peak`."""
        return max(self._peak, self.allocated_bytes)

    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now."""
        self._peak = self.allocated_bytes

    def release(self) -> None:
        """Give up memory that is kept for later and not in use."""
        with self.xp.cuda.Device(self.number):
            self.xp.get_default_memory_pool().free_all_blocks()
