"""Long reductions and products with few results, cut in two kernels so that several threads can share them.

The first reduces each of a fixed number of pieces, the second what they gave. How many pieces there are depends on
extents alone, never on the number of threads, so that the bits of the result do not either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..ir import expr
from ..ir.expr import Dim, Expr
from ..ir.kernel import Index, Kernel, KernelBuilder, Store, Value
from ..ir.scalar import COMBINE
from ..ir.target import Target
from . import contraction
from .collapse import collapse
from .extremes import Place, places
from .product_rows import pieces_of_columns, private_sums
from .schedule import product_rows, rows
from .walks import contiguous_axis, usual

PIECES = 64
FEW_UNITS = 16
LONG_ROW = 1 << 10              # elements of one result: fewer are not worth cutting
LONG = 1 << 17                  # elements: below, a second kernel costs more than it gains
LONG_WORK = 1 << 21             # multiply-adds of a product, likewise
LONG_PIECE = 1 << 10            # of a product's K
FEW_PIECES = 8                  # less gain nothing, save for a left operand that is read across
FEW_COLUMNS = 64                # that are read along K
FEW_RESULTS = 1 << 18           # of a product: more are shared by threads as they are


def needs_split(kernel: Kernel) -> bool:
    """Is there a long reduction that a thread would have to do alone, or nearly?"""
    found = rows(kernel)
    if found is None or usual(found.units) >= FEW_UNITS:
        return False
    return any(v.op == "reduce" and usual(expr.product(kernel.axes[a] for a in v.over)) >= LONG_ROW
               and usual(expr.product(kernel.axes[a] for a in {*v.args[0].axes, *v.over})) >= LONG
               for v in kernel.values)


def split_reduction(kernel: Kernel) -> tuple[Kernel, Kernel] | None:
    """Two kernels that do what one did; None where that is not worth it, or not possible.

    Not possible: a result that is used again along the reduced axes (a mean that is subtracted), save by the place of
    an extreme; that is for fusion to cut. The results of the pieces are outputs of the first and inputs of the second
    kernel, named by the kernel.
    """
    return cut_reduction(kernel, PIECES) if needs_split(kernel) else None


def split_product(kernel: Kernel, m: contraction.Match) -> tuple[Kernel, Kernel] | None:
    """Two kernels that do what a product with few results of long sums does: the first is one of a batch of pieces,
    each of which finds in the cache what it reads more than once; None where that is not worth it, or not possible.
    """
    deep, results = kernel.axes[m.k[0]], expr.product(kernel.axes[a] for a in (*m.g, *m.i, *m.j))
    if len(m.k) > 1 or m.parts > 1 or not isinstance(deep, int) or not isinstance(results, int):
        return None
    height, width = (max(1, usual(expr.product(kernel.axes[a] for a in axes))) for axes in (m.i, m.j))
    along = [contiguous_axis(kernel, v) in m.k for v in (m.left, m.right)]
    if along[1] and height <= contraction.FEW_ROWS_DOTS and width > FEW_COLUMNS:
        return None                                              # long runs of memory, and enough of them
    piece = max(LONG_PIECE, 4 * height * width // (height + width))        # gives a quarter of what it reads at most
    count = min(PIECES, deep // piece)
    if results > FEW_RESULTS or results * deep < LONG_WORK or count < (FEW_PIECES if along[0] else FEW_PIECES // 2):
        return None
    parts = cut_reduction(kernel, count)
    return (parts[0], collapse(parts[1])) if parts is not None and contraction.find(parts[0]) is not None else None


def rows_of_product(kernel: Kernel, target: Target) -> tuple[Kernel, ...] | None:
    """The kernel on few axes, or two that do the same, if it folds rows of a product and may run so."""
    if not any(private_sums(kernel)):
        return None
    kernel = collapse(kernel)
    return (kernel,) if product_rows(kernel, target) is not None else _split_columns(kernel, target)


def _split_columns(kernel: Kernel, target: Target) -> tuple[Kernel, Kernel] | None:
    """Two kernels that do what one does that folds rows of a product, which are too long to stay in the cache: the
    first folds pieces of rows.
    """
    found = pieces_of_columns(kernel, target)
    parts = cut_reduction(kernel, *found[::-1]) if found is not None and found[1] > 1 else None
    return (parts[0], collapse(parts[1])) if parts is not None and product_rows(parts[0], target) else None


def cut_reduction(kernel: Kernel, count: int, axis: str = "") -> tuple[Kernel, Kernel] | None:
    """The two kernels, with about so many pieces of an axis, the best if none is given; None where that is not
    possible.
    """
    if any(v.op == "scan" for v in kernel.values) or not any(v.op == "reduce" for v in kernel.values):
        return None
    axis = axis or max({a for v in kernel.values for a in v.over if v.op == "reduce"}, key=lambda a: _length(kernel, a))
    folds = [v for v in kernel.values if v.op == "reduce" and axis in v.over]
    found = {v: p for v, p in places(kernel).items() if v in folds}
    between = {x for p in found.values() for x in p.between}
    after = _after(kernel, folds, between)
    if any(v.args[0] in after for v in folds) or any(p.of in after for p in found.values()):
        return None
    if any(axis in v.axes for v in after) or any(s.mode == "add" or s.is_scatter for s in kernel.stores):
        return None
    late = tuple(s for s in kernel.stores if s.value in after)
    if any(i in after for s in kernel.stores for i in s.inputs if s not in late):
        return None
    return _Split(kernel, axis, folds, found, after, late, count).kernels()


def _length(kernel: Kernel, axis: str) -> tuple[bool, int]:
    """How good an axis is to cut: one that no stored result along it depends on, a long one."""
    outermost = all(axis not in v.over or all(axis not in s.axes for s in kernel.stores
                                              if s.value in _after(kernel, [v]))
                    for v in kernel.values if v.op == "reduce")
    return outermost, usual(kernel.axes[axis])


def _after(kernel: Kernel, folds: list[Value], between: Collection[Value] = ()) -> set[Value]:
    """The reductions and what is made of them, except what stands `between` two of them."""
    found = set(folds)
    for v in kernel.values:
        if v not in between and any(x in found for x in v.inputs):
            found.add(v)
    return found


def pieces(extent: Dim, count: int = PIECES) -> tuple[int, Dim]:
    """About `count` pieces that an extent is cut into, and their length, which times their number is at least the
    extent.
    """
    if isinstance(extent, int):
        for n in sorted(range(max(1, count // 2), count * 2 + 1), key=lambda n: abs(n - count)):
            if extent % n == 0:
                return n, extent // n
    return count, expr.floordiv(extent + count - 1, count)


class _Split:
    def __init__(self, kernel: Kernel, axis: str, folds: list[Value], places: dict[Value, Place], after: set[Value],
                 late: tuple[Store, ...], count: int):
        self.kernel, self.axis, self.folds, self.after, self.late = kernel, axis, folds, after, late
        self.places = places
        self.count, self.length = pieces(kernel.axes[axis], count)
        self.piece = kernel.fresh_axis("piece")

    def kernels(self) -> tuple[Kernel, Kernel]:
        return self._first(), self._second()

    def _partial(self, v: Value) -> tuple[str, tuple[Dim, ...], tuple[str, ...]]:
        """Name, shape and axes of what the pieces give for a reduction."""
        name = f"{self.kernel.name}_part{self.folds.index(v)}"
        return name, (self.count, *(self.kernel.axes[a] for a in v.axes)), (self.piece, *v.axes)

    def _first(self) -> Kernel:
        axes = {self.piece: self.count, **self.kernel.axes, self.axis: self.length}
        k = KernelBuilder(f"{self.kernel.name}_pieces", axes)
        at = k.axis(self.piece) * self.length + k.axis(self.axis)
        extent = self.kernel.axes[self.axis]
        ragged = not expr.is_less(at, extent)
        copy = Copy(self.kernel, k, {self.axis: at}, ragged)
        for v in self.folds:
            x = copy.value(v.args[0])
            if ragged and not self._is_zero_outside(v):
                x = before_end(k, at, extent, x, v)
            name, shape, names = self._partial(v)
            copy.made[v] = k.reduce(v.combine, x, v.over)
            k.store(name, shape, [k.axis(a) for a in names], copy.made[v])
        for s in self.kernel.stores:
            if s not in self.late:
                copy.store(s)
        return k.build(self.kernel.origin)

    def _is_zero_outside(self, v: Value) -> bool:
        """Is it a sum of products of elements, both of which are read as zero beyond the extent?"""
        term = v.args[0]
        sides = [x.args[0] if x.op == "cast" else x for x in (term.args if term.op == "mul" else ())]
        return v.combine == "sum" and bool(sides) and all(map(self._ends_its_buffer, sides))

    def _ends_its_buffer(self, x: Value) -> bool:
        """Does a load leave its buffer where the axis that is cut ends?"""
        whole = self.kernel.axis(self.axis), self.kernel.axes[self.axis]
        return x.op == "load" and x.fill is None and whole in zip(x.index, self.kernel.buffers[x.buffer].shape)

    def _second(self) -> Kernel:
        kept = {a: n for a, n in self.kernel.axes.items() if any(a in v.axes for v in self.after)
                or any(a in s.axes for s in self.late)}
        k = KernelBuilder(f"{self.kernel.name}_whole", {**kept, self.piece: self.count})
        copy = Copy(self.kernel, k, {}, False)
        parts: dict[Value, Value] = {}
        for v in self.folds:
            name, shape, names = self._partial(v)
            x = parts[v] = k.load(name, shape, v.dtype, [k.axis(a) for a in names])
            if v in self.places:
                x = self._where_extreme(self.places[v], k, parts, copy.made)
            copy.made[v] = k.reduce(v.combine, x, [self.piece])
        for s in self.late:
            copy.store(s)
        return k.build(self.kernel.origin)

    def _where_extreme(self, place: Place, k: KernelBuilder, parts: dict[Value, Value],
                       whole: dict[Value, Value]) -> Value:
        """What the pieces found whose extreme is the whole's."""
        copy = Copy(self.kernel, k, {}, False)
        copy.made |= {place.extreme.args[0]: parts[place.extreme], place.extreme: whole[place.extreme],
                      place.of: parts[place.fold]}
        return copy.value(place.fold.args[0])


def before_end(k: KernelBuilder, place: Dim, extent: Dim, x: Value, fold: Value) -> Value:
    """What is folded at a place, which changes nothing where the place lies behind the extent."""
    neutral = k.constant(COMBINE[fold.combine][1](fold.dtype), fold.dtype)
    return k.select(k.lt(k.index(place), k.index(extent)), x, neutral)


class Copy:
    """Values of one kernel made again in another, some axes at other positions; those that are folded over may have
    other `names`.
    """

    def __init__(self, kernel: Kernel, k: KernelBuilder, positions: Mapping[str, Dim], ragged: bool,
                 names: Mapping[str, str] | None = None):
        self.kernel, self.k, self.positions, self.ragged = kernel, k, positions, ragged
        self.names = names or {}
        self.made: dict[Value, Value] = {}

    def store(self, s: Store) -> None:
        """What a store of the kernel does."""
        self.k.store(s.buffer, self.kernel.buffers[s.buffer].shape, self.index(s.index), self.value(s.value), s.mode)

    def index(self, entries: tuple[Index, ...]) -> list[Index]:
        return [self.value(i) if isinstance(i, Value) else expr.substitute(i, self.positions) for i in entries]

    def value(self, v: Value) -> Value:
        todo = [v]
        while todo:
            x = todo[-1]
            missing = [a for a in x.inputs if a not in self.made]
            todo += missing
            if not missing:
                todo.pop()
                if x not in self.made:
                    self.made[x] = self._again(x)
        return self.made[v]

    def _again(self, v: Value) -> Value:
        k = self.k
        if v.op == "load":
            shape = self.kernel.buffers[v.buffer].shape
            moved = self.ragged and any(isinstance(i, Expr) and expr.symbols(i) & set(self.positions) for i in v.index)
            fill = 0 if moved and v.fill is None else v.fill
            return k.load(v.buffer, shape, v.dtype, self.index(v.index), fill)
        if v.op == "const":
            return k.constant(v.number, v.dtype)
        if v.op == "reduce":
            return k.reduce(v.combine, self.made[v.args[0]], [self.names.get(a, a) for a in v.over])
        if v.op == "scan":
            return k.scan(v.combine, self.made[v.args[0]], v.over[0])
        if v.op == "index":
            return k.index(self.index(v.index)[0])          # type: ignore[arg-type]
        return k.apply(v.op, tuple(self.made[a] for a in v.args), v.dtype)
