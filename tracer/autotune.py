"""`mode="max-autotune"`: the schedules of a program are measured on the machine that it is for, kernel by kernel.

Passes say what may be tried, the runtime measures, and the choice comes back as a program that differs in schedules
alone. What was measured once is kept on disk. On a CPU the results have the same bits as without; on a GPU a tile may
decide the order of a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..ir.gpu import GpuTarget
from ..ir.program import Branch, Launch, Loop, Program, Step, walk
from ..ir.schedule import Schedule
from ..ir.target import Target
from ..passes.candidates import candidates
from ..runtime.tuning import Tuning, tune


@dataclass(frozen=True)
class Tuned:
    """A program with the schedules that were chosen, and what was tried."""

    program: Program
    tunings: tuple[Tuning, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.tunings))


def autotune(program: Program, target: Target | GpuTarget, emit: Callable[..., Any], hints: Mapping[str, int],
             device: Any = None) -> Tuned:
    """The program by the fastest schedules that were found, on a `device` of the runtime or on the CPU; equal kernels
    are measured once.
    """
    found: dict[tuple[int, int, int], Tuning] = {}
    for launch in walk(program.steps):
        if isinstance(launch, Launch) and _identity(launch) not in found:
            found[_identity(launch)] = (
                _device_tuning(launch, target, emit, hints, device) if isinstance(target, GpuTarget)
                else _tuning(launch, target, emit, hints))
    steps = _with_schedules(program.steps, {identity: tuning.chosen for identity, tuning in found.items()})
    return Tuned(replace(program, steps=steps), tuple(t for t in found.values() if len(t.tried) > 1))


def _identity(launch: Launch) -> tuple[int, int, int]:
    """Kernels that differ in nothing but their origin share values and stores."""
    return id(launch.kernel.values), id(launch.kernel.stores), id(launch.schedule)


def _tuning(launch: Launch, target: Target, emit: Callable[..., Any], hints: Mapping[str, int]) -> Tuning:
    def nearby(schedule: Schedule) -> list[Schedule]:
        return candidates(launch.kernel, target, schedule)

    if not nearby(launch.schedule):
        return Tuning(launch.kernel.name, launch.schedule, ())
    return tune(launch.kernel, launch.schedule, nearby, emit, hints)


def _device_tuning(launch: Launch, target: GpuTarget, emit: Callable[..., Any], hints: Mapping[str, int],
                   device: Any) -> Tuning:
    from ..passes.gpu_candidates import candidates as ways_for
    from ..runtime.device_tuning import tune as tune_on_device

    ways = ways_for(launch.kernel, launch.schedule, target)
    if len(ways) == 1 or any(name not in hints for name in launch.kernel.sizes):
        return Tuning(launch.kernel.name, launch.schedule, ())
    return tune_on_device(launch.kernel, ways, emit, hints, device)


def _with_schedules(steps: tuple[Step, ...], chosen: Mapping[tuple[int, int, int], Schedule]) -> tuple[Step, ...]:
    """The steps with these schedules, those inside loops and branches too."""
    def changed(step: Step) -> Step:
        if isinstance(step, Launch):
            return replace(step, schedule=chosen[_identity(step)])
        if isinstance(step, Loop):
            return replace(step, steps=_with_schedules(step.steps, chosen), test=_with_schedules(step.test, chosen))
        if isinstance(step, Branch):
            then, otherwise = (_with_schedules(part, chosen) for part in (step.then, step.otherwise))
            return replace(step, then=then, otherwise=otherwise)
        return step

    return tuple(changed(step) for step in steps)
