"""Which launches run in one parallel region: those that follow one another and touch nothing that another of them
writes. Between them no thread waits for the others, which is what small kernels cost: the updates of an optimiser,
the two products of a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from ..ir.program import Launch, Slot, Step
from . import abi


def together(steps: Iterable[Step], slots: Mapping[str, Slot],
             is_native: Callable[[Launch], bool]) -> Iterator[tuple[Step, ...]]:
    """The steps in order, native launches that may run at the same time as one tuple."""
    group: list[Step] = []
    read: set[Hashable] = set()
    written: set[Hashable] = set()
    for step in steps:
        if not isinstance(step, Launch) or not is_native(step):
            if group:
                yield tuple(group)
            yield (step,)
            group, read, written = [], set(), set()
            continue
        reads, writes = ({_memory(step.arguments[b.name], slots) for b in buffers}
                         for buffers in (step.kernel.inputs, step.kernel.outputs))
        if written & (reads | writes) or read & writes or len(group) == abi.MOST_PARTS:
            yield tuple(group)
            group, read, written = [], set(), set()
        group.append(step)
        read |= reads
        written |= writes
    if group:
        yield tuple(group)


def _memory(name: str, slots: Mapping[str, Slot]) -> Hashable:
    """What is equal for slots that may lie in the same memory. (Those that loops carry have their own in each turn.)"""
    slot = slots.get(name)
    if slot is None or slot.role == "input":
        return name
    return slot.offset if slot.role == "temporary" else slot.takes or name
