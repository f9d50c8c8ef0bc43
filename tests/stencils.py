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
from braze.passes.launches import rename_buffers


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


# ---- fields that step together ---------------------------------------------------------------------------------------


class Fields:
    """The kernels of a turn, one after the other, on named fields: `now` of a field is read, its `next` written. What
    else is written is memory of the turn; `behind` names fields that are what another one was a turn ago.
    """

    def __init__(self, *kernels: Kernel, behind: dict[str, str] | None = None):
        self.kernels, self.behind = kernels, behind or {}
        written = {b.name: b for k in kernels for b in k.outputs}
        read = {b.name: b for k in kernels for b in k.inputs}
        self.fields = {n.removesuffix("_next"): b for n, b in written.items() if n.endswith("_next")}
        self.aside = {n: b for n, b in written.items() if not n.endswith("_next")}
        self.given = {n: b for n, b in read.items() if n not in written and n not in (*self.fields, *self.behind)}


class FieldStep:
    """Writes a kernel of a turn on arrays of a shape: `at("u", -1, 0)` is what lies above."""

    def __init__(self, shape: tuple[Dim, ...], kind: str = "f32"):
        self.k = KernelBuilder("step", dict(zip("ijklm", shape)))
        self.shape, self.kind = shape, kind
        self.position = [self.k.axis(a) for a in self.k.axes]

    def at(self, name: str, *offset: int, fill: float = 0.0, shape: tuple[Dim, ...] | None = None):
        return self.k.load(name, shape or self.shape, self.kind, [a + o for a, o in zip(self.position, offset)], fill)

    def store(self, name: str, value) -> None:
        self.k.store(name, self.shape, self.position, value)

    def rolled(self, name: str, *by: int):
        """What lies so far along the axes, whose first positions come after the last ones, as `roll` is lowered."""
        return self._rolled(name, by, [])

    def _rolled(self, name: str, by: tuple[int, ...], index: list):
        axis, k = len(index), self.k
        if axis == len(by):
            return k.load(name, self.shape, self.kind, index, 0.0)
        here, n, far = self.position[axis], self.shape[axis], by[axis]
        if far == 0:
            return self._rolled(name, by, [*index, here])
        ends = [here + far, 0 if far == 1 else n - 1 if far == -1 else here + far - (n if far > 0 else -n)]
        first, second = [self._rolled(name, by, [*index, i]) for i in (ends if far > 0 else ends[::-1])]
        return k.select(k.lt(k.index(here), n - far if far > 0 else -far), first, second)

    def around(self, name: str):
        """The sum over the neighbours."""
        total = None
        for d in range(len(self.shape)):
            for o in (-1, 1):
                x = self.at(name, *(o if e == d else 0 for e in range(len(self.shape))))
                total = x if total is None else self.k.add(total, x)
        return total

    def here(self, name: str):
        return self.at(name, *[0] * len(self.shape))


def wave(shape) -> Fields:
    """Second order in time, the field of a turn ago in the place that is overwritten."""
    s = FieldStep(shape)
    k = s.k
    s.store("u_next", k.add(k.sub(k.mul(s.here("u"), 1.5), s.here("before")), k.mul(s.around("u"), 0.125)))
    return Fields(k.build(), behind={"before": "u"})


def copied_wave(shape) -> Fields:
    """The same with the field of a turn ago copied."""
    s, copy = FieldStep(shape), FieldStep(shape)
    k = s.k
    s.store("u_next", k.add(k.sub(k.mul(s.here("u"), 1.5), s.at("before", *[1] * len(shape))),
                            k.mul(s.around("u"), 0.125)))
    copy.store("before_next", copy.here("u"))
    return Fields(copy.k.build(), k.build())


def reaction(shape) -> Fields:
    """Gray-Scott: one kernel makes two fields, with a rate for each place."""
    s = FieldStep(shape)
    k = s.k
    u, v = s.here("u"), s.here("v")
    eaten = k.mul(k.mul(u, v), k.mul(v, s.here("rate")))
    s.store("u_next", k.add(k.sub(u, eaten), k.mul(s.around("u"), 0.04)))
    s.store("v_next", k.add(k.add(k.mul(v, 0.75), eaten), k.mul(s.around("v"), 0.02)))
    return Fields(k.build())


def maxwell(shape) -> Fields:
    """Two components of a field from a third, then the third from both."""
    n, m = shape
    first, second, third = FieldStep(shape), FieldStep(shape), FieldStep(shape)
    k = first.k
    first.store("hx_next", k.sub(first.here("hx"), k.mul(k.sub(first.at("e", 0, 1), first.here("e")), 0.5)))
    k = second.k
    second.store("hy_next", k.add(second.here("hy"), k.mul(k.sub(second.at("e", 1, 0), second.here("e")), 0.5)))
    k = third.k
    curl = k.sub(k.sub(third.here("hy_next"), third.at("hy_next", -1, 0)),
                 k.sub(third.here("hx_next"), third.at("hx_next", 0, -1)))
    third.store("e_next", k.add(third.here("e"), k.mul(curl, 0.5)))
    return Fields(first.k.build(), second.k.build(), k.build())


def staggered(shape) -> Fields:
    """Fields of different sizes, in float64, that reach far to one side."""
    n, m = shape
    edges, cells = FieldStep((n, m + 1), "f64"), FieldStep(shape, "f64")
    k = edges.k
    edges.store("p_next", k.sub(edges.at("p", 0, 0), k.mul(k.sub(edges.at("q", 0, 0, shape=shape),
                                                                  edges.at("q", 0, -1, shape=shape)), 0.5)))
    k = cells.k
    ahead = cells.at("p_next", 2, 18, shape=(n, m + 1))
    cells.store("q_next", k.add(cells.here("q"), k.mul(k.sub(ahead, cells.at("p_next", 0, 0, shape=(n, m + 1))), 0.25)))
    return Fields(edges.k.build(), cells.k.build())


def relayed(shape) -> Fields:
    """A turn that makes an array for itself, read by the step after the next."""
    first, second, third = FieldStep(shape), FieldStep(shape), FieldStep(shape)
    first.store("flux", first.k.mul(first.around("u"), 0.25))
    second.store("v_next", second.k.sub(second.around("v"), second.around("flux")))
    k = third.k
    third.store("u_next", k.add(k.mul(third.here("u"), 0.5), k.mul(k.add(third.around("flux"), third.here("v_next")),
                                                                   0.0625)))
    return Fields(first.k.build(), second.k.build(), k.build())


def torus(shape) -> Fields:
    """Shallow water: three fields that step one after the other, periodic along all axes."""
    steps = [FieldStep(shape) for _ in range(3)]

    def slope(step, name: str, axis: int):
        return step.k.mul(step.k.sub(step.rolled(name, 1 - axis, axis), step.rolled(name, axis - 1, -axis)), 0.0625)

    for step, name, axis in zip(steps, ("p", "q"), (0, 1)):
        step.store(f"{name}_next", step.k.sub(step.here(name), slope(step, "h", axis)))
    last = steps[2]
    last.store("h_next", last.k.sub(last.here("h"), last.k.add(slope(last, "p_next", 0), slope(last, "q_next", 1))))
    return Fields(*(s.k.build() for s in steps))


def far_torus(shape) -> Fields:
    """Reads several rows and columns away, and along diagonals, around the ends."""
    s = FieldStep(shape)
    k = s.k
    far = k.add(k.add(s.rolled("u", 3, 0), s.rolled("u", -2, 0)), k.add(s.rolled("u", 0, 5), s.rolled("u", 0, -4)))
    below = k.add(s.rolled("u", 1, 1), s.rolled("u", 1, -3))
    above = k.add(s.rolled("u", -1, 1), s.rolled("u", -1, -1))
    s.store("u_next", k.mul(k.add(k.add(far, below), above), 0.125))
    return Fields(k.build())


def tube(shape) -> Fields:
    """Periodic along the rows alone."""
    s = FieldStep(shape)
    k = s.k
    s.store("u_next", k.mul(k.add(k.add(s.rolled("u", 1, 0), s.rolled("u", -1, 0)), k.add(s.at("u", 0, 1),
                                                                                           s.at("u", 0, -2))), 0.25))
    return Fields(k.build())


def ring(shape) -> Fields:
    """A line whose ends meet."""
    s = FieldStep(shape)
    s.store("u_next", s.k.mul(s.k.add(s.rolled("u", 3), s.rolled("u", -1)), 0.5))
    return Fields(s.k.build())


def ring_of_planes(shape) -> Fields:
    """Three axes, all periodic."""
    s = FieldStep(shape)
    total = s.here("u")
    for axis in range(3):
        ahead, behind = ([o if d == axis else 0 for d in range(3)] for o in (1, -1))
        total = s.k.add(total, s.k.add(s.rolled("u", *ahead), s.rolled("u", *behind)))
    s.store("u_next", s.k.mul(total, 0.125))
    return Fields(s.k.build())


PERIODIC: dict[str, tuple[Callable[..., Fields], tuple[tuple[int, ...], ...]]] = {
    "torus": (torus, ((64, 64), (37, 53), (101, 16), (60, 200))), "far_torus": (far_torus, ((64, 64), (90, 37))),
    "tube": (tube, ((64, 64), (37, 53), (101, 16))), "ring": (ring, ((1600,), (320,))),
    "ring_of_planes": (ring_of_planes, ((40, 7, 21), (64, 16, 16))),
}  # fmt: skip
SYSTEMS: dict[str, Callable[..., Fields]] = {
    "wave": wave, "copied_wave": copied_wave, "reaction": reaction, "maxwell": maxwell, "staggered": staggered,
    "relayed": relayed,
}  # fmt: skip


# ---- programs --------------------------------------------------------------------------------------------------------


def alone(kernel: Kernel) -> Fields:
    """A step that makes "y" from "x", as fields."""
    return Fields(rename_buffers(kernel, {**{b.name: b.name for b in kernel.inputs}, "y": "x_next"}))


def repeated(fields: Fields | Kernel, schedule: Callable[[Kernel], Schedule], trips: Dim | str) -> Program:
    """A program that applies the steps a number of times; a field's result is named as the field with `_end`. Spare and
    other memory of the turns are outputs too, so that tests own it.
    """
    fields = alone(fields) if isinstance(fields, Kernel) else fields
    slots: dict[str, Slot] = {}
    carries = []
    types = {**fields.fields, **{n: fields.fields[f] for n, f in fields.behind.items()}}
    for n, b in {**types, **fields.given}.items():
        slots[n] = Slot(n, b.shape, b.dtype, "input")
    for n, b in types.items():
        front = fields.behind.get(n)
        spare = "" if front else next((f"{a}_end" for a, of in fields.behind.items() if of == n), f"{n}_spare")
        carries.append(Carry(n, f"{n}_now", f"{front}_now" if front else f"{n}_next", f"{n}_end", spare))
        slots |= {x: Slot(x, b.shape, b.dtype, "output") for x in (f"{n}_end", spare) if x}
        slots |= {x: Slot(x, b.shape, b.dtype, "carried") for x in (f"{n}_now", f"{n}_next")}
    slots |= {n: Slot(n, b.shape, b.dtype, "output") for n, b in fields.aside.items()}
    sizes: dict[str, tuple[str, int]] = {}
    for slot in [s for s in slots.values() if s.role == "input"]:
        for d, n in enumerate(slot.shape):
            if isinstance(n, expr.Expr) and len(expr.symbols(n)) == 1 and n == expr.symbol(*expr.symbols(n), 0):
                sizes.setdefault(str(n), (slot.name, d))
    if isinstance(trips, str):
        slots[trips] = Slot(trips, (), dtype("i64"), "input")
    elif isinstance(trips, expr.Expr):
        slots["turns"] = Slot("turns", (trips,), dtype("f32"), "input")
        sizes[str(trips)] = ("turns", 0)
    steps = []
    for k in fields.kernels:
        names = {b: f"{b}_now" if b in types else b for b in k.buffers}
        steps.append(Launch(k, schedule(k), names))
    loop = Loop("turn", trips, tuple(carries), tuple(steps))
    inputs = tuple(n for n, s in slots.items() if s.role == "input")
    outputs = tuple(n for n, s in slots.items() if s.role == "output")
    return Program("repeated", slots, (loop,), inputs, outputs, sizes)


def inputs(program: Program, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Arrays for a program: zeros and ones for whole numbers, else normal ones."""
    random = np.random.default_rng(0)
    out = {}
    for b in (program.slots[n] for n in program.inputs):
        shape = tuple(int(expr.evaluate(n, sizes)) for n in b.shape)
        out[b.name] = random.integers(0, 2, shape).astype(b.dtype.numpy) if b.dtype.is_integer else (
            random.standard_normal(shape).astype(b.dtype.numpy))
    return out


def stepped(fields: Fields | Kernel, arrays: dict[str, np.ndarray], trips: int,
            sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The definition of the steps, applied again and again, in the arrays' own dtypes: what each field is then."""
    fields = alone(fields) if isinstance(fields, Kernel) else fields
    now = dict(arrays)
    for turn in range(trips):
        made = dict(now)
        with np.errstate(all="ignore"):
            for k in fields.kernels:
                made |= kernel_eval.evaluate(k, {b.name: made[b.name] for b in k.inputs}, {**sizes, "turn": turn})
        now = {**now, **{n: made[f"{n}_next"] for n in fields.fields},
               **{n: now[front] for n, front in fields.behind.items()}}
    return {n: now[n] for n in (*fields.fields, *fields.behind)}
