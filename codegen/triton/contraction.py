"""Triton source of a contraction: a program makes a tile of the result, adding products of tiles along K.

What operands are made of is written inside the loop, on their tiles, in the dtype that tensor cores are given; what
does not vary along K is loaded before it. The last, incomplete step of K stands behind the loop, so that only it has a
mask. What follows the sum is written on the tile of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...ir.expr import Dim, is_static, product
from ...ir.gpu_contraction import GpuContraction, blocks, epilogue, narrow_source
from ...ir.kernel import Kernel, Value
from ...ir.schedule import Source
from ...ir.types import DType, float32, float64, int32, uint32
from . import scalar
from .depth_range import chosen, ends_of_depth, write_range
from .groups import Group, is_multiple, open_group
from .module import Function
from .names import OPERANDS, TYPES
from .tile import Tile

# Hopper's tensor cores add products of 8-bit floats with some 14 bits; after so many, the sum is added to a float32, as
# in cuBLAS without "fast accumulation" (DeepSeek-V3 technical report, 2024, 3.3.2).
IMPRECISE_SUMS = 128


def emit_contraction(kernel: Kernel, s: GpuContraction) -> Source:
    """The text of a contraction."""
    s.check(kernel)
    return (_Sums if s.variant == "sum" else Products)(kernel, s).source()


class Tiles:
    """What both variants share: which program makes which tile, the loop over K, the end."""

    def __init__(self, kernel: Kernel, s: GpuContraction):
        self.kernel, self.s = kernel, s
        self.f = Function(kernel, [product(kernel.axes[a] for a in axes) for axes in (s.g, s.i, s.j, s.k)])
        (self.total,) = (v for v in kernel.values if v.op == "reduce")
        self.depth = product(kernel.axes[a] for a in s.k)

    def source(self) -> Source:
        """The finished module."""
        f, s = self.f, self.s
        tiles = s.tiles(self.kernel)
        everywhere = tiles * product(self.kernel.axes[a] for a in s.g)
        program = f.program()
        self.write_once()
        with self.each_tile(program, everywhere) as at:
            place = self.place(at, tiles)
            ti, tj = self.rows_and_columns(at)
            self.write(place, ti, tj)
        return f.source(s.programs or everywhere, s)

    @contextmanager
    def each_tile(self, program: str, tiles: Dim) -> Iterator[str]:
        """One tile, or a loop over those of this program."""
        if not self.s.programs:
            yield program
            return
        at = self.f.names.fresh("tile")
        with self.f.indented(f"for {at} in tl.range({program}, {self.f.spell(tiles)}, {self.s.programs}):"):
            yield at

    def place(self, at: str, tiles: Dim) -> list[Group]:
        """The place of g, in which all tiles of the result come first."""
        if not self.s.g:
            return []
        number = self.f.let("place", f"{at} // ({self.f.spell(tiles)})")
        return [open_group(self.f, self.s.g, number, 1, None, 2)]

    def rows_and_columns(self, at: str) -> tuple[str, str]:
        """Names of the numbers of the tile's row and column. Those that run together share operands in the L2 cache."""
        f, together = self.f, self.s.together
        rows, columns = (blocks(product(self.kernel.axes[a] for a in axes), size)
                         for axes, size in ((self.s.i, self.s.tile[0]), (self.s.j, self.s.tile[1])))
        if columns == 1 or rows == 1:
            inside = f"{at} % ({f.spell(rows * columns)})" if self.s.g else at
            return (f.let("row", inside), "0") if columns == 1 else ("0", f.let("column", inside))
        height = f.let("rows", f.spell(rows))
        width = f.let("columns", f.spell(columns))
        inside = f.let("inside", f"{at} % ({height} * {width})") if self.s.g else at
        band = f.let("band", f"{inside} // ({together} * {width}) * {together}")
        high = f.let("high", f"tl.minimum({height} - {band}, {together})")
        within = f.let("within", f"{inside} % ({together} * {width})")
        return f.let("row", f"{band} + {within} % {high}"), f.let("column", f"{within} // {high}")

    def result_groups(self, ti: str, tj: str, dims: tuple[int, int], rank: int) -> tuple[Group, Group]:
        """The positions along I and J."""
        (rows, columns, _), s = self.s.tile, self.s
        return (open_group(self.f, s.i, times(ti, rows), rows, dims[0], rank, name=in_words(s.i, "i")),
                open_group(self.f, s.j, times(tj, columns), columns, dims[1], rank, name=in_words(s.j, "j")))

    def accumulator(self) -> str:
        """A tile of zeros."""
        rows, columns, _ = self.s.tile
        return self.f.let("acc", f"tl.zeros([{rows}, {columns}], {TYPES[self.summed_in().name]})")

    def summed_in(self) -> DType:
        """What sums are kept in: 32 bits at least."""
        d = self.total.dtype
        if d.bits >= 32:
            return d
        return float32 if d.is_float else uint32 if d.kind == "u" else int32

    def along(self, step, first: str = "0", end: str = "") -> None:
        """The loop over K: `step(start, is_whole)` writes one step. It may be from a `first` position to an `end`."""
        f, size = self.f, self.s.tile[2]
        whole = is_multiple(self.depth, size)
        count: Dim = self.depth // size
        full = f.spell(count * size) if is_static(count) or whole else f.let("full", f.spell(count * size))
        last = full if not end else end if whole else f"tl.minimum({end}, {full})"
        if count != 0:
            start = f.names.fresh("k0")
            with f.indented(f"for {start} in range({first}, {last}, {size}):"):
                step(start, True)
        if whole:
            return
        if is_static(self.depth) and not end:
            step(full, False)
            return
        with f.indented(f"if {full} < {end or f.spell(self.depth)}:"):
            step(full, False)

    def depth_groups(self, start: str, dim: int, rank: int, is_whole: bool) -> list[Group]:
        """The positions along K: one group, or two where a step stays within a run of the last axis."""
        f, (*outer, last), size = self.f, self.s.k, self.s.tile[2]
        run = self.kernel.axes[last]
        if outer and is_multiple(run, size):
            length = f.spell(run)
            up = f.let(in_words(tuple(outer), "k_outer"), f"{start} // ({length})")
            along = f.let("start", f"tl.multiple_of({start} % ({length}), {size})")
            return [open_group(f, tuple(outer), up, 1, None, rank),
                    open_group(f, (last,), along, size, dim, rank, True)]
        return [open_group(f, self.s.k, start, size, dim, rank, is_whole, name=in_words(self.s.k, "k"))]

    def finish(self, place: list[Group], acc: str, rows: Group, columns: Group, tj: str) -> None:
        """All that follows the sum, and the stores: on one part of the columns after the other."""
        f, s = self.f, self.s
        beside = Tile(f, [*place, rows], 2)
        if s.parts == 1:
            return self.finish_part(beside.inside(columns), acc)
        for v in epilogue(self.kernel, self.total):
            if v.op != "const" and not {*v.axes} & {*s.j}:
                beside.value(v)                           # all parts share it
        width = s.tile[1] // s.parts
        for n, part in enumerate(self.cut(acc, s.parts, s.tile[1])):
            at = " + ".join(x for x in (times(tj, s.tile[1]), str(n * width)) if x != "0")
            columns = open_group(f, s.j, at, width, 1, 2, name=in_words(s.j, "j"), tile=s.tile[1])
            self.finish_part(beside.inside(columns), part)

    def finish_part(self, end: Tile, acc: str) -> None:
        """What follows the sum on a tile, and the stores."""
        d = self.total.dtype
        end.known[self.total] = acc if self.summed_in() is d else self.f.let("total", f"{acc}.to({TYPES[d.name]})")
        for store in self.kernel.stores:
            end.store(store)

    def cut(self, name: str, parts: int, width: int) -> list[str]:
        """The columns of a tile in so many parts. They are in registers, and stay there."""
        if parts == 1:
            return [name]
        halves = [self.f.names.fresh(f"{name}_{side}") for side in ("left", "right")]
        self.f.do(f"{', '.join(halves)} = tl.split(tl.permute(tl.reshape({name}, [{self.s.tile[0]}, 2, {width // 2}]), "
                  "[0, 2, 1]))")
        return [x for half in halves for x in self.cut(half, parts // 2, width // 2)]

    def write_once(self) -> None:
        """What all tiles of a program share."""

    def write(self, place: list[Group], ti: str, tj: str) -> None:
        """One tile of the result."""
        raise NotImplementedError


class Products(Tiles):
    """Products on tensor cores."""

    def __init__(self, kernel: Kernel, s: GpuContraction):
        super().__init__(kernel, s)
        a, b = self.total.args[0].args
        left, right = (a, b) if set(b.axes) & set(s.j) else (b, a)
        self.left, self.right = (source_of(v, s.operand) for v in (left, right))
        self.fetched: dict[str, str] = {}             # the descriptors of sides
        self.fetched_as_given: set[str] = set()       # buffers of 8-bit floats

    def write_once(self) -> None:
        """The pointers and the descriptors of operands."""
        self.point_to_float8()
        for side in self.s.descriptors:
            self.fetched[side] = self.descriptor(side, self.left if side == "left" else self.right)

    def point_to_float8(self) -> None:
        """Pointers to bytes become pointers to 8-bit floats, so that tensor cores read these from shared memory."""
        sides = {self.left, self.right} if self.s.operand.is_storage else set()
        for b in dict.fromkeys(v.buffer for v in (self.left, self.right) if v in sides and v.op == "load"):
            readers = {v for v in self.kernel.values if v.op == "load" and v.buffer == b}
            if readers <= sides and all(v.fill in (None, 0) and {*v.axes} & {*self.s.k} for v in readers):
                pointer, kind = self.f.buffers[b], OPERANDS[self.kernel.buffers[b].dtype.name]
                self.f.do(f"{pointer} = {pointer}.to(tl.pointer_type({kind}), bitcast=True)")
                self.fetched_as_given.add(b)

    def write(self, place: list[Group], ti: str, tj: str) -> None:
        """One tile of the result."""
        i, j = self.result_groups(ti, tj, (0, 1), 2)
        ends = ends_of_depth(self.kernel, self.s, self.left, self.right)
        part = write_range(Tile(self.f, place, 2), self.s, ends, self.depth) if ends else ()
        self.finish(place, self.summed(place, ti, tj, i, j, *part), i, j, tj)

    def summed(self, place: list[Group], ti: str, tj: str, i: Group, j: Group, first: str = "0", end: str = "") -> str:
        """The sums of a tile, along all of K or a part of it."""
        f = self.f
        sides = {"left": (self.left, Tile(f, [*place, i], 2), 1), "right": (self.right, Tile(f, [*place, j], 2), 0)}
        for v, tile, _ in sides.values():
            load_before(tile, v, self.s.k)
        acc = self.accumulator()

        def step(start: str, is_whole: bool) -> None:
            given = []
            for side, (v, tile, dim) in sides.items():
                if side in self.fetched:
                    x = self.fetch(self.fetched[side], v, side, ti if side == "left" else tj, start)
                else:
                    x = operand(tile.inside(*self.depth_groups(start, dim, 2, is_whole)), v, self.s.k)
                given.append(x if v.buffer in self.fetched_as_given else given_as(f, x, v.dtype, self.s.operand))
            how = precision(self.s.operand, self.s.precision, self.s.tile[2])
            f.do(f"{acc} = tl.dot({given[0]}, {given[1]}, {acc}{how})")

        self.along(step, first, end)
        return acc

    # ---- tensor descriptors

    def descriptor(self, side: str, v: Value) -> str:
        """A descriptor of an operand that is a matrix in memory."""
        shape = [self.f.spell(d) for d in self.kernel.buffers[v.buffer].shape]
        size = self.tile_of(side)
        block = [size[str(x)] for x in v.index]
        return self.f.let(f"{side}_tiles", f"tl.make_tensor_descriptor({self.f.buffers[v.buffer]}, shape=[{shape[0]}, "
                          f"{shape[1]}], strides=[{shape[1]}, 1], block_shape={block})")

    def tile_of(self, side: str) -> dict[str, int]:
        """The size of an operand's tile along its axes."""
        (axis,) = self.s.i if side == "left" else self.s.j
        return {axis: self.s.tile[0 if side == "left" else 1], self.s.k[0]: self.s.tile[2]}

    def fetch(self, descriptor: str, v: Value, side: str, number: str, start: str) -> str:
        """The tile of an operand at a step of K, zeros behind its end."""
        sizes = self.tile_of(side)
        starts = {a: start if a == self.s.k[0] else times(number, n) for a, n in sizes.items()}
        names = [str(x) for x in v.index]
        x = self.f.let(side, f"{descriptor}.load([{', '.join(starts[a] for a in names)}])")
        wanted = list(sizes) if side == "left" else list(sizes)[::-1]
        return x if names == wanted else f"tl.trans({x})"


class _Sums(Tiles):
    """Terms of any kind, on a tile of rows, K and columns."""

    def write(self, place: list[Group], ti: str, tj: str) -> None:
        """One tile of the result."""
        f = self.f
        term = self.total.args[0]
        acc = self.accumulator()
        i, j = self.result_groups(ti, tj, (0, 2), 3)
        outside = Tile(f, [*place, i, j], 3)

        def step(start: str, is_whole: bool) -> None:
            here = outside.inside(*self.depth_groups(start, 1, 3, is_whole))
            x = zeros_outside(here, term, here.spread(term, (*self.s.i, *self.s.j, *self.s.k)), self.s.k)
            f.do(f"{acc} += tl.sum({x}, 1)")

        self.along(step)
        self.finish(place, acc, *self.result_groups(ti, tj, (0, 1), 2), tj)


# ---- parts that kernels which stream use too -------------------------------------------------------------------------


def times(number: str, size: int) -> str:
    """Where a tile begins."""
    return "0" if number == "0" else f"{number} * {size}"


def in_words(axes: tuple[str, ...], otherwise: str) -> str:
    """A name for axes flattened into one."""
    return axes[0] if len(axes) == 1 else "_".join(axes) or otherwise


def precision(d: DType, chosen: str, depth: int = 0) -> str:
    """How products of a dtype, at a depth, are made and summed, as an argument of `tl.dot`."""
    if d.is_storage:
        return f", max_num_imprecise_acc={min(depth, IMPRECISE_SUMS)}"
    if d is float64 or d.is_integer:                      # before Triton 3.9 it is not seen from the accumulator
        return f", out_dtype={'tl.float64' if d is float64 else 'tl.int32'}"
    return f', input_precision="{chosen}"' if d is float32 else ""


def source_of(v: Value, wanted: DType) -> Value:
    """What is loaded or computed for a side of a product that is given as a dtype."""
    source = narrow_source(v)
    return source if source.dtype.is_storage or source.dtype is wanted else v


def given_as(f: Function, x: str, d: DType, wanted: DType) -> str:
    """A tile of a dtype as tensor cores are given it."""
    if wanted.is_storage:
        return f"{x}.to({OPERANDS[d.name]}, bitcast=True)"
    return x if d is wanted else scalar.spell(f.use, "cast", d, wanted, [x])


def load_before(tile: Tile, v: Value, loop: Sequence[str]) -> None:
    """Writes the loads that a value is made of and that do not vary along the loop's axes."""
    seen: set[Value] = set()
    todo = [v]
    while todo:
        x = todo.pop()
        if x in seen:
            continue
        seen.add(x)
        if x.op == "load" and x.axes and not set(x.axes) & set(loop):
            tile.value(x)
        todo += x.inputs


def operand(tile: Tile, v: Value, depth: Sequence[str]) -> str:
    """An operand on a tile, zero where positions of the depth do not exist."""
    if not {a for a in depth if tile.f.kernel.axes[a] != 1} & set(v.axes):
        return zeros_outside(tile, v, tile.spread(v, [a for g in tile.groups for a in g.axes]), depth)
    tests, picked = [], chosen(v)
    if picked is not None and _is_masked_load(tile, *picked):
        tests, v = [tile.value(picked[0])], picked[1]
    if not tests and not tile.mask(depth) or v.op != "load" or v.fill not in (None, 0):
        return zeros_outside(tile, v, tile.value(v), depth)
    tests += [*tile.mask(v.axes), *(tile.inside_buffer(v.buffer, v.index) if v.fill is not None else [])]
    zero = "0.0" if v.dtype.is_float else "0"
    return tile.name(v, f"tl.load({tile.address(v.buffer, v.index)}, mask={' & '.join(tests)}, other={zero})")


def _is_masked_load(tile: Tile, condition: Value, v: Value) -> bool:
    """Is what a condition chooses a load that it can mask?"""
    numbers = {a for g in tile.groups if g.dim is None for a in g.axes}
    return v.op == "load" and v.fill in (None, 0) and not v.dtype.is_storage and (
        {*condition.axes} <= {*v.axes} | numbers)


def zeros_outside(tile: Tile, v: Value, text: str, depth: Sequence[str]) -> str:
    """A tensor with zeros where positions of the depth do not exist."""
    masked = tile.mask(depth)
    if not masked:
        return text
    return tile.f.let(f"v{tile.f.numbers[v]}_in", f"tl.where({' & '.join(masked)}, {text}, 0)")
