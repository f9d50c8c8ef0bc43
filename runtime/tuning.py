"""Measuring schedules on this machine: `tune(kernel, first, nearby, emit, sizes)` climbs from a schedule to the best
that it finds, and keeps the choice on disk, by the kernel's text, the sizes and the machine.

Schedules take turns, so that what disturbs a turn disturbs all of them; the shortest time of each counts. Inputs are
made up: numbers between -1 and 1, and zeros for integers, which are mostly places in memory.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.errors import BrazeError
from ..ir.kernel import Buffer, Kernel
from ..ir.kernel_text import print_kernel
from ..ir.program import Launch, Program, Slot
from ..ir.schedule import Schedule
from . import cache, machine, program_store, threads
from .executable import Emit, Executable, load

_FORMAT = "1"
WORTH = 0.97            # of the time so far: what is hardly faster is not chosen
TURNS = 7
LEAST_SECONDS = 5e-3    # of a schedule's measurement in a turn, for calls that are shorter
SHORT = 20e-6           # seconds a call: kernels that take less are left as they are
HOPELESS = 1.5          # times the best after two turns: not measured again
MOST_CLIMBS = 4

Nearby = Callable[[Schedule], Sequence[Schedule]]


@dataclass(frozen=True)
class Tuning:
    """What was tried for a kernel: (schedule, seconds a call; NaN where a device's times say nothing), the first one
    first, and which was chosen.
    """

    kernel: str
    chosen: Schedule
    tried: tuple[tuple[str, float], ...]
    is_remembered: bool = False

    def __str__(self) -> str:
        (_, before), times = self.tried[0], dict(self.tried)
        if math.isnan(before):
            return f"{self.kernel}: {len(self.tried)} schedules work, none measured"
        after = times[str(self.chosen)]
        source = "remembered" if self.is_remembered else "measured"
        found = f"{1e6 * after:.1f} µs by {self.chosen}" if after < before else "none was faster"
        return f"{self.kernel}: {len(self.tried)} schedules {source}, by the default {1e6 * before:.1f} µs, {found}"


def tune(kernel: Kernel, first: Schedule, nearby: Nearby, emit: Emit, sizes: Mapping[str, int]) -> Tuning:
    """The best schedule that is reached from the first by steps to better ones `nearby`."""
    here = {name: sizes.get(name, 0) for name in kernel.sizes}
    entry = cache.key("tuning", _FORMAT, print_kernel(kernel), str(first), str(sorted(here.items())),
                      str(threads.get_num_threads()), *machine.llvm_facts())
    known = _remembered(kernel, entry)
    if known is not None:
        return known
    tuning = _climb(kernel, first, nearby, Bench(kernel, emit, here))
    kept = {"chosen": program_store.schedule_text(tuning.chosen), "tried": tuning.tried}
    cache.put(entry, json.dumps(kept).encode())
    return tuning


def _remembered(kernel: Kernel, entry: str) -> Tuning | None:
    """What was chosen before; None where nothing was, or what is kept does not suit the kernel."""
    payload = cache.get(entry)
    if payload is None:
        return None
    try:
        kept = json.loads(payload)
        chosen = program_store.read_schedule(kept["chosen"])
        chosen.check(kernel)
        tried = tuple([(str(text), float(seconds)) for text, seconds in kept["tried"]])
    except (ValueError, KeyError, TypeError, AttributeError, BrazeError):
        return None
    return Tuning(kernel.name, chosen, tried, is_remembered=True) if str(chosen) in dict(tried) else None


def _climb(kernel: Kernel, first: Schedule, nearby: Nearby, bench: Bench) -> Tuning:
    """Go to the best of the neighbours as long as it is better; then it meets the first one again, by itself."""
    best, known = first, bench.times([first])
    for _ in range(MOST_CLIMBS if known[first] >= SHORT else 0):
        fresh = [s for s in nearby(best) if s not in known]
        now = bench.times([best, *fresh])
        known |= now
        winner = min(now, key=now.__getitem__)
        if now[winner] > WORTH * now[best]:
            break
        best = winner
    if best is not first:
        known |= bench.times([first, best])
        best = best if known[best] < WORTH * known[first] else first
    return Tuning(kernel.name, best, tuple((str(s), seconds) for s, seconds in known.items()))


class Bench:
    """One kernel by itself, on made-up arrays."""

    def __init__(self, kernel: Kernel, emit: Emit, sizes: Mapping[str, int]):
        self.kernel, self.emit, self.sizes = kernel, emit, sizes
        random = np.random.default_rng(0)
        self.inputs = [made_up(b, sizes, random) for b in kernel.inputs]

    def times(self, schedules: Sequence[Schedule]) -> dict[Schedule, float]:
        """The shortest time of a call by each schedule, in seconds."""
        launches = {s: self.launch(s) for s in schedules}
        calls = {s: self.executable(launch) for s, launch in launches.items()}
        times = {s: math.inf for s in schedules}
        for turn in range(TURNS):
            limit = HOPELESS * min(times.values()) if turn > 1 else math.inf
            for s in schedules:
                if times[s] <= limit or s is schedules[0]:
                    times[s] = min(times[s], self.seconds(calls[s]))
        return times

    def launch(self, schedule: Schedule) -> Launch:
        zeroed = tuple(dict.fromkeys(s.buffer for s in self.kernel.stores if s.mode == "add"))
        return Launch(self.kernel, schedule, {name: name for name in self.kernel.buffers}, zeroed)

    def executable(self, launch: Launch) -> Executable:
        slots = {b.name: Slot(b.name, b.shape, b.dtype, "output" if b.is_output else "input")
                 for b in self.kernel.buffers.values()}
        inputs, outputs = (tuple(b.name for b in part) for part in (self.kernel.inputs, self.kernel.outputs))
        given = {name: ("", 0) for name in self.sizes}
        return load(Program(self.kernel.name, slots, (launch,), inputs, outputs, given), self.emit)

    def seconds(self, executable: Executable) -> float:
        """The mean of a few calls, after one that warms up."""
        once = self._batch(executable, 1)
        return min(once, self._batch(executable, max(1, min(100, round(LEAST_SECONDS / max(once, 1e-7))))))

    def _batch(self, executable: Executable, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            executable(self.inputs, self.sizes)
        return (time.perf_counter() - start) / count


def made_up(buffer: Buffer, sizes: Mapping[str, int], random: np.random.Generator) -> np.ndarray:
    """An array for a buffer."""
    shape = tuple(int(expr.evaluate(d, sizes)) if not isinstance(d, int) else d for d in buffer.shape)
    array: Any = np.zeros(shape, buffer.dtype.numpy)
    if buffer.dtype.is_float:
        array[...] = random.uniform(-1, 1, shape)
    return array
