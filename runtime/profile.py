"""How long each kernel of a program takes: the program walked step by step, each launch timed by itself.

A walked program runs its kernels as the native runner does (the same threads and chunks), only with Python between
them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir.program import Launch
from . import calls, stepped
from .executable import Executable


@dataclass(frozen=True)
class KernelTime:
    """A launch, how often it ran in one call of the program, and its median time in nanoseconds."""

    launch: Launch
    runs: int
    nanoseconds: int

    def __str__(self) -> str:
        return f"{self.launch.kernel.name}: {self.runs} x {self.nanoseconds / 1000:.1f} µs"


def kernels_of(executable: Executable) -> dict[Launch, stepped.KernelFunction]:
    """The kernels of an executable as functions of arrays and sizes."""
    compiled = {launch: native for launch, native in executable.kernels.items() if native.address}
    return {**executable.numpy_kernels, **{launch: calls.native_kernel(native) for launch, native in compiled.items()}}


def profile(executable: Executable, inputs: Sequence[np.ndarray], repeats: int = 5,
            sizes: Mapping[str, int] | None = None) -> list[KernelTime]:
    """The time of each kernel, in the order in which they run; the outputs are thrown away."""
    measured: dict[Launch, list[int]] = {}

    def timed(launch: Launch, function: stepped.KernelFunction) -> stepped.KernelFunction:
        def run(arrays: Sequence[np.ndarray], now: Mapping[str, int]) -> None:
            start = time.perf_counter_ns()
            function(arrays, now)
            measured.setdefault(launch, []).append(time.perf_counter_ns() - start)

        return run

    kernels = {launch: timed(launch, f) for launch, f in kernels_of(executable).items()}
    executable.walk(inputs, kernels, sizes)              # the first time touches pages and starts threads
    measured.clear()
    for _ in range(repeats):
        executable.walk(inputs, kernels, sizes)
    return [KernelTime(launch, len(times) // repeats, int(np.median(times))) for launch, times in measured.items()]
