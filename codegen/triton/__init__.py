"""Triton source of a kernel under its schedule: `emit(kernel, schedule, target)`. Text only: nothing here imports
Triton.

`module.Function` collects lines, `groups` and `tile.Tile` say where a program stands and write values there, `scalar`
has a row for each operation, `folds` reduces. `contraction` (with `shares`) and `streamed` (attention) make products on
tiles, `tiled` runs whatever is none, `joined` an elementwise kernel on many arrays at once; `library` names what the
device's own library multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.gpu import GpuSchedule, GpuTarget
from ...ir.gpu_contraction import GpuContraction, GpuLibrary, GpuStreamed
from ...ir.gpu_joined import Joined
from ...ir.gpu_tiled import Tiled
from ...ir.kernel import Kernel
from ...ir.schedule import Source
from .joined import emit_joined
from .library import emit_library
from .shares import emit_shared
from .streamed import emit_streamed
from .tiled import emit_tiled

EMITTERS: dict[type[GpuSchedule], Callable[[Kernel, Any], Source]] = {
    Tiled: emit_tiled,
    Joined: emit_joined,
    GpuContraction: emit_shared,
    GpuStreamed: emit_streamed,
    GpuLibrary: emit_library,
}


def emit(kernel: Kernel, schedule: GpuSchedule, target: GpuTarget) -> Source:
    """A module with the kernel as a `@triton.jit` function, run as the schedule says."""
    return EMITTERS[type(schedule)](kernel, schedule)
