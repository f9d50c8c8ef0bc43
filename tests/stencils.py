"""Steps of loops that read their own array around the place they write, and programs that repeat them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from braze.ir import expr, kernel_eval
from braze.ir.expr import Dim
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.program import Carry, Launch, Loop, Program, Slot
from braze.ir.schedule import Schedule
from braze.ir.types import dtype


class Step:
    """Writes a kernel that makes the array `y` of a shape from `x`: `u(-1, 0)` is what lies above."""

    def __init__(self, shape: tuple[Dim, ...], kind: str = "f32", fill: float | None = 0):
        self.k = KernelBuilder("step", dict(zip("ijklm", shape)))
        self.shape, self.kind, self.fill = shape, kind, fill
        self.at = [self.k.axis(a) for a in self.k.axes]

    def __call__(self, *offset: int):
        return self.k.load("x", self.shape, self.kind, [a + o for a, o in zip(self.at, offset)],
                           self.fill if any(offset) else None)

    def inside(self, reach: int):
        """Is the place so far from all edges?"""
        held = None
        for a, n in zip(self.at, self.shape):
            size = self.k.index(n) if isinstance(n, expr.Expr) else n
            for test in (self.k.ge(self.k.index(a - reach), 0), self.k.lt(self.k.index(a + reach), size)):
                held = test if held is None else self.k.and_(held, test)
        return held

    def made(self, value) -> Kernel:
        self.k.store("y", self.shape, self.at, value)
        return self.k.build()


def five(shape, fill=0.0):
    u = Step(shape, fill=fill)
    k = u.k
    return u.made(k.mul(k.add(k.add(k.add(u(-1, 0), u(1, 0)), u(0, -1)), u(0, 1)), 0.25))


def plate(shape):
    """The border keeps its temperature."""
    u = Step(shape)
    k = u.k
    around = k.sub(k.add(k.add(u(-1, 0), u(1, 0)), k.add(u(0, -1), u(0, 1))), k.mul(u(0, 0), 4.0))
    return u.made(k.add(u(0, 0), k.mul(k.select(u.inside(1), around, k.constant(0.0, dtype("f32"))), 0.2)))


def nine(shape):
    u = Step(shape, "f64")
    k = u.k
    total = u(0, 0)
    for offset in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        total = k.add(total, u(*offset))
    return u.made(k.mul(total, 1 / 9))


def leaning(shape):
    """Reads up, and far to the right."""
    u = Step(shape, fill=-1.5)
    return u.made(u.k.add(u.k.mul(u(-2, 3), 0.5), u.k.mul(u(0, 19), 0.25)))


def wide(shape):
    u = Step(shape)
    k = u.k
    near = k.add(k.add(u(-1, 0), u(1, 0)), k.add(u(0, -1), u(0, 1)))
    far = k.add(k.add(u(-2, 0), u(2, 0)), k.add(u(0, -2), u(0, 2)))
    return u.made(k.select(u.inside(2), k.sub(k.mul(near, 0.3125), k.mul(far, 0.0625)), u(0, 0)))


def rows_only(shape):
    u = Step(shape)
    return u.made(u.k.mul(u.k.add(u(-1, 0), u(1, 0)), 0.5))


def columns_only(shape):
    u = Step(shape)
    return u.made(u.k.mul(u.k.add(u(0, -1), u(0, 1)), 0.5))


def driven(shape):
    """With a field that does not change, and a number for each turn."""
    u = Step(shape)
    k = u.k
    field = k.load("field", shape, "f32", u.at)
    pulse = k.load("pulse", (64,), "f32", (expr.symbol("turn", 0, 63),))
    return u.made(k.add(k.mul(k.add(u(-1, 0), u(0, 1)), field), pulse))


def life(shape):
    """Whole numbers, and a choice by value."""
    u = Step(shape, "i32")
    k = u.k
    alive = k.add(k.add(k.add(u(-1, -1), u(-1, 0)), k.add(u(-1, 1), u(0, -1))),
                  k.add(k.add(u(0, 1), u(1, -1)), k.add(u(1, 0), u(1, 1))))
    born, stays = k.eq(alive, 3), k.and_(k.eq(alive, 2), k.eq(u(0, 0), 1))
    return u.made(k.select(k.or_(born, stays), k.constant(1, dtype("i32")), k.constant(0, dtype("i32"))))


def line(shape):
    u = Step(shape, fill=0.5)
    return u.made(u.k.sub(u.k.mul(u.k.add(u(-1), u(1)), 0.5), u.k.mul(u(0), 0.125)))


def far_line(shape):
    u = Step(shape)
    return u.made(u.k.mul(u.k.add(u(-17), u(3)), 0.5))


def map_of_points(shape):
    u = Step(shape)
    return u.made(u.k.mul(u.k.mul(u(0), 3.5), u.k.sub(u.k.constant(1.0, dtype("f32")), u(0))))


def cube(shape):
    u = Step(shape)
    k = u.k
    total = k.add(k.add(k.add(u(-1, 0, 0), u(1, 0, 0)), k.add(u(0, -1, 0), u(0, 1, 0))), k.add(u(0, 0, -1), u(0, 0, 1)))
    return u.made(k.select(u.inside(1), k.mul(total, 1 / 6), u(0, 0, 0)))


PLANE: dict[str, Callable[..., Kernel]] = {
    "five": five, "filled": lambda shape: five(shape, 3.0), "plate": plate, "nine": nine, "leaning": leaning,
    "wide": wide, "rows_only": rows_only, "columns_only": columns_only, "driven": driven, "life": life,
}  # fmt: skip
LINE: dict[str, Callable[..., Kernel]] = {"line": line, "far_line": far_line, "map_of_points": map_of_points}
SPACE: dict[str, Callable[..., Kernel]] = {"cube": cube}
ALL = {**PLANE, **LINE, **SPACE}


def repeated(kernel: Kernel, schedule: Schedule, trips: Dim | str) -> Program:
    """A program that applies a step to "x" a number of times. The spare array is an output too, so that tests own its
    memory.
    """
    made = kernel.buffers["y"]
    slots = {b.name: Slot(b.name, b.shape, b.dtype, "input") for b in kernel.inputs}
    slots |= {n: Slot(n, made.shape, made.dtype, "output") for n in ("y", "spare")}
    slots |= {n: Slot(n, made.shape, made.dtype, "carried") for n in ("now", "then")}
    sizes = {}
    for b in kernel.inputs:
        for d, n in enumerate(b.shape):
            for name in expr.symbols(n):
                sizes.setdefault(name, (b.name, d))
    if isinstance(trips, str):
        slots[trips] = Slot(trips, (), dtype("i64"), "input")
    elif isinstance(trips, expr.Expr):
        slots["turns"] = Slot("turns", (trips,), dtype("f32"), "input")
        sizes[str(trips)] = ("turns", 0)
    launch = Launch(kernel, schedule, {**{b.name: b.name for b in kernel.inputs}, "x": "now", "y": "then"})
    loop = Loop("turn", trips, (Carry("x", "now", "then", "y", "spare"),), (launch,))
    inputs = tuple(n for n, s in slots.items() if s.role == "input")
    return Program("repeated", slots, (loop,), inputs, ("y", "spare"), sizes)


def inputs(kernel: Kernel, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Arrays for a step: zeros and ones for whole numbers, else normal ones."""
    random = np.random.default_rng(0)
    out = {}
    for b in kernel.inputs:
        shape = tuple(int(expr.evaluate(n, sizes)) for n in b.shape)
        out[b.name] = random.integers(0, 2, shape).astype(b.dtype.numpy) if b.dtype.is_integer else (
            random.standard_normal(shape).astype(b.dtype.numpy))
    return out


def stepped(kernel: Kernel, arrays: dict[str, np.ndarray], trips: int, sizes: dict[str, int]) -> np.ndarray:
    """The definition of the step, applied again and again, in the arrays' own dtypes."""
    x = arrays["x"]
    for turn in range(trips):
        with np.errstate(all="ignore"):
            x = kernel_eval.evaluate(kernel, {**arrays, "x": x}, {**sizes, "turn": turn})["y"]
    return x
