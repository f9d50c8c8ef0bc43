"""Carried values that are what another one was a turn ago, as in schemes of second order in time: where the turn that
overwrites that array reads each element first, nothing needs to be copied.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph
from ..ir.kernel import made_of
from ..ir.program import Launch, Step
from ..ir.schedule import Serial
from .memory_plan import is_point_by_point, reads_and_writes


def followers(body: Graph, carried: int) -> dict[int, int]:
    """Which carried values of a loop's body become what others are now: a number to that of the other. No other has two
    such, nor is one itself.
    """
    inputs = {v: n for n, v in enumerate(body.inputs[1:1 + carried])}
    found = {n: inputs[v] for n, v in enumerate(body.outputs[:carried]) if inputs.get(v, n) != n}
    fronts = [*found.values()]
    return {n: front for n, front in found.items() if front not in found and fronts.count(front) == 1}


def is_read_first(steps: Sequence[Step], old: str, following: str) -> bool:
    """Is each element of `old` read where it is overwritten and nowhere else, once that is the memory of `following`?
    (Another step that reads it knows nothing of that, and might run at the same time.)
    """
    touched = [reads_and_writes(s) for s in steps]
    writers = [n for n, (_, writes) in enumerate(touched) if following in writes]
    readers = [n for n, (reads, _) in enumerate(touched) if old in reads]
    return len(writers) == 1 and all(n == writers[0] and _overwrites_in_place(steps[n], following, old)
                                     for n in readers)


def _overwrites_in_place(step: Step, following: str, old: str) -> bool:
    if not is_point_by_point(step, following, old) or not isinstance(step, Launch) or isinstance(step.schedule, Serial):
        return False
    (store,) = [s for s in step.kernel.stores if step.arguments[s.buffer] == following]
    before = made_of(store.value)
    return all(v in before for v in step.kernel.values if v.op == "load" and step.arguments[v.buffer] == old)
