"""What is computed in which sweep: the order that reductions force on what is needed at one place of a loop nest.

At a place where some axes are bound, a reduction all of whose own axes are bound can be finished there, by a loop (a
sweep) over the rest. What is made of it belongs to a later sweep. What a later sweep needs again is computed again if
it is cheap, else kept in scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Union

from ...ir.kernel import Store, Value
from ...ir.scalar import CORE


@dataclass(frozen=True)
class Keep:
    """Write a value to scratch, one after the other along an axis, for the sweeps that follow."""

    value: Value
    axis: str


@dataclass(frozen=True)
class Accumulate:
    """Fold a reduction into a row of scratch, one accumulator for each position of the axis that its result varies
    over.
    """

    value: Value
    axis: str


Item = Union[Store, Value, Keep, Accumulate]      # a value is a reduction, to be folded over what is unbound

DEAR = 8.0                            # additions that reading a value from scratch is worth


def operand(item: Item) -> Value:
    """The value that an item asks for."""
    if isinstance(item, (Store, Keep)):
        return item.value
    return (item.value if isinstance(item, Accumulate) else item).args[0]


def free_axes(item: Item, bound: Callable[[str], bool]) -> frozenset[str]:
    """The axes that an item must still be looped over."""
    if isinstance(item, (Store, Keep)):
        axes = item.axes if isinstance(item, Store) else (item.axis,)
    else:
        fold = item.value if isinstance(item, Accumulate) else item
        axes = (*fold.args[0].axes, *fold.over)
    return frozenset(a for a in axes if not bound(a))


def sources(items: Iterable[Item]) -> list[Store | Value]:
    """The values that items are made of; a store stands for its value and its place."""
    return [i if isinstance(i, Store) else operand(i) for i in items]


def needed(items: Iterable[Item], is_known: Callable[[Value], bool]) -> set[Value]:
    """All values that the items are made of and that are not known yet."""
    return _walk(items, is_known)


def waiting(items: Iterable[Item], stops: set[Value], is_known: Callable[[Value], bool]) -> list[Value]:
    """Those of the values `stops` that are met on the way from the items to what is known."""
    if not stops:
        return []
    met: list[Value] = []

    def stop(v: Value) -> bool:
        if v in stops and not is_known(v):
            if v not in met:
                met.append(v)
            return True
        return is_known(v)

    _walk(items, stop)
    return met


def _walk(items: Iterable[Item], stop: Callable[[Value], bool]) -> set[Value]:
    found: set[Value] = set()
    todo = [x for s in sources(items) for x in (s.inputs if isinstance(s, Store) else (s,))]
    while todo:
        x = todo.pop()
        if x not in found and not stop(x):
            found.add(x)
            todo += x.inputs
    return found


@dataclass
class Sweeps:
    """The items of each sweep, in order. `kept` are the values that wait in scratch, with the axis that they lie
    along.
    """

    items: list[list[Item]] = field(default_factory=list)
    stage: dict[Value, int] = field(default_factory=dict)
    kept: dict[Value, str] = field(default_factory=dict)
    rows: dict[Value, str] = field(default_factory=dict)      # the same, for reductions that are folded there


def plan_sweeps(order: Sequence[Value], goals: Sequence[Item], bound: Callable[[str], bool],
                is_known: Callable[[Value], bool]) -> Sweeps:
    """The sweeps for some goals at a place; `order` are the kernel's values."""
    wanted = needed(goals, is_known)
    plan = Sweeps()
    local = set()
    for v in order:
        if v not in wanted:
            continue
        plan.stage[v] = max((plan.stage.get(a, 0) + (a in local) for a in v.inputs), default=0)
        if v.op == "reduce" and v not in goals:
            free = [a for a in v.axes if not bound(a)]
            if not free:
                local.add(v)
            elif len(free) == 1 and not any(bound(a) for a in v.over) and _folds_along(v.args[0], free[0], wanted):
                local.add(v)
                plan.rows[v] = free[0]

    def stage_of(item: Item) -> int:
        inputs = item.inputs if isinstance(item, Store) else (operand(item),)
        return max((plan.stage.get(a, 0) + (a in local) for a in inputs), default=0)

    stages = [(stage_of(g), g) for g in goals]
    last = max([s for s, _ in stages], default=0)
    for s in range(last + 1):
        folds = [Accumulate(v, plan.rows[v]) if v in plan.rows else v for v in order if v in local
                 and plan.stage[v] == s]
        plan.items.append([*folds, *(g for t, g in stages if t == s)])
    _keep(plan, order, bound, is_known)
    return plan


def _folds_along(v: Value, axis: str, wanted: set[Value]) -> bool:
    """Is a value made of a reduction along an axis, so that it should be met once, with that axis inside?"""
    todo, seen = [v], set()
    while todo:
        x = todo.pop()
        if x in seen or x not in wanted:
            continue
        if x.op == "reduce" and axis in x.over:
            return True
        seen.add(x)
        todo += x.inputs
    return False


def _keep(plan: Sweeps, order: Sequence[Value], bound: Callable[[str], bool],
          is_known: Callable[[Value], bool]) -> None:
    """Find the dear values that are needed again, and add their writing to the sweep that they are first made in."""
    if len(plan.items) < 2:
        return
    cost: dict[Value, float] = {}
    for v in order:
        if v in plan.stage:
            inside = sum(cost.get(a, 0.0) for a in v.inputs)
            nested = v.op in ("reduce", "scan") and not all(bound(a) for a in v.axes)
            cost[v] = 1e6 if nested else 0.0 if v.op == "reduce" else inside + operation_cost(v)
    for s, items in enumerate(plan.items):
        seen: set[Value] = set()
        todo = [x for i in items for x in (i.inputs if isinstance(i, Store) else (operand(i),))]
        while todo:
            v = todo.pop()
            if v in seen or v not in plan.stage or is_known(v) or v in plan.rows:
                continue
            seen.add(v)
            free = [a for a in v.axes if not bound(a)]
            if not free:
                continue
            if plan.stage[v] < s and len(free) == 1 and cost[v] >= DEAR:
                plan.kept.setdefault(v, free[0])
                continue
            todo += v.inputs
    for v, axis in plan.kept.items():
        plan.items[plan.stage[v]].append(Keep(v, axis))


def operation_cost(v: Value) -> float:
    """What an operation costs, in additions."""
    if v.op == "load":
        return 12.0 if any(isinstance(i, Value) for i in v.index) else 1.0
    return CORE[v.op].cost if v.op in CORE else 0.5
