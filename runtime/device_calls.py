"""Calls of a prepared program on a device: frames of arguments that are used again, and recordings.

A program in which the host takes no part is *recorded* (as a CUDA graph) for the addresses that it runs on, and
replayed when they come again, which a loop of calls makes happen: parameters are updated in place, temporaries lie in
one arena, and freed outputs are given out again. By default that is done when the same addresses come for the third
time and there are several kernels; in the modes "reduce-overhead" and "max-autotune" at the second, and inputs whose
address changes from call to call are copied to a place that stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import device_scalars, float8
from .device import Device
from .device_inputs import HOST
from .device_memory import Block
from .device_plan import Prepared
from .device_steps import Call
from .device_tables import TableFrame

_RECORDINGS_KEPT = 8                     # of one plan
_SIGHTINGS_REMEMBERED = 64
_LEAST_LAUNCHES = 3                      # below, a replay costs as much as the launches
_NO_NUMBER = np.zeros((), np.int64)


class Plan:
    """A program for given sizes. `numbers` are the inputs that the host may give as numbers, with their places;
    `written` are the inputs that outputs are written into.
    """

    def __init__(self, device: Device, prepared: Prepared, sizes: Mapping[str, int], inputs: int,
                 numbers: Mapping[int, int], written: frozenset[int], mode: str):
        self.device, self.prepared, self.sizes, self.numbers = device, prepared, sizes, numbers
        self.writer = device_scalars.Writer(device)
        self.frames: dict[int, list[TableFrame]] = {}      # by stream
        self.lock = threading.RLock()
        self.recordings: _Recordings | None = None
        self.anchors: _Anchors | None = None
        self._within: tuple[int, tuple[int, ...]] = (-1, ())
        device.plans.add(self)
        if prepared.runs_alone and prepared.launches >= _LEAST_LAUNCHES:
            self.recordings = _Recordings(3 if mode == "default" else 2)
            if mode != "default":
                self.anchors = _Anchors(device, sorted(set(range(inputs)) - written - numbers.keys()))

    def forget(self) -> None:
        """Give up the memory that recordings and anchors hold; they are made anew when they are worth it again."""
        if self.recordings is not None:
            self.recordings.kept = OrderedDict()
        if self.anchors is not None:
            self.anchors.places = {}

    def run(self, inputs: Sequence[Any], addresses: list[int], outputs: Sequence[int]) -> None:
        """Enqueue the program on these inputs, which lie at the addresses (HOST for a number of the host), and on
        outputs at theirs.
        """
        if self.recordings is None:
            return self._run(inputs, addresses, outputs)
        with self.lock:                  # anchors and recordings are one; the host does not wait inside
            return self._run(inputs, addresses, outputs)

    def _run(self, inputs: Sequence[Any], addresses: list[int], outputs: Sequence[int]) -> None:
        device, size = self.device, self.prepared.bytes
        stream = device.stream()
        if self.anchors is not None:
            self.anchors.hold(inputs, addresses, stream)
        block = device.arenas.take(size, stream) if size else Block(0, 0, None)
        try:
            if HOST in addresses:
                self._write_numbers(inputs, addresses, block.address, stream)
            whole = (*addresses, *outputs, *self._temporaries(block.address))
            if self.recordings is None:
                self._enqueue(whole, stream)
            elif not self.recordings.replayed(whole, stream):
                self._recorded(self.recordings, whole, block, stream)
        finally:
            if size:
                device.arenas.give(block, stream)

    def _write_numbers(self, inputs: Sequence[Any], addresses: list[int], start: int, stream: int) -> None:
        given = [inputs[n] if addresses[n] == HOST else _NO_NUMBER for n in self.numbers]
        self.writer.write(start, given, stream)
        for n, place in self.numbers.items():
            if addresses[n] == HOST:
                addresses[n] = start + place * device_scalars.BYTES

    def _temporaries(self, start: int) -> tuple[int, ...]:
        """The addresses of the temporaries in an arena that starts here."""
        within = self._within
        if within[0] != start:
            within = self._within = start, tuple((self.prepared.offsets + start).tolist())
        return within[1]

    def _enqueue(self, addresses: tuple[int, ...], stream: int) -> None:
        kept = self.frames.setdefault(stream, [])
        try:
            frame = kept.pop()
        except IndexError:                                     # none yet, or other threads have them
            frame = self._frame()
        self._work(frame, addresses)(stream)
        kept.append(frame)

    def _frame(self) -> TableFrame:
        return TableFrame(self.prepared.words, self.prepared.tables, self.device)

    def _work(self, frame: TableFrame, addresses: tuple[int, ...]) -> Callable[[int], None]:
        """What a call asks of the device, on a stream; its tables are on their way on the current one."""
        prepared = self.prepared
        numbers = np.array(addresses, np.int64)
        frame.words[prepared.places] = numbers[prepared.slots]
        frame.fill(numbers)

        def work(stream: int) -> None:
            call = Call(self.device, frame, addresses, stream, dict(self.sizes))
            for step in prepared.steps:
                step.run(call)

        return work

    def _recorded(self, recordings: _Recordings, addresses: tuple[int, ...], block: Block, stream: int) -> None:
        if not recordings.wants(addresses):
            return self._enqueue(addresses, stream)
        frame = self._frame()
        again = self.device.record(self._work(frame, addresses))
        if again is None:
            self.recordings = self.anchors = None
            return self._enqueue(addresses, stream)
        recordings.keep(addresses, _Recording(again, block, frame))
        return again(stream)


class _Recording(NamedTuple):
    """Work that is done again by `again(stream)`, and the memory that it needs as long: its arena, and the tables of
    its frame.
    """

    again: Callable[[int], None]
    block: Block
    frame: TableFrame


class _Recordings:
    """Recorded work by the addresses that it runs on: made when the same ones come for the `worth`-th time."""

    def __init__(self, worth: int):
        self.worth = worth
        self.seen: dict[tuple[int, ...], int] = {}
        self.kept: OrderedDict[tuple[int, ...], _Recording] = OrderedDict()

    def replayed(self, addresses: tuple[int, ...], stream: int) -> bool:
        """Do the work again, if it is recorded."""
        found = self.kept.get(addresses)
        if found is None:
            return False
        found.again(stream)
        return True

    def wants(self, addresses: tuple[int, ...]) -> bool:
        """Is it time to record?"""
        if len(self.seen) >= _SIGHTINGS_REMEMBERED:
            self.seen.clear()
        self.seen[addresses] = self.seen.get(addresses, 0) + 1
        return self.seen[addresses] >= self.worth

    def keep(self, addresses: tuple[int, ...], recording: _Recording) -> None:
        """Keep a recording; those in another arena, and the oldest, are given up."""
        self.seen.pop(addresses, None)
        for other, theirs in list(self.kept.items()):
            if theirs.block.address != recording.block.address or len(self.kept) >= _RECORDINGS_KEPT:
                del self.kept[other]
        self.kept[addresses] = recording


class _Anchors:
    """Places that stay for inputs whose address changes from call to call, on the stream of the first call."""

    def __init__(self, device: Device, numbers: Sequence[int]):
        self.device = device
        self.stream: int | None = None
        self.last: dict[int, int] = dict.fromkeys(numbers, 0)
        self.places: dict[int, Any] = {}

    def hold(self, inputs: Sequence[Any], addresses: list[int], stream: int) -> None:
        """Copy the inputs that move to their places, and say so in their addresses."""
        if self.stream is None:
            self.stream = stream
        if stream != self.stream:
            return
        places = self.places
        for n, before in self.last.items():
            at = addresses[n]
            if before and at != before and n not in places:
                places[n] = self.device.empty(inputs[n].shape, inputs[n].dtype)
            self.last[n] = at
            if n in places:
                float8.words(places[n])[...] = float8.words(inputs[n])
                addresses[n] = self.device.address(places[n])
