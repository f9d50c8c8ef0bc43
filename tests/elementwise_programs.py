"""Programs of elementwise launches on arrays of several shapes, planned for a GPU, with and without equal ones joined;
and what they give by `ir/kernel_eval.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from braze.codegen.numpy import emit as emit_numpy
from braze.ir import expr, kernel_eval
from braze.ir.gpu import GpuTarget
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.program import JoinedLaunch, Launch, Program, Slot, Step, walk
from braze.ir.types import bfloat16, dtype
from braze.passes.gpu_join import join_launches
from braze.passes.launches import Launcher
from braze.passes.memory_plan import plan_arena, taken_inputs
from braze.runtime import executable

TARGET = GpuTarget()


def scaled(k, x, s):
    """By a number, which is shared or not; and one more."""
    return k.add(k.mul(x, s), 1.0)


def difference(k, x, y):
    """Of two arrays."""
    return k.sub(x, y)


def doubled(k, x):
    """Of one array."""
    return k.add(x, x)


def narrowed(k, x):
    """In 16 bits."""
    return k.cast(x, bfloat16)


class Elementwise:
    """Collects slots and launches."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.steps: list[Step] = []
        self.launcher = Launcher(TARGET, lambda b: self.slot(f"t{len(self.slots)}", b.shape, "temporary", b.dtype.name))

    def slot(self, name: str, shape: Sequence[Any], role: str, d: str = "f32") -> str:
        """A new slot; its name."""
        self.slots[name] = Slot(name, tuple(shape), dtype(d), role)
        return name

    def kernel(self, formula: Callable[..., Any], target: str, *operands: str) -> Kernel:
        """target = formula(operands): along all dimensions of the target, numbers being read by all."""
        out = self.slots[target]
        k = KernelBuilder(formula.__name__, {"ijkl"[d]: n for d, n in enumerate(out.shape)})
        index = [k.axis(a) for a in k.axes]
        loads = [k.load(name, s.shape, s.dtype, index if s.shape else []) for name in operands
                 for s in (self.slots[name],)]
        k.store(target, out.shape, index, formula(k, *loads))
        return k.build()

    def run(self, formula: Callable[..., Any], target: str, *operands: str) -> None:
        """A further launch."""
        self.steps += self.launcher.launches(self.kernel(formula, target, *operands))

    def program(self, donated: Mapping[str, str] | None = None, is_joined: bool = True,
                sizes: Mapping[str, tuple[str, int]] | None = None) -> Program:
        """The program, with equal launches joined or as they are."""
        steps = tuple(self.steps)
        if is_joined:
            steps = join_launches(steps, self.slots, donated or {}, TARGET, {})
        slots, arena = plan_arena(self.slots, steps, {})
        slots = taken_inputs(slots, steps, donated or {})
        inputs, outputs = (tuple(n for n, s in slots.items() if s.role == role) for role in ("input", "output"))
        return Program("p", slots, steps, inputs, outputs, sizes or {}, arena)


def joined(program: Program) -> list[JoinedLaunch]:
    """Its joined launches."""
    return [s for s in walk(program.steps) if isinstance(s, JoinedLaunch)]


def launches(program: Program) -> list[Launch]:
    """All its launches."""
    return [s for s in walk(program.steps) if isinstance(s, Launch)]


def evaluated(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a program gives, its kernels being evaluated by `kernel_eval`."""
    def function(kernel: Kernel):
        def run(arrays, sizes) -> None:
            shapes = [tuple(int(expr.evaluate(d, sizes)) for d in b.shape) for b in kernel.buffers.values()]
            given = {name: a.reshape(s) for name, a, s in zip(kernel.buffers, arrays, shapes)}
            for name, result in kernel_eval.evaluate(kernel, given, sizes).items():
                given[name][...] = result
        return run

    loaded = executable.load(program, lambda kernel, schedule: emit_numpy(kernel))
    return loaded.walk(inputs, {s: function(s.kernel) for s in loaded.sources})


def filled(program: Program, seed: int = 0, sizes: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """Inputs of whole numbers, which all formulas compute exactly."""
    random = np.random.default_rng(seed)
    shapes = [tuple(int(expr.evaluate(d, sizes or {})) for d in program.slots[n].shape) for n in program.inputs]
    return [np.asarray(random.integers(-4, 5, s)).astype(program.slots[n].dtype.numpy)
            for s, n in zip(shapes, program.inputs)]


def random_program(random: np.random.Generator, steps: int = 24) -> tuple[Elementwise, dict[str, str]]:
    """Launches in some order on arrays of a few shapes, that read what stands before them; and which inputs outputs
    are to be written into.
    """
    e = Elementwise()
    shapes = [(12,), (3, 4), (2, 3, 2), (5,), (300,)]
    there: dict[tuple[int, ...], list[str]] = {}
    for n, shape in enumerate(shapes * 2):
        there.setdefault(shape, []).append(e.slot(f"x{n}", shape, "input"))
    numbers = [e.slot(f"s{n}", (), "input") for n in range(2)]
    donated: dict[str, str] = {}
    for n in range(steps):
        shape = shapes[random.integers(len(shapes))]
        formula = (scaled, scaled, difference, doubled)[random.integers(4)]
        role = "output" if random.random() < 0.4 else "temporary"
        operands = [str(random.choice(there[shape]))]
        if formula is scaled:
            operands.append(str(random.choice(numbers)))
        if formula is difference:
            operands.append(str(random.choice(there[shape])))
        target = e.slot(f"{'y' if role == 'output' else 't'}{n}", shape, role)
        free = [x for x in there[shape] if e.slots[x].role == "input" and x not in donated.values()]
        if role == "output" and free and random.random() < 0.7:
            donated[target] = str(random.choice(free))
        e.run(formula, target, *operands)
        there[shape].append(target)
    for shape, names in there.items():                   # all temporaries are read
        e.run(difference, e.slot(f"last{shape}", shape, "output"), names[-1], names[-2])
    return e, donated

