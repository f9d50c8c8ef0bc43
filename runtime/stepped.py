"""A program step by step in Python: what runs NumPy kernels without LLVM, what the profiler measures, and what tests
compare with.

`walk` performs steps on named arrays; the kernels are functions of (arrays in the order of the kernel's buffers, sizes
by name).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.errors import BrazeError
from ..ir.program import Branch, Copy, HostCall, JoinedLaunch, Launch, Loop, Slot, Step
from ..ir.schedule import Source

KernelFunction = Callable[[Sequence[np.ndarray], Mapping[str, int]], None]
Arrays = MutableMapping[str, np.ndarray]


def walk(steps: Sequence[Step], arrays: Arrays, sizes: Mapping[str, int],
         kernels: Mapping[Launch, KernelFunction]) -> None:
    """Perform steps on the arrays."""
    for step in steps:
        if isinstance(step, Launch):
            for name in step.zeroed:
                arrays[name][...] = np.zeros((), arrays[name].dtype)
            for arguments, given in _runs(step, sizes):
                kernels[step]([arrays[arguments[b]] for b in step.kernel.buffers],
                              {n: given[n] for n in step.kernel.sizes})
        elif isinstance(step, HostCall):
            call_host(step, [arrays[n] for n in step.inputs], [arrays[n] for n in step.outputs])
        elif isinstance(step, Loop):
            _loop(step, arrays, sizes, kernels)
        elif isinstance(step, Branch):
            walk(step.then if arrays[step.condition][()] else step.otherwise, arrays, sizes, kernels)
        else:
            _copy(step, arrays)


def _runs(step: Launch, sizes: Mapping[str, int]) -> list[tuple[Mapping[str, str], Mapping[str, int]]]:
    """The slots of a launch's buffers and the sizes, for each time that its kernel runs."""
    if not isinstance(step, JoinedLaunch):
        return [(step.arguments, sizes)]
    (extent,) = step.kernel.sizes
    return [(a, {extent: int(expr.evaluate(p.extent, sizes))}) for a, p in zip(step.runs, step.parts)]


def _copy(step: Copy, arrays: Arrays) -> None:
    arrays[step.target].reshape(-1)[...] = arrays[step.source].reshape(-1)


def _loop(step: Loop, arrays: Arrays, sizes: Mapping[str, int], kernels: Mapping[Launch, KernelFunction]) -> None:
    turns = int(arrays[step.trips][()]) if isinstance(step.trips, str) else step.trips
    limit = None if turns is None else int(expr.evaluate(turns, sizes))
    inner: Arrays = dict(arrays)
    lasts_in_result = 1 if step.condition or limit is None else limit
    alternating = [c for c in step.carries if not c.is_behind]
    behind = [c for c in step.carries if c.is_behind]
    inner.update({c.current: arrays[c.initial] for c in behind})
    for c in alternating:
        first, other = (c.result, c.spare) if lasts_in_result % 2 else (c.spare, c.result)
        inner[c.current], inner[c.following] = arrays[c.initial], arrays[first]
        if limit != 0 and np.may_share_memory(inner[c.current], inner[c.following]):
            arrays[other][...] = inner[c.current]
            inner[c.current] = arrays[other]
    turn = 0
    while limit is None or turn < limit:
        now = {**sizes, step.counter: turn}
        if step.condition:
            walk(step.test, inner, now, kernels)
            if not inner[step.condition][()]:
                break
        walk(step.steps, inner, now, kernels)
        inner.update({c.current: inner[c.following] for c in behind})
        for c in alternating:
            written = inner[c.following]
            inner[c.current], inner[c.following] = written, arrays[c.spare if written is arrays[c.result] else c.result]
        turn += 1
    for c in step.carries:
        if inner[c.current] is not arrays[c.result]:
            arrays[c.result][...] = inner[c.current]


def call_host(step: HostCall, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
    """Perform a host call: its inputs are read-only, its results are copied into the outputs."""
    read_only = []
    for a in inputs:
        view = a.view()
        view.flags.writeable = False
        read_only.append(view)
    results = step.function(*read_only)
    if not isinstance(results, (tuple, list)) or len(results) != len(outputs):
        raise BrazeError(f"the host call {step.name} must return {len(outputs)} arrays in a tuple, not "
                         f"{type(results).__name__}")
    made = [np.asarray(r) for r in results]
    for result, output in zip(made, outputs):                    # all are checked before one is written
        if result.shape != output.shape:
            raise BrazeError(f"the host call {step.name} returned shape {result.shape} where {output.shape} is "
                             "declared")
    for result, output in zip(made, outputs):
        output[...] = result


def numpy_kernel(source: Source, xp: Any = None, helpers: Any = None) -> KernelFunction:
    """The function of a NumPy source: its entry takes the buffers' arrays, and the sizes by keyword. `xp` may stand in
    NumPy's place, with `helpers` that compute in it.
    """
    space: dict[str, Any] = {"__name__": f"braze kernel {source.entry}"}
    exec(compile(source.text, f"<{source.entry}>", "exec"), space)
    if xp is not None:
        space.update(np=xp, bz=helpers)
    entry = space[source.entry]

    def run(arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> None:
        with np.errstate(all="ignore"):
            entry(*map(pairs, arrays), **sizes)

    return run


def pairs(a: Any) -> Any:
    """Complex numbers as kernels see them: their parts along a last dimension of 2. Other arrays as they are."""
    return a if a.dtype.kind != "c" else a.reshape(*a.shape, 1).view(a.real.dtype)


def array_at(address: int, slot: Slot, sizes: Mapping[str, int]) -> np.ndarray:
    """The memory at an address as an array of a slot's type. It is valid while that memory is."""
    shape = tuple(int(expr.evaluate(d, sizes)) for d in slot.shape)
    size = int(np.prod(shape, dtype=np.int64)) * slot.dtype.itemsize
    if size == 0:
        return np.empty(shape, slot.dtype.numpy)
    memory: Any = (ctypes.c_char * size).from_address(address)
    return np.ndarray(shape, slot.dtype.numpy, buffer=memory)
