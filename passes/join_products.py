"""A product and what goes on with whole rows of it, as one kernel: the product need not be in memory then.

Fusion leaves them two, since no loop nest holds both. Here, the kernel that reads a product is given what makes it in
place of what loads it, where the two can run as `ProductRows`. The sums and the rows are made as they would be made
apart, in the same order, so that this changes no bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Union

from ..ir.expr import Dim, product, symbols
from ..ir.kernel import Kernel, KernelBuilder, fresh_axis, is_affine
from ..ir.product_rows import ProductRows
from ..ir.program import Step
from ..ir.schedule import Contraction, Rows, Schedule
from .memory_plan import reads_and_writes
from .split import Copy

Work = Union[Kernel, Step]               # in a program that is being made: kernels have no schedules yet
Planned = tuple[Kernel, Schedule]
Plan = Callable[[Kernel], Sequence[Planned]]       # the kernels that a kernel becomes, with their schedules
Touched = tuple[frozenset[str], frozenset[str]]


def join_products(work: Sequence[Work], temporary: frozenset[str], plan: Plan) -> list[Work]:
    """The work with products joined to what reads their rows. Slots that are `temporary` hold nothing that is read
    elsewhere; `plan` says how a kernel would run.
    """
    done = list(work)
    touched = [_touched(x) for x in done]
    n = 0
    while n < len(done):
        for p in _producers(done, touched, n):
            elsewhere = {s for i, (reads, _) in enumerate(touched) if i != n for s in reads}
            made = {s for i, (_, writes) in enumerate(touched) if i != p for s in writes}
            joined = join(done[p], done[n], temporary - elsewhere - made, plan)      # type: ignore[arg-type]
            if joined is not None:
                done[n], touched[n] = joined, _touched(joined)
                del done[p], touched[p]
                n -= 1
                break
        n += 1
    return done


def _touched(x: Work) -> Touched:
    """Slots that are read and written."""
    if isinstance(x, Kernel):
        return frozenset(b.name for b in x.inputs), frozenset(b.name for b in x.outputs)
    reads, writes = reads_and_writes(x)
    return frozenset(reads), frozenset(writes)


def _producers(work: Sequence[Work], touched: Sequence[Touched], n: int) -> list[int]:
    """Kernels that kernel n, which folds, reads, that fold too, and that may wait for it; the last one first."""
    reads, _ = touched[n]
    if not _folds(work[n]):
        return []
    makers = [p for p in range(n - 1, -1, -1) if not reads.isdisjoint(touched[p][1])]
    return [p for p in makers if _folds(work[p]) and _may_wait(touched, p, n)]


def _folds(x: Work) -> bool:
    return isinstance(x, Kernel) and any(v.op == "reduce" for v in x.values)


def _may_wait(touched: Sequence[Touched], p: int, n: int) -> bool:
    """Does nothing between p and n need what p makes, or change what it reads, and n not change any of it?"""
    reads, writes = touched[p]
    between = any(writes & (r | w) or reads & w for r, w in touched[p + 1 : n])
    return not between and touched[n][1].isdisjoint(reads | writes)


def join(producer: Kernel, consumer: Kernel, dropped: Collection[str], plan: Plan) -> Kernel | None:
    """The two as one kernel, which stores what the producer does but for slots to be `dropped`; None where they do not
    run as rows of a product, or would give other bits.
    """
    places = _places(producer, consumer)
    if places is None:
        return None
    apart = plan(producer), plan(consumer)
    if not _may_join(*apart):
        return None
    joined = _joined(producer, consumer, places, dropped)
    return joined if _is_better(plan(joined), *(x[0] for x in apart)) else None


def _places(producer: Kernel, consumer: Kernel) -> Mapping[str, Dim] | None:
    """For each axis of the results where the consumer reads them; None where it reads them at several places, or not
    each just once.
    """
    stores = {s.buffer: s for s in producer.stores}
    axis_at: dict[Dim, str] = {producer.axis(a): a for a in producer.axes}
    found: dict[str, Dim] = {}
    read = [v for v in consumer.values if v.op == "load" and v.buffer in stores]
    for v in read:
        made = stores[v.buffer].index
        if v.fill is not None or not is_affine(v.index) or not is_affine(made):
            return None
        for at, place in zip(v.index, made):
            if place in axis_at and found.setdefault(axis_at[place], at) != at:
                return None
            if place not in axis_at and (place, at) != (0, 0):
                return None
    needed = {a for s in producer.stores for a in s.axes}
    axes = {a for x in found.values() for a in symbols(x) & set(consumer.axes)}
    once = product(consumer.axes[a] for a in axes) == product(producer.axes[a] for a in needed)
    return found if read and needed == set(found) and once else None


def _joined(producer: Kernel, consumer: Kernel, places: Mapping[str, Dim], dropped: Collection[str]) -> Kernel:
    k = KernelBuilder(f"{producer.name}_{consumer.name}", consumer.axes)
    names: dict[str, str] = {}
    for a, n in producer.axes.items():
        if a not in places:
            names[a] = fresh_axis(k.axes, a)
            k.add_axis(names[a], n)
    first = Copy(producer, k, {**places, **{a: k.axis(name) for a, name in names.items()}}, False, names)
    second = Copy(consumer, k, {}, False)
    for s in producer.stores:
        value = first.value(s.value)
        second.made.update({v: value for v in consumer.values if v.op == "load" and v.buffer == s.buffer})
        if s.buffer not in dropped:
            k.store(s.buffer, producer.buffers[s.buffer].shape, first.index(s.index), value)
    for s in consumer.stores:
        second.store(s)
    return k.build((*producer.origin, *consumer.origin))


def _may_join(producer: Sequence[Planned], consumer: Sequence[Planned]) -> bool:
    """Are they a register tile, and loops over rows that are not cut?"""
    (_, p), (_, r) = producer[0], consumer[0]
    is_tile = len(producer) == 1 and isinstance(p, Contraction) and p.variant == "tile" and p.parts == 1
    return is_tile and len(consumer) == 1 and isinstance(r, Rows) and not r.block


def _is_better(joined: Sequence[Planned], producer: Planned, consumer: Planned) -> bool:
    """Are sums and rows made in the same order as apart, and what is multiplied read as seldom? Or are rows too long
    for that, and folded in pieces?
    """
    (whole, s), *more = joined
    (first, p), (second, r) = producer, consumer
    if not isinstance(s, ProductRows) or not isinstance(p, Contraction) or not isinstance(r, Rows):
        return False
    if more:
        return True

    def sums(kernel: Kernel, c: Contraction) -> Any:
        return c.depth, c.k_flat, c.dot, [kernel.axes[a] for a in c.k], product(kernel.axes[a] for a in c.g)

    def loops(kernel: Kernel, c: Rows) -> Any:
        axes = (c.inner, (c.vector,) if c.vector else (), c.unrolled)
        return c.lanes, [[kernel.axes[a] for a in names] for names in axes]

    return sums(whole, s.product) == sums(first, p) and loops(whole, s.after) == loops(second, r)
