"""The configuration: one dataclass, one instance, each field with the environment variable that sets it before the
import.

Fields may be changed at run time; they are read when they are needed (`num_threads` through
`runtime.threads.set_num_threads`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    try:
        return int(text) if text else default
    except ValueError:
        raise ValueError(f"the environment variable {name} is {text!r}; it must be a whole number") from None


def _cache_directory() -> str:
    named = os.environ.get("BRAZE_CACHE_DIR")
    if named is not None:
        return named
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "braze")


@dataclass
class Configuration:
    """What a person may set."""

    # BRAZE_NUM_THREADS: threads of a parallel region, the caller included; 0 means as many as the process may run on.
    num_threads: int = field(default_factory=lambda: _number("BRAZE_NUM_THREADS", 0))
    # BRAZE_CACHE_DIR: where machine code is kept between processes; an empty text means nowhere.
    cache_directory: str = field(default_factory=_cache_directory)
    # BRAZE_CACHE_BYTES: how large that folder may grow before the entries that were not used for longest are removed.
    cache_bytes: int = field(default_factory=lambda: _number("BRAZE_CACHE_BYTES", 512 << 20))
    # BRAZE_POOL_BYTES: freed outputs and arenas that are kept for later calls, in bytes together.
    pool_bytes: int = field(default_factory=lambda: _number("BRAZE_POOL_BYTES", 2 << 30))
    # BRAZE_SPIN_MICROSECONDS: how long a worker thread waits awake for the next parallel region before it sleeps.
    spin_microseconds: int = field(default_factory=lambda: _number("BRAZE_SPIN_MICROSECONDS", 40))
    # BRAZE_TRITON_INTERPRET: 1 gives a simulated GPU, "cuda:0", whose kernels run in Triton's interpreter.
    simulate_gpu: bool = field(default_factory=lambda: _number("BRAZE_TRITON_INTERPRET", 0) != 0)
    # BRAZE_DUMP: a folder into which every stage of every compilation is written; an empty text means nowhere.
    dump_directory: str = field(default_factory=lambda: os.environ.get("BRAZE_DUMP", ""))


configuration = Configuration()
