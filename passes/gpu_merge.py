"""Sorts that no tile does alone, as several kernels: rows longer than a tile, and keys of 64 bits.

Keys (`ir/sorting.py`) are stored, runs of a tile's length are sorted, and pairs of runs are merged until one is left,
from which the rest of the kernel reads its places. Merging is element by element: each bisects for how many of those
before it are the first run's (the merge path of Odeh, Green, Mwassi, Shmueli and Birk, "Merge path - parallel merging
made simple", 2012), so that nothing is scattered. Of equal keys the first run's come first, which keeps the order
stable. Keys of 64 bits are sorted by their lower halves, and then by the upper ones. Where only the first places are
asked for, runs keep no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..ir.expr import Dim
from ..ir.gpu import rounded_up
from ..ir.kernel import Kernel, KernelBuilder, Value
from ..ir.sorted_rows import Sorting, sorting_of, sorts
from ..ir.sorting import key_dtype, sort_key
from ..ir.types import DType, int64, uint32, uint64
from .gpu_parts import with_used_axes
from .split import Copy

RUN = 2048                      # elements of a run: the network of a longer one takes longer to compile
HALF = 32                       # bits of a key that fit in a word with the position
LONGEST = 1 << 31               # of a row, whose positions are numbers of 32 bits


@dataclass(frozen=True)
class _Runs:
    """Sorted runs in memory, `count` of `length` in each row: their keys and positions. What fills up the last run has
    the largest key, and positions outside of the row.
    """

    keys: str
    positions: str
    count: int
    length: int


def merging_sort(kernel: Kernel, most: int) -> list[Kernel]:
    """Kernels that do what one does whose argsort is of rows of a known length. Up to `most` elements are one run."""
    (sort,) = sorts(kernel)
    return list(_Merging(kernel, sorting_of(kernel, sort), most).kernels())


class _Merging:
    def __init__(self, kernel: Kernel, sorting: Sorting, most: int):
        self.kernel, self.sorting = kernel, sorting
        self.rows = {a: kernel.axes[a] for a in sorting.row_axes}
        self.run, self.place = kernel.fresh_axis("run"), kernel.fresh_axis("place")
        self.key = key_dtype(sorting.argsort.args[0].dtype)
        extent = kernel.axes[sorting.axis]
        assert isinstance(extent, int)
        self.extent, self.length = extent, extent if extent <= most else RUN
        self.wanted = sorting.wanted(kernel) or extent

    def kernels(self) -> Iterator[Kernel]:
        """Keys, runs, merged runs, and what is made of their places."""
        yield self._keys()
        count = -(-self.extent // self.length)
        runs = self._runs(0, count, self.wanted if count == 1 else min(self.length, rounded_up(self.wanted)))
        if self.key is uint64:
            halves = _Runs("", self._name("halves"), count, self.length)
            yield self._sorted(halves, None, lambda k, key: k.cast(key, uint32))
            yield self._sorted(runs, halves, lambda k, key: k.cast(k.shr(key, HALF), uint32))
        else:
            yield self._sorted(runs, None, lambda k, key: key)
        level = 0
        while runs.count > 1:
            level += 1
            made = self._runs(level, -(-runs.count // 2), min(2 * runs.length, rounded_up(self.wanted)))
            yield self._merged(runs, made)
            runs = made
        yield self._rest(runs)

    # ---- memory between the kernels

    def _name(self, what: str) -> str:
        return f"{self.kernel.name}_{what}"

    def _runs(self, level: int, count: int, length: int) -> _Runs:
        return _Runs(self._name(f"keys{level}"), self._name(f"positions{level}"), count, length)

    def _shape(self, length: int) -> tuple[Dim, ...]:
        return (*self.rows.values(), length)

    def _row(self, k: KernelBuilder) -> list[Dim]:
        return [k.axis(a) for a in self.rows]

    def _key(self, k: KernelBuilder, position: Dim | Value) -> Value:
        """The key of an element; the largest one behind the row."""
        fill = _largest(self.key) if self.extent % self.length else None
        return k.load(self._name("keys"), self._shape(self.extent), self.key, [*self._row(k), position], fill)

    def _element(self, k: KernelBuilder, runs: _Runs, of: str, place: Dim | Value) -> Value:
        """A key or a position of sorted runs, by its place in the row; the largest number behind the last run."""
        d = uint32 if of == runs.positions else self.key
        fill = _largest(d) if runs.count % 2 and runs.count > 1 else None
        return k.load(of, self._shape(runs.count * runs.length), d, [*self._row(k), place], fill)

    def _store(self, k: KernelBuilder, runs: _Runs, position: Value, key: Callable[[], Value]) -> Kernel:
        """The kernel that makes sorted runs; nothing asks for the keys of a single one."""
        shape = self._shape(runs.count * runs.length)
        index = [*self._row(k), k.axis(self.run) * runs.length + k.axis(self.place)]
        k.store(runs.positions, shape, index, position)
        if runs.keys and runs.count > 1:
            k.store(runs.keys, shape, index, key())
        return k.build(self.kernel.origin)

    # ---- the kernels

    def _keys(self) -> Kernel:
        k = KernelBuilder(self._name("key"), self.kernel.axes)
        x = Copy(self.kernel, k, {}, False).value(self.sorting.argsort.args[0])
        k.store(self._name("keys"), self._shape(self.extent), [*self._row(k), k.axis(self.sorting.axis)],
                sort_key(k, x, self.sorting.argsort.combine))
        return with_used_axes(k.build(self.kernel.origin))

    def _sorted(self, runs: _Runs, before: _Runs | None, part: Callable[[KernelBuilder, Value], Value]) -> Kernel:
        """Runs sorted by a part of their keys, from the order that they had `before`."""
        k = KernelBuilder(self._name("runs" if runs.keys else "half_runs"), {**self.rows, self.run: runs.count})
        start, along = k.axis(self.run) * self.length, self.sorting.axis
        at, place = k.add_axis(along, self.length), k.add_axis(self.place, runs.length)

        def there(n: Dim | Value) -> Dim | Value:
            """Where the n-th of a run was."""
            return k.cast(k.add(n, k.index(start)), uint32) if isinstance(n, Value) else start + n

        def position(n: Dim | Value) -> Dim | Value:
            return there(n) if before is None else self._element(k, before, before.positions, there(n))

        found = position(k.argsort("ascending", part(k, self._key(k, position(at))), along, place))
        assert isinstance(found, Value)
        return self._store(k, runs, found, lambda: self._key(k, found))

    def _merged(self, runs: _Runs, made: _Runs) -> Kernel:
        k = KernelBuilder(self._name("merged"), {**self.rows, self.run: made.count, self.place: made.length})
        start = k.cast(k.index(k.axis(self.run) * 2 * runs.length), uint32)
        place, length = k.cast(k.index(k.axis(self.place)), uint32), runs.length
        low, high = k.sub(k.max(place, length), length), k.min(place, length)

        def precedes(one: Value, other: Value) -> Value:
            """Does an element of the first run come before one of the second?"""
            there = k.add(start, one), k.add(k.add(start, length), other)
            return k.le(*(self._element(k, runs, runs.keys, n) for n in there))

        for _ in range(length.bit_length()):
            middle = k.shr(k.add(low, high), 1)
            goes_up = precedes(middle, k.sub(k.sub(place, middle), 1))
            is_open = k.lt(low, high)
            low, high = (k.select(k.and_(is_open, goes_up), k.add(middle, 1), low),
                         k.select(k.and_(is_open, k.not_(goes_up)), middle, high))
        rest = k.sub(place, low)
        is_first = k.and_(k.lt(low, length), k.or_(k.ge(rest, length), precedes(low, rest)))
        source = k.add(start, k.select(is_first, low, k.add(rest, length)))
        return self._store(k, made, self._element(k, runs, runs.positions, source),
                           lambda: self._element(k, runs, runs.keys, source))

    def _rest(self, runs: _Runs) -> Kernel:
        """The kernel, whose places are in memory now."""
        sort = self.sorting.argsort
        k = KernelBuilder(self.kernel.name, self.kernel.axes)
        copy = Copy(self.kernel, k, {}, False)
        (place,) = sort.index
        copy.made[sort] = k.cast(self._element(k, runs, runs.positions, place), int64)   # type: ignore[arg-type]
        for s in self.kernel.stores:
            copy.store(s)
        return with_used_axes(k.build(self.kernel.origin))


def _largest(d: DType) -> int:
    return (1 << d.bits) - 1
