"""`braze.cuda`: GPUs as PyTorch's users ask for them: which there are, their memory, waiting, timing.

Streams and events are CuPy's; on the simulated device, where nothing runs beside the host, they do nothing.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from . import devices
from .devices import device as device  # `braze.cuda.device(1)`


def _machine(where: Any = None) -> Any:
    """The runtime's device: the current one, or the one of a name or number."""
    return devices.hardware(devices.device("cuda" if where is None else where))


def device_count() -> int:
    """How many GPUs there are; 0 where there is none, whatever the reason."""
    from ..runtime import devices as runtime_devices

    return runtime_devices.count()


def is_available() -> bool:
    """Is there a GPU?"""
    return device_count() > 0


def current_device() -> int:
    """The number of the GPU that "cuda" means: the default device where that is one, else CuPy's current one."""
    named = devices.default()
    return int(str(_machine(named if named.type == "cuda" else None).name).partition(":")[2])


def set_device(device: Any) -> None:
    """Let "cuda" mean the GPU of this name or number from now on, in this thread."""
    from ..runtime import devices as runtime_devices

    runtime_devices.make_current(_machine(device).name)


@dataclass(frozen=True)
class DeviceProperties:
    """Facts of a GPU, by the names that PyTorch gives them."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int
    shared_memory_per_block_optin: int
    regs_per_multiprocessor: int
    L2_cache_size: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Facts of a GPU: name, compute capability, bytes of memory, processors, …"""
    machine = _machine(device)
    facts = machine.target
    major, minor = get_device_capability(device)
    return DeviceProperties(get_device_name(device), major, minor, machine.capacity()[1], facts.processors, facts.warp,
                            facts.shared_bytes, facts.registers, facts.l2_bytes)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability: (9, 0)."""
    capability = int(_machine(device).target.arch)
    return capability // 10, capability % 10


def get_device_name(device: Any = None) -> str:
    """What the GPU calls itself."""
    machine = _machine(device)
    return getattr(machine, "description", f"simulated {machine.name}")


def synchronize(device: Any = None) -> None:
    """Wait until all that was asked of the GPU is done."""
    _machine(device).synchronize()


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors use now."""
    return _machine(device).allocated_bytes


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use at a time since the start, or since `reset_peak_memory_stats`."""
    return _machine(device).peak_bytes


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count `max_memory_allocated` anew from what is in use now."""
    _machine(device).reset_peak()


def empty_cache() -> None:
    """Give up memory that is kept for later and not in use."""
    _machine().release()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes that are free, and bytes that there are."""
    return _machine(device).capacity()


# ---- order and time --------------------------------------------------------------------------------------------------


class Event:
    """A point in the work of the current stream, for timing and waiting."""

    def __init__(self, enable_timing: bool = True, device: Any = None):
        self._machine = _machine(device)
        self._event: Any = None

    def record(self) -> None:
        """The point is here."""
        xp = self._machine.xp
        if not _has_streams(xp):
            self._event = time.perf_counter()
            return
        with self._machine.activate():
            self._event = xp.cuda.Event()
            self._event.record()

    def synchronize(self) -> None:
        """Wait until the work before the point is done."""
        if hasattr(self._event, "synchronize"):
            self._event.synchronize()

    def query(self) -> bool:
        """Is the work before the point done?"""
        return bool(getattr(self._event, "done", True))

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from here to another event."""
        if not hasattr(self._event, "synchronize"):
            return 1e3 * (end._event - self._event)
        end.synchronize()
        return float(self._machine.xp.cuda.get_elapsed_time(self._event, end._event))


class Stream:
    """An order of work of its own. As a context manager, what is asked in the block runs in it."""

    def __init__(self, device: Any = None):
        self._machine = _machine(device)
        xp = self._machine.xp
        self._stream: Any = nullcontext()
        if _has_streams(xp):
            with self._machine.activate():
                self._stream = xp.cuda.Stream(non_blocking=True)

    @property
    def cuda_stream(self) -> int:
        """Its address, as CUDA's functions and DLPack take it."""
        return int(getattr(self._stream, "ptr", 0))

    def synchronize(self) -> None:
        """Wait until its work is done."""
        if hasattr(self._stream, "synchronize"):
            self._stream.synchronize()

    def query(self) -> bool:
        """Is its work done?"""
        return bool(getattr(self._stream, "done", True))

    def __enter__(self) -> Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stream.__exit__(*exc)


def current_stream(device: Any = None) -> Stream:
    """The stream on which the work of a GPU runs now."""
    machine = _machine(device)
    found = Stream.__new__(Stream)
    found._machine, found._stream = machine, nullcontext()
    if _has_streams(machine.xp):
        with machine.activate():
            found._stream = machine.xp.cuda.get_current_stream()
    return found


def stream(s: Stream) -> AbstractContextManager[Any]:
    """`with braze.cuda.stream(s):`, the same as `with s:`."""
    return s


def _has_streams(xp: Any) -> bool:
    return getattr(xp, "__name__", "") == "cupy"
