"""Loops of local steps run many turns at a time, on skewed tiles that stay in cache.

A loop qualifies whose steps are kernels that make whole arrays element by element, from what is carried at constant
offsets and from what does not change: a stencil, fields that step together or one after the other, a cellular
automaton, an iterated map. Memory is then read and written once in as many turns as their rows fit in the second cache,
and each element is computed by the same operations as before: the bits do not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from ..ir import expr
from ..ir.claims import is_usual, need, offsets
from ..ir.errors import VerifyError
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget
from ..ir.kernel import Kernel, Value
from ..ir.program import Branch, Launch, Loop, Step
from ..ir.schedule import Skewed, Tiles
from ..ir.skewed import (
    Dependence,
    check_tiles,
    column_distance,
    dependences,
    extents,
    has_all_columns,
    outer_range,
    stages,
    wraps,
)
from ..ir.target import Target
from .collapse import with_axes

FEW_TURNS = 3                   # do not repay a tile
ROWS = 4                        # of a tile; they share their loads where registers are many
LANES = 16
MOST_TURNS = 64                 # of a pass
CACHE_SHARE = 0.8               # of the second cache, for the rows that a pass has under way
WINDOW_SHARE = 0.6              # of the registers, for what rows of a tile read sideways
FIRST_CACHE_SHARE = 0.85        # of the first one, for a tile from turn to turn
BLOCKS_PER_THREAD = 4           # so that threads that are disturbed find others' help


def skew(steps: Sequence[Step], target: Target | GpuTarget) -> tuple[Step, ...]:
    """The steps with loops on skewed tiles where that is legal and worth it, which is on a CPU alone."""
    if isinstance(target, GpuTarget):
        return tuple(steps)
    return tuple(_skewed(s, target) for s in steps)


def _skewed(step: Step, target: Target) -> Step:
    if isinstance(step, Branch):
        return replace(step, then=skew(step.then, target), otherwise=skew(step.otherwise, target))
    if not isinstance(step, Loop):
        return step
    return tiled(step, target) or replace(step, steps=skew(step.steps, target))


def tiled(loop: Loop, target: Target) -> Loop | None:
    """A loop on tiles; None where there are none, or where they do not pay."""
    if isinstance(loop.trips, int) and loop.trips <= FEW_TURNS or not _leaves_cache(loop, target):
        return None
    found = on_tiles(loop, target)
    return None if found is None or found.tiles is None or found.tiles.levels == 1 else found


def on_tiles(loop: Loop, target: Target) -> Loop | None:
    """A loop on tiles where that is legal, be they worth it or not."""
    loop = _on_the_same_axes(loop)
    found, launches = dependences(loop), stages(loop)
    if found is None or launches is None:
        return None
    loop = replace(loop, steps=tuple(_by_boxes(s, loop.counter, target) for s in launches))
    candidate = replace(loop, tiles=_tiles(loop, launches, found, target))
    if candidate.tiles is None:
        return None
    try:
        check_tiles(candidate)
    except VerifyError:
        return None
    return candidate


def _on_the_same_axes(loop: Loop) -> Loop:
    """The loop with kernels that were flattened on the axes that the others have."""
    kernels = [s.kernel for s in loop.steps if isinstance(s, Launch)]
    axes = max((k.axes for k in kernels), key=len, default={})
    steps = [replace(s, kernel=_unflattened(s.kernel, [*axes.values()])) if isinstance(s, Launch) else s
             for s in loop.steps]
    return replace(loop, steps=tuple(steps))


def _unflattened(kernel: Kernel, extents: Sequence[Dim]) -> Kernel:
    if len(kernel.axes) != 1 or len(extents) < 2:
        return kernel
    ((flat, extent),) = kernel.axes.items()
    names = [f"{flat}{n}" for n in range(len(extents))]
    if expr.product(extents) != extent:
        return kernel
    position: Dim = 0
    for a, n in zip(names, extents):
        position = position * n + expr.symbol(a, 0, n - 1)
    return with_axes(kernel, dict(zip(names, extents)), {flat: position}, lambda axes: tuple(names) if axes else ())


def _by_boxes(launch: Launch, counter: str, target: Target) -> Launch:
    """The launch on boxes of its positions."""
    kernel = _with_usual_choices(launch.kernel)
    *outside, vector = kernel.axes
    schedule = Skewed(1, 1, outside[0] if outside else "", vector, _together(kernel, target), LANES, counter)
    return replace(launch, kernel=kernel, schedule=replace(schedule, units=schedule.cut(kernel)))


def _with_usual_choices(kernel: Kernel) -> Kernel:
    """The kernel with choices by positions turned so that their conditions mostly hold, which the interior trusts."""
    made: dict[Value, Value] = {}
    values: list[Value] = []
    for v in kernel.values:
        new = replace(v, args=tuple(made[a] for a in v.args),
                      index=tuple(made[i] if isinstance(i, Value) else i for i in v.index))
        condition = v.args[0] if v.op == "select" else v
        asked = need(condition) if v.op == "select" else None
        if asked is not None and not is_usual(asked, kernel.axes) and is_usual(-asked - 1, kernel.axes):
            values.append(replace(made[condition], op=_OPPOSITES[condition.op]))
            new = replace(new, args=(values[-1], new.args[2], new.args[1]))
        made[v] = new
        values.append(new)
    stores = tuple(replace(s, value=made[s.value]) for s in kernel.stores)
    return Kernel(kernel.name, kernel.axes, kernel.buffers, tuple(values), stores, kernel.origin)


_OPPOSITES = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


def _together(kernel: Kernel, target: Target) -> int:
    """Rows that share their loads: so many that the vectors around them stay in registers."""
    if target.registers < 32 or len(kernel.axes) == 1:
        return 1
    return next((rows for rows in (ROWS, 2) if _windows(kernel, rows, target) <= WINDOW_SHARE * target.registers), 1)


def _windows(kernel: Kernel, rows: int, target: Target) -> int:
    """Registers for what is read sideways: three vectors of a row."""
    wide = 0
    for b in kernel.inputs:
        apart = (offsets(kernel, b.name, kernel.stores[0]) or {}).values()
        sideways = {o[:-1] for o in apart if o[-1] != 0}
        if sideways:
            each = -(-LANES * b.dtype.itemsize // target.vector_bytes)
            wide += 3 * each * (len(sideways) + rows - 1)
    return wide


# ---- tiles -----------------------------------------------------------------------------------------------------------


def _tiles(loop: Loop, launches: Sequence[Launch], found: Sequence[Dependence], target: Target) -> Tiles | None:
    steps, rows = len(launches), [outer_range(d, LANES) for d in found]
    lag, right = _behind(steps, [(d, high) for d, (_, high) in zip(found, rows)])
    slope, left = _behind(steps, [(d, -low) for d, (low, _) in zip(found, rows)])
    sideways = [(d, column_distance(d, LANES)) for d in found]
    item, whole = _bytes_of_a_place(loop, launches), has_all_columns(found)
    extent, width = extents(loop)
    if whole and not isinstance(width, int):
        return None
    *outside, vector = max((s.kernel.axes for s in launches), key=len)
    tall = ROWS if outside else 1
    cached = FIRST_CACHE_SHARE * target.l1_bytes / item
    columns = max(LANES, int(cached / (tall + lag if outside else 1)) // LANES * LANES)
    if whole:
        columns, sideways = -(-int(width) // LANES) * LANES, []     # type: ignore[arg-type]
    skew, aside = _behind(steps, sideways, LANES)
    if outside:
        others = expr.product(_largest(launches, n) for n in range(1, len(outside) + 1))
        most = expr.minimum(MOST_TURNS, expr.floordiv(int(CACHE_SHARE * target.l2_bytes),
                                                      others * (item * max(1, lag))))
    else:
        most = MOST_TURNS
    most = expr.maximum(1, expr.minimum(most, expr.floordiv(extent, max(1, 2 * (lag + slope)) * target.threads)))
    if isinstance(most, int) and isinstance(loop.trips, int):    # passes of equal length
        trips = max(1, loop.trips)
        most = math.ceil(trips / math.ceil(trips / most))
    front = columns // LANES if not outside else tall if len(outside) == 1 else 1
    made = Tiles(most, lag, slope, skew, right, left, aside, front, columns, BLOCKS_PER_THREAD * target.threads,
                 wraps=wraps(found))
    return replace(made, units=made.cut(extent))


def _behind(steps: int, waits: Sequence[tuple[Dependence, int]], whole: int = 1) -> tuple[int, tuple[int, ...]]:
    """How far each turn must stand behind the turn before, in multiples of a number, and each step further, so that all
    dependences of these distances point forwards.
    """
    for each in count(0, whole):
        behind = [0] * steps
        for _ in range(steps + 1):                               # longest paths, unless they go in circles
            before = list(behind)
            for d, distance in waits:
                behind[d.later] = max(behind[d.later], behind[d.earlier] + distance - d.turns * each)
            if behind == before:
                return each, tuple(behind)
    raise AssertionError


def _largest(launches: Sequence[Launch], n: int) -> Dim:
    """The extent of an axis, of all kernels."""
    found: Dim = 0
    for s in launches:
        found = expr.maximum(found, [*s.kernel.axes.values()][n])
    return found


def _bytes_of_a_place(loop: Loop, launches: Sequence[Launch]) -> int:
    """Bytes at a position, of all arrays that the turns go through: those that are made, in both of their places, and
    those that are read beside them.
    """
    behind = {c.current for c in loop.carries if c.is_behind}        # which is where another one was
    found: dict[str, int] = {}
    for s in launches:
        for b in s.kernel.buffers.values():
            if b.is_output or offsets(s.kernel, b.name, s.kernel.stores[0]):
                found[s.arguments[b.name]] = b.dtype.itemsize
    return sum(n for name, n in found.items() if name not in behind)


def _leaves_cache(loop: Loop, target: Target) -> bool:
    """Are the arrays that a turn makes, in both of their places, more than the threads' own caches hold? Unknown sizes
    are taken to be large.
    """
    size: Dim = 0
    for s in loop.steps:
        for b in s.kernel.outputs if isinstance(s, Launch) else ():
            size = size + 2 * b.dtype.itemsize * expr.product(b.shape)
    return not isinstance(size, int) or size > target.l2_bytes * target.threads
