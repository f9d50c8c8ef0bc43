"""The ways to call a program: in the native runner, in it with host steps between, or step by step in Python.

Each function here makes a `call(*inputs, *outputs, *sizes)` for an executable, memory being given as arrays or
addresses. Temporaries and scratch memory are taken from their pool for the time of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import expr
from ..ir.expr import Expr
from ..ir.program import HostCall, Launch, Loop, walk
from . import abi, lowering, memory, native, stepped, threads

if TYPE_CHECKING:
    from .executable import Executable

Call = Callable[..., None]

# A call that may take longer releases the interpreter's lock, which costs 50 ns; a point of a kernel takes about a
# nanosecond.
_POINTS_OF_A_LONG_CALL = 20_000


def address(array: np.ndarray | int) -> int:
    """Where the data of an array begins; an address is itself."""
    return array if isinstance(array, int) else array.__array_interface__["data"][0]


def native_call(executable: Executable) -> Call:
    """The whole program in one native call: a builtin, wrapped where it needs memory."""
    lowered = executable.lowered
    bound = native.bind(lowered.code, lowered.frame, lowered.arguments, is_long(executable))
    if not lowered.needs_memory:
        return bound
    return _with_memory(bound, executable) if executable.program.sizes else _with_fixed_memory(bound, executable)


def is_long(executable: Executable) -> bool:
    """May a call take so long that other Python threads should run meanwhile?"""
    points = 0
    for step in walk(executable.program.steps):
        if isinstance(step, Loop):
            return True
        if isinstance(step, Launch):
            n = expr.product(step.kernel.axes.values())
            source = executable.sources[step]
            if isinstance(n, Expr) or isinstance(source.units, Expr) or source.units > source.grain:
                return True
            points += n
    return points > _POINTS_OF_A_LONG_CALL


_FIXED_MEMORY = """
def call({words}):
    try:
        block = pop()
    except IndexError:
        block = allocate()
    try:
        bound({words}, block[0], block[0] + arena)
    finally:
        append(block)
"""

_MEMORY = """
def call({words}):
    _, _, arena, scratch = layout({sizes})
    if scratch > pool().scratch_bytes:
        pool().reserve(scratch)
    kept = blocks(arena + scratch)
    block = kept.take()
    try:
        bound({words}, block[0], block[0] + arena)
    finally:
        kept.give(block)
"""


def _with_fixed_memory(bound: Call, executable: Executable) -> Call:
    layout = executable.layout()
    threads.pool().reserve(layout.scratch_bytes)
    kept = memory.blocks(layout.arena_bytes + layout.scratch_bytes)
    return _printed(_FIXED_MEMORY, executable, bound=bound, arena=layout.arena_bytes, pop=kept.free.pop,
                    append=kept.free.append, allocate=kept.allocate)


def _with_memory(bound: Call, executable: Executable) -> Call:
    return _printed(_MEMORY, executable, bound=bound, layout=executable.layout, pool=threads.pool, blocks=memory.blocks)


def _printed(template: str, executable: Executable, **names: Any) -> Call:
    """A function whose parameters are written out: 50 ns less than with `*words`."""
    program = executable.program
    pointers = [f"pointer_{n}" for n in range(len(program.inputs) + len(executable.output_slots))]
    sizes = [f"size_{n}" for n in range(len(program.sizes))]
    space: dict[str, Any] = {**names, "__name__": f"braze call of {program.name}"}
    exec(template.format(words=", ".join([*pointers, *sizes]), sizes=", ".join(sizes)), space)
    return space["call"]


# ---- with host steps ----------------------------------------------------------------------------------------------


def host_call(executable: Executable) -> Call:
    """A native program that comes back to Python for its host steps."""
    lowered, program = executable.lowered, executable.program
    run, time = native.load().run, native.load().time
    code, first = address(lowered.code), abi.HEADER_WORDS

    def call(*given: np.ndarray | int) -> None:
        words = [*map(address, given)]
        values = words[len(words) - len(program.sizes):]
        layout = executable.layout(*values)
        threads.pool().reserve(layout.scratch_bytes)
        kept = memory.blocks(layout.arena_bytes + layout.scratch_bytes)
        block = kept.take()
        frame = lowered.frame.copy()
        frame[first:first + lowered.arguments] = (*words, block[0], block[0] + layout.arena_bytes)[:lowered.arguments]
        sizes = dict(zip(program.sizes, values))
        try:
            while (outcome := run(code, address(frame), threads.pool().address, time)) != abi.FINISHED:
                if outcome != abi.INTERRUPTED:
                    _perform(executable, lowered.host_steps[outcome], frame, sizes)
        finally:
            kept.give(block)

    return call


def _perform(executable: Executable, host: lowering.HostStep, frame: np.ndarray, sizes: Mapping[str, int]) -> None:
    now = {**sizes, **{name: int(frame[word]) for name, word in host.counters.items()}}
    arrays = [stepped.array_at(int(frame[word]), slot, now) for _, slot, word in host.arrays]
    if isinstance(host.step, HostCall):
        count = len(host.step.inputs)
        stepped.call_host(host.step, arrays[:count], arrays[count:])
    else:
        executable.numpy_kernels[host.step](arrays, {n: now[n] for n in host.step.kernel.sizes})


# ---- in Python ----------------------------------------------------------------------------------------------------


def stepped_call(executable: Executable, kernels: Mapping[Launch, stepped.KernelFunction]) -> Call:
    """The program step by step in Python, with these functions for its kernels."""
    program = executable.program
    names = (*program.inputs, *executable.output_slots)

    def call(*given: np.ndarray | int) -> None:
        words = [*map(address, given)]
        values = words[len(names):]
        sizes = dict(zip(program.sizes, values))
        kept = memory.blocks(executable.layout(*values).arena_bytes)
        block = kept.take()
        try:
            arrays = _arrays(executable, dict(zip(names, words)), block[0], sizes)
            stepped.walk(program.steps, arrays, sizes, kernels)
        finally:
            kept.give(block)

    return call


def _arrays(executable: Executable, places: dict[str, int], arena: int,
            sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    slots = executable.program.slots
    for name, slot in slots.items():
        if slot.role == "temporary":
            places[name] = arena + int(expr.evaluate(slot.offset, sizes))
    return {name: stepped.array_at(at, slots[name], sizes) for name, at in places.items()}


def native_kernel(kernel: lowering.Native) -> stepped.KernelFunction:
    """A compiled kernel as a function of arrays and sizes, on all threads."""
    region, source = native.load().region, kernel.source

    def run(arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> None:
        words = np.array([*map(address, arrays), *sizes.values(), *source.facts.get("box", ())], np.int64)
        scratch, units = (int(expr.evaluate(x, sizes)) for x in (source.scratch, source.units))
        threads.pool().reserve(scratch)
        kept = memory.blocks(scratch)
        block = kept.take()
        try:
            region(threads.pool().address, kernel.address, address(words), units, source.grain, block[0])
        finally:
            kept.give(block)

    return run
