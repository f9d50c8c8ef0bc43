"""Measuring schedules on a device: `tune(kernel, ways, emit, sizes, device)` tries ways to run a kernel and keeps the
choice on disk, by the kernel's text, the class of its sizes, and the device.

A plain product meets the device's library, too (cuBLAS), which is chosen where it is `LIBRARY_WORTH` of the best
kernel's time or less: a program with a call of it is not recorded.

On the simulated device nothing is measured: the first way that works is taken, in the order of the models.

All ways are compiled together. They take turns, each recorded as one piece of work that goes through several sets of
arrays, larger than the device's cache together, so that neither Python nor a warm cache is measured; the shortest time
counts. Inputs are made up as on a CPU (`tuning.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..ir import expr
from ..ir.errors import BrazeError, DeviceError
from ..ir.gpu_contraction import GpuLibrary
from ..ir.kernel import Kernel
from ..ir.kernel_text import print_kernel
from ..ir.program import Launch, Program, Slot
from ..ir.schedule import Schedule
from . import cache
from .device import Device, Frame
from .device_plan import Prepared, prepare
from .device_steps import Call
from .executable import Emit, sources_of
from .triton_compiler import threads_for
from .tuning import Tuning, made_up

_FORMAT = "1"
WORTH = 0.97             # of the default's time: what is hardly faster is not chosen
LIBRARY_WORTH = 0.95     # of the best kernel's time, for a library's
TURNS = 5
HOPELESS = 1.5           # times the best after two turns: not measured again
LEAST_NANOSECONDS = 1e6  # of a measurement
MOST_REPEATS = 50
MOST_SETS = 8            # of arrays

Work = Callable[[int], None]


def tune(kernel: Kernel, ways: Sequence[Schedule], emit: Emit, sizes: Mapping[str, int], device: Device) -> Tuning:
    """The fastest of these ways, the first being the default; those that do not compile or do not fit are passed over.
    """
    here = {name: sizes.get(name, 0) for name in kernel.sizes}
    entry = cache.key("device tuning", _FORMAT, print_kernel(kernel), str(list(map(str, ways))), str(_class(here)),
                      str(device.target), getattr(device, "description", device.name))
    known = _remembered(kernel, ways, entry)
    if known is not None:
        return known
    bench = _Bench(kernel, emit, here, device)
    if not device.is_timed:
        able = bench.prepared(ways)
        return Tuning(kernel.name, next(iter(able), ways[0]), tuple((str(way), math.nan) for way in able))
    times = bench.times(ways)
    if not times:                        # none works: loading the program says why, or does without Triton
        return Tuning(kernel.name, ways[0], ())
    chosen = _chosen(times, ways[0])
    tuning = Tuning(kernel.name, chosen, tuple((str(way), 1e-9 * t) for way, t in times.items()))
    cache.put(entry, json.dumps({"chosen": str(chosen), "tried": tuning.tried}).encode())
    return tuning


def _chosen(times: Mapping[Schedule, float], default: Schedule) -> Schedule:
    """The fastest way, where it is worth to leave the default, or all kernels."""
    kernels = {way: t for way, t in times.items() if not isinstance(way, GpuLibrary)}
    best = min(kernels, key=kernels.__getitem__, default=default)
    if kernels.get(best, math.inf) >= WORTH * times.get(default, math.inf):
        best = default
    fastest = min(times, key=times.__getitem__)
    return fastest if times[fastest] < LIBRARY_WORTH * times.get(best, math.inf) else best


def _class(sizes: Mapping[str, int]) -> list[tuple[str, int, bool]]:
    """Sizes that choose alike: up to the same power of two, and divisible by 16 or not."""
    return [(name, (n - 1).bit_length() if n > 1 else n, n % 16 == 0) for name, n in sorted(sizes.items())]


def _remembered(kernel: Kernel, ways: Sequence[Schedule], entry: str) -> Tuning | None:
    """What was chosen before; None where nothing was, or what is kept does not read."""
    payload = cache.get(entry)
    if payload is None:
        return None
    try:
        kept = json.loads(payload)
        tried = tuple([(str(text), float(seconds)) for text, seconds in kept["tried"]])
        chosen = next((way for way in ways if str(way) == kept["chosen"]), None)
    except (ValueError, KeyError, TypeError):
        return None
    return None if chosen is None else Tuning(kernel.name, chosen, tried, is_remembered=True)


def fastest(works: Sequence[Work], device: Device) -> list[float]:
    """The shortest time of each piece of work in nanoseconds, measured in turns on the current stream."""
    stream = device.stream()
    runs = []
    for work in works:
        work(stream)                     # loads what is loaded late
        runs.append(device.record(work) or work)
    times, repeats = [math.inf] * len(runs), [1] * len(runs)
    for turn in range(TURNS):
        limit = HOPELESS * min(times) if turn > 1 else math.inf
        for n, run in enumerate(runs):
            if times[n] <= limit:
                spent = _spent(run, repeats[n], stream, device)
                times[n] = min(times[n], spent)
                repeats[n] = max(1, min(MOST_REPEATS, round(LEAST_NANOSECONDS / max(spent, 1.0))))
    return times


def _spent(run: Work, repeats: int, stream: int, device: Device) -> float:
    """Nanoseconds of a run, in the mean of several."""
    stop = device.timer()()
    for _ in range(repeats):
        run(stream)
    return stop() / repeats


class _Bench:
    """One kernel by itself, on several sets of made-up arrays."""

    def __init__(self, kernel: Kernel, emit: Emit, sizes: Mapping[str, int], device: Device):
        self.kernel, self.emit, self.sizes, self.device = kernel, emit, sizes, device
        random = np.random.default_rng(0)
        with device.activate():
            first = [device.from_host(made_up(b, sizes, random)) for b in kernel.inputs]
            sets = [[*first, *self._outputs()]]
            size = sum(a.nbytes for a in sets[0])
            while len(sets) < MOST_SETS and len(sets) * size < 2 * device.target.l2_bytes:
                sets.append([*map(self._copied, first), *self._outputs()])
        self.sets = sets

    def times(self, ways: Sequence[Schedule]) -> dict[Schedule, float]:
        """The shortest time of a launch by each schedule that works, in nanoseconds."""
        with self.device.activate():
            works: dict[Schedule, Work] = {}
            for way, prepared in self.prepared(ways).items():
                work = self._work(prepared)
                if not isinstance(way, GpuLibrary) or self._runs(work):
                    works[way] = work
            if not works:
                return {}
            return dict(zip(works, (t / len(self.sets) for t in fastest(list(works.values()), self.device))))

    def _runs(self, work: Work) -> bool:
        """A library may only say when it is called that it does not do this."""
        try:
            work(self.device.stream())
        except DeviceError:
            return False
        return True

    def prepared(self, ways: Sequence[Schedule]) -> dict[Schedule, Prepared]:
        """The ways, ready to run, those that fail to become so left out."""
        with ThreadPoolExecutor(threads_for(len(ways)), "braze-tuning") as pool:
            made = list(pool.map(self._attempt, ways))
        return {way: prepared for way, prepared in zip(ways, made) if prepared is not None}

    def _attempt(self, way: Schedule) -> Prepared | None:
        program = self._program(way)
        try:
            with self.device.activate():
                return prepare(program, sources_of(program, self.emit), {}, self.device, self.sizes, {}, 0)
        except BrazeError:
            return None                  # too much shared memory, no such instruction: not on this device

    def _program(self, schedule: Schedule) -> Program:
        kernel = self.kernel
        zeroed = tuple(dict.fromkeys(s.buffer for s in kernel.stores if s.mode == "add"))
        launch = Launch(kernel, schedule, {name: name for name in kernel.buffers}, zeroed)
        slots = {b.name: Slot(b.name, b.shape, b.dtype, "output" if b.is_output else "input")
                 for b in kernel.buffers.values()}
        inputs, outputs = (tuple(b.name for b in part) for part in (kernel.inputs, kernel.outputs))
        return Program(kernel.name, slots, (launch,), inputs, outputs, {name: ("", 0) for name in self.sizes})

    def _work(self, prepared: Prepared) -> Work:
        """A launch for each set of arrays."""
        device = self.device
        arena = device.empty((prepared.bytes,), np.dtype(np.uint8))
        frames = []
        for arrays in self.sets:
            frame = Frame(prepared.words)
            addresses = [*map(device.address, arrays), *(prepared.offsets + device.address(arena)).tolist()]
            frame.words[prepared.places] = np.array(addresses, np.int64)[prepared.slots]
            frames.append((frame, addresses, arena))

        def work(stream: int) -> None:
            for frame, addresses, _ in frames:
                call = Call(device, frame, addresses, stream, dict(self.sizes))
                for step in prepared.steps:
                    step.run(call)

        return work

    def _outputs(self) -> list:
        return [self.device.empty(self._shape(b.shape), b.dtype.numpy) for b in self.kernel.outputs]

    def _shape(self, shape: Sequence[expr.Dim]) -> tuple[int, ...]:
        return tuple(int(expr.evaluate(d, self.sizes)) for d in shape)

    def _copied(self, array: object) -> object:
        return self.device.from_host(self.device.to_host(array))
