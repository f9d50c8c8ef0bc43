"""Loops for what a kernel needs at a place where some axes are bound: sweeps, folds with their accumulators, scans,
scratch rows.

`Nest.region` is recursive: it plans the sweeps at a place, opens one loop for all items of a sweep that vary over the
next axis, and does the same inside. The axis in lanes takes a vector's length a turn, the last turn masked. The order
in which a reduction combines depends on extents and on the schedule alone: lane by lane, long float sums in blocks of
`BLOCK`, lanes at the end by a fixed tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...ir import expr
from ...ir.expr import Dim
from ...ir.kernel import Kernel, Store, Value
from ...ir.scalar import COMBINE, CORE
from ...ir.types import uint8
from . import scalar
from .body import Scope
from .bounds import interior
from .pairs import store_all
from .sweeps import Accumulate, Item, Keep, free_axes, needed, operand, plan_sweeps, sources, waiting
from .tiles import SIDE, read_tile, transposed_loads, write_tile
from .writer import Index, X

BLOCK = 4096                     # float sums start anew after so many elements, so that rounding errors do not pile up
BLOCK_PLAIN = 256                # the same, for loops that add one element a turn to an accumulator


class Nest:
    """The loops of one kernel. `order` says which axis is looped outside of which; `lane` runs in `lanes` lanes (of
    `lane_range`). Where `neighbours` are written out, values are computed in the order of the kernel.
    """

    def __init__(self, kernel: Kernel, order: Sequence[str], lane: str, lanes: int, scratch: X,
                 neighbours: bool = False):
        self.neighbours = neighbours
        self.kernel, self.order, self.lane, self.lanes = kernel, tuple(order), lane, lanes
        self.scratch: X = scratch
        self.scratch_bytes: Dim = 0
        self.lane_range: tuple[Index, Index] | None = None
        self.kept: dict[Value, tuple[str, Dim]] = {}         # value -> its axis and its place in scratch

    # ---- a place --------------------------------------------------------------------------------------------------

    def region(self, scope: Scope, goals: Sequence[Item]) -> list[Any]:
        """Do what is wanted at a place; for reductions among the goals, what they fold to here (a vector if lanes are
        folded too).
        """
        bound = scope.point.__contains__
        plan = plan_sweeps(self.kernel.values, goals, bound, lambda v: scope.find(v) is not None)
        for v, axis in plan.kept.items():
            self._allocate(v, axis, scope)
        for v, axis in plan.rows.items():
            self._allocate(v, axis, scope)
            self._clear(scope, v, axis)
        results: dict[Item, Any] = {}
        for items in plan.items:
            again = [i for i in items if isinstance(i, Value) and i not in goals
                     and any(a in scope.point for a in i.over)]
            for v in again:
                scope.known[v] = self._reopened(scope, v)
            for item, x in self._sweep(scope, [i for i in items if i not in again]).items():
                if isinstance(item, Value) and item not in goals:
                    scope.known[item] = self._finish(scope, item, x)
                else:
                    results[item] = x
        for v in (*plan.kept, *plan.rows):
            del self.kept[v]
        return [results.get(g) for g in goals]

    def _reopened(self, scope: Scope, v: Value) -> X:
        """A reduction over axes that are bound here for other ends: folded where they are free."""
        outer = scope
        while outer.parent is not None and any(a in outer.point for a in v.over):
            outer = outer.parent
        point = {a: i for a, i in scope.point.items() if a not in outer.point and a not in v.over}
        if scope.lane and scope.lane in v.over:
            inner = outer.enter(point)
        else:
            inner = outer.enter(point, lane=scope.lane, lanes=scope.lanes, mask=scope.mask, aligned=scope.aligned)
        kept, self.kept = self.kept, {}                  # rows may be half written here
        x = self.region(inner, [_goal(v)])[0]
        self.kept = kept
        assert x is not None
        return x

    def _finish(self, scope: Scope, v: Value, x: X) -> X:
        """A reduction from its accumulator: lanes are combined by the tree."""
        return x if scope.lane in v.axes and scope.lane or x.lanes == 1 else scope.w.reduce_lanes(
            lambda a, b: self._combine(scope, v, a, b), x)

    def _combine(self, scope: Scope, v: Value, a: X, b: X) -> X:
        return scalar.emit(scope.w, COMBINE[v.combine][0], (a, b), v.dtype, v.dtype)

    def _identity(self, scope: Scope, v: Value, lanes: int) -> X:
        return scope.w.number(COMBINE[v.combine][1](v.dtype), v.dtype, lanes)

    def _sweep(self, scope: Scope, items: Sequence[Item]) -> dict[Item, Any]:
        """All items of one sweep: those that need no loop, then a loop for each group that shares its first axis."""
        left = [i for i in items if free_axes(i, scope.point.__contains__)]
        ready = [i for i in items if i not in left]
        if self.neighbours:
            wanted = needed(ready, lambda v: scope.find(v) is not None)
            for v in self.kernel.values:
                if v in wanted and v.op in CORE:
                    scope.value(v)
        done: dict[Item, Any] = {i: self._do(scope, i) for i in ready if not isinstance(i, Store)}
        stores = [i for i in ready if isinstance(i, Store)]
        store_all(scope, stores)
        done.update(dict.fromkeys(stores))
        for axis in self.order:
            group = [i for i in left if axis in free_axes(i, scope.point.__contains__)]
            if group:
                left = [i for i in left if i not in group]
                loop = self._lane_loop if axis == self.lane else self._plain_loop
                done.update(zip(group, loop(scope, axis, group)))
        return done

    def _do(self, scope: Scope, item: Value | Keep | Accumulate) -> X | None:
        if isinstance(item, Keep):
            scope.w.store(scope.vector(item.value) if scope.varies(item.value) else scope.value(item.value),
                          self._kept_place(scope, item.value))
            return None
        if isinstance(item, Accumulate):
            self._accumulate(scope, item.value)
            return None
        in_lanes = scope.lane and scope.lane in (*item.axes, *item.over)
        return scope.vector(operand(item)) if in_lanes else scope.value(operand(item))

    # ---- scratch --------------------------------------------------------------------------------------------------

    def _allocate(self, v: Value, axis: str, scope: Scope) -> None:
        """Room for one element (a vector of them, if the lanes are bound already) for each position of the axis."""
        each = scope.lanes if scope.lane and scope.lane in v.axes else 1
        padded = expr.floordiv(self.kernel.axes[axis] + 2 * self.lanes - 1, self.lanes) * self.lanes * each
        self.kept[v] = (axis, self.reserve(padded * v.dtype.itemsize))

    def reserve(self, size: Dim) -> Dim:
        """The place of so many fresh bytes of scratch."""
        start, self.scratch_bytes = self.scratch_bytes, self.scratch_bytes + expr.floordiv(size + 63, 64) * 64
        return start

    def _kept_place(self, scope: Scope, v: Value) -> X:
        axis, start = self.kept[v]
        base = scope.w.at(self.scratch, scope.index(start), uint8)
        each = scope.lanes if axis != scope.lane and scope.varies(v) else 1
        return scope.w.at(base, scope.w.mul(scope.point[axis], each), v.dtype)

    def _clear(self, scope: Scope, v: Value, axis: str) -> None:
        """A row of accumulators at the identity."""
        in_lanes = axis == self.lane

        def one(i: Index) -> None:
            inner = scope.enter({axis: i}, lane=axis, lanes=self.lanes) if in_lanes else scope.enter({axis: i})
            scope.w.store(self._identity(scope, v, inner.lanes if inner.varies(v) else 1), self._kept_place(inner, v))

        scope.w.loop(0, scope.index(self.kernel.axes[axis]), self.lanes if in_lanes else 1, one)

    def _accumulate(self, scope: Scope, v: Value) -> None:
        """Combine what a reduction folds with its place in a row of accumulators."""
        w, place = scope.w, self._kept_place(scope, v)
        lanes = scope.lanes if scope.varies(v) else 1
        folds_lanes = bool(scope.lane) and scope.lane in v.over
        x = scope.vector(v.args[0]) if lanes > 1 or folds_lanes else scope.value(v.args[0])
        if folds_lanes:
            if scope.mask is not None:
                x = w.select(scope.mask, x, self._identity(scope, v, x.lanes))
            x = w.reduce_lanes(lambda a, b: self._combine(scope, v, a, b), x)
        w.store(self._combine(scope, v, w.load(v.dtype, place, lanes), x), place)

    def _read_kept(self, scope: Scope, items: Sequence[Item], axis: str) -> None:
        """Values that wait in scratch, where a loop over their axis needs them."""
        written = {i.value for i in items if isinstance(i, Keep)}
        stops = {v for v, (a, _) in self.kept.items() if a == axis and v not in written}
        for v in waiting(items, stops, lambda v: scope.find(v) is not None):
            scope.known[v] = scope.w.load(v.dtype, self._kept_place(scope, v), scope.lanes if scope.varies(v) else 1)

    # ---- loops ----------------------------------------------------------------------------------------------------

    def _scans(self, scope: Scope, axis: str, items: Sequence[Item]) -> list[Value]:
        """The scans along an axis that a loop over it must carry."""
        written = {i.value for i in items if isinstance(i, Keep)}
        wanted = needed(items, lambda v: scope.find(v) is not None or (
            v in self.kept and self.kept[v][0] == axis and v not in written))
        return [v for v in self.kernel.values if v in wanted and v.op == "scan" and v.over == (axis,)
                and all(a == axis or a in scope.point for a in v.axes)]

    def _accumulators(self, scope: Scope, items: Sequence[Item], axis: str) -> list[X]:
        """The identity for each reduction among the items, in lanes where lanes are folded or kept."""
        out = []
        for v in items:
            if isinstance(v, Value):
                free = free_axes(v, scope.point.__contains__)
                in_lanes = self.lane and (self.lane in free
                                          or (scope.lane == self.lane and self.lane in (*v.axes, *v.over)))
                out.append(self._identity(scope, v, self.lanes if in_lanes else 1))
        return out

    def _spread(self, results: Sequence[X], items: Sequence[Item]) -> list[X | None]:
        """Accumulators as results in the order of the items."""
        left = iter(results)
        return [next(left) if isinstance(i, Value) else None for i in items]

    def _fold(self, scope: Scope, items: Sequence[Item], accumulators: Sequence[X], mask: X | None = None) -> list[X]:
        """One turn: do the items inside, and combine what the reductions give (where the mask is on) with their
        accumulators.
        """
        partials = [(v, x) for v, x in zip(items, self.region(scope, items)) if isinstance(v, Value)]
        out = []
        for (v, x), a in zip(partials, accumulators):
            x = scope.w.splat(x, a.lanes)
            if mask is not None:
                x = scope.w.select(mask, x, self._identity(scope, v, a.lanes))
            out.append(self._combine(scope, v, a, x))
        return out

    def _blocked(self, scope: Scope, items: Sequence[Item], start: Index, stop: Index, step: int, block: int,
                 extent: Dim, turn: Any, accumulators: list[X], carried: list[X]) -> tuple[list[X], list[X]]:
        """A loop whose float sums are added up block by block, if it is long. `turn(i, *accumulators, *carried)`."""
        w, n = scope.w, len(accumulators)
        reductions = [i for i in items if isinstance(i, Value)]
        rounds = any(v.dtype.is_float and v.combine in ("sum", "prod") for v in reductions)
        if not rounds or expr.is_less_equal(extent, block):
            after = w.loop(start, stop, step, turn, *accumulators, *carried)
            return list(after[:n]), list(after[n:])
        fresh = list(accumulators)

        def one_block(first: Index, *state: X) -> tuple:
            after = w.loop(first, w.min(w.add(first, block), stop), step, turn, *fresh, *state[n:])
            totals = [self._combine(scope, v, a, b) for v, a, b in zip(reductions, state[:n], after[:n])]
            return (*totals, *after[n:])

        after = w.loop(start, stop, block, one_block, *accumulators, *carried)
        return list(after[:n]), list(after[n:])

    def _plain_loop(self, scope: Scope, axis: str, items: Sequence[Item]) -> list[X | None]:
        """One position after the other."""
        scans = self._scans(scope, axis, items)
        scope.prepare(sources(items))
        tiled = self._tiled(scope, axis, items)
        accumulators = self._accumulators(scope, items, axis)
        carried = [self._identity(scope, v, scope.lanes if scope.varies(v) else 1) for v in scans]

        def turn(i: Index, *state: X, known: Mapping[Value, X] | None = None) -> tuple:
            inner = scope.enter({axis: i})
            inner.known.update(known or {})
            self._read_kept(inner, items, axis)
            after = []
            for v, carry in zip(scans, state[len(accumulators):]):
                x = self.region(inner, [_goal(v.args[0])])[0]
                inner.known[v] = self._combine(inner, v, carry, inner.w.splat(x, carry.lanes))
                after.append(inner.known[v])
            return (*self._fold(inner, items, state[:len(accumulators)]), *after)

        extent = self.kernel.axes[axis]
        start: Index = self._tiles(scope, axis, tiled, turn) if tiled else 0
        results, _ = self._blocked(scope, items, start, scope.index(extent), 1, BLOCK_PLAIN, extent, turn, accumulators,
                                   carried)
        return self._spread(results, items)

    def _tiled(self, scope: Scope, axis: str, items: Sequence[Item]) -> list[Value]:
        """The loads that are transposed by tiles; a loop that carries something goes on one by one."""
        wanted = needed(items, lambda v: scope.find(v) is not None)
        if any(isinstance(i, Value) for i in items) or any(v.op == "scan" for v in wanted):
            return []
        return transposed_loads(scope, axis, [v for v in self.kernel.values if v in wanted])

    def _tiles(self, scope: Scope, axis: str, loads: Sequence[Value], turn: Callable[..., Any]) -> Index:
        """The turns of a plain loop that fill whole tiles; where they end."""
        w = scope.w
        places = {v: w.at(self.scratch, scope.index(self.reserve(SIDE * scope.lanes * v.dtype.itemsize)), uint8)
                  for v in loads}
        extent = scope.index(self.kernel.axes[axis])
        whole = w.sub(extent, w.mod(extent, SIDE))

        def whole_tile(first: Index) -> None:
            here = scope.enter({axis: first})
            for v, place in places.items():
                write_tile(here, v, place)
            w.loop(0, SIDE, 1, lambda k: turn(w.add(first, k),
                                              known={v: read_tile(scope, v, p, k) for v, p in places.items()}))

        w.loop(0, whole, SIDE, whole_tile)
        return whole

    def _lane_loop(self, scope: Scope, axis: str, items: Sequence[Item]) -> list[X | None]:
        """A vector of positions a turn; what is left over in one masked turn."""
        w, lanes = scope.w, self.lanes
        start, stop = self.lane_range or (0, scope.index(self.kernel.axes[axis]))
        scans = self._scans(scope, axis, items)
        scope.prepare(sources(items), self.lanes)
        accumulators = self._accumulators(scope, items, axis)
        carried = [self._identity(scope, v, 1) for v in scans]

        def turn(i: Index, *state: X, mask: X | None = None, trusted: frozenset = frozenset()) -> tuple:
            inner = scope.enter({axis: i}, lane=axis, lanes=lanes, mask=mask, aligned=True, trusted=trusted)
            self._read_kept(inner, items, axis)
            after = []
            for v, carry in zip(scans, state[len(accumulators):]):
                inner.known[v], carry = self._scan_lanes(inner, v, carry)
                after.append(carry)
            return (*self._fold(inner, items, state[:len(accumulators)], mask), *after)

        wanted = needed(items, lambda v: scope.find(v) is not None)
        inside = interior(scope, axis, [*(v for v in self.kernel.values if v in wanted),
                                        *(i for i in items if isinstance(i, Store))])

        def full_turn(i: Index, *state: X) -> tuple:
            if inside is None:
                return turn(i, *state)
            return w.when(inside.contains(scope, i, lanes), lambda: turn(i, *state, trusted=inside.trusted),
                          lambda: turn(i, *state))

        whole = w.sub(stop, start)
        even = w.add(start, w.sub(whole, w.mod(whole, lanes)))
        extent = self.kernel.axes[axis]
        accumulators, carried = self._blocked(scope, items, start, even, lanes, BLOCK, extent, full_turn, accumulators,
                                              carried)
        state = (*accumulators, *carried)

        def rest() -> tuple:
            return turn(even, *state, mask=w.mask_below(even, stop, lanes))

        state = w.when(w.less(even, stop), rest, lambda: state)
        return self._spread(state, items)

    def _scan_lanes(self, scope: Scope, v: Value, carry: X) -> tuple[X, X]:
        """A scan along the lanes: each lane combined with those 1, 2, 4, … before it, then with all that came
        before.
        """
        w, lanes = scope.w, scope.lanes
        x = w.splat(self.region(scope, [_goal(v.args[0])])[0], lanes)
        identity = self._identity(scope, v, lanes)
        if scope.mask is not None:
            x = w.select(scope.mask, x, identity)
        reach = 1
        while reach < lanes:
            before = w.shuffle(identity, x, [lane if lane < reach else lanes + lane - reach for lane in range(lanes)])
            x = self._combine(scope, v, before, x)
            reach *= 2
        x = self._combine(scope, v, w.splat(carry, lanes), x)
        return x, w.lane(x, lanes - 1)


def _goal(v: Value) -> Value:
    """What a region is asked for to get a value: a fold of it over nothing."""
    return Value("reduce", (v,), v.axes, v.dtype, combine="sum")
