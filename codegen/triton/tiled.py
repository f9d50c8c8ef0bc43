"""Triton source of a kernel under a `Tiled` schedule: programs cut the grid, and each runs through its turns in as few
sweeps as the reductions force.

A reduction over the turns is known after the sweep that computes its operand. Within a sweep accumulators as large as
the tile take what each turn gives, and are folded to one position after it: the same order each time. The maximum of
a softmax and the sum that needs it share a sweep (`online.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...ir.expr import Dim
from ...ir.gpu_tiled import Block, Tiled, may_collide
from ...ir.kernel import Kernel, Store, Value
from ...ir.schedule import Source
from . import folds, online, sorting
from .groups import Group, open_group
from .indices import factor
from .module import Function
from .scattered import write_ranges
from .tile import Tile

ALIGNED = 16                     # a mask that changes at multiples of it lets 128 bits be accessed at once
LONG = 1 << 16                   # a shorter row is not worth writing twice


def emit_tiled(kernel: Kernel, schedule: Tiled) -> Source:
    """The module of a kernel."""
    schedule.check(kernel)
    return _Tiled(kernel, schedule).source()


class _Tiled:
    def __init__(self, kernel: Kernel, schedule: Tiled):
        self.kernel, self.schedule = kernel, schedule
        self.f = Function(kernel)
        tiled = [b for b in schedule.blocks if b.size > 1]
        self.dims: dict[Block, int] = {b: n for n, b in enumerate(tiled)}
        self.rank = len(tiled)
        self.in_turns = set(schedule.turns.axes) if schedule.turns else set()
        self.joined = online.pairs(kernel, self.in_turns)
        self.tops = {p.top for p in self.joined.values()}
        self.sweep_of = self._sweeps()

    def source(self) -> Source:
        """The finished module."""
        programs = self.schedule.programs(self.kernel)
        groups = self._grid(programs)
        groups += [self._open(b, "") for b in self.schedule.whole]
        tile = Tile(self.f, groups, self.rank)
        if self.schedule.ranges > 1:
            write_ranges(self.f, tile, self.schedule, self.rest)
            return self.f.source(programs, self.schedule)
        in_sweeps = [s for s in self.kernel.stores if self.in_turns & set(s.axes)]
        folded = [v for v in self.kernel.values if self._is_swept(v)]
        last = max([self._store_sweep(s) for s in in_sweeps] + [self.sweep_of[v] - 1 for v in folded], default=-1)
        for sweep in range(last + 1):
            self._sweep(tile, sweep, [v for v in folded if self.sweep_of[v] == sweep + 1],
                        [s for s in in_sweeps if self._store_sweep(s) == sweep])
        rest = [s for s in self.kernel.stores if s not in in_sweeps]
        if self._has_long_tail(tile) and not in_sweeps and not folded:
            self._store_with_tail(tile, rest)
        else:
            for s in rest:
                tile.store(s)
        return self.f.source(programs, self.schedule)

    def _has_long_tail(self, tile: Tile) -> bool:
        """Is there one long row whose mask would keep loads from being wide?"""
        if len(tile.groups) != 1 or not tile.groups[0].mask:
            return False
        extent = tile.groups[0].extent
        return isinstance(extent, int) and extent % ALIGNED != 0 and extent >= LONG

    def _store_with_tail(self, tile: Tile, stores: Sequence[Store]) -> None:
        """All programs but the last have whole tiles, and need no mask."""
        (group,) = tile.groups
        with self.f.indented(f"if ({self.rest} + 1) * {group.size} <= {group.extent}:"):
            whole = Tile(self.f, [replace(group, mask="")], self.rank)
            for s in stores:
                whole.store(s)
        with self.f.indented("else:"):
            for s in stores:
                tile.store(s)

    # ---- where a program is

    def _grid(self, programs: Dim) -> list[Group]:
        """The positions of the grid, the last block's first: the number of the program in mixed radix."""
        grid = self.schedule.grid
        if isinstance(programs, int) and programs <= 1 and self.schedule.ranges == 1:
            return [self._open(b, "0" if b.size == 1 else "") for b in grid]
        rest = self.f.program()
        groups: list[Group] = []
        for n, b in reversed(list(enumerate(grid))):
            pieces = b.pieces(self.kernel)
            outermost = n == 0 and self.schedule.ranges == 1
            if pieces == 1:
                groups.insert(0, self._open(b, "0" if b.size == 1 else ""))
                continue
            count = factor(self.f.spell(pieces))
            start = rest if outermost else f"{rest} % {count}"
            groups.insert(0, self._open(b, start if b.size == 1 else f"{start} * {b.size}"))
            if not outermost and (n > 0 or self.schedule.ranges > 1):
                rest = self.f.let("at", f"{rest} // {count}")
        self.rest = rest
        return groups

    def _open(self, b: Block, start: str) -> Group:
        return open_group(self.f, b.axes, start, b.size, self.dims.get(b), self.rank)

    # ---- sweeps

    def _sweeps(self) -> dict[Value, int]:
        """How many sweeps must be over before a value can be had."""
        found: dict[Value, int] = {}
        for v in self.kernel.values:
            before = max([found[x] for x in v.inputs], default=0)
            if v in self.joined:
                before = found[self.joined[v].x]
            found[v] = before + self._is_swept(v)
        return found

    def _is_swept(self, v: Value) -> bool:
        """Is it a reduction or an argsort over the turns?"""
        return v.op in ("reduce", "argsort") and bool(self.in_turns & set(v.over))

    def _store_sweep(self, s: Store) -> int:
        return max(self.sweep_of[x] for x in s.inputs)

    def _sweep(self, tile: Tile, sweep: int, reduced: Sequence[Value], stores: Sequence[Store]) -> None:
        if not reduced and not stores:
            return
        turns = self.schedule.turns
        assert turns is not None
        needed = self._needed([*(self._operand(v) for v in reduced), *(x for s in stores for x in s.inputs)], tile)
        for v in needed:
            if not self._varies(v):
                tile.value(v)
        over = {v: self._over(v, turns) for v in reduced}
        plain = [v for v in reduced if v not in self.joined and v not in self.tops and v.op == "reduce"]
        sums = {v: tile.name(v, folds.filled(self._shape(tile, v, turns), v)) for v in plain}
        totals = {v: online.start(tile, self.joined[v], self._shape(tile, self.joined[v].top, turns))
                  for v in reduced if v in self.joined}
        kept = {v: sorting.kept_words(tile, v, turns.size) for v in reduced if v.op == "argsort"}
        best = {v: sorting.start(tile, v, count) for v, count in kept.items()}
        for v in needed:
            if v.op == "scan" and self.in_turns & set(v.over):
                shape = [1 if d == self.dims.get(turns) else n for d, n in enumerate(self._shape(tile, v, turns))]
                tile.carries[v] = tile.name(v, folds.filled([] if set(shape) <= {1} else shape, v))
        extent = self.f.spell(turns.extent(self.kernel))
        counter = self.f.names.fresh("".join(turns.axes) + ("0" if turns.size > 1 else ""))
        with self.f.indented(f"for {counter} in range(0, {extent}{f', {turns.size}' if turns.size > 1 else ''}):"):
            inner = tile.inside(self._open(turns, counter))
            for v in plain:
                x = folds.operand(inner, v, self._present(inner, over[v]))
                self.f.do(f"{sums[v]} = {folds.combine(inner, v, sums[v], x)}")
            for v, total in totals.items():
                online.turn(inner, self.joined[v], total, self._present(inner, over[v]))
            for v, words in best.items():
                sorting.turn(inner, v, words, kept[v])
            for s in stores:
                inner.store(s)
                if may_collide(self.kernel, s):
                    self.f.do("tl.debug_barrier()")       # the next turn may read what other threads wrote
            group = inner.groups[-1]
        self._finish(tile, group, sums, totals)
        for v, words in best.items():
            tile.known[v] = tile.name(v, sorting.positions(tile.inside(group), v, group, words, kept[v]))

    def _finish(self, tile: Tile, group: Group, sums: dict[Value, str], totals: dict[Value, online.Total]) -> None:
        """Accumulators become results."""
        whole = tile.inside(group)                           # its names are not used, only its dimensions
        for v, acc in sums.items():
            text = folds.reduce_tile(whole, v, acc, (*v.args[0].axes, *v.over), whole.groups_of(v.over))
            done = folds.finished(v, text)
            tile.known[v] = acc if done == acc else tile.name(v, done)
        for v, total in totals.items():
            online.finish(whole, self.joined[v], total)
            for made in (v, self.joined[v].top):
                tile.known[made] = whole.known[made]

    def _operand(self, v: Value) -> Value:
        return self.joined[v].x if v in self.joined else v.args[0]

    def _needed(self, wanted: Iterable[Value], tile: Tile) -> list[Value]:
        """What is not known yet of all that these are made of, in the kernel's order."""
        found: set[Value] = set()
        todo = list(wanted)
        while todo:
            v = todo.pop()
            if v not in found and v not in tile.known and not self._is_swept(v):
                found.add(v)
                todo += v.inputs
        return [v for v in self.kernel.values if v in found]

    def _varies(self, v: Value) -> bool:
        """Does it differ from turn to turn?"""
        return bool(self.in_turns & {*v.axes, *v.over})

    def _over(self, v: Value, turns: Block) -> list[Block]:
        return [b for b in (turns, *self.schedule.whole) if set(b.axes) & set(v.over)]

    def _present(self, tile: Tile, blocks: Sequence[Block]) -> list[Group]:
        return [tile.group_of[b.axes[0]] for b in blocks if b.axes]

    def _shape(self, tile: Tile, v: Value, turns: Block) -> list[int]:
        """The shape of an accumulator: a dimension for each block that the operand varies over or that is folded."""
        axes = {*v.args[0].axes, *v.over}
        sizes = {self.dims[b]: b.size for b in self.schedule.blocks if b in self.dims and axes & set(b.axes)}
        return [sizes.get(d, 1) for d in range(self.rank)] if sizes else []
