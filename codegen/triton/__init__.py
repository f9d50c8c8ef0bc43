"""Triton source of a kernel under its schedule: `emit(kernel, schedule, target)`. Text only: nothing here imports
Triton.

`module.Function` collects lines, `groups` and `tile.Tile` say where a program stands and write values there, `scalar`
has a row for each operation, `folds` reduces. `tiled` runs whatever is no contraction.
"""

from __future__ import annotations

from ...ir.gpu import GpuSchedule, GpuTarget
from ...ir.gpu_tiled import Tiled
from ...ir.kernel import Kernel
from ...ir.schedule import Source
from .tiled import emit_tiled


def emit(kernel: Kernel, schedule: GpuSchedule, target: GpuTarget) -> Source:
    """A module with the kernel as a `@triton.jit` function, run as the schedule says."""
    assert isinstance(schedule, Tiled)
    return emit_tiled(kernel, schedule)
