"""How a kernel runs on a CPU: derived from its axes by `passes/schedule.py`, read by the emitters, apart from what it
computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import expr
from .errors import VerifyError
from .expr import Dim, Expr
from .kernel import FOLDS, Kernel, Store, flat_index

SIFTED = (2, 4)                  # steps between lanes that are loaded as whole vectors, sifted


@dataclass(frozen=True)
class Schedule:
    """Base of schedules. `units` is the size of the parallel iteration space, cut among threads in chunks of at least
    `grain`.
    """

    units: Dim = 1
    grain: int = 1

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        if expr.is_less(self.units, 0) or self.grain < 1:
            raise VerifyError(f"kernel {kernel.name}: {self.units} units in chunks of {self.grain}")


@dataclass(frozen=True)
class Rows(Schedule):
    """Loops over the `parallel` axes, which flattened are the units; inside, loops over the `inner` axes in this order,
    as sweeps ask.

    `vector` is the axis that runs in `lanes` lanes (a multiple of 16), "" for none. With a `block` (a multiple of the
    lanes) it is cut among the units, innermost, and all other loops are inside of it; without, it is one of the `inner`
    axes, and a reduction over it combines its lanes by a fixed tree. `unrolled` axes are small and static, and are
    written out.
    """

    parallel: tuple[str, ...] = ()
    vector: str = ""
    inner: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    lanes: int = 16
    block: int = 0

    @property
    def order(self) -> tuple[str, ...]:
        """The axes that are looped over inside a unit, outermost first."""
        return (self.vector, *self.inner) if self.block else self.inner

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        cut = (*self.parallel, self.vector) if self.block else self.parallel
        named = [*self.parallel, *self.order, *self.unrolled]
        if sorted(named) != sorted(kernel.axes):
            yield f"{named} are not the kernel's axes"
        if self.lanes % 16 or self.block % self.lanes or (self.vector and self.vector not in self.order):
            yield "lanes and blocks must be whole vectors of a looped axis"
        for a in self.unrolled:
            if not expr.is_static(kernel.axes[a]):
                yield f"{a} is written out, and its extent {kernel.axes[a]} is not known"
        for v in kernel.values:
            folded = set(v.over)
            if v.op == "argsort":
                yield "its rows are not sorted"
            if v.op in ("reduce", "scan") and folded & set(cut):
                yield f"the {v.combine} over {v.over} is cut into units"
            if v.op == "scan":
                place = {a: n for n, a in enumerate(self.order)}
                if v.over[0] not in place or any(place[a] > place[v.over[0]] for a in v.axes if a in place):
                    yield f"the scan along {v.over[0]} is not the innermost loop of {v.axes}"
        for s in kernel.stores:
            missing = [a for a in cut if a not in s.axes]
            if missing:
                yield f"the store to {s.buffer} does not vary over {missing}"
            bad = set(cut) | {self.vector} & set(s.axes)
            if bad - independent_axes(kernel, s):
                yield f"the store to {s.buffer} may meet itself along {sorted(bad - independent_axes(kernel, s))}"
        if any(not are_disjoint(kernel, s, t) for n, s in enumerate(kernel.stores) for t in kernel.stores[:n]):
            yield "two stores may write to the same place"


DEPTHS = {"": 1, "bf16": 2, "i8": 4}     # dot products by instruction: how many positions of K a word of 32 bits holds


@dataclass(frozen=True)
class Contraction(Schedule):
    """A sum over `k` of mul(A[g, i, k], B[g, k, j]), with prologues and an epilogue; the axes of each group outermost
    first.

    `variant` "tile": a register tile of `rows` x `vectors` of `lanes` runs over `depth` of K at a time. A unit is a
    `block` of rows by a number of `panels` of columns; the last `i_flat` axes of I, flattened, are the rows, the last
    `k_flat` of K are what a depth is taken from, the last of J is cut into panels; the axes before them are loops. A is
    read in place (`left` "direct") or copied, in lanes along K ("rows") or along I ("columns"); B is packed, in lanes
    along J ("columns") or along K and transposed ("rows"; "windows": along all of K as B lies, in another order), again
    for each unit or, where it `keeps`, once for units that follow each other; or it lies as if packed, each panel along
    a last axis of J of its own ("direct"). In a unit, all rows go by each of the panels that stand `outside`, or all
    panels by the rows of a tile. "stream" and "dots": all of I (`rows`) at once while B goes by, unpacked, in
    lanes along J or along K, `vectors` at a time.

    With several `parts`, there are as many sums, of the same A with a B of its own each; the tile makes one after the
    other, and the epilogue has all of them. With a `dot`, the sum is one of products of casts, and narrow numbers are
    multiplied, several at a time (`DEPTHS`); the left ones `flip` their sign where the instruction needs one side
    signed and one unsigned.
    """

    g: tuple[str, ...] = ()
    i: tuple[str, ...] = ()
    j: tuple[str, ...] = ()
    k: tuple[str, ...] = ()
    rows: int = 14
    vectors: int = 2
    lanes: int = 16
    depth: int = 256
    block: int = 112
    panels: int = 32
    i_flat: int = 1
    k_flat: int = 1
    left: str = "rows"
    right: str = "columns"
    keeps: bool = False
    variant: str = "tile"
    outside: str = "panels"
    parts: int = 1
    dot: str = ""
    flips: bool = False

    def _height(self, kernel: Kernel) -> Dim:
        """Rows, flattened."""
        return expr.product(kernel.axes[a] for a in self.i[len(self.i) - self.i_flat :])

    @property
    def deep(self) -> int:
        """Positions of K that are multiplied at once."""
        return DEPTHS[self.dot]

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        named = [*self.g, *self.i, *self.j, *self.k]
        folds = [v for v in kernel.values if v.op in FOLDS]
        sums = len(folds) == self.parts and all(set(v.over) == set(self.k) for v in folds)
        if not sums or len(set(named)) != len(named) or not self.j:
            raise VerifyError(f"kernel {kernel.name} is no contraction over {self.k}")
        if min(self.rows, self.vectors, self.depth, self.panels) < 1 or self.block % self.rows:
            raise VerifyError(f"kernel {kernel.name}: a tile of {self.rows} rows does not divide a block of "
                              f"{self.block}")
        if self.left == "direct" and self.variant == "tile" and not expr.is_less_equal(self.rows, self._height(kernel)):
            raise VerifyError(f"kernel {kernel.name}: a tile that reads A in place may be moved up, but there are less "
                              f"than {self.rows} rows")
        if self.right == "windows" and (not self.keeps or self.lanes * self.vectors % 16 or self._cuts_vectors(kernel)):
            raise VerifyError(f"kernel {kernel.name}: B is packed as it lies for all depths at once, in whole vectors")
        if self.right == "direct" and kernel.axes[self.j[-1]] != self.lanes * self.vectors:
            raise VerifyError(f"kernel {kernel.name}: B is read in place where the last axis of J is a panel")
        if "rows" in (self.left, self.right) and self.k_flat != 1 or self.left == "columns" and self.i_flat > 1:
            raise VerifyError(f"kernel {kernel.name}: lanes run along one axis, which must not be flattened with "
                              "others")
        if self.depth % self.deep or self.dot and self.variant != "tile" or self.flips and self.left == "direct":
            raise VerifyError(f"kernel {kernel.name}: {self} cannot multiply {self.deep} numbers at a time")
        last = kernel.axes[self.k[-1]]
        if self.deep > 1 and (self.k_flat > 1 or self.left in ("direct", "window")) and (
                not isinstance(last, int) or last % self.deep):
            raise VerifyError(f"kernel {kernel.name}: words of {self.deep} do not divide {self.k[-1]}")


    def _cuts_vectors(self, kernel: Kernel) -> bool:
        """Does a depth end within 16 positions of K's last axis?"""
        run = expr.product(kernel.axes[a] for a in self.k[-self.k_flat:])
        return kernel.axes[self.k[-1]] % 16 != 0 or self.depth % 16 != 0 and not expr.is_less_equal(run, self.depth)


@dataclass(frozen=True)
class Serial(Schedule):
    """One thread, one value after the other, each at all its points in the kernel's axis order: the schedule that is
    always legal.
    """


@dataclass(frozen=True)
class Skewed(Schedule):
    """A step of a loop on skewed tiles (`Tiles`): element by element, on a box of its positions at a time.

    A box is a range of units, which are positions of the `outer` axis (vectors of the `vector` axis, where there is no
    other), and a range of the `vector` axis. So many rows `together` share their loads. `turn` is the loop's counter.
    """

    outer: str = ""
    vector: str = ""
    together: int = 1
    lanes: int = 16
    turn: str = ""

    def cut(self, kernel: Kernel) -> Dim:
        """How many units there are."""
        vectors = expr.floordiv(kernel.axes[self.vector] + (self.lanes - 1), self.lanes)
        return kernel.axes[self.outer] if self.outer else vectors

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        axes = tuple(kernel.axes)
        if not axes or self.vector != axes[-1] or self.outer != (axes[0] if len(axes) > 1 else ""):
            yield f"{self.outer} and {self.vector} are not the first and the last of {axes}"
            return
        if any(v.op in FOLDS for v in kernel.values) or any(s.mode != "set" for s in kernel.stores):
            yield "it is no step that makes buffers element by element"
        for s in kernel.stores:
            if not is_whole(kernel, s):
                yield f"it does not write the whole of {s.buffer} in order"
        if self.lanes < 1 or self.lanes % 16 or self.together < 1 or self.units != self.cut(kernel):
            yield f"{self.units} units are not its {self.cut(kernel)} rows of whole vectors"


@dataclass(frozen=True)
class Tiles:
    """Many turns of a loop at once, on tiles that stay in cache; its steps are launches by `Skewed` schedules.

    Positions of the outer axis are rows, those of the vector axis columns. In coordinates where each turn lies `lag`
    rows and `skew` columns behind the turn before, and step s of it `right[s]` rows and `aside[s]` columns further
    behind, no dependence points backwards, so that tiles of `rows` x `columns` may run through `levels` turns one after
    the other without a halo. `units` blocks of rows, `blocks` at most, are made at a time: in phase 0 step s has lost
    `right[s]` rows at the right and `left[s]` at the left of a block, and with each turn loses the lag at the right and
    the `slope` at the left; in phase 1 what was left between the blocks grows as much. Where it `wraps`, the first rows
    come after the last ones: there is a place between these two as between any blocks. `ir/skewed.py` says when that is
    legal.
    """

    levels: Dim = 1
    lag: int = 0
    slope: int = 0
    skew: int = 0
    right: tuple[int, ...] = (0,)
    left: tuple[int, ...] = (0,)
    aside: tuple[int, ...] = (0,)
    rows: int = 1
    columns: int = 256
    blocks: int = 1
    units: Dim = 1
    wraps: bool = False

    @property
    def lost(self) -> Dim:
        """Rows that a block loses at most."""
        return self.levels * (self.lag + self.slope) + (max(self.right) + max(self.left))

    def cut(self, extent: Dim) -> Dim:
        """The number of blocks of so many rows: so few that they do not shrink to nothing."""
        return expr.minimum(self.blocks, expr.maximum(1, expr.floordiv(extent, expr.maximum(1, self.lost))))


def is_whole(kernel: Kernel, s: Store) -> bool:
    """Does a store write its whole buffer, in the order of all the kernel's axes?"""
    made = kernel.buffers[s.buffer]
    places = [(i, n) for i, n in zip(s.index, made.shape) if isinstance(i, Expr)]
    rest = [n for i, n in zip(s.index, made.shape) if not isinstance(i, Expr)]
    return places == [(kernel.axis(a), n) for a, n in kernel.axes.items()] and all(n == 1 for n in rest)


def independent_axes(kernel: Kernel, s: Store) -> frozenset[str]:
    """Axes of a store along which no two positions write to the same place, whatever the other axes are."""
    from_values = {a for i in s.index if not isinstance(i, (int, Expr)) for a in i.axes}
    alone = set()
    for i in s.index:
        if not isinstance(i, (int, Expr)):
            continue
        here = [a for a in s.axes if a in expr.symbols(i)]
        if len(here) == 1 and here[0] not in from_values and expr.is_static(c := expr.coefficient(i, here[0])
                                                                            or 0) and c != 0:
            alone.add(here[0])
    if alone == set(s.axes) or s.is_scatter:
        return frozenset(alone)
    return frozenset(s.axes) if _is_injective(kernel, s) else frozenset(alone)


def _is_injective(kernel: Kernel, s: Store) -> bool:
    """Do no two positions name the same place? The flat index tells all axes apart, or each entry of the index its own
    (what lies outside is dropped).
    """
    entries = [(i, [a for a in s.axes if a in expr.symbols(i)]) for i in s.index if isinstance(i, Expr)]
    flat, _ = flat_index(kernel.buffers[s.buffer], s.index)
    return _tells_apart(kernel, flat, s.axes) or sorted(a for _, axes in entries for a in axes) == sorted(
        s.axes) and all(_tells_apart(kernel, i, axes) for i, axes in entries)


def _tells_apart(kernel: Kernel, place: Dim, axes: Sequence[str]) -> bool:
    """Does an expression run through a mixed-radix number system of these axes, up- or downwards?"""
    steps = []
    for a in (a for a in axes if kernel.axes[a] != 1):
        c = expr.coefficient(place, a)
        c = -c if c is not None and expr.is_less(c, 0) else c
        if c is None or not expr.is_less(0, c) and expr.is_less(1, kernel.axes[a]):
            return False
        steps.append((c, kernel.axes[a]))
    reach: Dim = 0
    while steps:
        following = next((x for x in steps if all(expr.is_less_equal(x[0], y[0]) for y in steps)), None)
        if following is None or not expr.is_less(reach, following[0]):
            return False
        steps.remove(following)
        reach = reach + following[0] * (following[1] - 1)
    return True


def are_disjoint(kernel: Kernel, s: Store, t: Store) -> bool:
    """Do two stores surely write to different places?"""
    if s.buffer != t.buffer:
        return True
    other = {a: expr.symbol(a + "'", 0, n - 1) for a, n in kernel.axes.items()}
    for i, j in zip(s.index, t.index):
        if isinstance(i, (int, Expr)) and isinstance(j, (int, Expr)):
            j = expr.substitute(j, other)
            if expr.is_less(i, j) or expr.is_less(j, i) or _never_zero(j - i):
                return True
    return False


def _never_zero(x: Dim) -> bool:
    """Is its constant no multiple of what divides all other terms?"""
    if not isinstance(x, Expr):
        return x != 0
    return x.constant % math.gcd(*(c for m, c in x.terms.items() if m)) != 0


@dataclass(frozen=True)
class Source:
    """Text of one kernel for one target, with what is needed to call it.

    LLVM: `void entry(ptr args, i64 start, i64 stop, ptr scratch)`, args being an array of 64-bit words: the buffers'
    pointers in the kernel's order (inputs and outputs as declared), then the kernel's symbolic sizes in the order of
    `Kernel.sizes`; start and stop cut [0, units); scratch is 64-byte aligned, one per thread. A "tail" of work is never
    shared between threads.

    Triton: `text` is a whole module (its imports too) with the `@triton.jit` function `entry`. `facts` holds
    "arguments", a tuple of (name, Triton type such as "*fp32" or "i32"), which are the buffers' pointers in the
    kernel's order and then its sizes in the order of `Kernel.sizes`; "grid", three expressions of those sizes; "warps"
    and "stages". The caller compiles a variant for each combination of sizes that are divisible by 16. By a `Joined`
    schedule the arguments are two tables and what the parts share (`codegen/triton/joined.py`). With a "workspace",
    the last pointer is that of so many bytes of memory, which the source that runs `then` gets too.
    """

    text: str
    entry: str
    language: str                    # "llvm", "numpy" or "triton"
    units: Dim = 1
    grain: int = 1
    scratch: Dim = 0                 # bytes a thread
    facts: dict[str, Any] = field(default_factory=dict)
    then: Source | None = None       # what runs behind it, with the same arguments

    @property
    def chain(self) -> tuple[Source, ...]:
        """All that runs, in order."""
        return (self,) if self.then is None else (self, *self.then.chain)
