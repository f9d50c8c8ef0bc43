"""Where the tensors of modules are: `module.to("cuda")`, and `device=` when a module is made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..ir.errors import TraceError
from ..ir.interpreter import _current
from ..ir.types import DType
from ..ir.types import dtype as as_dtype
from ..tracer import devices
from ..tracer.tensor import Tensor

if TYPE_CHECKING:
    from .module import Module


def on_its_device(init: Callable[..., None]) -> Callable[..., None]:
    """The `__init__` of a module that has a parameter `device`: what it makes is made there."""
    if "device" not in inspect.signature(init).parameters:
        return init

    @functools.wraps(init)
    def run(self: Module, *args: Any, **kwargs: Any) -> None:
        where = kwargs.get("device")
        if where is None:
            init(self, *args, **kwargs)
            return
        with devices.device(where):
            init(self, *args, **kwargs)

    return run


def wanted(args: Sequence[Any], dtype: Any, device: Any) -> tuple[devices.device | None, DType | None]:
    """The device and the dtype that the arguments of `Module.to` mean."""
    for a in args:
        if isinstance(a, Tensor):
            device, dtype = a.device, a.dtype
        elif devices.is_name(a):
            device = a
        elif a is not None:
            dtype = a
    return None if device is None else devices.located(device), None if dtype is None else as_dtype(dtype)


def to(module: Module, where: devices.device | None, dtype: DType | None) -> None:
    """Move and convert all tensors of a module and those below, in place."""
    if _current.get() is not None:
        raise TraceError("module.to(…) inside a compiled function would happen once, while it is traced; do it outside")
    for t in (*module.parameters(), *module.buffers()):
        if dtype is not None and t.dtype.is_float and t.dtype is not dtype:
            _replace(t, devices.cast(t._array, dtype.numpy))
            t._grad = None
        if where is not None and t.device != where:
            _replace(t, devices.moved(t._array, where))
            if t._grad is not None:
                _replace(t._grad, devices.moved(t._grad._array, where))


def _replace(t: Tensor, array: Any) -> None:
    t._array, t._meta = array, None
