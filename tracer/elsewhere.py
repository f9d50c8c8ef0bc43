"""Eager operations on arrays beside the CPU's: the same evaluation rules, in the namespace of the operands' device.

Tensors of other devices do not mix, save those without dimensions from the CPU, and arrays that were made of sizes and
numbers alone. What has a rule for NumPy's arrays only (trait "host"), or for a dtype that the device's namespace does
not know, goes there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import BrazeError, DeviceError
from ..ir.ops.declare import Op
from . import devices
from .aliasing import mark_view
from .autograd import record
from .devices import CPU, Unplaced
from .modes import _grad_enabled
from .tensor import Tensor

if TYPE_CHECKING:
    from .eager import Eager

by_host: set[tuple[Any, ...]] = set()        # (name of an op, dtypes) that a device's namespace does not carry out


def bind(eager: Eager, op: Op, operands: tuple[Tensor, ...], attrs: dict[str, Any]) -> Any:
    """`Eager.bind`, where not all operands are arrays of the CPU."""
    for t in operands:
        if t._array is None:
            t._concrete("an operation", "keep it inside the function that made it")
    where = common_device(op.name, operands)
    arrays = [_gathered(t._array, where) for t in operands]
    eager.check(op, operands, attrs)
    out = evaluate(op, where, arrays, attrs)
    floats_on = all(type(t._array) is Unplaced for t in operands)
    several = out if isinstance(out, tuple) else (out,)
    results = tuple([Tensor(_array(a, where, floats_on)) for a in several])
    if _grad_enabled.get() and any(t._requires_grad or t._node is not None for t in operands):
        record(op, operands, arrays, attrs, results)
    if op.kind == "view" and operands:
        mark_view(results[0], operands[0])
    return results if isinstance(out, tuple) else results[0]


def common_device(name: str, operands: Sequence[Tensor]) -> devices.device:
    """The device on which these tensors meet."""
    firm = CPU
    chosen = None
    for t in operands:
        array = t._array
        if type(array) is Unplaced or (type(array) is np.ndarray and not array.ndim):
            continue
        here = devices.of(array)
        if chosen is not None and here != firm:
            raise DeviceError(f"{name} of {_shown(chosen, firm)} and {_shown(t, here)}: both must be on one device; "
                              f"move one: .to({str(firm)!r}) or .to({str(here)!r})")
        firm, chosen = here, t
    return firm


def _shown(t: Tensor, where: devices.device) -> str:
    return f"{t.dtype.name}{list(t.shape)} on {where}"


def evaluate(op: Op, where: devices.device, arrays: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """The op's rule on arrays of one device, and numbers."""
    if where == CPU:
        return op.evaluate(np, *[devices.moved(a, CPU) for a in arrays], **attrs)
    machine = devices.hardware(where)
    kind = (op.name, *[a.dtype for a in arrays])
    if "host" not in op.traits and kind not in by_host:
        given = [_given(op, a, where) for a in arrays]
        try:
            with machine.activate():
                return machine.attempt(lambda: machine.evaluate(op, given, attrs), None, f"the result of {op.name}")
        except (AttributeError, NotImplementedError, TypeError) as error:
            if isinstance(error, BrazeError):
                raise
            by_host.add(kind)                # the namespace lacks what the rule takes from NumPy's
    out = op.evaluate(np, *[devices.moved(a, CPU) for a in arrays], **attrs)
    if isinstance(out, tuple):
        return tuple([machine.from_host(np.asarray(a)) for a in out])
    return machine.from_host(np.asarray(out))


def _gathered(array: Any, where: devices.device) -> Any:
    """An operand on the device where they meet; a number of the CPU stays one until the rule runs."""
    return array if _is_number(array) else devices.moved(array, where)


def _is_number(array: Any) -> bool:
    return type(array) in (np.ndarray, devices.Unplaced) and not array.ndim


def _given(op: Op, array: Any, where: devices.device) -> Any:
    """An operand as the rule takes it: elementwise functions take numbers without a copy to the device."""
    if not _is_number(array):
        return array
    is_scalar = op.kind == "pointwise" and not op.parameters and array.dtype.kind in "fc"
    return array[()] if is_scalar else devices.moved(array, where)


def _array(x: Any, where: devices.device, goes_on: bool) -> Any:
    """A result as the array of a tensor."""
    if where != CPU:
        return x if devices.of(x) == where else devices.moved(np.asarray(x), where)
    array = np.asarray(x)
    return array.view(Unplaced) if goes_on else array
