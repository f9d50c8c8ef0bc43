"""Which kernels a device's library of linear algebra can run whole: plain products of matrices, or batches of them, as
they lie in memory, rounded once at the end.

The library competes under `mode="max-autotune"` where it gives what the kernel says: 16-bit operands summed in float32,
float32 with the precision that is asked for.
"""

from __future__ import annotations

from ..ir.expr import Dim, product
from ..ir.gpu import GpuTarget
from ..ir.gpu_contraction import GpuLibrary, epilogue, narrow_source
from ..ir.kernel import Kernel, Store, Value
from ..ir.types import DType, bfloat16, float16, float32, float64
from .contraction import Match
from .walks import address

SUMMED_IN = {float16: float32, bfloat16: float32, float32: float32, float64: float64}
PRECISIONS = ("ieee", "tf32")                    # of float32, that a library has


def library(kernel: Kernel, m: Match, target: GpuTarget) -> GpuLibrary | None:
    """The way by a library; None where the kernel is no plain product, or the library would round otherwise."""
    left, right = narrow_source(m.left), narrow_source(m.right)
    if not m.is_product or m.others or target.kind != "cuda" or len(kernel.stores) != 1:
        return None
    (store,) = kernel.stores
    if not _is_plain(kernel, m, store) or not _is_computed_so(m, left, right, store, target):
        return None
    turned_left = _turned(kernel, left, (*m.g, *m.i, *m.k), (*m.g, *m.k, *m.i))
    turned_right = _turned(kernel, right, (*m.g, *m.k, *m.j), (*m.g, *m.j, *m.k))
    if turned_left is None or turned_right is None or left.buffer == right.buffer:
        return None
    return GpuLibrary(g=(*_single(kernel, m), *m.g), i=m.i, j=m.j, k=m.k, left=left.buffer, right=right.buffer,
                      turned_left=turned_left, turned_right=turned_right, precision=target.precision)


def _single(kernel: Kernel, m: Match) -> tuple[str, ...]:
    """Axes of one position, which are in no group."""
    return tuple(a for a in kernel.axes if a not in (*m.g, *m.i, *m.j, *m.k))


def _is_plain(kernel: Kernel, m: Match, store: Store) -> bool:
    """Is the sum stored as it is, row after row, at most rounded?"""
    casts = epilogue(kernel, m.total)
    rounded = all(v.op == "cast" and v.args[0] in (m.total, *casts) for v in casts)
    where = address(kernel.buffers[store.buffer], store.index)
    return rounded and len(casts) <= 1 and store.mode == "set" and where == _flat(kernel, (*m.g, *m.i, *m.j)) and (
        product(kernel.buffers[store.buffer].shape) == product(kernel.axes[a] for a in (*m.g, *m.i, *m.j)))


def _is_computed_so(m: Match, left: Value, right: Value, store: Store, target: GpuTarget) -> bool:
    """Are the operands memory of a dtype that the library multiplies and sums as the kernel does?"""
    d: DType = left.dtype
    if left.op != "load" or right.op != "load" or right.dtype is not d or SUMMED_IN.get(d) is not m.total.dtype:
        return False
    if left.fill is not None or right.fill is not None or store.value.dtype not in (d, m.total.dtype):
        return False
    return d is not float32 or target.precision in PRECISIONS


def _turned(kernel: Kernel, load: Value, straight: tuple[str, ...], turned: tuple[str, ...]) -> bool | None:
    """Does a matrix lie turned? None where it lies in neither way, or is a part of its buffer."""
    shape = kernel.buffers[load.buffer].shape
    if product(shape) != product(kernel.axes[a] for a in straight):
        return None
    place = address(kernel.buffers[load.buffer], load.index)
    if place == _flat(kernel, straight):
        return False
    return True if place == _flat(kernel, turned) else None


def _flat(kernel: Kernel, axes: tuple[str, ...]) -> Dim:
    """The place of a point in memory where these axes lie in this order."""
    place: Dim = 0
    for a in axes:
        place = place * kernel.axes[a] + (kernel.axis(a) if kernel.axes[a] != 1 else 0)
    return place
