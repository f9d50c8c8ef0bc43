"""NVIDIA GPUs: CuPy holds memory, streams, events and graphs, and reaches the driver. CuPy is imported when a device is
first asked for.

Of CuPy's versions 14 is the first with bfloat16. It moves 8-bit floats as bytes (`float8.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from ..ir.errors import CompileError, DeviceError
from ..ir.gpu import GpuTarget
from ..ir.ops.declare import Op
from . import cuda_facts, float8, triton_import
from .cublas import Cublas
from .device import Device, DeviceKernel, Frame, MatrixProduct
from .triton_compiler import Compiled, Request, compile_sources

_WARP = 32
_SHARED_BYTES_BY_DEFAULT = 48 << 10      # above, a function must be told how much dynamic shared memory it gets
_MAX_DYNAMIC_SHARED_SIZE = 8             # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 2, 3                # cudaMemcpyKind
_LARGEST_NUMBER = 16                     # bytes of a number that is read back


@cache
def _cupy() -> Any:
    """CuPy, or a sentence that says why it is not to be had."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (pip install cupy-cuda12x or cupy-cuda13x, by the driver's CUDA)"
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


def namespace() -> Any:
    """CuPy, where there is a GPU; a DeviceError says what was looked for where there is none."""
    available, found = _search()
    if not available:
        raise DeviceError(f"there is no GPU: {found}")
    return _cupy()


def current() -> int:
    """The number of the GPU that CuPy uses now; 0 where there is none."""
    return _cupy().cuda.Device().id if count() else 0


def use(number: int) -> None:
    """Make a GPU the one that CuPy uses, in this thread."""
    _cupy().cuda.Device(number).use()


def open_device(number: int) -> Cuda:
    """The GPU of this number; a DeviceError says what was looked for where it is not there."""
    available, found = _search()
    if number >= available:
        raise DeviceError(f"there is no device cuda:{number}: {found}")
    return Cuda(_cupy(), number)


class CudaKernel(DeviceKernel):
    """A function of a loaded module, launched through the driver."""

    def __init__(self, driver: Any, compiled: Compiled):
        try:
            self._module = driver.moduleLoadData(compiled.binary)
            self._function = driver.moduleGetFunction(self._module, compiled.entry)
            if compiled.shared > _SHARED_BYTES_BY_DEFAULT:
                driver.funcSetAttribute(self._function, _MAX_DYNAMIC_SHARED_SIZE, compiled.shared)
        except driver.CUDADriverError as error:
            raise CompileError(f"the driver does not load kernel {compiled.entry} ({compiled.shared} bytes of shared "
                               f"memory, {compiled.registers} registers): {error}") from error
        self._launch = driver.launchKernel
        self._threads, self._shared = _WARP * compiled.warps, compiled.shared
        self.compiled = compiled
        self.scratch = compiled.global_scratch
        if compiled.profile_scratch:
            raise CompileError(f"kernel {compiled.entry} was compiled for Triton's profiler")

    def launch(self, grid: tuple[int, int, int], frame: Frame, start: int, stream: int) -> None:
        """Enqueue it."""
        if 0 not in grid:
            self._launch(self._function, *grid, self._threads, 1, 1, self._shared, stream, frame.address + 8 * start, 0)


class Cuda(Device):
    """A GPU, by its number.

    Arrays and temporaries come from CuPy's memory pool and follow its current stream.
    """

    def __init__(self, cupy: Any, number: int):
        super().__init__()
        self.name = f"cuda:{number}"
        self.xp = cupy
        self.number = number
        self.memory_errors = (cupy.cuda.memory.OutOfMemoryError,)
        self._runtime = cupy.cuda.runtime
        self._kernels: dict[Any, CudaKernel] = {}
        self._local = threading.local()
        self._loading = threading.Lock()
        self._peak = 0
        self._cublas = Cublas(cupy)
        self.target: GpuTarget = cuda_facts.target(cupy, number)
        self.description: str = cuda_facts.name(cupy, number)

    # ---- arrays ----

    def from_host(self, array: np.ndarray) -> Any:
        """A copy of a NumPy array on this device, contiguous."""
        plain = np.asarray(array)
        given = float8.words(plain)
        with self.activate():            # by page-locked memory of CuPy's pool, without waiting
            made = self.attempt(lambda: self.xp.array(given, order="C"), plain.nbytes, f"a copy of {_shown(plain)}")
            return made if given is plain else self.xp.ndarray(plain.shape, plain.dtype, made.data)

    def from_device(self, array: Any) -> Any:
        """A contiguous copy of an array on another GPU, from one's memory to the other's."""
        made = self.empty(array.shape, array.dtype)
        source = array.device
        with source:
            array = self.xp.ascontiguousarray(float8.words(array))
            ready = self.xp.cuda.get_current_stream().record()
        with self.activate():            # the copy waits for what computes the array, and this device for the copy
            self.xp.cuda.get_current_stream().wait_event(ready)
            self._runtime.memcpyPeerAsync(made.data.ptr, self.number, array.data.ptr, source.id, array.nbytes,
                                          self.stream())
            done = self.xp.cuda.get_current_stream().record()
        with source:                     # its memory is given out again after the copy
            self.xp.cuda.get_current_stream().wait_event(done)
        return made

    def to_host(self, array: Any) -> np.ndarray:
        """A copy of one of its arrays in NumPy; waits for what computes it."""
        with self.activate():
            return float8.words(array).get().view(array.dtype) if float8.is_stored(array) else array.get()

    def owns(self, array: Any) -> bool:
        """Does this array lie on this device?"""
        return isinstance(array, self.xp.ndarray) and array.data.device_id == self.number

    def address(self, array: Any) -> int:
        """Where the data of one of its arrays begins."""
        return array.data.ptr

    def view(self, address: int, shape: tuple[int, ...], dtype: np.dtype, owner: Any) -> Any:
        """Its memory at an address as an array that keeps `owner` alive."""
        memory = self.xp.cuda
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        pointer = memory.MemoryPointer(memory.UnownedMemory(address, size, owner, self.number), 0)
        return self.xp.ndarray(shape, dtype, pointer)

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """A new array with undefined contents."""
        with self.activate():
            if dtype not in float8.STORED:
                return self.xp.empty(shape, dtype)
            return self.xp.ndarray(shape, dtype, self.xp.cuda.alloc(int(np.prod(shape, dtype=np.int64))))

    def evaluate(self, op: Op, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        """An op's rule on its arrays, in CuPy."""
        if float8.takes_part(arrays, attrs):
            return float8.evaluate(self, op, arrays, attrs)
        return super().evaluate(op, arrays, attrs)

    def synchronize(self) -> None:
        """Wait until all that was asked of the device is done."""
        with self.activate():
            self._runtime.deviceSynchronize()

    # ---- memory facts ----

    def _pool(self) -> Any:
        return self.xp.get_default_memory_pool()

    @property
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""
        with self.activate():
            return self._pool().used_bytes() - self.arenas.kept_bytes

    @property
    def peak_bytes(self) -> int:
        """The most bytes that the pool held at a time since the start or the last `reset_peak`: what was in use,
        rounded up to the pool's blocks.
        """
        with self.activate():
            self._peak = max(self._peak, self._pool().total_bytes())
        return self._peak

    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now; memory that is kept for later is given up."""
        self.release()
        with self.activate():
            self._peak = self._pool().total_bytes()

    def capacity(self) -> tuple[int, int]:
        """Bytes that are free, those of the pool included, and bytes that there are."""
        with self.activate():
            free, total = self._runtime.memGetInfo()
            return free + self._pool().free_bytes(), total

    def release(self) -> None:
        """Give up memory that is kept for later and not in use."""
        super().release()
        with self.activate():
            self._peak = max(self._peak, self._pool().total_bytes())
            self._pool().free_all_blocks()

    # ---- programs ----

    def activate(self) -> AbstractContextManager[Any]:
        """Make it the current device for a while."""
        if self._runtime.getDevice() != self.number:
            return self._activated()
        self._bind()
        return nullcontext()

    @contextmanager
    def _activated(self) -> Iterator[None]:
        with self.xp.cuda.Device(self.number):
            self._bind()
            yield

    def _bind(self) -> None:
        """Bind the device's context to this thread, which functions of the driver (unlike the runtime's) do not do."""
        if not hasattr(self._local, "is_bound"):
            self._runtime.free(0)
            self._local.is_bound = True

    def stream(self) -> int:
        """The current stream, on which work runs in order."""
        return self.xp.cuda.get_current_stream().ptr

    def expect_kernels(self) -> None:
        """Load Triton's library while Python decides what kernels there are."""
        triton_import.load_ahead()

    def kernels(self, requests: Sequence[Request]) -> list[DeviceKernel]:
        """These kernels, compiled together and loaded, equal ones once."""
        keys = [_key(r) for r in requests]
        missing = {key: r for key, r in zip(keys, requests) if key not in self._kernels}
        compiled = compile_sources(list(missing.values()))
        with self._loading:
            for key, code in zip(missing, compiled):
                if key not in self._kernels:
                    self._kernels[key] = CudaKernel(self.xp.cuda.driver, code)
            return [self._kernels[key] for key in keys]

    def zero(self, address: int, size: int, stream: int) -> None:
        """Clear memory."""
        if size:
            self._runtime.memsetAsync(address, 0, size, stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy memory on the device."""
        if size:
            self._runtime.memcpyAsync(target, source, size, _DEVICE_TO_DEVICE, stream)

    def multiply(self, product: MatrixProduct, left: int, right: int, result: int, stream: int) -> None:
        """A product by cuBLAS."""
        self._cublas.multiply(product, left, right, result, stream)

    def read(self, address: int, dtype: np.dtype, stream: int) -> Any:
        """The number at an address; waits for what computes it."""
        if not hasattr(self._local, "number"):
            self._local.number = self.xp.cuda.alloc_pinned_memory(_LARGEST_NUMBER)
        number = self._local.number
        self._runtime.memcpyAsync(number.ptr, address, dtype.itemsize, _DEVICE_TO_HOST, stream)
        self._runtime.streamSynchronize(stream)
        return np.frombuffer(number, np.uint8, dtype.itemsize).copy().view(dtype)[0]

    def record(self, work: Callable[[int], None]) -> Callable[[int], None] | None:
        """A CUDA graph of the work; None where that cannot be captured."""
        stream = self.xp.cuda.Stream(non_blocking=True)
        try:
            stream.begin_capture()
            try:
                work(stream.ptr)
            finally:
                graph = stream.end_capture()
        except (self._runtime.CUDARuntimeError, self.xp.cuda.driver.CUDADriverError, NotImplementedError):
            return None                  # NotImplementedError: CuPy records no calls of cuBLAS
        return lambda current: graph.launch()             # on CuPy's current stream, which that is

    def timer(self) -> Callable[[], Callable[[], float]]:
        """A clock of events on the current stream."""
        cuda = self.xp.cuda

        def start() -> Callable[[], float]:
            begin = cuda.Event()
            begin.record()

            def stop() -> float:
                end = cuda.Event()
                end.record()
                end.synchronize()
                return 1e6 * cuda.get_elapsed_time(begin, end)

            return stop

        return start


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype.name}{list(array.shape)}"


def _key(request: Request) -> Any:
    """What a loaded kernel is found by."""
    facts = request.source.facts
    return request.source.text, request.divisible, facts["arguments"], facts["warps"], facts["stages"]
