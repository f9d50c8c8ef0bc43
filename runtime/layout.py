"""The shapes and byte counts of a call, as a Python function generated for its program and remembered for sizes that
come again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir import expr
from ..ir.errors import CompileError, ShapeError
from ..ir.expr import Dim
from ..ir.program import Branch, Loop, Program, Step
from ..ir.schedule import Source

_REMEMBERED = 256


class Layout(NamedTuple):
    """What a call needs for given sizes; bytes are multiples of 64."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    arena_bytes: int
    scratch_bytes: int


def layout_of(program: Program, outputs: Sequence[str], sources: Sequence[Source]) -> Callable[..., Layout]:
    """The function from the program's sizes, in their order, to the layout."""
    names = {name: f"size_{n}" for n, name in enumerate(program.sizes)}
    limits = _limits(program.steps)

    def spelled(x: Dim) -> str:
        unknown = expr.symbols(x) - names.keys()
        if unknown:
            raise CompileError(f"program {program.name} needs the sizes {sorted(unknown)} before it runs, and no input "
                               "has them")
        return expr.as_python(x, names.__getitem__)

    def shapes(slots: Sequence[str]) -> str:
        return "(" + "".join(f"({''.join(spelled(d) + ', ' for d in program.slots[n].shape)}), " for n in slots) + ")"

    scratch = {spelled(bound) for s in sources for bound in _extremes(s.scratch, limits)}
    text = (f"def layout({', '.join(names.values())}):\n    return Layout({shapes(program.inputs)}, {shapes(outputs)}, "
            f"-(-({spelled(program.arena)}) // 64) * 64, -(-max(0, {', '.join(sorted(scratch)) or '0'}) // 64) * 64)\n")
    space = {"Layout": Layout, "__name__": f"braze layout of {program.name}"}
    exec(text, space)
    compute: Callable[..., Layout] = space["layout"]  # type: ignore[assignment]
    known: dict[tuple[int, ...], Layout] = {}

    def remembered(*sizes: int) -> Layout:
        found = known.get(sizes)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[sizes] = compute(*sizes)
        return found

    return remembered


def size_reader(program: Program) -> Callable[[Sequence[Any], Mapping[str, int] | None], tuple[int, ...]]:
    """The function from a call's inputs, and sizes where they are given, to the program's sizes in their order."""
    slots = [program.slots[n] for n in program.inputs]
    numbers = {name: n for n, name in enumerate(program.inputs)}
    places = [(numbers[slot], dimension) for slot, dimension in program.sizes.values() if slot]    # others are given

    def read(inputs: Sequence[Any], sizes: Mapping[str, int] | None) -> tuple[int, ...]:
        if len(inputs) != len(slots):
            raise ShapeError(f"{program.name} takes {len(slots)} inputs, not {len(inputs)}")
        if sizes is not None:
            return tuple([int(sizes[name]) for name in program.sizes])
        if len(places) < len(program.sizes):
            raise ShapeError(f"{program.name} has sizes that no input shows; they must be given")
        for n, dimension in places:
            if np.ndim(inputs[n]) <= dimension:
                raise ShapeError(f"{slots[n]} is given an array of shape {np.shape(inputs[n])}")
        return tuple([inputs[n].shape[dimension] for n, dimension in places])

    return read


def _limits(steps: Sequence[Step]) -> dict[str, Dim | None]:
    """The last value of each loop's counter, None where it is not known before the loop runs."""
    found: dict[str, Dim | None] = {}
    for step in steps:
        if isinstance(step, Loop):
            found[step.counter] = None if step.trips is None or isinstance(step.trips, str) else step.trips - 1
            found |= _limits((*step.test, *step.steps))
        elif isinstance(step, Branch):
            found |= _limits((*step.then, *step.otherwise))
    return found


def _extremes(x: Dim, limits: dict[str, Dim | None]) -> list[Dim]:
    """x in the first and last turns of the loops whose counters it names."""
    for counter in expr.symbols(x) & limits.keys():
        last = limits[counter]
        if last is None:
            raise CompileError(f"scratch memory of {x} bytes depends on {counter}, whose last value is not known")
        return [e for value in (0, last) for e in _extremes(expr.substitute(x, {counter: value}), limits)]
    return [x]
