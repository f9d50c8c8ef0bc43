"""What a device is to the rest of the runtime: memory, copies, kernels and a namespace like NumPy's.

Kernels and copies work on addresses and run in order on the device's current stream; what the host reads waits for
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ..ir.gpu import GpuTarget


class Device(ABC):
    """A device by `name` ("cuda:0"), with the facts that the compiler needs (`target`).

    `xp` is the namespace in which evaluation rules run on its arrays: CuPy, or one like it.
    """

    name: str
    xp: Any
    target: GpuTarget

    def __repr__(self) -> str:
        return f"<device {self.name}>"

    # ---- arrays ----

    @abstractmethod
    def from_host(self, array: np.ndarray) -> Any:
        """A copy of a NumPy array on this device, contiguous."""

    @abstractmethod
    def to_host(self, array: Any) -> np.ndarray:
        """A copy of one of its arrays in NumPy; waits for what computes it."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """A new array with undefined contents; a DeviceError where there is no memory left."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked of the device is done."""

    # ---- memory facts ----

    @property
    @abstractmethod
    def allocated_bytes(self) -> int:
        """Bytes that are in use now."""

    @property
    @abstractmethod
    def peak_bytes(self) -> int:
        """The most bytes that were in use at a time since the start or the last `reset_peak`."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Count the peak anew from what is in use now."""

    @abstractmethod
    def release(self) -> None:
        """Give up memory that is kept for later and not in use."""
