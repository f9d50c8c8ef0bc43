"""Attention with few queries on a GPU (decoding): what reads the same keys and values becomes the rows of one tile.

Heads that share a head of keys, and their queries, are flattened into one axis, so that keys and values are read once
for all of them and multiplied by tensor cores. One query alone gets an axis of rows as long as the least side of a
tile: rows past the first read zeros and are not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..ir import expr
from ..ir.expr import Dim
from ..ir.gpu_contraction import LEAST_SIDE
from ..ir.kernel import Kernel, KernelBuilder, Value, made_of
from ..ir.streamed import Roles
from . import streamed
from .grouping import divisors_of, with_groups
from .split import Copy

MOST_ROWS = 64                  # of a tile: with more, each head has enough of its own
Found = tuple[Kernel, str, str, Roles]


def match(kernel: Kernel) -> tuple[str, str, Roles] | None:
    """(row, stream, roles) if the kernel streams on a GPU, with the rows that `with_rows` gives it."""
    found = with_rows(kernel)
    return None if found is None else found[1:]


def with_rows(kernel: Kernel) -> Found | None:
    """The kernel, with other rows where it has few, and its parts; None if it does not stream."""
    for other in _with_few_rows(kernel):
        found = streamed.match(other)
        if found is not None:
            return (other, *found)
    found = streamed.match(kernel)
    return None if found is None else (kernel, *found)


def _with_few_rows(kernel: Kernel) -> Iterator[Kernel]:
    """The kernel with what may be its few rows in one axis."""
    if sum(v.op == "reduce" for v in kernel.values) < 3:
        return
    for axis, each in divisors_of(kernel, kernel.axes):
        grouped = with_groups(kernel, axis, each)
        yield from _folded(grouped, _parts(grouped), is_changed=True)
    yield from _folded(kernel, _parts(kernel), is_changed=False)


def _folded(kernel: Kernel, parts: _Parts | None, is_changed: bool) -> Iterator[Kernel]:
    rows = [] if parts is None else parts.rows(kernel)
    count = expr.product(kernel.axes[a] for a in rows)
    if parts is None or not isinstance(count, int) or count > MOST_ROWS:
        return
    if not rows:
        yield _padded(kernel, parts)
    elif len(rows) > 1:
        yield _flat(kernel, rows)
    elif is_changed:
        yield kernel


class _Parts(NamedTuple):
    """What scores are made of on the side of queries, and what varies along the stream: keys and values."""

    queries: tuple[Value, ...]
    passing: tuple[Value, ...]

    def rows(self, kernel: Kernel) -> list[str]:
        """Axes of results along which keys and values are the same."""
        return [a for a, n in kernel.axes.items() if n != 1 and all(a in s.axes for s in kernel.stores)
                and not any(a in v.axes for v in self.passing)]


def _parts(kernel: Kernel) -> _Parts | None:
    """The parts of attention; None where there is not one softmax between products."""
    folds = [v for v in kernel.values if v.op == "reduce"]
    peaks = [v for v in folds if v.combine == "max" and len(v.over) == 1]
    if len(peaks) != 1:
        return None
    (stream,) = peaks[0].over
    products = [v for v in folds if v.combine == "sum" and v.args[0].op == "mul" and len(v.over) == 1]
    inner = [v for v in products if stream in v.axes]
    outer = [v for v in products if v.over == (stream,)]
    sides = [sorted(v.args[0].args, key=lambda x: stream in x.axes) for v in inner]
    values = [x for v in outer for x in v.args[0].args if not made_of(x) & {*inner}]
    if not inner or not values or any(stream in q.axes or stream not in k.axes for q, k in sides):
        return None
    return _Parts(tuple(q for q, _ in sides), (*(k for _, k in sides), *values))


# ---- rows ------------------------------------------------------------------------------------------------------------


def _flat(kernel: Kernel, rows: Sequence[str]) -> Kernel:
    """The kernel with these axes as one."""
    row, rest = kernel.fresh_axis("row"), [a for a in kernel.axes if a not in rows]
    at = list(kernel.axes).index(rows[-1])
    before = [a for a in rest if list(kernel.axes).index(a) < at]
    count = expr.product(kernel.axes[a] for a in rows)
    axes = {**{a: kernel.axes[a] for a in before}, row: count, **{a: kernel.axes[a] for a in rest if a not in before}}
    k = KernelBuilder(kernel.name, axes)
    left: Dim = k.axis(row)
    positions: dict[str, Dim] = {}
    for a in reversed(rows):
        positions[a] = expr.mod(left, kernel.axes[a])
        left = expr.floordiv(left, kernel.axes[a])
    copy = Copy(kernel, k, positions, False)
    for s in kernel.stores:
        copy.store(s)
    return k.build(kernel.origin)


def _padded(kernel: Kernel, parts: _Parts) -> Kernel:
    """The kernel with an axis of rows, of which the first is there: in a dimension more of what is read and written."""
    row = kernel.fresh_axis("row")
    k = KernelBuilder(kernel.name, {**kernel.axes, row: LEAST_SIDE})
    copy = _WithRow(kernel, k, row, {x for q in parts.queries for x in made_of(q) if x.op == "load"})
    for s in kernel.stores:
        shape = (1, *kernel.buffers[s.buffer].shape)
        k.store(s.buffer, shape, [k.axis(row), *copy.index(s.index)], copy.value(s.value), s.mode)
    return k.build(kernel.origin)


class _WithRow(Copy):
    """A copy in which some loads vary along rows, of which memory holds the first."""

    def __init__(self, kernel: Kernel, k: KernelBuilder, row: str, loads: set[Value]):
        super().__init__(kernel, k, {}, False)
        self.row, self.loads, self.longer = row, loads, {v.buffer for v in loads}

    def _again(self, v: Value) -> Value:
        if v.op != "load" or v.buffer not in self.longer:
            return super()._again(v)
        shape, fill = self.kernel.buffers[v.buffer].shape, v.fill
        row = self.k.axis(self.row) if v in self.loads else 0
        fill = 0 if v in self.loads and fill is None else fill
        return self.k.load(v.buffer, (1, *shape), v.dtype, [row, *self.index(v.index)], fill)
