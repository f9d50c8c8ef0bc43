"""On which device the program of a trace runs: one, that of the tensors which it gets and finds.

Graphs know nothing of devices; the specialisation does. Tensors of the CPU without dimensions go with any program
(their number is passed at each call), and so does what is made of sizes and numbers.
"""

from __future__ import annotations

from typing import Any

from ..ir.errors import DeviceError
from . import devices
from .devices import CPU


class Restart(BaseException):
    """A trace took the default device for its own, and then met a tensor on another: it begins again, for that one."""

    def __init__(self, where: devices.device, reason: Any):
        self.where, self.reason = where, reason


class Placement:
    """The device of a trace, as far as it is decided."""

    def __init__(self, start: Restart | None = None):
        self.decided = None if start is None else start.where
        self.reason: Any = None if start is None else start.reason        # the tensor that decided
        self._was_assumed = False

    @property
    def device(self) -> devices.device:
        """Where the program runs; the default as long as no tensor has decided, which the trace then depends on."""
        if self.decided is None:
            self._was_assumed = True
            return devices.default()
        return self.decided

    @property
    def final(self) -> devices.device:
        """Where the program runs, now that the trace is over."""
        return devices.default() if self.decided is None else self.decided

    def place(self, t: Any) -> None:
        """A tensor from outside takes part; an error if it lies on another device."""
        array = t._array
        if array is None or type(array) is devices.Unplaced:
            return
        here = devices.of(array)
        if here == CPU and not array.ndim:
            return
        self.ask_for(here, t)

    def ask_for(self, here: devices.device, reason: Any) -> None:
        """Something must be on this device: a tensor, or what `device=` named."""
        if here == self.decided:
            return
        if self.decided is not None:
            raise DeviceError(f"a compiled function runs on one device: {_shown(self.reason)} is on {self.decided}, "
                              f"{_shown(reason)} on {here}; move one of them with .to(…) before the call")
        if not self._was_assumed:
            self.decided, self.reason = here, reason
        elif here != devices.default():
            raise Restart(here, reason)


def _shown(reason: Any) -> str:
    return reason if isinstance(reason, str) else "a tensor " + str(reason.type).partition(" on ")[0]
