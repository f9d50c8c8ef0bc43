"""The inputs of a device program: checked, copied where a kernel cannot read them as they lie, and remembered, so that
an array that comes again costs a comparison.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.errors import DeviceError, DTypeError, ShapeError
from ..ir.program import Program
from . import float8
from .device import ALIGNMENT, Device

HOST = -1
Known = tuple[Callable[[], Any], int]        # a reference to an array that was found to be sound, and its address


class Inputs:
    """Makes the inputs of one program ready."""

    def __init__(self, program: Program, device: Device):
        self._name, self._device = program.name, device
        self._slots = [program.slots[n] for n in program.inputs]
        self._known: list[Known] = [(_nothing, 0)] * len(self._slots)

    def ready(self, inputs: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> tuple[list[Any], list[int]]:
        """The arrays, and their addresses; copies of those that are not contiguous or not aligned. The address
        of a number of the host is HOST.
        """
        arrays = list(inputs)
        addresses: list[int] = []
        for n, (array, shape, (reference, address)) in enumerate(zip(inputs, shapes, self._known)):
            if reference() is array and array.shape == shape:
                addresses.append(address)
                continue
            self._check(array, n, shape)
            if not self._device.owns(array):
                arrays[n] = np.asarray(array)
                addresses.append(HOST)
                continue
            address = self._device.address(array)
            if shape and not (array.flags.c_contiguous and address % ALIGNMENT == 0):
                arrays[n] = self.copied(array)
                addresses.append(self._device.address(arrays[n]))
                continue
            self._known[n] = weakref.ref(array), address
            addresses.append(address)
        return arrays, addresses

    def _check(self, array: Any, n: int, shape: tuple[int, ...]) -> None:
        slot = self._slots[n]
        if not self._device.owns(array) and not (isinstance(array, (np.generic, np.ndarray)) and not array.ndim):
            where = "the CPU" if type(array) is np.ndarray else f"another device ({type(array).__name__})"
            raise DeviceError(f"{slot} is given an array on {where}; {self._name} runs on {self._device.name}")
        if array.shape != shape:
            raise ShapeError(f"{slot} is given an array of shape {array.shape}, where {shape} is meant")
        if array.dtype != slot.dtype.numpy:
            raise DTypeError(f"{slot} is given an array of {array.dtype}; convert it to {slot.dtype.long_name}")

    def copied(self, array: Any) -> Any:
        """A copy of an input on the device."""
        if not self._device.owns(array):
            return self._device.from_host(np.asarray(array))
        made = self._device.empty(array.shape, array.dtype)
        float8.words(made)[...] = float8.words(array)
        return made


def _nothing() -> object:
    return _nothing
