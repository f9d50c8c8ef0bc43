"""When may a loop run on skewed tiles? What its steps read of each other, how far away, and how many turns later.

A step depends on what it reads, and on those that still read what it overwrites: arrays that are carried alternate
between two places, what a turn makes for itself has one. All distances are constant, or the loop has no tiles. Arrays
may be periodic: behind the last position along an axis comes the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import expr
from .claims import need
from .errors import VerifyError
from .expr import Dim, Expr
from .kernel import Kernel, Value
from .program import Carry, Launch, Loop
from .schedule import Skewed, Tiles, is_whole


@dataclass(frozen=True)
class Dependence:
    """At a position, step `later` must come after step `earlier` of so many `turns` before, which stands `low` to
    `high` further along each axis.
    """

    earlier: int
    later: int
    turns: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    around: frozenset[int] = frozenset()     # the axes along which the first position comes after the last one


def stages(loop: Loop) -> tuple[Launch, ...] | None:
    """The launches that are all that a loop does, on the same number of axes; None where it does more, or writes more
    than whole arrays.
    """
    launches = tuple(s for s in loop.steps if type(s) is Launch)
    if loop.condition or loop.trips is None or not launches or len(launches) != len(loop.steps):
        return None
    ranks = {len(s.kernel.axes) for s in launches}
    written = [s.arguments[b.name] for s in launches for b in s.kernel.outputs]
    whole = all(is_whole(s.kernel, x) and not s.zeroed for s in launches for x in s.kernel.stores)
    return launches if len(ranks) == 1 and ranks != {0} and len(set(written)) == len(written) and whole else None


def dependences(loop: Loop) -> list[Dependence] | None:
    """What the steps wait for; None where that is not at constant distances."""
    launches = stages(loop)
    if launches is None:
        return None
    writer = {s.arguments[b.name]: n for n, s in enumerate(launches) for b in s.kernel.outputs}
    following = {c.following: c for c in loop.carries if not c.is_behind}
    current = {c.current: c for c in loop.carries}
    if not following.keys() <= writer.keys() or current.keys() & writer.keys():
        return None
    found: list[Dependence] = []
    for n, s in enumerate(launches):
        for v in s.kernel.values:
            slot = s.arguments[v.buffer] if v.op == "load" else ""
            if slot not in writer and slot not in current:
                continue
            found_distance, waits = distance(s.kernel, v), _waits(slot, n, writer, following, current)
            if found_distance is None or waits is None:
                return None
            apart, around = found_distance
            back = tuple(-a for a in apart)
            found += [Dependence(a, b, turns, *((apart,) * 2 if a_is_read else (back,) * 2), around)
                      for a, b, turns, a_is_read in waits]
    return _joined(found)


def distance(kernel: Kernel, load: Value) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """How far a load lies from the position of the axes, along each of them, and along which it goes around the end of
    its array; None where that varies.
    """
    shape = kernel.buffers[load.buffer].shape
    entries = [(i, n) for i, n in zip(load.index, shape) if isinstance(i, Expr) or n != 1]
    if len(entries) != len(kernel.axes) or any(isinstance(i, Value) for i, _ in entries):
        return None
    apart: list[int] = []
    around: set[int] = set()
    for axis, (i, n), a in zip(range(len(entries)), entries, kernel.axes):
        d = i - (_only_place(kernel, load, a) if isinstance(i, int) else kernel.axis(a))     # type: ignore[operator]
        if not isinstance(d, int):
            return None
        if isinstance(n, int) and n == kernel.axes[a] and 3 * n < 4 * abs(d) < 4 * n:    # nearer the other way around
            d += n if d < 0 else -n
            around.add(axis)
        apart.append(d)
    return tuple(apart), frozenset(around)


def _only_place(kernel: Kernel, v: Value, axis: str) -> Dim:
    """The one position of an axis for which a value is chosen; the axis itself where it is used elsewhere too."""
    places, todo = set[int | None](), [v]
    while todo:
        y = todo.pop()
        users = [(x, arm) for x in kernel.values for arm, a in enumerate(x.args) if a is y]
        if not users or any(s.value is y for s in kernel.stores):
            return kernel.axis(axis)
        for x, arm in users:
            place = _chosen_place(kernel, x, arm, axis) if x.op == "select" and arm else None
            if place is not None:
                places.add(place)
            elif x.op == "select" and arm:               # a choice by something else, of which there may be another
                todo.append(x)
            else:
                return kernel.axis(axis)
    (place, *more) = places
    return kernel.axis(axis) if more or place is None else place


def _chosen_place(kernel: Kernel, choice: Value, arm: int, axis: str) -> int | None:
    """The one position along an axis at which a choice takes an arm."""
    asked, n = need(choice.args[0]), kernel.axes[axis]
    step = None if asked is None else expr.coefficient(asked, axis)
    rest = None if asked is None else expr.substitute(asked, {axis: 0})
    if not isinstance(step, int) or abs(step) != 1 or not isinstance(rest, int) or not isinstance(n, int):
        return None
    holds = [p for p in (0, 1, n - 2, n - 1) if 0 <= p < n and (rest + step * p >= 0) == (arm == 1)]
    return holds[0] if n > 3 and len(holds) == 1 and holds[0] in (0, n - 1) else None


def _waits(slot: str, reader: int, writer: dict[str, int], following: dict[str, Carry],
           current: dict[str, Carry]) -> list[tuple[int, int, int, bool]] | None:
    """For a read of a slot: (earlier, later, turns, is it the read that waits?); None where no order is right."""
    if slot in writer:                                   # made in the same turn
        made = writer[slot]
        places = 2 if slot in following else 1
        return [(made, reader, 0, True), (reader, made, places, False)] if made < reader else None
    carry = current[slot]
    if not carry.is_behind:
        made = writer[carry.following]
        return [(made, reader, 1, True), (reader, made, 1, False)]
    front = current.get(carry.following)
    if front is None or front.is_behind:
        return None
    made = writer[front.following]                       # the turn writes where it is read
    return [(made, reader, 2, True), (reader, made, 0, False)] if reader <= made else None


def _joined(found: Sequence[Dependence]) -> list[Dependence] | None:
    """One of each kind, of all distances; None where a step would wait for itself."""
    kinds: dict[tuple[int, int, int], list[Dependence]] = {}
    for d in found:
        kinds.setdefault((d.earlier, d.later, d.turns), []).append(d)
    joined = [Dependence(*kind, tuple(map(min, zip(*(d.low for d in some)))),        # type: ignore[arg-type]
                         tuple(map(max, zip(*(d.high for d in some)))),              # type: ignore[arg-type]
                         frozenset().union(*(d.around for d in some)))
              for kind, some in kinds.items()]
    in_place = [d for d in joined if d.earlier == d.later and d.turns == 0]
    return None if any(any(d.low) or any(d.high) for d in in_place) else joined


def _is_round(loop: Loop, tiles: Tiles, rows: Dim) -> bool:
    """Have all steps the same rows, so many that blocks do not shrink to nothing, single ones neither?"""
    kernels = [s.kernel for s in loop.steps if isinstance(s, Launch)]
    each = 1 if len(kernels[0].axes) > 1 else max(s.schedule.lanes for s in loop.steps)     # type: ignore[union-attr]
    firsts = {[*k.axes.values()][0] for k in kernels}
    return firsts == {rows * each} and expr.is_less_equal(tiles.lost * tiles.units, rows)


# ---- tiles -----------------------------------------------------------------------------------------------------------


def outer_range(d: Dependence, lanes: int) -> tuple[int, int]:
    """The distance in rows: along the first axis, in vectors where it is the only one."""
    each = 1 if len(d.low) > 1 else lanes
    return d.low[0] // each, -(-d.high[0] // each)


def column_distance(d: Dependence, lanes: int) -> int:
    """The distance in columns, in whole vectors."""
    return -(-d.high[-1] // lanes) * lanes if len(d.low) > 1 else 0


def has_all_columns(found: Sequence[Dependence]) -> bool:
    """Must a tile have all columns, as the first ones come after the last?"""
    return any(len(d.low) > 1 and len(d.low) - 1 in d.around for d in found)


def wraps(found: Sequence[Dependence]) -> bool:
    """Do the first rows come after the last ones?"""
    return any(0 in d.around for d in found)


def extents(loop: Loop) -> tuple[Dim, Dim]:
    """Rows and columns of all steps."""
    rows: Dim = 0
    columns: Dim = 0
    for s in loop.steps:
        assert isinstance(s, Launch) and isinstance(s.schedule, Skewed)
        rows = expr.maximum(rows, s.schedule.cut(s.kernel))
        columns = expr.maximum(columns, s.kernel.axes[s.schedule.vector] if s.schedule.outer else 1)
    return rows, columns


def check_tiles(loop: Loop) -> None:
    """Raise VerifyError where a loop must not run by its tiles."""
    assert loop.tiles is not None
    for why in _objections(loop, loop.tiles):
        raise VerifyError(f"the loop over {loop.counter} cannot run by {loop.tiles}: {why}")


def _objections(loop: Loop, tiles: Tiles) -> Iterator[str]:
    found = dependences(loop)
    if found is None:
        yield "its steps read elsewhere than at constant offsets from where they write"
        return
    for s in loop.steps:
        assert isinstance(s, Launch)
        if not isinstance(s.schedule, Skewed) or s.schedule.turn != loop.counter:
            yield f"{s.kernel.name} has no schedule for it"
            return
        s.schedule.check(s.kernel)
    count = len(loop.steps)
    numbers = (tiles.lag, tiles.slope, tiles.skew, *tiles.right, *tiles.left, *tiles.aside)
    if {len(tiles.right), len(tiles.left), len(tiles.aside)} != {count} or min(numbers) < 0:
        yield f"there are {count} steps, and each must stand somewhere behind"
        return
    lanes = max(s.schedule.lanes for s in loop.steps)      # type: ignore[union-attr]
    if any(n % lanes for n in (tiles.skew, tiles.columns, *tiles.aside)) or min(tiles.rows, tiles.columns,
                                                                                tiles.blocks) < 1:
        yield "skews and columns must be whole vectors"
    rows, columns = extents(loop)
    is_whole_row = not any((tiles.skew, *tiles.aside)) and expr.is_less_equal(columns, tiles.columns)
    if has_all_columns(found) and not is_whole_row:
        yield "a tile must have all columns"
    for d in found:
        low, high = outer_range(d, lanes)
        if (d.turns * tiles.lag + tiles.right[d.later] - tiles.right[d.earlier] < high
                or d.turns * tiles.slope + tiles.left[d.later] - tiles.left[d.earlier] < -low
                or not is_whole_row and d.turns * tiles.skew + tiles.aside[d.later] - tiles.aside[d.earlier]
                < column_distance(d, lanes)):
            yield f"{d} points backwards"
    if wraps(found) != tiles.wraps or tiles.wraps and not _is_round(loop, tiles, rows):
        yield "the first rows come after the last ones"
    if tiles.units != tiles.cut(rows):
        yield f"{tiles.units} blocks are not the {tiles.cut(rows)} that leave room for {tiles.levels} turns"
