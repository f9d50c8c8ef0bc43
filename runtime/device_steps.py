"""The steps of a program, ready to run on a device for given sizes: kernels with their grids and the places of their
arguments, copies, host calls, branches, and loops that are not written out.

A step runs in a `Call`, which knows the address of each slot. Steps are made by `device_plan.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..ir import expr
from ..ir.errors import BrazeError, CompileError
from ..ir.expr import Dim
from ..ir.program import HostCall
from . import float8
from .device import Device, DeviceKernel, Frame, MatrixProduct

_MOST_PROGRAMS = (2**31 - 1, 65535, 65535)       # of a grid, in its three dimensions


@dataclass
class Call:
    """A call on its way: the frame of arguments, the addresses of slots by number, and the sizes, with the counters of
    loops.
    """

    device: Device
    frame: Frame
    addresses: Sequence[int]
    stream: int
    sizes: dict[str, int]


class Ready(Protocol):
    """A step that is ready to run."""

    def run(self, call: Call) -> None:
        """Enqueue it (or do it, where the host takes part)."""


@dataclass(frozen=True)
class Place:
    """A slot for known sizes: its number among the addresses, its shape and dtype."""

    number: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def view(self, call: Call) -> Any:
        """It, as an array of the device that is valid during the call."""
        return call.device.view(call.addresses[self.number], self.shape, self.dtype, None)

    def read(self, call: Call) -> Any:
        """Its number; waits for what computes it."""
        return call.device.read(call.addresses[self.number], self.dtype, call.stream)


# ---- on the device -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zero:
    """Clear a slot."""

    place: Place

    def run(self, call: Call) -> None:
        """Enqueue it."""
        call.device.zero(call.addresses[self.place.number], self.place.bytes, call.stream)


@dataclass(frozen=True)
class CopySlot:
    """Copy a slot to another of the same size."""

    source: Place
    target: Place

    def run(self, call: Call) -> None:
        """Enqueue it; what already lies there stays."""
        source, target = call.addresses[self.source.number], call.addresses[self.target.number]
        if source != target:
            call.device.copy(target, source, self.target.bytes, call.stream)


@dataclass(frozen=True)
class KernelLaunch:
    """A kernel with its grid; its arguments stand in the frame from a word on."""

    kernel: DeviceKernel
    grid: tuple[int, int, int]
    start: int

    def run(self, call: Call) -> None:
        """Enqueue it."""
        self.kernel.launch(self.grid, call.frame, self.start, call.stream)


@dataclass(frozen=True)
class LibraryProduct:
    """A product of matrices by the device's library."""

    product: MatrixProduct
    left: Place
    right: Place
    result: Place

    def run(self, call: Call) -> None:
        """Enqueue it."""
        left, right, result = (call.addresses[p.number] for p in (self.left, self.right, self.result))
        call.device.multiply(self.product, left, right, result, call.stream)


@dataclass(frozen=True)
class TurnLaunch:
    """A kernel whose arguments (words of the frame) or grid change with the turns of a loop."""

    kernel: DeviceKernel
    grid: tuple[Dim, Dim, Dim]
    start: int
    counters: Mapping[int, str]

    def run(self, call: Call) -> None:
        """Enqueue it, for the turn that it is."""
        for place, counter in self.counters.items():
            call.frame.words[place] = call.sizes[counter]
        self.kernel.launch(grid_for(self.grid, call.sizes), call.frame, self.start, call.stream)


def grid_for(grid: Sequence[Dim], sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """The numbers of programs; an error where a device cannot count so far."""
    x, y, z = (int(expr.evaluate(d, sizes)) for d in grid)
    if any(n > most for n, most in zip((x, y, z), _MOST_PROGRAMS)):
        raise CompileError(f"a grid of {x} x {y} x {z} programs is more than a device takes")
    return x, y, z


# ---- with the host ---------------------------------------------------------------------------------------------------


@dataclass
class OnHost:
    """A host call: in the device's namespace where its rule runs in any, else on copies in NumPy."""

    step: HostCall
    inputs: list[Place]
    outputs: list[Place]
    in_namespace: bool = field(init=False)

    def __post_init__(self) -> None:
        self.in_namespace = self.step.takes_namespace

    def run(self, call: Call) -> None:
        """Do it, and copy the results into the outputs."""
        inputs = [p.view(call) for p in self.inputs]
        results = call.device.attempt(lambda: self._results(call, inputs), None, f"the host call {self.step.name}")
        if not isinstance(results, (tuple, list)) or len(results) != len(self.outputs):
            raise BrazeError(f"the host call {self.step.name} must return {len(self.outputs)} arrays in a tuple, not "
                             f"{type(results).__name__}")
        for result, place in zip(results, self.outputs):
            if result.shape != place.shape:
                raise BrazeError(f"the host call {self.step.name} returned shape {result.shape} where {place.shape} is "
                                 "declared")
        for result, place in zip(results, self.outputs):
            float8.words(place.view(call))[...] = float8.words(result)

    def _results(self, call: Call, inputs: list[Any]) -> Any:
        if self.in_namespace:
            try:
                return self.step.function(*inputs, xp=call.device.xp)
            except (AttributeError, NotImplementedError, TypeError):
                self.in_namespace = False        # the namespace lacks what the rule takes from NumPy's
        results = self.step.function(*[call.device.to_host(a) for a in inputs])
        if not isinstance(results, (tuple, list)):
            return results
        return [call.device.from_host(np.asarray(r)) for r in results]


@dataclass(frozen=True)
class NumpyKernel:
    """A kernel that runs as NumPy source (`device_numpy.py`)."""

    function: Callable[[Sequence[Any], Sequence[bool], Mapping[str, int]], None]
    buffers: list[Place]
    stored: list[bool]
    sizes: Sequence[str]

    def run(self, call: Call) -> None:
        """Do it."""
        self.function([p.view(call) for p in self.buffers], self.stored, {n: call.sizes[n] for n in self.sizes})


@dataclass(frozen=True)
class Choice:
    """One of two lists of steps, by a number that the host reads."""

    condition: Place
    then: list[Ready]
    otherwise: list[Ready]

    def run(self, call: Call) -> None:
        """Do the steps of one side."""
        for step in self.then if self.condition.read(call) else self.otherwise:
            step.run(call)


@dataclass(frozen=True)
class Turn:
    """The steps of a loop while its carried values lie in certain slots: the test, the body, and what copies the
    carries to their results if the loop ends here.
    """

    test: list[Ready]
    body: list[Ready]
    end: list[CopySlot]


@dataclass(frozen=True)
class Turns:
    """A loop whose turns the host counts, because they are many or because data decides how many there are.

    The carried values lie in their first slots before the first turn and in one of two afterwards, by turns: `states`
    has the steps for the three.
    """

    counter: str
    limit: int | Place | None
    condition: Place | None
    states: tuple[Turn, Turn, Turn]

    def run(self, call: Call) -> None:
        """Do the turns."""
        limit = int(self.limit.read(call)) if isinstance(self.limit, Place) else self.limit
        number = state = 0
        while limit is None or number < limit:
            call.sizes[self.counter] = number
            turn = self.states[state]
            for step in turn.test:
                step.run(call)
            if self.condition is not None and not self.condition.read(call):
                break
            for step in turn.body:
                step.run(call)
            number, state = number + 1, 2 if state == 1 else 1
        for copy in self.states[state].end:
            copy.run(call)
