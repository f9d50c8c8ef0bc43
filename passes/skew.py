"""Loops of local steps run many turns at a time, on skewed tiles that stay in cache.

A loop qualifies whose body is one kernel that makes one carried array from itself, at constant offsets, and from what
does not change: a stencil, a cellular automaton, an iterated map. Memory is then read and written once in as many turns
as their rows fit in the second cache, and each element is computed by the same operations as before: the bits do not
change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..ir import expr
from ..ir.claims import offsets
from ..ir.expr import Dim, Expr
from ..ir.gpu import GpuTarget
from ..ir.kernel import Kernel
from ..ir.program import Branch, Launch, Loop, Step
from ..ir.schedule import Skewed
from ..ir.target import Target
from .schedule import is_legal

FEW_TURNS = 3                   # do not repay a tile
ROWS = 4                        # of a tile; they share their loads where registers are many
MOST_TURNS = 64                 # of a pass
CACHE_SHARE = 0.8               # of the second cache, for the rows that a pass has under way
FIRST_CACHE_SHARE = 0.85        # of the first one, for a tile from turn to turn
BLOCKS_PER_THREAD = 4           # so that threads that are disturbed find others' help


def skew(steps: Sequence[Step], target: Target | GpuTarget) -> tuple[Step, ...]:
    """The steps with skewed schedules where they are legal and worth it, which is on a CPU alone."""
    if isinstance(target, GpuTarget):
        return tuple(steps)
    return tuple(_skewed(s, target) for s in steps)


def _skewed(step: Step, target: Target) -> Step:
    if isinstance(step, Branch):
        return replace(step, then=skew(step.then, target), otherwise=skew(step.otherwise, target))
    if not isinstance(step, Loop):
        return step
    launch = _only_launch(step)
    schedule = None if launch is None else skewed_schedule(step, launch, target)
    if launch is None or schedule is None:
        return replace(step, steps=skew(step.steps, target))
    return replace(step, steps=(replace(launch, schedule=schedule),))


def _only_launch(loop: Loop) -> Launch | None:
    """The launch that is all that the loop does, and makes its one carried array alone."""
    if loop.condition or loop.trips is None or len(loop.carries) != 1 or len(loop.steps) != 1:
        return None
    (step,), (carry,) = loop.steps, loop.carries
    if not isinstance(step, Launch) or step.zeroed:
        return None
    written = [step.arguments[b.name] for b in step.kernel.outputs]
    read = [step.arguments[b.name] for b in step.kernel.inputs]
    alone = written == [carry.following] and read.count(carry.current) == 1 and carry.following not in read
    return step if alone else None


def skewed_schedule(loop: Loop, launch: Launch, target: Target) -> Skewed | None:
    """The schedule of a loop's only launch; None where there is none, or where it does not pay."""
    kernel, (carry,) = launch.kernel, loop.carries
    carried = next(b for b in kernel.inputs if launch.arguments[b.name] == carry.current)
    reach = axis_reach(kernel, carried.name)
    if reach is None or isinstance(loop.trips, int) and loop.trips <= FEW_TURNS or not _leaves_cache(kernel, target):
        return None
    *outside, vector = kernel.axes
    lanes, item = 16, carried.dtype.itemsize
    lag, skew = max(1, reach[outside[0]]) if outside else 0, -(-reach[vector] // lanes) * lanes
    rows = ROWS if outside else 1
    together = rows if target.registers >= 32 else 1
    columns = int(FIRST_CACHE_SHARE * target.l1_bytes / ((2 * rows + 2 * lag) * item)) // lanes * lanes
    levels = _levels(kernel, loop.trips, outside, lag, skew, item, target)
    candidate = Skewed(1, 1, carried.name, outside[0] if outside else "", vector, lag, skew, levels, rows,
                       max(columns, lanes), together, lanes, BLOCKS_PER_THREAD * target.threads, loop.counter)
    candidate = replace(candidate, units=candidate.cut(kernel))
    return candidate if is_legal(candidate, kernel) and not (isinstance(levels, int) and levels < 2) else None


def axis_reach(kernel: Kernel, carried: str) -> dict[str, int] | None:
    """How far the loads of the carried buffer lie from the store, along each axis; None where that is not constant."""
    if len(kernel.stores) != 1 or not kernel.axes:
        return None
    (store,) = kernel.stores
    apart = offsets(kernel, carried, store)
    if apart is None:
        return None
    reach = dict.fromkeys(kernel.axes, 0)
    for offset in apart.values():
        for i, n in zip(store.index, offset):
            for a in expr.symbols(i) if isinstance(i, Expr) else ():
                if a in reach:
                    reach[a] = max(reach[a], abs(n))
    return reach


def _leaves_cache(kernel: Kernel, target: Target) -> bool:
    """Are two arrays more than the threads' own caches hold? Unknown sizes are taken to be large."""
    size = 2 * kernel.outputs[0].dtype.itemsize * expr.product(kernel.axes.values())
    return not isinstance(size, int) or size > target.l2_bytes * target.threads


def _levels(kernel: Kernel, trips: Dim | str | None, outside: Sequence[str], lag: int, skew: int, item: int,
            target: Target) -> Dim:
    """Turns of a pass: as many as keep the rows under way in cache, and the blocks of all threads from shrinking to
    nothing.
    """
    *_, vector = kernel.axes
    extent = kernel.axes[outside[0] if outside else vector]
    most: Dim = MOST_TURNS
    if outside:
        row = item * expr.product(n for a, n in kernel.axes.items() if a != outside[0])
        most = expr.minimum(most, expr.floordiv(int(CACHE_SHARE * target.l2_bytes), row * (2 * lag)))
    slope = max(1, lag if outside else skew)
    most = expr.maximum(1, expr.minimum(most, expr.floordiv(extent, 4 * slope * target.threads)))
    if isinstance(most, int) and isinstance(trips, int):         # passes of equal length
        return math.ceil(trips / math.ceil(trips / most))
    return most
