"""The road from a traced graph to an executable, with every station kept: `history` is the compiler's history as a
value.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from ..ir.configuration import configuration
from ..ir.errors import CompileError
from ..ir.graph import Graph
from ..ir.interpreter import interpreting
from ..ir.program import Launch, Program, walk
from ..ir.schedule import Serial, Source
from ..ir.text import print_graph
from .devices import hardware
from .modes import product_precision

BACKENDS = ("auto", "llvm", "numpy", "triton")


@dataclass
class Stages:
    """What one graph became: (pass, milliseconds, object) in order, and the executable that runs.

    Of a program that was found on disk there is only the executable: the passes run when somebody wants to see what
    they give.
    """

    history: list[tuple[str, float, Any]] = field(default_factory=list)
    executable: Any = None
    again: Callable[[], Stages] | None = None
    emitted: Any = None                       # the executable with the sources' texts, where that is another one

    def run(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Run a pass and remember its result."""
        begin = time.perf_counter()
        result = function(*args)
        self.history.append((name, 1e3 * (time.perf_counter() - begin), result))
        return result

    @property
    def shown(self) -> Stages:
        """These stages with all that the passes gave."""
        if self.again is not None:
            full = self.again()
            self.history, self.again = [*full.history, *self.history], None
            self.emitted = full.executable
        return self

    def named(self, name: str) -> Any:
        """The object after a pass."""
        return next(x for n, _, x in reversed(self.shown.history) if n == name)

    @property
    def program(self) -> Program:
        """The program that runs."""
        return self.executable.program

    @property
    def sources(self) -> str:
        """The generated source of all kernels, equal ones once."""
        emitted = self.shown.emitted or self.executable
        seen: dict[str, None] = {}
        for step in walk(emitted.program.steps):
            if isinstance(step, Launch):
                seen |= dict.fromkeys(source.text for source in emitted.sources[step].chain)
        return "\n\n".join(seen)


def lower(graph: Graph, backend: str, donated: Mapping[int, int], hints: Mapping[str, int], device: str = "cpu",
          mode: str = "default") -> Stages:
    """The stages of a graph: found on disk, or compiled and kept there."""
    target = target_for(backend, device)
    is_plain = device == "cpu" and target.triple == ""
    if is_plain or not configuration.cache_directory or configuration.dump_directory:
        return compile_graph(graph, backend, donated, hints, device, mode, target)
    decided = (backend, target, mode, sorted(donated.items()), sorted(hints.items()))
    key, restore, save = _store(device, mode)
    entry = key(print_graph(graph, locations=False), *map(repr, decided))
    stages = Stages(again=lambda: compile_graph(graph, backend, donated, hints, device, mode, target))
    stages.executable = stages.run("restore", restore, entry)
    if stages.executable is None:
        stages = compile_graph(graph, backend, donated, hints, device, mode, target)
        save(entry, stages.executable)
    return stages


def _store(device: str, mode: str) -> tuple[Callable[..., str], Callable[[str], Any], Callable[[str, Any], bool]]:
    """Where programs are kept between processes: functions for the key, to find and to keep."""
    from ..runtime import program_store

    if device == "cpu":
        return program_store.key, program_store.restore, program_store.save
    from ..runtime import device_store

    machine = hardware(device)
    return program_store.device_key, lambda entry: device_store.restore(entry, machine, mode), device_store.save


def arrangement(target: Any) -> Callable[[Graph], Graph]:
    """What takes products out of loops for a target, lays out what the others read, cuts convolutions in phases, and
    has values of all pairs computed again.
    """
    from ..ir.target import Target
    from ..passes.hoist import hoist_products
    from ..passes.pairs import recompute_pairs
    from ..passes.panels import arrange_loops
    from ..passes.phases import split_phases

    if not isinstance(target, Target):
        return hoist_products
    return lambda graph: recompute_pairs(arrange_loops(split_phases(graph)))


def compile_graph(graph: Graph, backend: str, donated: Mapping[int, int], hints: Mapping[str, int],
                  device: str = "cpu", mode: str = "default", target: Any = None) -> Stages:
    """Differentiate, simplify, fuse, schedule, emit, load. The `target` is that of the device unless it is given."""
    stages = Stages()
    target = target or target_for(backend, device)
    if device != "cpu":
        hardware(device).expect_kernels()
    with interpreting(None):
        program = fuse_graph(stages, graph, target, donated, hints)
        emit = _emitter(backend, target, device)
        if mode == "max-autotune" and (device != "cpu" or target.triple):
            from .autotune import autotune

            machine = None if device == "cpu" else hardware(device)
            program = stages.run("tuned", autotune, program, target, emit, hints, machine).program
        stages.executable = stages.run("load", _load, program, emit, device, mode)
    if configuration.dump_directory:
        dump(graph.name, stages)
    return stages


def fuse_graph(stages: Stages, graph: Graph, target: Any, donated: Mapping[int, int],
               hints: Mapping[str, int]) -> Program:
    """Differentiate, simplify, fuse, schedule: all that needs no machine."""
    from ..passes.assemble import assemble
    from ..passes.autodiff import expand_gradients
    from ..passes.flatten import flatten_products
    from ..passes.row_sums import shorten_row_sums
    from ..passes.simplify import simplify, strip_markers
    from ..passes.spread import narrow_views
    from ..passes.take_apart import take_apart

    stages.run("graph", lambda: graph)
    joint = stages.run("joint", expand_gradients, graph)
    stripped = take_apart(strip_markers(joint))
    arrange = arrangement(target)
    optimized = stages.run("optimized", lambda: arrange(narrow_views(
        flatten_products(shorten_row_sums(simplify(stripped))))))
    return stages.run("fused", assemble, optimized, target, donated, hints)


_dumps = count()


def dump(name: str, stages: Stages) -> None:
    """Write every stage into a folder of its own under the configured one: graph.ir, joint.ir, optimized.ir, fused.ir,
    source.
    """
    folder = Path(configuration.dump_directory) / f"{next(_dumps):03d}-{re.sub('[^A-Za-z0-9_]+', '_', name)}"
    folder.mkdir(parents=True, exist_ok=True)
    for stage in ("graph", "joint", "optimized", "fused"):
        (folder / f"{stage}.ir").write_text(f"{stages.named(stage)}\n")
    (folder / "source.txt").write_text(stages.sources + "\n")
    times = [f"{pass_name:12}{ms:10.2f} ms" for pass_name, ms, _ in stages.history]
    (folder / "times.txt").write_text("\n".join(times) + "\n")


def target_for(backend: str, device: str = "cpu") -> Any:
    """The machine that a back end compiles for: a `Target`, or the `GpuTarget` of a device."""
    from ..ir.target import Target

    if backend not in BACKENDS:
        raise CompileError(f"there is no back end {backend!r}; use one of {', '.join(BACKENDS)}")
    if device != "cpu":
        return _device_target(backend, device)
    if backend == "triton":
        raise CompileError("the back end 'triton' is for tensors on a GPU, and these are on the CPU: move them there, "
                           "x.to('cuda') (BRAZE_TRITON_INTERPRET=1 simulates one)")
    if backend == "numpy":
        return Target()
    from ..runtime.machine import host

    return host()


def _device_target(backend: str, device: str) -> Any:
    if backend not in ("auto", "triton"):
        raise CompileError(f"the back end {backend!r} is for tensors on the CPU, and these are on {device}: leave "
                           "`backend` out, or move them, x.cpu()")
    return replace(hardware(device).target, precision=product_precision())


def _emitter(backend: str, target: Any, device: str) -> Callable[[Any, Any], Source]:
    """What prints the source of a kernel by a schedule. What a GPU has no schedule for is NumPy source there too."""
    from ..codegen.numpy import emit as emit_numpy

    if device != "cpu":
        from ..codegen.triton import emit as emit_triton

        return lambda kernel, schedule: (emit_numpy(kernel) if isinstance(schedule, Serial)
                                         else emit_triton(kernel, schedule, target))
    if backend == "numpy":
        return lambda kernel, schedule: emit_numpy(kernel)
    from ..codegen.llvm import emit as emit_llvm

    return lambda kernel, schedule: emit_llvm(kernel, schedule, target)


def _load(program: Program, emit: Callable[[Any, Any], Source], device: str, mode: str) -> Any:
    if device != "cpu":
        from ..runtime import devices

        return devices.load(program, emit, hardware(device), mode)
    from ..runtime.executable import load

    return load(program, emit)
