"""Tensors moved from device to device: `x.to("cuda")`, `x.cpu()`. Gradients flow back the way that values came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.errors import DeviceError, TraceError
from ..ir.interpreter import _current
from ..ir.ops import F
from . import devices
from .arguments import as_dtype
from .autograd import record
from .modes import _grad_enabled
from .tensor import Tensor


def to(x: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
       copy: bool = False) -> Tensor:
    """This tensor with another dtype, on another device, or both: `x.to(braze.float64)`, `x.to("cuda")`,
    `x.to("cuda", braze.float16)`, `x.to(other)`. `x` itself where nothing changes, unless `copy` is asked for."""
    for a in args:
        if isinstance(a, Tensor):
            device, dtype = a.device, a.dtype
        elif a is None:
            continue
        elif devices.is_name(a):
            device = a
        else:
            dtype = a
    y = x if dtype is None else F.astype(x, as_dtype(dtype))
    y = y if device is None else moved(y, devices.located(device))
    return y.clone() if copy and y is x else y


def cpu(x: Tensor) -> Tensor:
    """This tensor on the CPU."""
    return to(x, device=devices.CPU)


def cuda(x: Tensor, device: Any = None) -> Tensor:
    """This tensor on a GPU: the current one, or the one of this name or number."""
    return to(x, device=devices.device("cuda" if device is None else device))


def is_cuda(x: Tensor) -> bool:
    """Is it on a GPU?"""
    return x.device != devices.CPU


def moved(x: Tensor, where: devices.device) -> Tensor:
    """The tensor on a device that is there."""
    trace = _current.get()
    if trace is not None:
        return _stayed(x, where)
    if type(x._array) is not devices.Unplaced and x.device == where:
        return x
    result = Tensor(devices.moved(x._array, where))
    if _grad_enabled.get() and x.requires_grad:
        record(_Transfer(x.device), (x,), (x._array,), {}, (result,))
    return result


def placed(t: Tensor, device: Any) -> Tensor:
    """A new tensor where it is wanted: on the device that is named, or on the default one."""
    if device is None and not devices.is_used():
        return t
    where = devices.located(device)
    trace = _current.get()
    if trace is None:
        return moved(t, where)
    if device is not None:
        trace.placement.ask_for(where, f"what is made with device={str(where)!r}")
    if t._array is not None:                       # a constant of the program
        t._array = devices.moved(t._array, trace.placement.device)
    return t


def _stayed(x: Tensor, where: devices.device) -> Tensor:
    """In a trace nothing moves: a program runs on one device."""
    if x._trace is None and _current.get().value_of(x) is None or x.device == where:
        return x
    raise TraceError(f".to({str(where)!r}) of a tensor on {x.device} ({x.type}) inside a compiled function: a program "
                     "runs on one device. Move the tensor before the call, or the result after it")


class _Transfer:
    """What the tape remembers of a move: gradients go back to where the value came from."""

    name = "to"

    def __init__(self, origin: devices.device):
        self.origin = origin

    def pullback(self, g: Any, y: Any, operands: Sequence[Any], attrs: Any, wanted: Any = None) -> tuple[Any, ...]:
        """The cotangent on the device of the operand."""
        return (g.to(self.origin),)


def same_device(what: str, tensors: Sequence[Tensor]) -> devices.device:
    """The one device of all these tensors."""
    found = {t.device: t for t in tensors}
    if len(found) > 1:
        (a, x), (b, y), *_ = found.items()
        raise DeviceError(f"{what}: tensors on {a} ({x.type}) and on {b} ({y.type}); move them to one device")
    return next(iter(found), devices.CPU)
