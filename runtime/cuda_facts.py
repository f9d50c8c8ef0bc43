"""What the compiler needs to know of a GPU, asked of CUDA or looked up by its compute capability.

Rates of arithmetic are those of NVIDIA's architecture white papers and of the CUDA C++ Programming Guide, "Arithmetic
Instructions": operations a clock and multiprocessor.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir.errors import DeviceError
from ..ir.gpu import GpuTarget


class Rates(NamedTuple):
    """Multiply-adds a clock and multiprocessor: of float32 outside tensor cores, of 16-bit numbers inside."""

    float32: int
    dots: int


_RATES = {
    80: Rates(64, 1024), 86: Rates(128, 512), 89: Rates(128, 512),
    90: Rates(128, 2048), 100: Rates(128, 4096), 103: Rates(128, 4096), 120: Rates(128, 1024),
}  # fmt: skip

LEAST_CAPABILITY = 80            # Triton's own, and the first with bfloat16
_USUAL_CLOCK = 1_700_000         # kHz, where CUDA does not say


def target(cupy: Any, number: int) -> GpuTarget:
    """The facts of a GPU."""
    runtime = cupy.cuda.runtime

    def fact(name: str) -> int:
        return runtime.deviceGetAttribute(getattr(runtime, f"cudaDevAttr{name}"), number)

    capability = int(cupy.cuda.Device(number).compute_capability)
    if capability < LEAST_CAPABILITY:
        raise DeviceError(f"cuda:{number}, a {name(cupy, number)}, has compute capability {capability / 10}; Braze "
                          f"runs on GPUs of {LEAST_CAPABILITY / 10} (Ampere) and later")
    processors, kilohertz = fact("MultiProcessorCount"), fact("ClockRate") or _USUAL_CLOCK
    rates = _rates(capability)
    each = 2 * processors * kilohertz * 1e-6             # flops a nanosecond for a multiply-add a clock
    return GpuTarget(
        arch=str(capability), warp=fact("WarpSize"), processors=processors,
        shared_bytes=fact("MaxSharedMemoryPerBlockOptin"), registers=fact("MaxRegistersPerMultiprocessor"),
        l2_bytes=fact("L2CacheSize"), bandwidth=_bandwidth(fact("MemoryClockRate"), fact("GlobalMemoryBusWidth")),
        flops=each * rates.float32, dot_flops=each * rates.dots)


def name(cupy: Any, number: int) -> str:
    """What NVIDIA calls it."""
    given = cupy.cuda.runtime.getDeviceProperties(number)["name"]
    return given.decode() if isinstance(given, bytes) else given


def _rates(capability: int) -> Rates:
    """The rates of a compute capability, or of the latest one before it."""
    return _RATES[max(c for c in _RATES if c <= capability)]


def _bandwidth(kilohertz: int, bits: int) -> float:
    """Bytes a nanosecond, with two transfers a clock; an average device's where CUDA does not say."""
    return 2 * kilohertz * bits / 8 * 1e-6 if kilohertz and bits else GpuTarget().bandwidth
