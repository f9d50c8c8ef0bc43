"""The devices beside the CPU: found by name, and asked for memory, copies and a NumPy-like namespace.

What a device is lies in `device.py`; a real one is a `cuda.Cuda`, the one for teaching and tests (environment variable
BRAZE_TRITON_INTERPRET=1) a `simulated.Simulated`. Nothing is imported or looked for before somebody asks.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from ..ir.configuration import configuration
from ..ir.errors import DeviceError
from .device import Device
from .device_executable import load

__all__ = ["Device", "count", "device_of", "get", "load", "make_current"]

_found: dict[str, Device] = {}
_lock = threading.Lock()


def get(name: str) -> Device:
    """The device that a name means: "cuda" (the current one), "cuda:0", "cuda:1" and so on.

    Where it is not there, a DeviceError says what was looked for.
    """
    full = _full_name(name)
    found = _found.get(full)
    if found is not None:
        return found
    with _lock:
        if full not in _found:
            _found[full] = _make(full)
        return _found[full]


def count() -> int:
    """How many devices there are beside the CPU; 0 where there is none, whatever the reason."""
    if configuration.simulate_gpu:
        return 1
    from . import cuda

    return cuda.count()


def make_current(name: str) -> None:
    """Let "cuda" mean this device from now on, in this thread."""
    number = int(get(name).name.partition(":")[2])
    if not configuration.simulate_gpu:
        from . import cuda

        cuda.use(number)


def device_of(array: Any) -> str:
    """Where an array lies: "cpu" for NumPy's, "cuda:0" and so on for others."""
    simulated = sys.modules.get(f"{__package__}.simulated")
    if simulated is not None and isinstance(array, simulated.SimulatedArray):
        return simulated.NAME
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return f"cuda:{array.device.id}"
    return "cpu"


def _full_name(name: str) -> str:
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise DeviceError(f"there is no device {name!r}; devices are named 'cpu', 'cuda', 'cuda:0', 'cuda:1', ...")
    if colon:
        return f"cuda:{int(number)}"
    if configuration.simulate_gpu:
        return "cuda:0"
    from . import cuda

    return f"cuda:{cuda.current()}"


def _make(name: str) -> Device:
    number = int(name.partition(":")[2])
    if configuration.simulate_gpu:
        from . import simulated

        if name != simulated.NAME:
            raise DeviceError(f"there is no device {name}: BRAZE_TRITON_INTERPRET simulates one, {simulated.NAME}")
        return simulated.Simulated()
    from . import cuda

    return cuda.open_device(number)
