"""The memory plan: temporaries share an arena by their lifetimes, outputs take over the memory of donated inputs where
that is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir import expr
from ..ir.expr import Dim
from ..ir.kernel import FOLDS, made_of, pair_part
from ..ir.program import Branch, Copy, HostCall, Launch, Loop, Slot, Step, walk
from ..ir.schedule import Rows
from ..ir.types import TensorType

ALIGNMENT = 64


def reads_and_writes(step: Step) -> tuple[list[str], list[str]]:
    """The slots that a step touches, those of the steps inside it too."""
    reads: list[str] = []
    writes: list[str] = []
    for s in walk((step,)):
        if isinstance(s, Launch):
            for arguments in s.runs:
                for b in s.kernel.buffers.values():
                    (writes if b.is_output else reads).append(arguments[b.name])
        elif isinstance(s, HostCall):
            reads += s.inputs
            writes += s.outputs
        elif isinstance(s, Copy):
            reads.append(s.source)
            writes.append(s.target)
        elif isinstance(s, Branch):
            reads.append(s.condition)
        elif isinstance(s, Loop):
            reads += [c.initial for c in s.carries]
            writes += [x for c in s.carries for x in (c.result, c.spare) if x]
            reads += [s.condition] if s.condition else []
            reads += [s.trips] if isinstance(s.trips, str) else []
    return reads, writes


def lifetimes(steps: Sequence[Step]) -> dict[str, tuple[int, int]]:
    """The first and last step that touches each slot; what is touched inside a loop lives as long as the loop."""
    found: dict[str, tuple[int, int]] = {}
    for position, step in enumerate(steps):
        for names in reads_and_writes(step):
            for name in names:
                first, _ = found.get(name, (position, position))
                found[name] = (first, position)
    return found


def _aligned(n: Dim) -> Dim:
    return expr.floordiv(n + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT


def regions(temporary: Sequence[Slot], alive: Mapping[str, tuple[int, int]], hints: Mapping[str, int]) -> list[
        list[Slot]]:
    """Temporaries that share memory as they live at different times: the largest first, each where it finds room."""
    found: list[tuple[list[tuple[int, int]], list[Slot]]] = []
    for s in sorted(temporary, key=lambda s: -usual_bytes(s, hints)):
        first, last = alive[s.name]
        for spans, held in found:
            if all(last < a or b < first for a, b in spans):
                spans.append((first, last))
                held.append(s)
                break
        else:
            found.append(([(first, last)], [s]))
    return [held for _, held in found]


def usual_bytes(s: Slot, hints: Mapping[str, int]) -> int:
    """The bytes of a slot at the usual sizes."""
    return int(expr.evaluate(s.bytes, {n: hints.get(n, 128) for n in expr.symbols(s.bytes)}))


def plan_arena(slots: Mapping[str, Slot], steps: Sequence[Step], hints: Mapping[str, int]) -> tuple[dict[str, Slot],
                                                                                                    Dim]:
    """Offsets for the temporaries: the largest first, each into the first region that is free while it lives.

    Sizes may be symbolic: sharing is decided at the sizes in `hints`, a region is as large as the largest it holds.
    """
    alive = lifetimes(steps)
    temporary = [s for s in slots.values() if s.role == "temporary" and s.name in alive]
    planned = {n: s for n, s in slots.items() if s.role != "temporary"}
    offset: Dim = 0
    for held in regions(temporary, alive, hints):
        size: Dim = 0
        for s in held:
            planned[s.name] = replace(s, offset=offset)
            size = expr.maximum(size, _aligned(s.bytes))
        offset = offset + size
    return {n: planned[n] for n in slots if n in planned}, offset


def taken_inputs(slots: dict[str, Slot], steps: Sequence[Step], wanted: Mapping[str, str]) -> dict[str, Slot]:
    """Outputs marked as taking the memory of the input that is donated for them, where nothing reads the input
    afterwards.
    """
    last_read: dict[str, int] = {}
    first_write: dict[str, int] = {}
    for position, step in enumerate(steps):
        reads, writes = reads_and_writes(step)
        for n in reads:
            last_read[n] = position
        for n in writes:
            first_write.setdefault(n, position)
    out = dict(slots)
    for output, source in wanted.items():
        mine, theirs = slots[output], slots[source]
        same = TensorType(mine.shape, mine.dtype) == TensorType(theirs.shape, theirs.dtype)
        written = first_write.get(output)
        if not same or written is None or any(s.takes == source for s in out.values()):
            continue
        read = last_read.get(source, -1)
        if read < written or (read == written and is_point_by_point(steps[written], output, source)):
            out[output] = replace(mine, takes=source)
    return out


def is_point_by_point(step: Step, output: str, source: str) -> bool:
    """Does the step write each element where it alone has read it, and no reduction read it for another element?"""
    if not isinstance(step, Launch):
        return False
    users = [a for a in step.runs if not {output, source}.isdisjoint(a.values())]
    if len(users) != 1:
        return False
    before_folds = made_of(*(v for v in step.kernel.values if v.op in FOLDS))
    local = {slot: name for name, slot in users[0].items()}
    places = [s.index for s in step.kernel.stores if s.buffer == local[output]]
    loads = [v for v in step.kernel.values if v.op == "load" and v.buffer == local[source]]
    if any(v in before_folds for v in loads):
        return False
    if any(s.is_scatter for s in step.kernel.stores):
        return False
    if len(places) == 2 and _writes_pairs(step, local[output]):
        return all(v.index[:-1] == places[0][:-1] for v in loads)
    return len(places) == 1 and all(v.index == places[0] for v in loads)


def _writes_pairs(step: Launch, output: str) -> bool:
    """Does a kernel write pairs (`codegen/llvm/pairs.py`: when both parts are computed), in one sweep?"""
    stores = [s for s in step.kernel.stores if s.buffer == output]
    one_sweep = isinstance(step.schedule, Rows) and not any(v.op in FOLDS for v in step.kernel.values)
    return one_sweep and len({s.index[:-1] for s in stores}) == 1 and {
        pair_part(step.kernel, s) for s in stores} == {0, 1}


