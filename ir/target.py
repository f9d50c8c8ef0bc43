"""What a machine offers: the facts that schedules are derived from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A CPU: LLVM's `triple`, `cpu` and `features`; vector `registers` of `vector_bytes`; caches in bytes;
    `threads`.
    """

    triple: str = ""
    cpu: str = "generic"
    features: str = ""
    vector_bytes: int = 16
    registers: int = 16
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    threads: int = 1
