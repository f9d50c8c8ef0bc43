"""The programs of the GPU's benchmark, planned for any device without one: traced on made-up inputs, differentiated,
fused and scheduled, each kernel once.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import Any

import braze
import numpy as np
import pytest
from braze.codegen.triton import emit
from braze.ir.gpu import GpuTarget
from braze.ir.kernel import Kernel
from braze.ir.program import Launch, walk
from braze.ir.schedule import Schedule, Source
from braze.tracer import pipeline, specialise

sys.path.append(str(Path(__file__).resolve().parents[3] / "bench"))

from gpu_workloads import GpuWorkload, workloads  # noqa: E402

NAMES = tuple(workloads(tiny=False))


class _Zeros:
    """A generator of random numbers for inputs that nobody reads."""

    def standard_normal(self, shape: Any, dtype: Any = np.float64) -> np.ndarray:
        return np.zeros(shape, dtype)

    def random(self, shape: Any, dtype: Any = np.float64) -> np.ndarray:
        return np.zeros(shape, dtype)

    def integers(self, low: int, high: int, shape: Any, **options: Any) -> np.ndarray:
        return np.zeros(shape, options.get("dtype", np.int64))


class _Traced(Exception):
    """A function was traced: what is to be lowered."""


@functools.cache
def graph_of(name: str) -> Any:
    """(graph, donated outputs, sizes) of a workload: its one compilation, caught before anything is planned or run."""
    def caught(graph: Any, backend: str, donated: Any, hints: Any, *more: Any) -> Any:
        raise _Traced(graph, donated, hints)

    workload = workloads(tiny=False)[name]
    inputs = [_tensor(a, workload) for a in workload.base.inputs(_Zeros())]           # type: ignore[arg-type]
    run = workload.call("braze", braze, lambda program, **options: braze.compile(program), inputs)
    mixed = braze.autocast(braze.bfloat16) if workload.autocast else contextlib.nullcontext()
    with pytest.MonkeyPatch.context() as patched, mixed:
        patched.setattr(specialise, "lower", caught)
        try:
            run(inputs)
        except _Traced as found:
            return found.args
    raise AssertionError(f"{name} compiled nothing")


def _tensor(array: np.ndarray, workload: GpuWorkload) -> braze.Tensor:
    if array.dtype.kind != "f":
        return braze.tensor(array)
    return braze.zeros(*array.shape, dtype=getattr(braze, workload.dtype))


def kernels(name: str, target: GpuTarget) -> list[tuple[Kernel, Schedule, Source]]:
    """The kernels of a workload on a device, those with the same text once."""
    graph, donated, hints = graph_of(name)
    program = pipeline.fuse_graph(pipeline.Stages(), graph, target, donated, hints)
    found = {}
    for step in walk(program.steps):
        if isinstance(step, Launch):
            source = emit(step.kernel, step.schedule, target)
            found.setdefault((source.text, source.facts["arguments"]), (step.kernel, step.schedule, source))
    return list(found.values())
