"""Other ways to run a kernel on a GPU: what `mode="max-autotune"` measures there.

Contractions and streams bring the best of their cost models; plain products meet the device's library. A tiled kernel
is tried with tiles and warps of half and of twice the size; what is run through in turns, and how much of it at a time,
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..ir.errors import VerifyError
from ..ir.gpu import GpuTarget
from ..ir.gpu_contraction import GpuContraction, GpuStreamed
from ..ir.gpu_tiled import Tiled
from ..ir.kernel import Kernel
from ..ir.schedule import Schedule
from . import gpu_contraction, gpu_library, gpu_streamed

MOST_WARPS = 16
MOST_ELEMENTS = 8192             # of a tile


def candidates(kernel: Kernel, schedule: Schedule, target: GpuTarget) -> list[Schedule]:
    """Ways to run the kernel, the given one first, each once and legal."""
    found: list[Schedule] = [schedule]
    if isinstance(schedule, GpuContraction):
        found += gpu_contraction.candidates(kernel, target)
        found += _library(kernel, target)
    elif isinstance(schedule, GpuStreamed):
        found += gpu_streamed.candidates(kernel, target)
    elif isinstance(schedule, Tiled):
        found += _tiled(schedule)
    return [s for s in dict.fromkeys(found) if s is schedule or _is_legal(s, kernel)]


def _library(kernel: Kernel, target: GpuTarget) -> list[Schedule]:
    matched = gpu_contraction.match(kernel)
    found = matched and gpu_library.library(kernel, matched, target)
    return [found] if found else []


def _is_legal(schedule: Schedule, kernel: Kernel) -> bool:
    try:
        schedule.check(kernel)
    except VerifyError:
        return False
    return True


def _tiled(s: Tiled) -> Iterator[Tiled]:
    elements = 1
    for block in s.blocks:
        elements *= block.size
    for n, block in enumerate(s.grid):
        for size in (block.size // 2, block.size * 2):
            if block.size > 1 and size >= 1 and elements // block.size * size <= MOST_ELEMENTS:
                yield replace(s, grid=(*s.grid[:n], replace(block, size=size), *s.grid[n + 1:]))
    for warps in (s.warps // 2, s.warps * 2):
        if 1 <= warps <= MOST_WARPS:
            yield replace(s, warps=warps)
