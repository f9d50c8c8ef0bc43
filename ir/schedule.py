"""How a kernel runs on a CPU: derived from its axes by `passes/schedule.py`, read by the emitters, apart from what it computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .expr import Dim


@dataclass(frozen=True)
class Schedule:
    """Base of schedules. `units` is the size of the parallel iteration space, cut among threads in chunks of at least `grain`."""

    units: Dim = 1
    grain: int = 1


@dataclass(frozen=True)
class Rows(Schedule):
    """Loops over `parallel` axes (those that nothing reduces; flattened they are the units), `vector` in lanes, `sweeps` inside.

    `vector` is the axis that runs in vector lanes, "" for none. When it is reduced, lanes are combined by a fixed tree;
    when it is kept, `block` lanes (a multiple of 16) are a unit and the reduced axes are plain loops inside.
    `unrolled` axes are small and static, and are written out.
    """

    parallel: tuple[str, ...] = ()
    vector: str = ""
    reduced: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    block: int = 16


@dataclass(frozen=True)
class Contraction(Schedule):
    """A sum over `k` of mul(A[g, i, k], B[g, k, j]) on a register tile of `rows` x `vectors`, with prologues and an epilogue."""

    g: tuple[str, ...] = ()
    i: tuple[str, ...] = ()
    j: tuple[str, ...] = ()
    k: tuple[str, ...] = ()
    rows: int = 14
    vectors: int = 2
    depth: int = 256                 # of K that is packed at once
    panel: int = 168                 # rows of A that are packed at once


@dataclass(frozen=True)
class Serial(Schedule):
    """One thread, one element after the other, in the kernel's axis order: the schedule that is always legal (scatter, scans)."""

    parallel: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Text of one kernel for one target, with what is needed to call it.

    LLVM: `void entry(ptr args, i64 start, i64 stop, ptr scratch)`, args being an array of 64-bit words: the buffers' pointers in the
    kernel's order (inputs and outputs as declared), then the kernel's symbolic sizes in the order of `Kernel.sizes`; start and stop
    cut [0, units); scratch is 64-byte aligned, one per thread. A "tail" of work is never shared between threads.
    """

    text: str
    entry: str
    language: str                    # "llvm", "numpy" or "triton"
    units: Dim = 1
    grain: int = 1
    scratch: Dim = 0                 # bytes a thread
    facts: dict[str, Any] = field(default_factory=dict)
