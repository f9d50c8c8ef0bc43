"""How contractions run on a GPU: a tile of the result for each program, made by tensor cores (`GpuContraction`),
contractions that share an axis, worked through tile by tile (`GpuStreamed`: attention, its gradient), and products that
the device's library makes (`GpuLibrary`).

A sum over K of mul(A[G, I, K], B[G, K, J]): each group of axes is flattened into one dimension of a tile. What operands
are made of is computed on their tiles, what follows the sum on the result's. `passes/gpu_contraction.py` chooses,
`codegen/triton/contraction.py` and `codegen/triton/streamed.py` print.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import VerifyError
from .expr import Dim, product
from .gpu import GpuSchedule
from .kernel import FOLDS, Kernel, Value, made_of
from .streamed import Product, Roles, roles
from .types import FLOAT8, DType, bfloat16, float16, float32, float64, holds, int8

OPERANDS = (float16, bfloat16, float32, float64, int8, *FLOAT8)   # what products on tiles may be made of
LEAST_DEPTH = {1: 32, 2: 16, 4: 8, 8: 4}                 # of a product on tiles, by the size of an operand
LEAST_SIDE = 16                                          # of a tile of products
PRECISIONS = ("ieee", "tf32", "tf32x3", "bf16x3", "bf16x6")


def blocks(extent: Dim, tile: int) -> Dim:
    """The number of tiles that cover an extent."""
    return (extent + tile - 1) // tile


def narrow_source(v: Value) -> Value:
    """What a value is the widened form of: of `cast %x : f32`, %x. All its numbers are numbers of that dtype."""
    while v.op == "cast" and v.args[0].dtype.kind == v.dtype.kind and holds(v.dtype, v.args[0].dtype):
        v = v.args[0]
    return v


def common_operand(left: DType, right: DType) -> DType | None:
    """The 16-bit float that has all numbers of both sides, which are narrow floats; None where there is none."""
    wide = {d for d in (left, right) if not d.is_storage}
    if not wide <= {float16, bfloat16} or len(wide) > 1:
        return None
    return wide.pop() if wide else float16


def is_given_as(d: DType, operand: DType) -> bool:
    """Are numbers of a dtype given to tensor cores as they are? 8-bit floats of either format meet those of the other.
    """
    return d is operand or d.is_storage and operand.is_storage


def operand_of(p: Product, parts: Roles) -> DType:
    """What tensor cores are given for a product of a kernel that streams: 16-bit numbers where both sides hold such
    ones, or 8-bit ones; weights are rounded to what they weigh, to 16 bits for 8-bit numbers whose scores were made so.
    """
    left, right = narrow_source(p.left).dtype, narrow_source(p.right).dtype
    if p.total.dtype is not float32:
        return p.total.dtype
    if p not in parts.outer:
        return common_operand(left, right) or float32
    if right.is_storage:
        return bfloat16 if operand_of(parts.inner[0], parts).bits == 16 else float32
    return common_operand(right, right) or float32


def epilogue(kernel: Kernel, total: Value) -> list[Value]:
    """What stores are made of, short of the sum: in the order of the kernel."""
    found = made_of(*(v for s in kernel.stores for v in s.inputs), without=total)
    return [v for v in kernel.values if v in found]


@dataclass(frozen=True)
class Shares:
    """The `first` tiles are made whole; each program has `length` steps along K of the `rest`, which have `steps` each.
    Tiles and steps are numbered through, so that a share is of two tiles at most.
    """

    first: int
    rest: int
    steps: int
    length: int


@dataclass(frozen=True)
class GpuContraction(GpuSchedule):
    """One sum over `k` of mul(A[g, i, k], B[g, k, j]), each program a tile of I x J, K in steps: `tile` is (I, J, K).

    `variant` "dot": a product on tiles whose operands are given as `operand`, float32 ones multiplied with `precision`.
    "sum": terms of any kind are made on a tile of all three dimensions, and added along K. `together` tiles of I run
    side by side, so that programs that run at the same time share rows of A and columns of B in the L2 cache. With
    `programs`, so many of them (one a processor) work through all tiles; the `rest`, when all have made as many, are
    made as "tiles", or in equal "shares" of their steps along K, which a second kernel adds in order. `descriptors`
    says which operands are fetched by tensor descriptors: any of "left", "right". What follows the sum is written on
    one of `parts` of the tile's columns after the other, so that only a part's values need registers beside the sums.
    """

    g: tuple[str, ...] = ()
    i: tuple[str, ...] = ()
    j: tuple[str, ...] = ()
    k: tuple[str, ...] = ()
    tile: tuple[int, int, int] = (128, 128, 64)
    variant: str = "dot"
    operand: DType = float32
    precision: str = "ieee"
    together: int = 8
    programs: int = 0
    rest: str = "tiles"
    descriptors: tuple[str, ...] = ()
    parts: int = 1

    def tiles(self, kernel: Kernel) -> Dim:
        """The number of tiles of one place of g."""
        return product(blocks(product(kernel.axes[a] for a in axes), size)
                       for axes, size in ((self.i, self.tile[0]), (self.j, self.tile[1])))

    def shares(self, kernel: Kernel) -> Shares:
        """How the rest of the tiles is shared, of a kernel of known sizes."""
        tiles = self.tiles(kernel) * product(kernel.axes[a] for a in self.g)
        steps = blocks(product(kernel.axes[a] for a in self.k), self.tile[2])
        assert isinstance(tiles, int) and isinstance(steps, int)
        rest = tiles % self.programs
        return Shares(tiles - rest, rest, steps, blocks(rest * steps, self.programs))      # type: ignore[arg-type]

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        for why in self._objections(kernel):
            raise VerifyError(f"kernel {kernel.name} cannot run as {self}: {why}")

    def _objections(self, kernel: Kernel) -> Iterator[str]:
        named = [*self.g, *self.i, *self.j, *self.k]
        folds = [v for v in kernel.values if v.op in FOLDS]
        if len(folds) != 1 or folds[0].combine != "sum" or set(folds[0].over) != set(self.k):
            yield f"it is no sum over {self.k}"
        if sorted(named) != sorted(kernel.axes):
            yield f"{named} are not the kernel's axes"
        if any(n < 1 or n & (n - 1) for n in self.tile) or self.together < 1 or self.programs < 0:
            yield f"tiles of {self.tile} are not powers of two"
        if self.variant not in ("dot", "sum"):
            yield f"{self.variant} is no way to multiply"
        if self.variant == "dot" and (self.operand not in OPERANDS or self.precision not in PRECISIONS
                                      or self.tile[2] < LEAST_DEPTH[self.operand.itemsize]):
            yield f"there is no product of tiles {self.tile} of {self.operand}, {self.precision}"
        if self.parts < 1 or self.tile[1] % self.parts or self.parts & (self.parts - 1) or (
                self.parts > 1 and self.variant == "sum"):
            yield f"{self.tile[1]} columns are not written in {self.parts} parts"
        if self.variant == "dot" and folds and folds[0].args[0].op != "mul":
            yield "its term is no product"
        if self.rest not in ("tiles", "shares"):
            yield f"{self.rest} is no way to make the rest"
        if self.rest == "shares" and not (self.programs and self.variant == "dot" and all(
                isinstance(n, int) for n in kernel.axes.values())):
            yield "only products of known sizes are shared, among a number of programs"


@dataclass(frozen=True)
class GpuLibrary(GpuSchedule):
    """The whole kernel is result[g, i, j] = sum over k of left[g, i, k] * right[g, k, j], each a buffer as it lies, and
    is made by the device's library of linear algebra. What is `turned` lies as [g, k, i], or [g, j, k]. Float32 ones
    are multiplied with `precision`.
    """

    g: tuple[str, ...] = ()
    i: tuple[str, ...] = ()
    j: tuple[str, ...] = ()
    k: tuple[str, ...] = ()
    left: str = ""
    right: str = ""
    turned_left: bool = False
    turned_right: bool = False
    precision: str = "ieee"

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        if {self.left, self.right, *(b.name for b in kernel.outputs)} != set(kernel.buffers) or (
                len(kernel.stores) != 1 or sorted([*self.g, *self.i, *self.j, *self.k]) != sorted(kernel.axes)):
            raise VerifyError(f"kernel {kernel.name} is no product of {self.left} and {self.right}")


@dataclass(frozen=True)
class GpuStreamed(GpuSchedule):
    """A program has `tile[0]` rows of one place of g; tiles of `tile[1]` positions of the stream pass by, each a tile
    of scores that is weighed in registers and multiplied into the results (`ir/streamed.py`).

    Operands that hold 16-bit numbers are multiplied as such, and weights that meet them are rounded to their dtype;
    others with `precision`. The depths of the inner products and the columns of the outer ones are taken whole, rounded
    up to powers of two.
    """

    row: str = ""
    stream: str = ""
    tile: tuple[int, int] = (64, 64)
    precision: str = "ieee"

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        roles(kernel, self.row, self.stream)
        if kernel.axes[self.row] == 1:
            raise VerifyError(f"kernel {kernel.name}: one row is no side of a tile")
        if any(n < LEAST_SIDE or n & (n - 1) for n in self.tile) or self.precision not in PRECISIONS:
            raise VerifyError(f"kernel {kernel.name}: there are no products of tiles {self.tile}, {self.precision}")
