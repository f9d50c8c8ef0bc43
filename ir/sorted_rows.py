"""Rows that are sorted: how a kernel with an argsort runs on a CPU.

A unit is a row of what is sorted. Its keys and positions are packed into words in scratch (`sorting.py`), the words are
sorted, and all else runs after that as a kernel of its own, the `rest`, which reads the words as a buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from . import expr
from .errors import VerifyError
from .expr import Dim
from .kernel import FOLDS, Buffer, Kernel, KernelBuilder, Value, made_of, replaced
from .schedule import Rows, Schedule
from .sorting import POSITION_BITS, fits_a_word, sort_key
from .types import int64, uint64

SORTED = "sorted words"                  # the buffer that the rest reads; no kernel can have one of this name
_MASK = (1 << POSITION_BITS) - 1


class Sorting(NamedTuple):
    """An argsort, and the `key` of an element at a position of its axis."""

    argsort: Value
    key: Value

    @property
    def axis(self) -> str:
        """The axis that is sorted over."""
        return self.argsort.over[0]

    @property
    def row_axes(self) -> tuple[str, ...]:
        """The axes of which each position has a row of its own."""
        return tuple(a for a in self.argsort.args[0].axes if a != self.axis)

    def wanted(self, kernel: Kernel) -> int | None:
        """How many of the first places are asked for at most; None where that is not known, or many."""
        last = last_place(kernel, self.argsort)
        return last + 1 if isinstance(last, int) and last >= 0 else None

    @property
    def key_bits(self) -> int:
        """How many bits of a word are sorted by."""
        return self.key.dtype.bits

    @property
    def words(self) -> int:
        """64-bit words of an element: its key over its position, in one word if they fit."""
        return 1 if fits_a_word(self.key.dtype) else 2


def sorts(kernel: Kernel) -> list[Value]:
    """The argsorts of a kernel."""
    return [v for v in kernel.values if v.op == "argsort"]


def last_place(kernel: Kernel, argsort: Value) -> Dim:
    """The last place in order that an argsort is asked for."""
    (place,) = argsort.index
    assert not isinstance(place, Value)
    return expr.substitute(place, {a: kernel.axes[a] - 1 for a in expr.symbols(place) & set(kernel.axes)})


def sorting_of(kernel: Kernel, argsort: Value) -> Sorting:
    """An argsort of a kernel with its key."""
    k = KernelBuilder(kernel.name, kernel.axes)
    return Sorting(argsort, sort_key(k, argsort.args[0], argsort.combine))


def take_apart(kernel: Kernel) -> tuple[Sorting, Kernel]:
    """The only argsort of a kernel, and the rest: the kernel as it is when the words are sorted, where an argsort is
    the lower part of a word.
    """
    found = sorts(kernel)
    if len(found) != 1:
        raise VerifyError(f"kernel {kernel.name} has {len(found)} argsorts, where one is wanted")
    (sort,) = found
    sorting = sorting_of(kernel, sort)
    return sorting, _rest(kernel, sort, sorting.words)


def _rest(kernel: Kernel, sort: Value, words: int) -> Kernel:
    place = sort.index[0]
    assert not isinstance(place, Value)
    word = Value("load", (), sort.axes, uint64, buffer=SORTED, index=(place * words,))
    mask = Value("const", (), (), uint64, number=_MASK)
    low = Value("and", (word, mask), sort.axes, uint64)
    position = Value("cast", (low if words == 1 else word,), sort.axes, int64)
    values, stores = replaced(kernel, sort, [word, *([mask, low] if words == 1 else []), position])
    used = {a for v in values for a in (*v.axes, *v.over)} | {a for s in stores for a in s.axes}
    axes = {a: n for a, n in kernel.axes.items() if a in used or a != sort.over[0]}
    buffers = {**kernel.buffers, SORTED: Buffer(SORTED, (kernel.axes[sort.over[0]] * words,), uint64)}
    return Kernel(kernel.name, axes, buffers, values, stores, kernel.origin)


@dataclass(frozen=True)
class SortedRows(Schedule):
    """A unit is a row: it is sorted, and what comes after it runs as `after` says of the rest, whose parallel axes are
    those of the rows.
    """

    after: Rows = field(default_factory=Rows)

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")
        self.after.check(take_apart(kernel)[1])

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        if len(sorts(kernel)) != 1:
            yield "it does not sort once"
            return
        sorting = sorting_of(kernel, sorts(kernel)[0])
        if any(v.op in FOLDS for v in made_of(sorting.key)):
            yield "what is sorted is made of a fold"
        if self.after.parallel != sorting.row_axes or self.after.block:
            yield f"rows are {sorting.row_axes}, units {self.after.parallel}"
        if self.units != expr.product(kernel.axes[a] for a in sorting.row_axes) or self.after.units != self.units:
            yield f"{self.units} units are not a row each"
