"""LLVM source of a kernel under its schedule: `emit(kernel, schedule, target)`."""

from __future__ import annotations

from ...ir.kernel import Kernel
from ...ir.product_rows import ProductRows
from ...ir.schedule import Contraction, Rows, Schedule, Serial, Skewed, Source
from ...ir.sorted_rows import SortedRows
from ...ir.streamed import Streamed
from ...ir.target import Target
from .contraction import emit_contraction
from .product_rows import emit_product_rows
from .rows import emit_rows
from .serial import emit_serial
from .skewed import emit_skewed
from .sorted_rows import emit_sorted_rows
from .streamed import emit_streamed


def emit(kernel: Kernel, schedule: Schedule, target: Target) -> Source:
    """The text of a kernel for a target, run as the schedule says."""
    if isinstance(schedule, Rows):
        return emit_rows(kernel, schedule)
    if isinstance(schedule, ProductRows):
        return emit_product_rows(kernel, schedule)
    if isinstance(schedule, SortedRows):
        return emit_sorted_rows(kernel, schedule)
    if isinstance(schedule, Serial):
        return emit_serial(kernel, schedule)
    if isinstance(schedule, Skewed):
        return emit_skewed(kernel, schedule)
    if isinstance(schedule, Streamed):
        return emit_streamed(kernel, schedule)
    assert isinstance(schedule, Contraction)
    return emit_contraction(kernel, schedule, target)
