"""A program made ready for a device and for given sizes: what is known is decided here, once, so that a call fills in
addresses and launches.

Short loops whose turns are known are written out, the memory that their carried values alternate between included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.errors import CompileError
from ..ir.expr import Dim
from ..ir.gpu_contraction import GpuLibrary
from ..ir.gpu_joined import Joined
from ..ir.kernel import Kernel
from ..ir.program import Branch, Carry, Copy, HostCall, JoinedLaunch, Launch, Loop, Program, Step, walk
from ..ir.schedule import Source
from . import device_steps as ready
from .device import Device, DeviceKernel, MatrixProduct
from .device_steps import Place, Ready
from .device_tables import Table
from .triton_compiler import HIDDEN_ARGUMENTS, Request

NumpyFunction = Callable[[Sequence[Any], Sequence[bool], Mapping[str, int]], None]

_LAUNCHES_WRITTEN_OUT = 1024             # of a loop, at most
_DIVISOR = 16                            # the divisibility that kernels are compiled for
_SCRATCH_ALIGNMENT = 256
_LARGEST = {"i32": 2**31 - 1, "i64": 2**63 - 1}


@dataclass(frozen=True)
class Prepared:
    """A program for given sizes: its steps, the words of their arguments with the sizes filled in, which words are
    addresses of which slots, and the memory that it needs.

    Slots are numbered: inputs, outputs, temporaries (at `offsets` of the arena), then the kernels' scratch memory, and
    their workspace. A program with `tables` has an arena even where nothing lies in it: its address tells streams
    apart.
    """

    steps: list[Ready]
    words: np.ndarray
    places: np.ndarray
    slots: np.ndarray
    offsets: np.ndarray
    bytes: int
    launches: int
    runs_alone: bool                     # the host takes no part
    tables: list[Table]                  # of joined launches


def prepare(program: Program, sources: Mapping[Launch, Source], functions: Mapping[Launch, NumpyFunction],
            device: Device, sizes: Mapping[str, int], taken: Mapping[str, str], extra: int) -> Prepared:
    """The program for a device and for sizes, its kernels compiled together.

    `functions` run the kernels that are NumPy source; `taken` are outputs that lie where an input does; `extra`
    bytes of the arena before the temporaries are the caller's.
    """
    launches = [s for s in walk(program.steps)
                if isinstance(s, Launch) and s not in functions and sources[s].language == "triton"]
    made = iter(device.kernels([request(s, part, device, sizes) for s in launches for part in sources[s].chain]))
    kernels = {s: [next(made) for _ in sources[s].chain] for s in launches}
    return _Planner(program, sources, functions, kernels, sizes, taken).prepared(extra)


def request(launch: Launch, source: Source, device: Device, sizes: Mapping[str, int]) -> Request:
    """What a device is asked for, to run a launch with these sizes."""
    needed = () if isinstance(launch, JoinedLaunch) else launch.kernel.sizes
    divisible = tuple(name in sizes and sizes[name] % _DIVISOR == 0 for name in needed)
    return Request(source, device.target, divisible)


def _aligned(offset: int) -> int:
    return -(-offset // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT


class _Planner:
    def __init__(self, program: Program, sources: Mapping[Launch, Source],
                 functions: Mapping[Launch, NumpyFunction], kernels: Mapping[Launch, Sequence[DeviceKernel]],
                 sizes: Mapping[str, int], taken: Mapping[str, str]):
        self.program, self.sources, self.functions, self.kernels = program, sources, functions, kernels
        self.sizes = dict(sizes)
        self.temporaries = [n for n, s in program.slots.items() if s.role == "temporary"]
        outputs = dict.fromkeys(n for n in program.outputs if program.slots[n].role == "output")
        self.names = {n: self._place(k, n) for k, n in enumerate((*program.inputs, *outputs, *self.temporaries))}
        self.taken = {self.names[o]: self.names[i] for o, i in taken.items()}
        self.scratch_number, self.scratch_bytes = len(self.names), 0
        self.workspace_number, self.workspace_bytes = len(self.names) + 1, 0
        self.words: list[int] = []
        self.places: list[int] = []
        self.slots: list[int] = []
        self.tables: list[Table] = []
        self.launches, self.runs_alone = 0, True

    def prepared(self, extra: int) -> Prepared:
        """All of it."""
        steps = self._steps(self.program.steps, self.names)
        arena = max(extra + int(expr.evaluate(self.program.arena, self.sizes)), bool(self.tables))
        scratch = _aligned(arena)
        workspace = _aligned(scratch + self.scratch_bytes)
        places, slots = (np.array(x, np.int64) for x in (self.places, self.slots))
        offsets = [*(extra + int(expr.evaluate(self.program.slots[n].offset, self.sizes)) for n in self.temporaries),
                   scratch, workspace]
        needed = (workspace + self.workspace_bytes if self.workspace_bytes else
                  scratch + self.scratch_bytes if self.scratch_bytes else arena)
        return Prepared(steps, np.array(self.words, np.int64), places, slots, np.array(offsets, np.int64), needed,
                        self.launches, self.runs_alone, self.tables)

    def _place(self, number: int, name: str) -> Place:
        slot = self.program.slots[name]
        return Place(number, tuple(int(expr.evaluate(d, self.sizes)) for d in slot.shape), slot.dtype.numpy)

    # ---- steps ----

    def _steps(self, steps: Sequence[Step], names: Mapping[str, Place]) -> list[Ready]:
        return [r for s in steps for r in _KINDS[type(s)](self, s, names)]

    def _launch(self, step: Launch, names: Mapping[str, Place]) -> list[Ready]:
        buffers = [names[step.arguments[b]] for b in step.kernel.buffers]
        zeroed: list[Ready] = [ready.Zero(names[n]) for n in step.zeroed]
        if isinstance(step.schedule, GpuLibrary):
            return [*zeroed, *self._product(step.kernel, step.schedule, dict(zip(step.kernel.buffers, buffers)))]
        if step not in self.kernels:
            self.runs_alone = False
            written = {s.buffer for s in step.kernel.stores}
            stored = [b in written for b in step.kernel.buffers]
            return [*zeroed, ready.NumpyKernel(self.functions[step], buffers, stored, step.kernel.sizes)]
        return [*zeroed, *(x for kernel, source in zip(self.kernels[step], self.sources[step].chain)
                           for x in self._kernel(step, kernel, source, buffers))]

    def _kernel(self, step: Launch, kernel: DeviceKernel, source: Source, buffers: Sequence[Place]) -> list[Ready]:
        """The launch of one of a step's kernels."""
        self.launches += 1
        start = len(self.words)
        counters = self._arguments(step, source, buffers)
        grid = source.facts["grid"]
        turning = {s for d in grid for s in expr.symbols(d)} - self.sizes.keys()
        if kernel.scratch:
            if turning:
                raise CompileError(f"kernel {step.kernel.name} needs scratch memory for a grid that turns change")
            self._scratch(kernel, grid)
        if counters or turning:
            return [ready.TurnLaunch(kernel, grid, start, counters)]
        numbers = ready.grid_for(grid, self.sizes)
        return [ready.KernelLaunch(kernel, numbers, start)] if 0 not in numbers else []

    def _product(self, kernel: Kernel, s: GpuLibrary, places: Mapping[str, Place]) -> list[Ready]:
        self.runs_alone = False                          # CuPy refuses to record its library's calls
        self.launches += 1
        batch, rows, columns, depth = (int(expr.evaluate(expr.product(kernel.axes[a] for a in axes), self.sizes))
                                       for axes in (s.g, s.i, s.j, s.k))
        left, right, result = (places[n] for n in (s.left, s.right, kernel.outputs[0].name))
        product = MatrixProduct(batch, rows, columns, depth, s.turned_left, s.turned_right, left.dtype, result.dtype,
                                s.precision)
        if batch * rows * columns == 0:
            return []
        return [ready.LibraryProduct(product, left, right, result)] if depth else [ready.Zero(result)]

    def _joined(self, step: JoinedLaunch, names: Mapping[str, Place]) -> list[Ready]:
        """One launch for all parts; those without elements have no programs."""
        schedule = step.schedule
        assert isinstance(schedule, Joined)
        start = len(self.words)
        extents = [int(expr.evaluate(p.extent, self.sizes)) for p in step.parts]
        slots = [[names[p.arguments[b]].number for b in schedule.listed(step.kernel)] for p in step.parts]
        table = Table.of(start, extents, slots, schedule.size, step.kernel.name)
        if not table.programs:
            return []
        (kernel,) = self.kernels[step]
        if kernel.scratch:
            raise CompileError(f"kernel {step.kernel.name} needs scratch memory, which joined launches have none of")
        self.launches += 1
        self.tables.append(table)
        self.words += [0, 0]
        self._pointers([names[step.arguments[b]] for b in schedule.shared])
        self.words += [0] * HIDDEN_ARGUMENTS
        grid = ready.grid_for((table.programs, 1, 1), {})
        return [ready.KernelLaunch(kernel, grid, start)]

    def _pointers(self, buffers: Sequence[Place]) -> None:
        """Words that are addresses of slots."""
        for place in buffers:
            self._address(place.number)

    def _arguments(self, step: Launch, source: Source, buffers: Sequence[Place]) -> dict[int, str]:
        """Write the words of a kernel's arguments; the places of those that are counters of loops."""
        counters = {}
        self._pointers(buffers)
        kinds = [kind for _, kind in source.facts["arguments"]][len(buffers):]
        for name, kind in zip(step.kernel.sizes, kinds):
            if name not in self.sizes:
                counters[len(self.words)] = name
            elif self.sizes[name] > _LARGEST[kind]:
                raise CompileError(f"kernel {step.kernel.name} takes {name} as {kind}, and it is {self.sizes[name]}")
            self.words.append(self.sizes.get(name, 0))
        shared = self.sources[step].facts.get("workspace", 0)
        if shared:
            self.workspace_bytes = max(self.workspace_bytes, shared)
            self._address(self.workspace_number)
        self.words += [0] * HIDDEN_ARGUMENTS
        return counters

    def _address(self, slot: int) -> None:
        """A word that is the address of a slot."""
        self.places.append(len(self.words))
        self.slots.append(slot)
        self.words.append(0)

    def _scratch(self, kernel: DeviceKernel, grid: Sequence[Dim]) -> None:
        self.places.append(len(self.words) - HIDDEN_ARGUMENTS)
        self.slots.append(self.scratch_number)
        programs = int(np.prod(ready.grid_for(grid, self.sizes), dtype=np.int64))
        self.scratch_bytes = max(self.scratch_bytes, kernel.scratch * programs)

    def _copy(self, step: Copy, names: Mapping[str, Place]) -> list[Ready]:
        return [ready.CopySlot(names[step.source], names[step.target])]

    def _host(self, step: HostCall, names: Mapping[str, Place]) -> list[Ready]:
        self.runs_alone = False
        return [ready.OnHost(step, [names[n] for n in step.inputs], [names[n] for n in step.outputs])]

    def _branch(self, step: Branch, names: Mapping[str, Place]) -> list[Ready]:
        self.runs_alone = False
        return [ready.Choice(names[step.condition], self._steps(step.then, names), self._steps(step.otherwise, names))]

    # ---- loops ----

    def _loop(self, step: Loop, names: Mapping[str, Place]) -> list[Ready]:
        limit: int | Place | None = None
        if isinstance(step.trips, str):
            limit = names[step.trips]
        elif step.trips is not None:
            limit = int(expr.evaluate(step.trips, self.sizes))
        lasts_in_result = isinstance(limit, Place) or bool(step.condition) or limit is None or limit % 2 == 1
        rounds = [_Round.of(c, names, lasts_in_result) for c in step.carries]
        before: list[Ready] = []
        if limit != 0:
            for r in rounds:
                before += r.moved_away(self._lie_together)
        launches = sum(isinstance(s, Launch) for s in walk(step.steps))
        if isinstance(limit, int) and not step.condition and limit * launches <= _LAUNCHES_WRITTEN_OUT:
            return [*before, *self._written_out(step, names, rounds, limit)]
        return [*before, self._counted(step, names, rounds, limit)]

    def _lie_together(self, a: Place, b: Place) -> bool:
        return self.taken.get(a, a) == self.taken.get(b, b)

    def _written_out(self, step: Loop, names: Mapping[str, Place], rounds: Sequence[_Round], limit: int) -> list[Ready]:
        out: list[Ready] = []
        for turn in range(max(limit, 0)):
            self.sizes[step.counter] = turn
            state = 0 if turn == 0 else 2 - turn % 2
            out += self._steps(step.steps, {**names, **_named(rounds, state)})
        self.sizes.pop(step.counter, None)
        return [*out, *_ends(rounds, 0 if limit <= 0 else 2 - limit % 2)]

    def _counted(self, step: Loop, names: Mapping[str, Place], rounds: Sequence[_Round],
                 limit: int | Place | None) -> Ready:
        if isinstance(limit, Place) or step.condition:
            self.runs_alone = False
        turns = []
        for state in range(3):
            inner = {**names, **_named(rounds, state)}
            test, body = self._steps(step.test, inner), self._steps(step.steps, inner)
            turns.append(ready.Turn(test, body, _ends(rounds, state)))
        condition = names[step.condition] if step.condition else None
        return ready.Turns(step.counter, limit, condition, (turns[0], turns[1], turns[2]))


@dataclass
class _Round:
    """Where a carried value lies: in `start` before the first turn, then in `first` and `second` in turn."""

    carry: Carry
    start: Place
    first: Place
    second: Place
    result: Place

    @staticmethod
    def of(carry: Carry, names: Mapping[str, Place], lasts_in_result: bool) -> _Round:
        """The round of a carry; an odd number of turns ends in `first`."""
        result, spare = names[carry.result], names[carry.spare]
        first, second = (result, spare) if lasts_in_result else (spare, result)
        return _Round(carry, names[carry.initial], first, second, result)

    def moved_away(self, lie_together: Callable[[Place, Place], bool]) -> list[Ready]:
        """What moves the value where it would be overwritten while the first turn reads it."""
        if not lie_together(self.start, self.first):
            return []
        moved = ready.CopySlot(self.start, self.second)
        self.start = self.second
        return [moved]

    def at(self, state: int) -> tuple[Place, Place]:
        """Where it is read and where it is written: before any turn (0), after an odd (1) or an even number (2)."""
        return ((self.start, self.first), (self.first, self.second), (self.second, self.first))[state]


def _named(rounds: Sequence[_Round], state: int) -> dict[str, Place]:
    """The names that the turns use."""
    return {name: place for r in rounds for name, place in zip((r.carry.current, r.carry.following), r.at(state))}


def _ends(rounds: Sequence[_Round], state: int) -> list[ready.CopySlot]:
    """What copies the values to their results."""
    return [ready.CopySlot(at, r.result) for r in rounds if (at := r.at(state)[0]) != r.result]


_KINDS: dict[type, Callable[..., list[Ready]]] = {
    Launch: _Planner._launch, JoinedLaunch: _Planner._joined, Copy: _Planner._copy, HostCall: _Planner._host,
    Branch: _Planner._branch, Loop: _Planner._loop}
