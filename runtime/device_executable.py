"""`load` makes a `DeviceExecutable` of a program: called on a device's arrays, it enqueues the kernels and returns the
results, which stay there; the host waits for nothing that it does not read.

A program in which the host takes no part is *recorded* (as a CUDA graph) for the addresses that it runs on, and
replayed when they come again, which a loop of calls makes happen: parameters are updated in place, temporaries lie in
one arena, and freed outputs are given out again. By default that is done when the same addresses come for the third
time and there are several kernels; in mode "reduce-overhead" at the second, and inputs whose address changes from call
to call are copied to a place that stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.errors import CompileError, DeviceError, DTypeError, ShapeError
from ..ir.program import Launch, Program
from ..ir.schedule import Source
from . import device_scalars, lowering, stepped
from .device import ALIGNMENT, Device, Frame
from .device_memory import Block
from .device_plan import Prepared, prepare
from .device_steps import Call
from .executable import Emit, sources_of
from .layout import Layout, layout_of, size_reader

MODES = ("default", "reduce-overhead", "max-autotune")
_PLANS_REMEMBERED = 64
_RECORDINGS_KEPT = 8                     # of one plan
_SIGHTINGS_REMEMBERED = 64
_LEAST_LAUNCHES = 3                      # below, a replay costs as much as the launches


def load(program: Program, emit: Emit, device: Device, mode: str = "default") -> DeviceExecutable:
    """The program, ready to run on a device. `emit` makes the source of a kernel; where no size is open, all kernels
    are compiled now, together.
    """
    if mode not in MODES:
        raise CompileError(f"there is no mode {mode!r}; use one of {', '.join(MODES)}")
    return DeviceExecutable(program, sources_of(program, emit), device, mode)


class DeviceExecutable:
    """A loaded program. Calls from several threads may overlap; each has temporaries and outputs of its own.

    `output_slots` names the outputs that a call allocates, each once; `layout(*sizes)` gives shapes and byte counts.
    """

    is_native = False

    def __init__(self, program: Program, sources: Mapping[Launch, Source], device: Device, mode: str = "default"):
        self.program = program
        self.sources = sources
        self.device = device
        self.mode = mode
        self.output_slots = lowering.outputs_of(program)
        self.layout = layout_of(program, self.output_slots, ())
        self._functions = {s: stepped.numpy_kernel(x) for s, x in sources.items() if x.language == "numpy"}
        self._inputs = [program.slots[n] for n in program.inputs]
        self._outputs = [program.slots[n] for n in self.output_slots]
        places = {name: n for n, name in enumerate(program.inputs)}
        self._givers = [places.get(slot.takes) for slot in self._outputs]
        self._scalar_places = {n: k for k, n in enumerate(n for n, s in enumerate(self._inputs) if not s.shape)}
        self._scalar_bytes = device_scalars.room(len(self._scalar_places))
        self._writer = device_scalars.Writer(device)
        self._sizes_of = size_reader(program)
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        if not program.sizes:
            self._plan((), (False,) * len(self._outputs))

    def __call__(self, inputs: Sequence[Any], sizes: Mapping[str, int] | None = None,
                 donated: Sequence[bool] | None = None) -> list[Any]:
        """The results on these inputs: arrays of the device, or NumPy's where a number is meant. Where an output may
        take the buffer of an input that is `donated`, it does.
        """
        values = self._sizes_of(inputs, sizes)
        layout = self.layout(*values)
        with self.device.activate():
            arrays = self._ready(inputs, layout)
            taken = self._taken(inputs, arrays, layout, donated)
            plan = self._plans.get((values, taken)) or self._plan(values, taken)
            outputs = [arrays[giver] if takes and giver is not None else self._new(n, shape)
                       for n, (giver, takes, shape) in enumerate(zip(self._givers, taken, layout.outputs))]
            plan.run(arrays, outputs)
        results = dict(zip(self.output_slots, outputs))
        given = dict(zip(self.program.inputs, inputs))
        return [results[n] if n in results else self._copied(given[n]) for n in self.program.outputs]

    def _plan(self, values: tuple[int, ...], taken: tuple[bool, ...]) -> _Plan:
        """The program for these sizes and for outputs that lie in inputs; remembered for when they come again."""
        takes = {slot.name: slot.takes for slot, is_taken in zip(self._outputs, taken) if is_taken}
        with self.device.activate():
            prepared = prepare(self.program, self.sources, self._functions, self.device,
                               dict(zip(self.program.sizes, values)), takes, self._scalar_bytes)
        if len(self._plans) >= _PLANS_REMEMBERED:
            self._plans.clear()
        plan = _Plan(self, prepared, dict(zip(self.program.sizes, values)),
                     frozenset(giver for giver, is_taken in zip(self._givers, taken) if is_taken))
        self._plans[values, taken] = plan
        return plan

    # ---- arrays of a call ----

    def _ready(self, inputs: Sequence[Any], layout: Layout) -> list[Any]:
        """The inputs, checked; copies of those that are not contiguous or not aligned."""
        arrays = list(inputs)
        for n, (array, shape, slot) in enumerate(zip(arrays, layout.inputs, self._inputs)):
            if not self.device.owns(array):
                array = arrays[n] = self._number(array, n)
            if array.shape != shape:
                raise ShapeError(f"{slot} is given an array of shape {array.shape}, where {shape} is meant")
            if array.dtype != slot.dtype.numpy:
                raise DTypeError(f"{slot} is given an array of {array.dtype}; convert it to {slot.dtype.long_name}")
            if shape and not (array.flags.c_contiguous and self.device.address(array) % ALIGNMENT == 0):
                arrays[n] = self._copied(array)
        return arrays

    def _number(self, array: Any, n: int) -> Any:
        """What lies elsewhere: a number goes along, an array is an error."""
        if isinstance(array, (np.generic, np.ndarray)) and not array.ndim:
            return np.asarray(array)
        where = "the CPU" if type(array) is np.ndarray else f"another device ({type(array).__name__})"
        raise DeviceError(f"{self._inputs[n]} is given an array on {where}; {self.program.name} runs on "
                          f"{self.device.name}")

    def _copied(self, array: Any) -> Any:
        if not self.device.owns(array):
            return self.device.from_host(np.asarray(array))
        made = self.device.empty(array.shape, array.dtype)
        made[...] = array
        return made

    def _taken(self, inputs: Sequence[Any], arrays: Sequence[Any], layout: Layout,
               donated: Sequence[bool] | None) -> tuple[bool, ...]:
        """Which outputs are written into the memory of an input."""
        if donated is None:
            return (False,) * len(self._outputs)
        return tuple([giver is not None and donated[giver] and inputs[giver] is arrays[giver]
                      and arrays[giver].shape == shape and self.device.owns(arrays[giver])
                      for giver, shape in zip(self._givers, layout.outputs)])

    def _new(self, n: int, shape: tuple[int, ...]) -> Any:
        slot = self._outputs[n]
        return self.device.empty(shape, slot.dtype.numpy, f"{slot.dtype.long_name}{list(shape)}, a result of "
                                                          f"{self.program.name}")


class _Plan:
    """A program for given sizes, with the frames and recordings that its calls use again."""

    def __init__(self, executable: DeviceExecutable, prepared: Prepared, sizes: Mapping[str, int],
                 taken: frozenset[int | None]):
        self.prepared, self.sizes = prepared, sizes
        self.device, self.writer = executable.device, executable._writer
        self.scalar_places = executable._scalar_places
        self.frames: list[Frame] = []
        self.lock = threading.RLock()
        self.recordings: _Recordings | None = None
        self.anchors: _Anchors | None = None
        if prepared.runs_alone and prepared.launches >= _LEAST_LAUNCHES:
            eager = executable.mode != "default"
            self.recordings = _Recordings(2 if eager else 3)
            if eager:
                numbers = set(range(len(executable._inputs))) - taken - self.scalar_places.keys()
                self.anchors = _Anchors(self.device, sorted(numbers))

    def run(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Enqueue the program on these arrays."""
        if self.recordings is None:
            return self._run(inputs, outputs)
        with self.lock:                  # anchors and recordings are one; the host does not wait inside
            return self._run(inputs, outputs)

    def _run(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        device, prepared = self.device, self.prepared
        stream = device.stream()
        if self.anchors is not None:
            inputs = self.anchors.held(inputs, stream)
        block = device.arenas.take(prepared.bytes, stream) if prepared.bytes else Block(0, 0, None)
        try:
            addresses = self._addresses(inputs, outputs, block, stream)
            if self.recordings is None:
                self._enqueue(addresses, stream)
            elif not self.recordings.replayed(addresses, stream):
                self._recorded(self.recordings, addresses, block, stream)
        finally:
            if prepared.bytes:
                device.arenas.give(block, stream)

    def _addresses(self, inputs: Sequence[Any], outputs: Sequence[Any], block: Block, stream: int) -> tuple[int, ...]:
        """The address of each slot; numbers that the host gives are written to the arena."""
        device, places = self.device, self.scalar_places
        numbers = {n: inputs[n] for n in places if not device.owns(inputs[n])}
        if numbers:
            blank = np.zeros((), np.int64)
            self.writer.write(block.address, [numbers.get(n, blank) for n in places], stream)
        return (*(block.address + places[n] * device_scalars.BYTES if n in numbers else device.address(a)
                  for n, a in enumerate(inputs)),
                *map(device.address, outputs), *(self.prepared.offsets + block.address).tolist())

    def _enqueue(self, addresses: tuple[int, ...], stream: int) -> None:
        frame = self.frames.pop() if self.frames else Frame(self.prepared.words)
        self._work(frame, addresses)(stream)
        self.frames.append(frame)

    def _work(self, frame: Frame, addresses: tuple[int, ...]) -> Callable[[int], None]:
        """What a call asks of the device, on a stream."""
        prepared = self.prepared
        frame.words[prepared.places] = np.array(addresses, np.int64)[prepared.slots]

        def work(stream: int) -> None:
            call = Call(self.device, frame, addresses, stream, dict(self.sizes))
            for step in prepared.steps:
                step.run(call)

        return work

    def _recorded(self, recordings: _Recordings, addresses: tuple[int, ...], block: Block, stream: int) -> None:
        if not recordings.wants(addresses):
            return self._enqueue(addresses, stream)
        again = self.device.record(self._work(Frame(self.prepared.words), addresses))
        if again is None:
            self.recordings = self.anchors = None
            return self._enqueue(addresses, stream)
        recordings.keep(addresses, again, block)
        return again(stream)


class _Recordings:
    """Recorded work by the addresses that it runs on: made when the same ones come for the `worth`-th time."""

    def __init__(self, worth: int):
        self.worth = worth
        self.seen: dict[tuple[int, ...], int] = {}
        self.kept: OrderedDict[tuple[int, ...], tuple[Callable[[int], None], Block]] = OrderedDict()

    def replayed(self, addresses: tuple[int, ...], stream: int) -> bool:
        """Do the work again, if it is recorded."""
        found = self.kept.get(addresses)
        if found is None:
            return False
        found[0](stream)
        return True

    def wants(self, addresses: tuple[int, ...]) -> bool:
        """Is it time to record?"""
        if len(self.seen) >= _SIGHTINGS_REMEMBERED:
            self.seen.clear()
        self.seen[addresses] = self.seen.get(addresses, 0) + 1
        return self.seen[addresses] >= self.worth

    def keep(self, addresses: tuple[int, ...], recorded: Callable[[int], None], block: Block) -> None:
        """Keep a recording, and its arena as long; those in another arena, and the oldest, are given up."""
        self.seen.pop(addresses, None)
        for other, (_, theirs) in list(self.kept.items()):
            if theirs.address != block.address or len(self.kept) >= _RECORDINGS_KEPT:
                del self.kept[other]
        self.kept[addresses] = recorded, block


class _Anchors:
    """Places that stay for inputs whose address changes from call to call, on the stream of the first call."""

    def __init__(self, device: Device, numbers: Sequence[int]):
        self.device = device
        self.stream: int | None = None
        self.last: dict[int, int] = dict.fromkeys(numbers, 0)
        self.places: dict[int, Any] = {}

    def held(self, inputs: Sequence[Any], stream: int) -> Sequence[Any]:
        """The inputs, those that move copied to their places."""
        if self.stream is None:
            self.stream = stream
        if stream != self.stream:
            return inputs
        arrays = list(inputs)
        for n, before in self.last.items():
            at = self.device.address(arrays[n])
            if before and at != before and n not in self.places:
                self.places[n] = self.device.empty(arrays[n].shape, arrays[n].dtype)
            self.last[n] = at
            if n in self.places:
                self.places[n][...] = arrays[n]
                arrays[n] = self.places[n]
        return arrays
