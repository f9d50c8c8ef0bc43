"""A kernel that the device's library makes: there is nothing to compile, the source says what is called."""

from __future__ import annotations

from ...ir.gpu_contraction import GpuLibrary
from ...ir.kernel import Kernel
from ...ir.schedule import Source


def emit_library(kernel: Kernel, s: GpuLibrary) -> Source:
    """A line that a person reads."""
    s.check(kernel)
    left, right = (f"{name} turned" if turned else name for name, turned in (
        (s.left, s.turned_left), (s.right, s.turned_right)))
    (result,) = kernel.outputs
    return Source(f"# {kernel.name}: {result.name} = {left} @ {right}, by the device's library", kernel.name, "library")
