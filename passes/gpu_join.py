"""Equal elementwise kernels on different memory become one launch on a GPU: the updates of an optimiser over many
parameters, the casts of a model's weights. A small launch costs what it takes to launch it.

A kernel is written anew for one flat axis of any extent, so that arrays of different shapes meet. What is joined runs
where the first of it ran, or as soon after as it may, so that memory may be held for longer; only as much is joined as
leaves the arena of the temporaries about as large as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..ir import expr
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget
from ..ir.gpu_tiled import Tiled
from ..ir.kernel import FOLDS, Kernel, KernelBuilder, Store, Value
from ..ir.program import Branch, JoinedLaunch, Launch, Loop, Part, Slot, Step
from .dependences import Dependences
from .gpu_schedule import joined_schedule
from .launches import structure, with_local_names
from .memory_plan import reads_and_writes, regions, usual_bytes
from .split import Copy
from .walks import address

LEAST = 4                        # launches: fewer are not worth a table of addresses
MOST_HELD = 8 << 20              # bytes of a launch's temporaries: more is better used while it is in the cache
GROWTH = 1 / 32                  # of the arena, at most
LITTLE = 1 << 20                 # bytes by which it may grow in any case
SHORT = 1 << 30                  # positions that 32 bits count with room to spare

Group = tuple[int, ...]


def join_launches(steps: tuple[Step, ...], slots: Mapping[str, Slot], donated: Mapping[str, str], target: GpuTarget,
                  hints: Mapping[str, int]) -> tuple[Step, ...]:
    """The steps with equal elementwise launches joined, those inside loops and branches too. `donated` says which
    input's memory an output is to be written into; `hints` are usual values of symbolic sizes.
    """
    def joined(region: tuple[Step, ...], is_inside: bool = True) -> tuple[Step, ...]:
        inner = tuple([with_joined_regions(s) for s in region])
        return _Joiner(inner, slots, donated, target, hints, is_inside).steps()

    def with_joined_regions(step: Step) -> Step:
        if isinstance(step, Loop):
            return replace(step, steps=joined(step.steps), test=joined(step.test))
        if isinstance(step, Branch):
            return replace(step, then=joined(step.then), otherwise=joined(step.otherwise))
        return step

    return joined(steps, is_inside=False)


# ---- kernels for any part --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Flat:
    """An elementwise kernel for a flat axis of any extent, which of the `given` kernel's buffers each of its buffers
    was, and what is equal for kernels that differ in nothing but their name.
    """

    kernel: Kernel
    given: Mapping[str, str]
    structure: Any


def flattened(kernel: Kernel, most: int | None = SHORT) -> Flat | None:
    """The kernel for any extent (up to the `most`); None where it is not elementwise, or says more of its extent than
    how far it goes.
    """
    extent = expr.product(kernel.axes.values())
    is_one = extent == 1
    if extent == 0 or not is_one and len(kernel.axes) != 1 or any(v.op in FOLDS for v in kernel.values):
        return None
    accesses: list[Value | Store] = [*(v for v in kernel.values if v.op == "load"), *kernel.stores]
    if not all(_is_whole(kernel, x, extent) or _is_number(kernel, x) for x in accesses):
        return None
    n = expr.symbol("n", 0, most)
    k = KernelBuilder(kernel.name, {"i": n})
    copy = _Copy(kernel, k, {a: 0 if is_one else k.axis("i") for a in kernel.axes}, n)
    for s in kernel.stores:
        k.store(s.buffer, (n,), [k.axis("i")], copy.value(s.value))
    made, given = with_local_names(k.build(kernel.origin))
    return Flat(made, given, structure(made)[1:]) if made.sizes == ("n",) else None


class _Copy(Copy):
    """Values made again on the flat axis `i` of extent n. Of a kernel with one position all loads are along it."""

    def __init__(self, kernel: Kernel, k: KernelBuilder, positions: dict[str, Dim], extent: Dim):
        super().__init__(kernel, k, positions, ragged=False)
        self.extent, self.is_one = extent, expr.product(kernel.axes.values()) == 1

    def _again(self, v: Value) -> Value:
        if v.op != "load":
            return super()._again(v)
        if v.axes or self.is_one:
            return self.k.load(v.buffer, (self.extent,), v.dtype, [self.k.axis("i")])
        return self.k.load(v.buffer, (), v.dtype, [])


def _is_whole(kernel: Kernel, x: Value | Store, extent: Dim) -> bool:
    """Does it run through its whole buffer, element by element?"""
    if isinstance(x, Value) and x.fill is not None or isinstance(x, Store) and x.mode != "set":
        return False
    buffer = kernel.buffers[x.buffer]
    at: Dim = 0 if extent == 1 else kernel.axis(next(iter(kernel.axes)))
    return expr.product(buffer.shape) == extent and address(buffer, x.index) == at


def _is_number(kernel: Kernel, x: Value | Store) -> bool:
    """Does it read the same number for all elements?"""
    return (isinstance(x, Value) and not x.axes and x.fill is None
            and expr.product(kernel.buffers[x.buffer].shape) == 1)


# ---- which are joined ------------------------------------------------------------------------------------------------


class _Joiner:
    """The steps of a program, or of a region `inside` it, whose temporaries all live as long as it does."""

    def __init__(self, steps: tuple[Step, ...], slots: Mapping[str, Slot], donated: Mapping[str, str],
                 target: GpuTarget, hints: Mapping[str, int], is_inside: bool):
        self.given, self.slots, self.donated, self.target, self.hints = steps, slots, donated, target, hints
        self.is_inside = is_inside
        self.flat: dict[tuple[int, int], Flat | None] = {}
        self.held = [self._temporaries(s) for s in steps]

    def steps(self) -> tuple[Step, ...]:
        """The steps with those joined that may be."""
        kinds = self._kinds()
        if not kinds:
            return self.given
        dependences = Dependences(self.given, self.donated)
        accepted: list[Group] = []
        arena = self._arena(dependences.order(()))
        limit = max((1 + GROWTH) * arena, arena + LITTLE)
        for members in kinds:
            while len(members) >= LEAST:
                free = dependences.free(members)
                members = [n for n in members if n not in free]
                group = self._within(limit, dependences, accepted, free)
                if group:
                    dependences.merge(group)
                    accepted.append(group)
        return tuple([self._launch(node) if len(node) > 1 else self.given[node[0]]
                      for node in dependences.order(accepted)])

    def _kinds(self) -> list[list[int]]:
        """Steps whose kernels are equal on flat axes, where there are enough of them."""
        kinds: dict[Any, list[int]] = {}
        for n, step in enumerate(self.given):
            flat = self._flat(step) if isinstance(step, Launch) and self._bytes(n) <= MOST_HELD else None
            if flat is not None:
                kinds.setdefault(flat.structure, []).append(n)
        return [members for members in kinds.values() if len(members) >= LEAST]

    def _flat(self, launch: Launch) -> Flat | None:
        """Its kernel for any extent; None where it is not to be joined."""
        kernel = launch.kernel
        if launch.zeroed or not isinstance(launch.schedule, Tiled):
            return None
        if self.is_inside and not all(map(expr.is_static, kernel.axes.values())):        # by turns, perhaps
            return None
        key = id(kernel.values), id(kernel.stores)                       # launches of equal kernels share them
        if key not in self.flat:
            self.flat[key] = flattened(kernel)
        return self.flat[key]

    # ---- memory

    def _temporaries(self, step: Step) -> list[Slot]:
        """The temporaries that a step touches."""
        names = dict.fromkeys(name for names in reads_and_writes(step) for name in names)
        return [s for n in names if (s := self.slots.get(n)) is not None and s.role == "temporary"]

    def _bytes(self, n: int) -> int:
        return sum(usual_bytes(s, self.hints) for s in self.held[n])

    def _within(self, limit: float, dependences: Dependences, accepted: Sequence[Group], members: Group) -> Group:
        """As many of these as do not hold too much; none where these are too few."""
        while len(members) >= LEAST:
            if self.is_inside or self._arena(dependences.order([*accepted, members])) <= limit:
                return members
            members = tuple(sorted(sorted(members, key=self._bytes)[:len(members) // 2]))
        return ()

    def _arena(self, order: Sequence[Group]) -> int:
        """The bytes that the temporaries take in an order."""
        alive: dict[str, tuple[int, int]] = {}
        slots: dict[str, Slot] = {}
        for position, node in enumerate(order):
            for s in (s for n in node for s in self.held[n]):
                alive[s.name], slots[s.name] = (alive.get(s.name, (position,))[0], position), s
        shared = regions(list(slots.values()), alive, self.hints)
        return sum(max(usual_bytes(s, self.hints) for s in held) for held in shared)

    # ---- the launch

    def _launch(self, members: Group) -> JoinedLaunch:
        launches = [s for n in members if isinstance(s := self.given[n], Launch)]
        flats = [flat for s in launches if (flat := self._flat(s)) is not None]
        extents = [expr.product(s.kernel.axes.values()) for s in launches]
        slots = [{b: s.arguments[old] for b, old in f.given.items()} for s, f in zip(launches, flats)]
        kernel = flats[0].kernel
        if not all(expr.is_less_equal(p, SHORT) for p in extents) and (wide := flattened(launches[0].kernel, None)):
            kernel = wide.kernel
        kernel = replace(kernel, origin=tuple(dict.fromkeys(o for s in launches for o in s.kernel.origin)))
        shared = tuple(b.name for b in kernel.inputs if not b.shape and len({a[b.name] for a in slots}) == 1)
        parts = tuple(Part({b: slot for b, slot in a.items() if b not in shared}, n) for a, n in zip(slots, extents))
        schedule = joined_schedule(kernel, self.target, extents, shared)
        launch = JoinedLaunch(kernel, schedule, {b: slots[0][b] for b in shared}, parts=parts)
        launch.check()
        return launch
