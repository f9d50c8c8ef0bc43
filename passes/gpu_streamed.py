"""Choosing how a kernel that streams (attention, its gradient) runs on a GPU; taking it apart where it does not fit.

The model is that of `passes/gpu_contraction.py`: a program multiplies at its processor's share of the peak, what passes
by comes through the L2 cache, and weights cost `WEIGH` nanoseconds each on a processor beside.

All tiles of operands must fit in shared memory, and what a thread holds in `MOST_REGISTERS`: `Holds` is fitted to what
ptxas made of attention and its gradients with depths of 64 and 128, in 14 tiles each, for compute capability 8.0 and
9.0, so that what it lets pass does not spill. From 9.0 on, left operands are read from shared memory, and a group of
four warps multiplies 64 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..ir.expr import Dim, product
from ..ir.gpu import GpuTarget, rounded_up
from ..ir.gpu_contraction import GpuStreamed, operand_of
from ..ir.kernel import Kernel, KernelBuilder, Value
from ..ir.streamed import Roles
from .gpu_contraction import CANDIDATES, L2_RATIO, LAUNCH, PROGRAM, STEP
from .split import Copy
from .streamed import match
from .walks import usual

__all__ = ["candidates", "estimate", "match", "schedule", "take_apart"]

ROWS, SPANS = (128, 64, 32, 16), (128, 64, 32, 16)
MOST_REGISTERS, FOR_32_BITS = 238, 32       # and so many fewer where operands have 32 bits or more
MOST_PLAIN = 32                  # rows and positions of products outside tensor cores, which hold operands in registers
WEIGH = 0.02                     # nanoseconds a weight, of one processor
SHORT_DEPTH = 64                 # of such products
LONG_ROWS = 256                  # of depths and columns together
FEW_ROWS, LONG_STREAM = 64, 4096  # so few rows read, as it were, so many positions where their number is not known
SHORT_SIDE = 24                  # rows and positions that a tile of products wastes, as it were


class Holds(NamedTuple):
    """Registers that a thread holds: `base`, the sums once, the scores of one product `score` times and of each further
    one `further` times, the rows' operands `left` times, the operands that pass by `right` times.
    """

    base: float
    score: float
    further: float
    left: float
    right: float


FROM_MEMORY = Holds(60, 1.7, 0.7, 0.0, 0.1)     # operands of tensor cores: in shared memory, from 9.0 on
FROM_REGISTERS = Holds(75, 1.7, 1.2, 1.0, 0.1)


class _Sizes(NamedTuple):
    """What the model asks: places, extents, sums of (rounded) depths and columns, how many scores are made."""

    places: int
    rows: int
    stream: int
    depths: int
    columns: int
    scores: int
    operand: int
    is_wide: bool


def estimate(kernel: Kernel, row: str, stream: str, found: Roles, target: GpuTarget, pieces: int = 1) -> float:
    """Nanoseconds that the kernel is thought to take, when its stream is cut into so many pieces."""
    sizes = _sizes(kernel, row, stream, found, target)
    sizes = sizes._replace(places=sizes.places * pieces, stream=-(-sizes.stream // pieces))
    ways = _best(sizes, target)
    return _nanoseconds(ways[0], sizes, target) if ways else float("inf")


def schedule(kernel: Kernel, row: str, stream: str, found: Roles, target: GpuTarget) -> GpuStreamed | None:
    """The best way that the model knows; None where no tile fits."""
    ways = candidates(kernel, target, (row, stream, found))
    return ways[0] if ways else None


def candidates(kernel: Kernel, target: GpuTarget, found: tuple[str, str, Roles] | None = None) -> list[GpuStreamed]:
    """Ways to run a kernel that streams, the best first: what autotuning measures. None for other kernels."""
    found = found or match(kernel)
    if found is None or kernel.axes[found[0]] == 1:
        return []
    row, stream, roles = found
    precision = target.precision if target.precision != "bf16" else "ieee"
    return [GpuStreamed(row=row, stream=stream, tile=tile, precision=precision, warps=warps, stages=stages)
            for tile, warps, stages in _best(_sizes(kernel, row, stream, roles, target), target)]


def _sizes(kernel: Kernel, row: str, stream: str, roles: Roles, target: GpuTarget) -> _Sizes:
    def total(axes: Iterator[str]) -> int:
        return sum(max(16, rounded_up(usual(kernel.axes[a]))) for a in axes)

    operands = [operand_of(p, roles) for p in (*roles.inner, *roles.outer)]
    return _Sizes(
        max(1, usual(product(kernel.axes[a] for a in roles.g))), max(1, usual(kernel.axes[row])),
        max(1, length(kernel, row, stream)), total(p.axis for p in roles.inner), total(p.column for p in roles.outer),
        len(roles.inner), max(d.itemsize for d in operands),
        any(d.itemsize > 2 for d in operands) and target.precision == "ieee")


def length(kernel: Kernel, row: str, stream: str) -> int:
    """The length of a stream, or what one that is not known usually is: what a few rows decode from is long."""
    known = isinstance(kernel.axes[stream], int) or usual(kernel.axes[row]) > FEW_ROWS
    return usual(kernel.axes[stream]) if known else LONG_STREAM


Way = tuple[tuple[int, int], int, int]


@lru_cache(maxsize=256)
def _best(sizes: _Sizes, target: GpuTarget) -> tuple[Way, ...]:
    """(tile, warps, stages) that fit, the best first."""
    return tuple(sorted(_fitting(sizes, target), key=lambda way: _nanoseconds(way, sizes, target))[:CANDIDATES])


def _fitting(sizes: _Sizes, target: GpuTarget) -> Iterator[Way]:
    plain = MOST_PLAIN if sizes.depths // sizes.scores <= SHORT_DEPTH else MOST_PLAIN // 2
    longest = plain if sizes.is_wide else max(*ROWS, *SPANS)
    most = MOST_REGISTERS - (FOR_32_BITS if sizes.operand > 2 else 0)
    for rows in (n for n in ROWS if n <= longest):
        for span in (n for n in SPANS if n <= longest):
            for warps in _warps(rows, sizes, target):
                if _registers(rows, span, warps, sizes, target) <= most:
                    stages = _stages(rows, span, sizes, target)
                    if stages:
                        yield (rows, span), warps, stages


def _warps(rows: int, sizes: _Sizes, target: GpuTarget) -> tuple[int, ...]:
    """How many warps may share so many rows: one for 16, or for fewer where rows are long."""
    long = sizes.operand <= 2 and sizes.depths + sizes.columns > LONG_ROWS
    return (8,) if rows >= 128 or rows == 64 and long and not target.has_descriptors else (4,)


def _registers(rows: int, span: int, warps: int, sizes: _Sizes, target: GpuTarget) -> float:
    """What a thread holds."""
    of = FROM_MEMORY if target.has_descriptors and not sizes.is_wide else FROM_REGISTERS
    threads, words = target.warp * warps, max(1.0, sizes.operand / 4)
    scores = rows * span * (of.score + of.further * (sizes.scores - 1))
    operands = of.left * rows * sizes.depths + of.right * 2 * span * (sizes.depths + sizes.columns)
    return of.base + (words * (rows * sizes.columns + scores) + operands * sizes.operand / 4) / threads


def _stages(rows: int, span: int, sizes: _Sizes, target: GpuTarget) -> int:
    """As many as fit in shared memory, up to three; 0 if not even one does."""
    both = sizes.depths + sizes.columns
    room = target.shared_bytes - rows * (sizes.depths + span) * sizes.operand
    return max(0, min(3, room // (span * both * sizes.operand)))


def _nanoseconds(way: Way, sizes: _Sizes, target: GpuTarget) -> float:
    (rows, span), warps, stages = way
    both = sizes.depths + sizes.columns
    programs = sizes.places * -(-sizes.rows // rows)
    share = (target.flops if sizes.is_wide else target.dot_flops * 2 / max(2, sizes.operand)) / target.processors
    kept = rows * span / (rows * span + SHORT_SIDE * (rows + span)) * min(1.0, (warps + 2) / 8)
    multiply = 2.0 * rows * span * both / (share * kept)
    fetch = span * both * sizes.operand / (L2_RATIO * target.bandwidth / target.processors)
    step = max(multiply, fetch) + rows * span * WEIGH * sizes.scores + STEP * (2 if stages > 1 else 6)
    turns = -(-programs // target.processors)
    return LAUNCH + turns * (PROGRAM + -(-sizes.stream // span) * step)


# ---- taken apart -----------------------------------------------------------------------------------------------------


def take_apart(kernel: Kernel, found: Roles) -> list[Kernel]:
    """Kernels that do what one did: one for each product, and between them one that makes weights of scores."""
    return _Parts(kernel, found).kernels()


class _Parts:
    """Every total and every weight is stored in memory of its own, named by the kernel."""

    def __init__(self, kernel: Kernel, found: Roles):
        self.kernel, self.found = kernel, found
        totals = [p.total for p in (*found.inner, *found.outer)]
        weights = [p.left for p in found.outer if p.left.op != "load"]
        self.stored = list(dict.fromkeys([*totals, *weights]))

    def kernels(self) -> list[Kernel]:
        inner, outer = ([p.total for p in products] for products in (self.found.inner, self.found.outer))
        weights = [v for v in self.stored if v not in inner and v not in outer]
        parts = [self.part(f"scores{n}", [v], known=()) for n, v in enumerate(inner)]
        parts += [self.part("weights", weights, known=inner)] if weights else []
        parts += [self.part(f"results{n}", [v], known=weights) for n, v in enumerate(outer)]
        return [*parts, self.part("rest", [], known=[*inner, *outer])]

    def part(self, name: str, made: list[Value], known: tuple[Value, ...] | list[Value]) -> Kernel:
        """A kernel that makes some of the stored values from others; the last one makes the results."""
        k = KernelBuilder(f"{self.kernel.name}_{name}", self.kernel.axes)
        copy = Copy(self.kernel, k, {}, False)
        for v in known:
            copy.made[v] = k.load(self.name(v), self.shape(v), v.dtype, [k.axis(a) for a in v.axes])
        for v in made:
            k.store(self.name(v), self.shape(v), [k.axis(a) for a in v.axes], copy.value(v))
        if not made:
            for s in self.kernel.stores:
                copy.store(s)
        built = k.build(self.kernel.origin)
        return Kernel(built.name, _used(built), built.buffers, built.values, built.stores, built.origin)

    def name(self, v: Value) -> str:
        return f"{self.kernel.name}_made{self.stored.index(v)}"

    def shape(self, v: Value) -> tuple[Dim, ...]:
        return tuple(self.kernel.axes[a] for a in v.axes)


def _used(kernel: Kernel) -> dict[str, Dim]:
    """The axes that a kernel needs."""
    named = {a for v in kernel.values for a in (*v.axes, *v.over)} | {a for s in kernel.stores for a in s.axes}
    return {a: n for a, n in kernel.axes.items() if a in named}


