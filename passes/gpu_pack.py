"""Operands of a convolution, laid out anew before it so that channels are contiguous.

A step of K is a run of channels at one place of the window (`gpu_contraction.py`). Where channels are not the last
dimension of an image or of its weights, each number would be fetched alone, for each place of the window again; a
transposed copy costs one pass over memory, and is then fetched 16 bytes at a time.
"""

from __future__ import annotations

from ..ir.expr import Dim, coefficient, product, symbols
from ..ir.kernel import Index, Kernel, KernelBuilder, Value, made_of
from .contraction import Match
from .split import Copy
from .walks import usual

WINDOW = 16                    # a longer axis is no side of a window
FEW_CHANNELS = 16              # that are not worth a copy
FEW_RESULTS = 256              # rows, that share a copy of weights; with fewer, there is nothing to gain


def pack(kernel: Kernel, m: Match) -> list[Kernel] | None:
    """Kernels that copy, and the contraction of the copies; None where there is nothing to copy."""
    channels = _channels(kernel, m)
    if channels is None or usual(product(kernel.axes[a] for a in (*m.g, *m.i, *m.j))) < FEW_RESULTS:
        return None
    inside = made_of(m.total.args[0])
    wrong = {v: place for v in kernel.values if v in inside
             for place in [_place_of(v, channels)] if place < len(v.index) - 1}
    if not wrong or len({v.buffer for v in wrong}) < len(wrong):
        return None
    names = {v.buffer: f"{kernel.name}_packed{n}" for n, v in enumerate(wrong)}
    copies = {v.buffer: _transposed(kernel, v.buffer, names[v.buffer], place) for v, place in wrong.items()}
    return [*copies.values(), _of_copies(kernel, names, wrong)]


def _channels(kernel: Kernel, m: Match) -> str | None:
    """The axis of channels of a convolution: the one of K that is no side of the window."""
    long = [a for a in m.k if kernel.axes[a] != 1]
    windows = [a for a in long if any(a in symbols(x) and symbols(x) & {*m.i, *m.j} for x in _entries(kernel))]
    rest = [a for a in long if a not in windows]
    small = all(isinstance(n, int) and n <= WINDOW for n in (kernel.axes[a] for a in windows))
    if not windows or not small or len(rest) != 1 or usual(kernel.axes[rest[0]]) < FEW_CHANNELS:
        return None
    return rest[0]


def _entries(kernel: Kernel) -> list[Dim]:
    return [x for v in kernel.values if v.op == "load" for x in v.index if not isinstance(x, Value)]


def _place_of(v: Value, channels: str) -> int:
    """Which dimension of a load are the channels, one by one; behind the last for none."""
    affine = [(n, x) for n, x in enumerate(v.index) if not isinstance(x, Value) and channels in symbols(x)]
    if v.op != "load" or len(affine) != 1 or coefficient(affine[0][1], channels) != 1:
        return len(v.index)
    return affine[0][0]


def _moved(entries: tuple, place: int) -> tuple:
    """The entry at this place last."""
    return (*entries[:place], *entries[place + 1:], entries[place])


def _transposed(kernel: Kernel, buffer: str, name: str, place: int) -> Kernel:
    """A kernel that copies a buffer with one dimension last."""
    given = kernel.buffers[buffer]
    k = KernelBuilder(f"{kernel.name}_pack", {f"d{n}": size for n, size in enumerate(given.shape)})
    index = tuple(k.axis(a) for a in k.axes)
    k.store(name, _moved(given.shape, place), _moved(index, place), k.load(buffer, given.shape, given.dtype, index))
    return k.build(kernel.origin)


def _of_copies(kernel: Kernel, names: dict[str, str], wrong: dict[Value, int]) -> Kernel:
    """The contraction, reading copies."""
    k = KernelBuilder(kernel.name, kernel.axes)
    copy = Copy(kernel, k, {}, False)
    for v, place in wrong.items():
        index: tuple[Index, ...] = _moved(tuple(copy.index(v.index)), place)
        copy.made[v] = k.load(names[v.buffer], _moved(kernel.buffers[v.buffer].shape, place), v.dtype, index, v.fill)
    for s in kernel.stores:
        copy.store(s)
    return k.build(kernel.origin)
