"""Where tensors live, as people say it: `braze.device("cuda:1")`, the device that new tensors get, arrays moved between
devices.

The devices themselves are the runtime's (runtime/devices.py), which is asked when something beside the CPU is named.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..ir.errors import DeviceError
from ..ir.ops import F
from ..ir.scalar import converted
from ..ir.types import dtype as as_dtype
from .world import enter_region, leave_region

_KINDS = {"cpu": "cpu", "cuda": "cuda", "gpu": "cuda"}
_defaults: ContextVar[tuple[device, ...]] = ContextVar("braze_default_devices", default=())
_used: dict[str, Any] = {}             # devices beside the CPU that this process has asked for, by name


class device(str):
    """A device by its name: `braze.device("cuda:1")`, `braze.device("cuda", 1)`. Equal to its name as a text.

    As a context manager it is where new tensors are made: `with braze.device("cuda"): x = braze.zeros(3)`.
    """

    __slots__ = ()

    def __new__(cls, name: Any = "cuda", index: int | None = None) -> device:
        """The name in its usual form; whether there is such a device is asked when it is used."""
        if type(name) is device and index is None:
            return name
        text = f"cuda:{name}" if isinstance(name, int) else str(name)
        kind, colon, number = text.partition(":")
        if kind not in _KINDS or (colon and not number.isdecimal()) or (number and index is not None):
            raise DeviceError(f"{text!r} names no device; devices are 'cpu', 'cuda', 'cuda:0', 'cuda:1', …")
        number = number if index is None else str(index)
        return super().__new__(cls, "cpu" if kind == "cpu" else f"cuda:{int(number)}" if number else "cuda")

    @property
    def type(self) -> str:
        """"cpu" or "cuda"."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """Which one of its type; None for the CPU, and for the current one."""
        number = self.partition(":")[2]
        return int(number) if number else None

    def __enter__(self) -> device:
        _defaults.set((*_defaults.get(), located(self)))
        enter_region()
        return self

    def __exit__(self, *exc: Any) -> None:
        _defaults.set(_defaults.get()[:-1])
        leave_region()

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __reduce__(self) -> Any:
        return device, (str(self),)


CPU = device("cpu")


class Unplaced(np.ndarray):
    """An array that was made of sizes and numbers alone: it lies on the CPU, and goes wherever it is needed."""


def is_name(x: Any) -> bool:
    """Does an argument that may be a dtype name a device?"""
    return isinstance(x, device) or isinstance(x, str) and x.partition(":")[0] in _KINDS


def unplaced(array: np.ndarray) -> np.ndarray:
    """An array of numbers of our own, which goes wherever it is needed (if there is anything but the CPU)."""
    return array.view(Unplaced) if _used else array


def default() -> device:
    """Where new tensors are made: the CPU, or what the innermost `with braze.device(…)` says."""
    named = _defaults.get()
    return named[-1] if named else CPU


def located(where: Any) -> device:
    """The device that an argument `device=` means, looked for; None is the default."""
    if where is None:
        return default()
    where = device(where)
    return CPU if where == CPU else device(hardware(where).name)


def hardware(name: str) -> Any:
    """The runtime's object for a device beside the CPU; a DeviceError where there is none."""
    found = _used.get(name)
    if found is None:
        from ..runtime import devices

        found = devices.get(name)
        if ":" in name:                        # "cuda" alone is the current one, which changes
            _used[name] = found
        _used.setdefault(found.name, found)
    return found


def is_used() -> bool:
    """Has this process asked for a device beside the CPU?"""
    return bool(_used)


def of(array: Any) -> device:
    """Where an array lies."""
    if type(array) in (np.ndarray, Unplaced) or isinstance(array, np.generic):
        return CPU
    from ..runtime import devices

    name = devices.device_of(array)
    if name != CPU:
        hardware(name)
    return device(name)


def moved(array: Any, where: device) -> Any:
    """The array on a device: itself if it is there, else a copy."""
    here = of(array)
    if here == where:
        return array.view(np.ndarray) if type(array) is Unplaced else array
    if here != CPU and where != CPU:
        return hardware(where).from_device(array)
    return hardware(here).to_host(array) if where == CPU else hardware(where).from_host(array)


def work_beside(array: Any, work: Callable[[], Any], purpose: str) -> Any:
    """What `work` gives, done where an array lies: libraries of GPUs compute on their current device, whatever they are
    given. Memory that runs out is told as such, for the `purpose`; the work is then done a second time.
    """
    return work() if type(array) is np.ndarray else work_on(of(array), work, purpose)


def work_on(where: device, work: Callable[[], Any], purpose: str) -> Any:
    """The same on a device that is named."""
    if where == CPU:
        return work()
    machine = hardware(where)
    with machine.activate():
        return machine.attempt(work, None, purpose)


def words(array: Any) -> Any:
    """8-bit floats of a device as bytes: its library may know nothing of their dtype but how to view it. Other arrays
    as they are.
    """
    if type(array) is np.ndarray or array.dtype.itemsize > 1:
        return array
    from ..runtime import float8

    return float8.words(array)


def work_on_words(array: Any, move: Callable[[Any], Any], purpose: str) -> Any:
    """What `move` makes of an array where it lies, which it does not compute with: of 8-bit floats it is given bytes.
    """
    given = words(array)
    made = work_beside(array, lambda: move(given), purpose)
    return made if given is array else made.view(array.dtype)


def copied(array: Any) -> Any:
    """A copy of an array where it lies."""
    return work_on_words(array, lambda given: given.copy(), "a copy of a tensor")


def cast(array: Any, dtype: Any) -> Any:
    """An array with another dtype, a NumPy one, where it lies."""
    where, attrs = of(array), {"dtype": as_dtype(dtype)}
    if where == CPU:
        return converted(array, attrs["dtype"])
    if attrs["dtype"].is_storage or words(array) is not array:         # what the device's library cannot do
        return work_on(where, lambda: hardware(where).evaluate(F.cast, [array], attrs), f"a tensor as {dtype}")
    return work_on(where, lambda: converted(array, attrs["dtype"]), f"a tensor as {dtype}")


def on_host(array: Any) -> Any:
    """The array in NumPy: itself if it is there, else a copy."""
    return array if type(array) is np.ndarray else moved(array, CPU)


def beside(array: Any, other: Any) -> Any:
    """The array where `other` lies, if it is one that goes where it is needed."""
    if type(array) is np.ndarray or (type(array) is not Unplaced and isinstance(array, np.ndarray)):
        return array
    if isinstance(array, np.generic):
        array = np.asarray(array).view(Unplaced)
    return moved(array, of(other)) if type(array) is Unplaced else array
