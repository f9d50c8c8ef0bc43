"""From a group of nodes to a kernel: nodes become kernel values on demand, views become index expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir import expr
from ..ir.expr import Dim, Expr
from ..ir.graph import Node, Value
from ..ir.kernel import Kernel, KernelBuilder
from ..ir.kernel import Value as KernelValue
from ..ir.ops.namespace import F
from ..ir.ops.parts import part_dtype
from ..ir.ops.views import flat_index
from ..ir.types import DType, accumulator
from .fuse import Fusion, Group
from .outside import is_outside

AXIS_NAMES = "ijklmnopqrstuvw"
DEEPEST = 24                         # values under each other that are lowered by recursion


@dataclass(frozen=True)
class Place:
    """Where a value lives: a slot, leading index entries when it is one element of a stacked sequence, and the order of
    its dimensions where it is not the value's own.
    """

    slot: str
    shape: tuple[Dim, ...]               # of the whole slot
    dtype: DType
    prefix: tuple[Dim, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Is it a slot as it is?"""
        return not self.prefix and not self.order

    def at(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """Where in the slot an element of the value is."""
        return (*self.prefix, *([index[d] for d in self.order] if self.order else index))

    def load(self, k: KernelBuilder, index: Sequence[Any], fill: Any, part: Any = 0) -> KernelValue:
        """An element of the value, or a part of it: complex numbers lie in memory as pairs."""
        if self.dtype.kind != "c":
            return k.load(self.slot, self.shape, self.dtype, self.at(index), fill)
        return k.load(self.slot, (*self.shape, 2), part_dtype(self.dtype), (*self.at(index), part), fill)

    def store(self, k: KernelBuilder, index: Sequence[Any], *values: KernelValue, mode: str = "set") -> None:
        """An element of the value: its one number, or its two parts."""
        for part, x in enumerate(values):
            shape, at = ((*self.shape, 2), (*self.at(index), part)) if self.dtype.kind == "c" else (
                self.shape, self.at(index))
            k.store(self.slot, shape, at, x, mode)


class _TooDeep(Exception):
    """A value is so far below the one that was asked for that it is made first."""

    def __init__(self, asked: tuple[Value, tuple[Dim, ...], bool, int]):
        self.asked = asked


class Lowering:
    """Builds the kernel of one group. `places` says where values from outside the group live; an expression stands for
    itself.
    """

    def __init__(self, group: Group, fusion: Fusion, places: Mapping[Value, Place | Dim], name: str):
        self.group, self.fusion, self.places = group, fusion, places
        self.axis_names: dict[int, str] = {}
        self.k = KernelBuilder(name, {})
        self.known: dict[Any, KernelValue] = {}
        self.depth = 0
        self.members = {r for n in group.nodes for r in n.results}
        for axis in self._loop_order():
            self.axis_names[axis] = _name(len(self.axis_names))
            self.k.add_axis(self.axis_names[axis], group.extents[axis])

    def _loop_order(self) -> list[int]:
        """The axes in the order of the dimensions of the largest value."""
        order: list[int] = []
        sizes = sorted(self.group.axes.values(), key=lambda t: -len([a for a in t if a is not None]))
        for t in sizes:
            order += [a for a in t if a is not None and a not in order]
        for t in (*self.group.reduced.values(), tuple(dict.fromkeys(self.group.summed.values()))):
            order += [a for a in t if a not in order]
        for n, reduced in self.group.reduced.items():       # the place of a reduced axis is that in its operand
            kept = list(self.group.axes[n.results[0]])
            full: list[int | None] = []
            removed = iter(reduced)
            for d, size in enumerate(n.operands[0].shape):
                if d in n.attrs["axes"]:
                    full.append(None if isinstance(size, int) and size == 1 else next(removed))
                else:
                    full.append(kept.pop(0))
            named = [a for a in full if a is not None]
            if set(named) == set(order):
                return named
        return order

    def axis(self, a: int | None) -> Dim:
        """The position along an axis of the group; 0 for a dimension of size 1."""
        return 0 if a is None else self.k.axis(self.axis_names[a])

    def own_index(self, v: Value) -> tuple[Dim, ...]:
        """Where a value of the group is computed."""
        return tuple(self.axis(a) for a in self.group.axes[v])

    # ---- values

    def whole(self, v: Value, index: Sequence[Dim], guarded: bool = False, part: int = 0) -> KernelValue:
        """v at an index, however long the chain is that it is made of: where `value` has gone deep enough, it begins
        anew there, and what is above is asked for again.
        """
        before, self.depth = self.depth, 0
        todo = [(v, index, guarded, part)]
        try:
            while True:
                try:
                    found = self.value(*todo[-1])
                    todo.pop()
                    if not todo:
                        return found
                except _TooDeep as deeper:
                    todo.append(deeper.asked)
        finally:
            self.depth = before

    def values(self, v: Value, index: Sequence[Dim]) -> list[KernelValue]:
        """v at an index: one number, or the two parts of a complex one."""
        return [self.whole(v, index, False, part) for part in range(2 if v.dtype.kind == "c" else 1)]

    def value(self, v: Value, index: Sequence[Dim], guarded: bool = False, part: int = 0) -> KernelValue:
        """v at an index, or that part of it which is meant where v is complex; `guarded` says that the index may lie
        outside (the result is not used there).
        """
        index = tuple(0 if isinstance(d, int) and d == 1 else i for d, i in zip(v.shape, index))
        key = (v, index, guarded, part if v.dtype.kind == "c" else 0)
        found = self.known.get(key)
        if found is not None:
            return found
        if self.depth >= DEEPEST:
            raise _TooDeep(key)
        self.depth += 1
        try:
            found = self.known[key] = self._value(*key)
        finally:
            self.depth -= 1
        return found

    def _value(self, v: Value, index: tuple[Dim, ...], guarded: bool, part: int) -> KernelValue:
        place = self.places.get(v)
        if isinstance(place, Place) and v not in self.members:
            return place.load(self.k, index, 0 if guarded else None, part)
        if place is not None and not isinstance(place, Place):
            return self.k.cast(self.k.index(place), v.dtype)
        n = v.node
        assert n is not None, f"{v} has no place in memory"
        if n.op.name == "constant":
            return self.k.constant(part_of(n.attrs["value"], v.dtype, part), part_dtype(v.dtype))
        if n.op in _PARTS and n.operands[0].dtype.kind == "c":
            return self.value(n.operands[0], index, guarded, _PARTS[n.op])
        if n.op is F.complex:
            return self.value(n.operands[part], _aligned(n.operands[part], index), guarded)
        if n.op is F.view_as_real:
            return self._one_of_pair(n.operands[0], index, guarded)
        if n.op.kind == "pointwise":
            args = [self.value(o, _aligned(o, index), guarded) for o in n.operands]
            return n.op.scalar(self.k, *args, **n.attrs)
        if n.op.kind == "reduction":
            return self._reduction(n, v, index, guarded)
        types = [o.type for o in n.operands]
        if n.op.kind == "view" and n.op.pull is not None:
            return self._view(n, index, types, guarded, part)
        return n.op.lower(_Context(self, n, guarded, part), index, types, **n.attrs)

    def _one_of_pair(self, v: Value, index: tuple[Dim, ...], guarded: bool) -> KernelValue:
        """A part of a complex value, whose last index says which."""
        *at, which = index
        place = self.places.get(v)
        if isinstance(place, Place) and v not in self.members:
            return place.load(self.k, at, 0 if guarded else None, which)
        if isinstance(which, int):
            return self.value(v, at, guarded, which)
        return self.k.select(self.k.eq(self.k.index(which), 0), *(self.value(v, at, guarded, p) for p in range(2)))

    def _reduction(self, n: Node, v: Value, index: tuple[Dim, ...], guarded: bool) -> KernelValue:
        assert index == self.own_index(v), "a reduction is computed where it is"
        (x,) = n.operands
        axes, reduced = n.attrs["axes"], iter(self.group.reduced[n])
        at, over, spots, sizes, kept = [], [], [], [], list(index)
        for d, size in enumerate(x.shape):
            if d not in axes:
                at.append(kept.pop(0))
            elif isinstance(size, int) and size == 1:
                at.append(0)
            else:
                a = next(reduced)
                over.append(self.axis_names[a])
                at.append(self.axis(a))
                spots.append(at[-1])
                sizes.append(size)
        operand = self.value(x, at, guarded)
        return n.op.lower(self.k, operand, tuple(over), (flat_index(spots, sizes),))

    def _view(self, n: Node, index: tuple[Dim, ...], types: Sequence[Any], guarded: bool, part: int) -> KernelValue:
        context = _Context(self, n, guarded, part)
        out = n.op.pull(context.part, index, types, **n.attrs)
        parts = out if isinstance(out, list) else [out]
        result = parts[-1][0]
        for x, condition in reversed(parts[:-1]):
            result = x if condition is None else self.k.select(condition, x, result)
        return result

    def all_inside(self, inside: Sequence[tuple[Dim, Dim]]) -> KernelValue | None:
        """The condition 0 <= e < size for all pairs; None when it always holds."""
        result: KernelValue | None = None
        for e, size in inside:
            tests = []
            if not expr.is_less_equal(0, e):
                tests.append(self.k.ge(self.k.index(e), 0))
            if not expr.is_less(e, size):
                tests.append(self.k.lt(self.k.index(e), self.k.index(size) if isinstance(size, Expr) else size))
            for t in tests:
                result = t if result is None else self.k.and_(result, t)
        return result


# the part of a complex number that an op reads
_PARTS = {F.real: 0, F.imag: 1}


def part_of(number: Any, d: DType, part: int) -> Any:
    """The number, or a part of it where it is one of a complex dtype."""
    return number if d.kind != "c" else complex(number).imag if part else complex(number).real


def _aligned(o: Value, index: tuple[Dim, ...]) -> tuple[Dim, ...]:
    return index[len(index) - len(o.shape):]


def _name(n: int) -> str:
    return AXIS_NAMES[n] if n < len(AXIS_NAMES) else f"axis{n}"


class _Context:
    """What the `pull` and `lower` rules of ops see: the kernel builder, reading operands, axes to reduce over."""

    def __init__(self, lowering: Lowering, node: Node, guarded: bool, component: int = 0):
        self.lowering, self.node, self.guarded, self.k = lowering, node, guarded, lowering.k
        self.component = component                   # of complex operands: which part is asked for
        # a rule that may be asked again, or one that has added an axis when it reads
        self.value = lowering.value if node.op.kind in ("view", "gather") else lowering.whole

    def read(self, n: int, index: Sequence[Any], inside: Sequence[tuple[Dim, Dim]] | None = None,
             fill: Any = None) -> KernelValue:
        """Operand n at an index, `fill` where the conditions fail."""
        return self._selected(*self.part(n, index, inside, fill), fill)

    def _selected(self, x: KernelValue, condition: KernelValue | None, fill: Any) -> KernelValue:
        return x if condition is None else self.k.select(condition, x, self.k.constant(fill, x.dtype))

    def part(self, n: int, index: Sequence[Any], inside: Sequence[tuple[Dim, Dim]] | None = None,
             fill: Any = None) -> tuple[KernelValue, KernelValue | None]:
        """Operand n at an index, and the condition under which it is meant (None: always, the fill being applied)."""
        operand = self.node.operands[n]
        fill = None if fill is None else part_of(fill, operand.dtype, self.component)
        if not inside or all(expr.is_less_equal(0, e) and expr.is_less(e, d) for e, d in inside):
            return self.value(operand, index, self.guarded, self.component), None
        place = self.lowering.places.get(operand)
        direct = isinstance(place, Place) and operand not in self.lowering.members and all(
            any(e is i or e == i for i in index) for e, _ in inside)
        if direct and fill is not None and not self.guarded:
            return place.load(self.k, index, fill, self.component), None  # type: ignore[union-attr]
        x = self.value(operand, index, True, self.component)
        if fill is not None and is_outside(x, fill, inside, self.k.buffers):
            return x, None
        condition = self.lowering.all_inside(inside)
        if fill is None:
            return x, condition
        return self._selected(x, condition, fill), None

    def gathered(self, n: int, index: Sequence[Any]) -> KernelValue:
        """Operand n, which lives in memory, at an index with computed entries; 0 outside."""
        place = self.lowering.places[self.node.operands[n]]
        assert isinstance(place, Place)
        return place.load(self.k, index, 0, self.component)

    def reduced_axis(self, extent: Dim) -> tuple[str, Dim]:
        """A further axis of the kernel to reduce over (or one of the group's, where others run along it too), and the
        position along it.
        """
        axis = self.lowering.group.summed.get(self.node)
        if axis is not None:
            return self.lowering.axis_names[axis], self.lowering.axis(axis)
        name = _name(len(self.k.axes))
        return name, self.k.add_axis(name, extent)


def lower_group(group: Group, fusion: Fusion, places: Mapping[Value, Place | Dim], outputs: Sequence[Value],
                targets: Mapping[Value, Sequence[Place]], name: str) -> Kernel:
    """The kernel that computes `outputs` of the group into their target places."""
    lowering = Lowering(group, fusion, places, name)
    k = lowering.k
    for v in outputs:
        if v.node is not None and v.node.op.kind in ("scatter", "scan"):
            _ALONE[v.node.op.kind](lowering, v, targets[v])
            continue
        index = lowering.own_index(v)
        values = lowering.values(v, index)
        for target in targets[v]:
            target.store(k, index, *values)
    return k.build(tuple(n.loc for n in group.nodes if n.loc is not None))


def _scan(lowering: Lowering, v: Value, targets: Sequence[Place]) -> None:
    """A scan from the end runs from the start on reversed positions."""
    n = v.node
    assert n is not None
    axis, reverse = n.attrs["axis"], n.attrs.get("reverse", False)
    index = list(lowering.own_index(v))
    size = v.shape[axis]
    if reverse and not isinstance(index[axis], int):
        index[axis] = size - 1 - index[axis]
    x = lowering.whole(n.operands[0], index)
    wide = _accumulator(x.dtype)
    a = lowering.group.axes[v][axis]
    y = x if a is None else lowering.k.cast(
        lowering.k.scan(n.op.scalar, lowering.k.cast(x, wide), lowering.axis_names[a]), x.dtype)
    for target in targets:
        target.store(lowering.k, index, y)


def _accumulator(d: DType) -> DType:
    return accumulator(d) if d.is_float and d.bits == 16 else d


def _scatter(lowering: Lowering, v: Value, targets: Sequence[Place]) -> None:
    """One point for each update; the op says where it goes."""
    n = v.node
    assert n is not None
    overwrites = "overwrites" in n.op.traits
    k, updates = lowering.k, n.operands[1 if overwrites else 0]
    k.axes.clear()
    points = [k.add_axis(_name(len(k.axes)), d) if not (isinstance(d, int) and d == 1) else 0 for d in updates.shape]
    entries = n.op.lower(_Context(lowering, n, False), points, [o.type for o in n.operands], **n.attrs)
    mode = "set" if overwrites else "add"
    values = lowering.values(updates, points)
    for target in targets:
        target.store(k, entries, *values, mode=mode)


_ALONE: dict[str, Callable[[Lowering, Value, Sequence[Place]], None]] = {"scan": _scan, "scatter": _scatter}
