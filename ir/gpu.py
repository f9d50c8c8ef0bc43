"""What a GPU offers, and how a kernel runs on one: a partition of its axes into groups, each flattened into one
dimension of a tile. Read by `passes` (which chooses) and `codegen/triton` (which prints).
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import VerifyError
from .kernel import Kernel
from .schedule import Schedule


@dataclass(frozen=True)
class GpuTarget:
    """A device: `kind` "cuda" with its compute capability times ten as `arch` ("90"), or "hip" ("gfx942").

    `warp` threads run together; each of `processors` has `shared_bytes` that one program may use and `registers` of 32
    bits. `bandwidth` is bytes per nanosecond, `flops` those per nanosecond of float32 outside tensor cores and
    `dot_flops` of 16-bit products inside. `precision` is how float32 products are made: "ieee", "tf32" or "bf16".
    """

    kind: str = "cuda"
    arch: str = "90"
    warp: int = 32
    processors: int = 132
    shared_bytes: int = 227 << 10
    registers: int = 65536
    l2_bytes: int = 50 << 20
    bandwidth: float = 3000.0
    flops: float = 60_000.0
    dot_flops: float = 800_000.0
    precision: str = "ieee"

    @property
    def has_descriptors(self) -> bool:
        """Can it copy tiles by tensor descriptors?"""
        return self.kind == "cuda" and int(self.arch) >= 90

    @property
    def has_float8(self) -> bool:
        """Do its tensor cores multiply 8-bit floats?"""
        return self.kind == "cuda" and int(self.arch) >= 89

    @property
    def multiplies_from_shared(self) -> bool:
        """Do tensor cores read operands from shared memory, so that registers hold sums only? (wgmma, tcgen05)"""
        return self.kind == "cuda" and 90 <= int(self.arch) < 120


@dataclass(frozen=True)
class GpuSchedule(Schedule):
    """Base of schedules on a GPU: so many `warps` run a program, whose loops are pipelined in so many `stages`."""

    warps: int = 4
    stages: int = 3

    def check(self, kernel: Kernel) -> None:
        """Raise VerifyError where the kernel must not run so."""
        super().check(kernel)
        if self.warps < 1 or self.warps & (self.warps - 1) or self.stages < 1:
            raise VerifyError(f"kernel {kernel.name}: {self.warps} warps in {self.stages} stages")


def rounded_up(extent: int) -> int:
    """The next power of two: the sizes that tiles have."""
    return 1 << max(0, extent - 1).bit_length()


def holding(extent: int) -> int:
    """The size of a tile that holds all positions; two where there is none, so that there is a mask."""
    return rounded_up(extent) if extent else 2
