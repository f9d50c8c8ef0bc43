"""What a device is to the rest of the runtime: arrays and a namespace like NumPy's above, addresses and kernels below.

Kernels and copies work on addresses and run in order on a stream; what the host reads waits for them.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.errors import DeviceError
from ..ir.gpu import GpuTarget
from ..ir.ops.declare import Op
from . import device_memory
from .triton_compiler import Request

ALIGNMENT = 16                   # of every pointer that a kernel is given: it is compiled for that


class Frame:
    """The arguments of a program's kernels for one call: words of 64 bits, and the table of where each of them lies,
    which is what the driver wants.
    """

    def __init__(self, words: np.ndarray):
        self.words = words.copy()
        self.table = self.words.__array_interface__["data"][0] + 8 * np.arange(words.size, dtype=np.int64)
        self.address: int = self.table.__array_interface__["data"][0]


@dataclass(frozen=True)
class MatrixProduct:
    """result[rows, columns] = left[rows, depth] @ right[depth, columns], for each of a batch, contiguous. What is
    `turned` lies as [depth, rows], or [columns, depth]. Sums have 32 bits at least; float32 is multiplied with
    `precision`, "ieee" or "tf32".
    """

    batch: int
    rows: int
    columns: int
    depth: int
    turned_left: bool
    turned_right: bool
    operand: np.dtype
    result: np.dtype
    precision: str = "ieee"


class DeviceKernel(ABC):
    """A kernel loaded on a device, which needs `scratch` bytes of memory for each of its programs."""

    scratch: int = 0

    @abstractmethod
    def launch(self, grid: tuple[int, int, int], frame: Frame, start: int, stream: int) -> None:
        """Run it; its arguments begin at word `start`: pointers, sizes, then the scratch memory's and a null pointer.
        """


class Device(ABC):
    """A device by `name` ("cuda:0"), with the facts that the compiler needs (`target`).

    `xp` is the namespace in which evaluation rules run on its arrays: CuPy, or one like it. `memory_errors` are what
    that raises when memory is short.
    """

    name: str
    xp: Any
    target: GpuTarget
    memory_errors: tuple[type[BaseException], ...] = ()
    is_timed: bool = True                # do times on it say what is fast?

    def __init__(self) -> None:
        self.arenas = device_memory.Arenas(self)
        self.plans: weakref.WeakSet[Any] = weakref.WeakSet()     # of programs, which may keep memory for later

    def __repr__(self) -> str:
        return f"<device {self.name}>"

    @abstractmethod
    def expect_kernels(self) -> None:
        """Kernels are about to be compiled: what takes long to load may be loaded meanwhile."""

    # ---- arrays ----

    @abstractmethod
    def from_host(self, array: np.ndarray) -> Any:
        """A copy of a NumPy array on this device, contiguous."""

    @abstractmethod
    def from_device(self, array: Any) -> Any:
        """A contiguous copy of an array that lies on another device of this kind."""

    @abstractmethod
    def to_host(self, array: Any) -> np.ndarray:
        """A copy of one of its arrays in NumPy; waits for what computes it."""

    @abstractmethod
    def owns(self, array: Any) -> bool:
        """Does this array lie on this device?"""

    @abstractmethod
    def address(self, array: Any) -> int:
        """Where the data of one of its arrays begins."""

    @abstractmethod
    def view(self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any) -> Any:
        """Its memory at an address as an array that keeps `owner` alive."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked of the device is done."""

    def evaluate(self, op: Op, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        """An op's rule on its arrays, in its namespace."""
        return op.evaluate(self.xp, *arrays, **attrs)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, purpose: str = "") -> Any:
        """A new array with undefined contents, aligned; a DeviceError says for which `purpose` there is no memory, and
        what holds it.
        """
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return self.attempt(lambda: self.allocate(shape, dtype), size,
                            purpose or f"{np.dtype(dtype).name}{list(shape)}")

    def attempt(self, make: Callable[[], Any], size: int | None, purpose: str) -> Any:
        """What `make` gives, which needs so many bytes (None: not known): tried again when memory that is kept for
        later is given up.
        """
        try:
            return make()
        except self.memory_errors:
            self.release()
        try:
            return make()
        except self.memory_errors as error:
            raise self.shortage(size, purpose) from error

    @abstractmethod
    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """`empty`, with the namespace's own error."""

    # ---- memory facts ----

    @property
    @abstractmethod
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""

    @property
    @abstractmethod
    def peak_bytes(self) -> int:
        """The most bytes that were in use at a time since the start or the last `reset_peak`."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now."""

    @abstractmethod
    def capacity(self) -> tuple[int, int]:
        """Bytes that are free, and bytes that there are."""

    def release(self) -> None:
        """Give up memory that is kept for later and not in use."""
        for plan in list(self.plans):
            plan.forget()
        self.arenas.release()

    def shortage(self, size: int | None, purpose: str) -> DeviceError:
        """The error of memory that ran out: what was asked, what is held, and by which arrays."""
        return DeviceError(device_memory.shortage_text(self, size, purpose))

    # ---- programs ----

    @abstractmethod
    def activate(self) -> AbstractContextManager[Any]:
        """Make it the current device for a while."""

    @abstractmethod
    def stream(self) -> int:
        """The current stream, on which work runs in order."""

    @abstractmethod
    def kernels(self, requests: Sequence[Request]) -> list[DeviceKernel]:
        """These kernels, compiled together and loaded."""

    @abstractmethod
    def zero(self, address: int, size: int, stream: int) -> None:
        """Clear memory."""

    @abstractmethod
    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy memory on the device."""

    @abstractmethod
    def multiply(self, product: MatrixProduct, left: int, right: int, result: int, stream: int) -> None:
        """A product by the device's library, of matrices at these addresses; a DeviceError where it has none such."""

    @abstractmethod
    def read(self, address: int, dtype: np.dtype, stream: int) -> Any:
        """The number at an address; waits for what computes it."""

    @abstractmethod
    def record(self, work: Callable[[int], None]) -> Callable[[int], None] | None:
        """What `work(stream)` asks of the device, without doing it, as a function of the current stream that does it at
        once; None where that cannot be.
        """

    @abstractmethod
    def timer(self) -> Callable[[], Callable[[], float]]:
        """A clock on the current stream: call it at the start, what it returns at the end, for nanoseconds."""
