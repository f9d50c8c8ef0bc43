"""Kernels that run on a device as NumPy source, with the device's namespace (CuPy) in NumPy's place: those that a GPU
has no schedule for, and those that Triton does not compile. Where the namespace lacks something (8-bit floats, for
one), they run on copies in the host's memory.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from ..ir.errors import CompileError
from ..ir.program import Launch
from ..ir.schedule import Source
from ..ir.types import FLOAT8
from . import float8, stepped
from .device import Device
from .device_plan import request
from .triton_compiler import version

NO_SCHEDULE = "a GPU has no schedule for it"
_MISSING = (AttributeError, NotImplementedError, TypeError)      # what a namespace answers that lacks a function


class NumpyFunction:
    """A kernel's NumPy source on a device; `reason` says why it is not Triton's."""

    def __init__(self, source: Source, device: Device, reason: str):
        self.name, self.reason, self.device = source.entry, reason, device
        self._here = stepped.numpy_kernel(source)
        self._there = stepped.numpy_kernel(source, _Names(device.xp), _helpers(device.xp))
        self.in_namespace = not any(d.long_name in source.text for d in FLOAT8)

    def __call__(self, arrays: Sequence[Any], stored: Sequence[bool], sizes: Mapping[str, int]) -> None:
        """Run it on arrays of the device, of which some are stored to."""
        made = self.device.attempt(lambda: self._made(arrays, stored, sizes), None, f"kernel {self.name}")
        for array, copy, is_stored in zip(arrays, made, stored):
            if is_stored:
                float8.words(array)[...] = float8.words(copy)

    def _made(self, arrays: Sequence[Any], stored: Sequence[bool], sizes: Mapping[str, int]) -> list[Any]:
        """The arrays after the kernel; none that is given is written, so that it may run a second time."""
        if self.in_namespace and not any(map(float8.is_stored, arrays)):
            given = [a.copy() if is_stored else a for a, is_stored in zip(arrays, stored)]
            try:
                self._there(given, sizes)
                return given
            except _MISSING:
                self.in_namespace = False
        here = [self.device.to_host(a) for a in arrays]
        self._here(here, sizes)
        return [self.device.from_host(a) if is_stored else a for a, is_stored in zip(here, stored)]


def substitutes(launches: Iterable[Launch], sources: Mapping[Launch, Source], device: Device,
                sizes: Mapping[str, int]) -> dict[Launch, NumpyFunction]:
    """NumPy's functions for those launches whose kernels Triton does not compile."""
    from ..codegen.numpy import emit  # a warm process that needs none imports no emitter

    version()                            # where there is no Triton at all, that is the error
    found = {}
    for launch in launches:
        try:
            device.kernels([request(launch, source, device, sizes) for source in sources[launch].chain])
        except CompileError as error:
            found[launch] = NumpyFunction(emit(launch.kernel), device, str(error))
            warnings.warn(f"kernel {launch.kernel.name} runs as NumPy source on {device.name}, which is slow: "
                          f"{str(error).splitlines()[0]}", RuntimeWarning, stacklevel=2)
    return found


class _Names:
    """A namespace as NumPy source uses it: CuPy's `maximum` and `minimum` cannot reduce, its functions can."""

    def __init__(self, xp: Any):
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        made = _Extreme(found, getattr(self._xp, _REDUCED[name])) if name in _REDUCED else found
        setattr(self, name, made)
        return made


_REDUCED = {"maximum": "max", "minimum": "min"}


class _Extreme:
    def __init__(self, function: Any, reduced: Any):
        self._function, self._reduced = function, reduced

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)

    def reduce(self, x: Any, axis: Any = 0, **options: Any) -> Any:
        """NumPy's `maximum.reduce`; an `initial` number, the least or greatest that there is, counts where there is no
        element.
        """
        if x.size:
            options.pop("initial", None)
        return self._reduced(x, axis=axis, **options)


def _helpers(xp: Any) -> ModuleType:
    """The helpers of emitted source, on a device's arrays."""
    from ..codegen.numpy import helpers

    spec = importlib.util.find_spec(helpers.__name__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.np = _Names(xp)               # type: ignore[attr-defined]
    return module


def numpy_functions(sources: Mapping[Launch, Source], device: Device) -> dict[Launch, NumpyFunction]:
    """The functions of those sources that are NumPy's from the beginning."""
    made: dict[int, NumpyFunction] = {}
    found = {}
    for launch, source in sources.items():
        if source.language == "numpy":
            found[launch] = made.setdefault(id(source), NumpyFunction(source, device, NO_SCHEDULE))
    return found
