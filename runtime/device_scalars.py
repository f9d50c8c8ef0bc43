"""Numbers on their way to a device: a kernel takes them as arguments and stores them, so that nothing waits, no memory
of the host is read later, and one launch carries eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as once

import numpy as np

from ..ir.schedule import Source
from .device import Device, DeviceKernel, Frame
from .triton_compiler import HIDDEN_ARGUMENTS, Request

BYTES = 16                               # of the place of a number: what pointers are aligned to
_NUMBERS = 8                             # of a launch
_WORDS = _NUMBERS * BYTES // 8


@once
def source() -> Source:
    """The kernel: `target[n] = word_n`."""
    words = [f"word_{n}" for n in range(_WORDS)]
    lines = ["import triton", "import triton.language as tl", "", "", "@triton.jit",
             f"def store_numbers(target_ptr, {', '.join(words)}):",
             *(f"    tl.store(target_ptr + {n}, {word})" for n, word in enumerate(words))]
    arguments = (("target_ptr", "*i64"), *((word, "i64") for word in words))
    facts = {"arguments": arguments, "grid": (1, 1, 1), "warps": 1, "stages": 1}
    return Source("\n".join([*lines, ""]), "store_numbers", "triton", facts=facts)


class Writer:
    """Writes numbers to a device."""

    def __init__(self, device: Device):
        self._device = device
        self._kernel: DeviceKernel | None = None

    def write(self, address: int, numbers: Sequence[np.ndarray], stream: int) -> None:
        """Enqueue it: the first number goes to the address, each next one `BYTES` further."""
        if self._kernel is None:
            (self._kernel,) = self._device.kernels([Request(source(), self._device.target)])
        for first in range(0, len(numbers), _NUMBERS):
            words = np.zeros(1 + _WORDS + HIDDEN_ARGUMENTS, np.int64)
            words[0] = address + first * BYTES
            memory = words[1:].view(np.uint8)
            for n, number in enumerate(numbers[first:first + _NUMBERS]):
                memory[n * BYTES:n * BYTES + number.itemsize] = np.frombuffer(number.tobytes(), np.uint8)
            self._kernel.launch((1, 1, 1), Frame(words), 0, stream)


def room(count: int) -> int:
    """Bytes that so many numbers take, whole launches being written."""
    return -(-count // _NUMBERS) * _NUMBERS * BYTES
