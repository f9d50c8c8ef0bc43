"""What this machine can do: memory bandwidth and multiply-add rate, measured with as many threads as the workloads get.

`python bench/ceilings.py [--threads N]` prints both. A workload that fits in the last-level cache may exceed the first.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from processes import pin

BLOCK_BYTES = 256 * 2**20
TURNS = 9
CHAINS, LANES, ITERATIONS = 12, 16, 4_000_000


@dataclass(frozen=True)
class Ceilings:
    """Bytes a second between memory and cores (read and written both counted), and float32 operations a second."""

    bandwidth: float
    flops: float

    def raised_to(self, other: Ceilings) -> Ceilings:
        """The higher of each: a machine that was busy once shows its ceiling another time."""
        return Ceilings(max(self.bandwidth, other.bandwidth), max(self.flops, other.flops))


def measure(threads: int) -> Ceilings:
    """Both ceilings; the best of several turns, since a ceiling is what was reached at least once."""
    return Ceilings(memory_bandwidth(threads), multiply_add_rate(threads))


def memory_bandwidth(threads: int) -> float:
    """The better of a copy and an update in place, each thread on its share of blocks far larger than the caches.

    An ordinary store first reads the line that it overwrites, which the count leaves out; an update reads it anyway.
    """
    source, target = np.ones(BLOCK_BYTES // 4, np.float32), np.zeros(BLOCK_BYTES // 4, np.float32)
    shares = list(zip(np.array_split(source, threads), np.array_split(target, threads)))
    copies = [partial(np.copyto, target, source) for source, target in shares]
    updates = [partial(np.negative, source, out=source) for source, _ in shares]
    return 2 * BLOCK_BYTES / min(best_seconds(copies), best_seconds(updates))


def multiply_add_rate(threads: int) -> float:
    """Independent chains of fused multiply-adds on vectors that stay in registers, in a loop compiled by LLVM."""
    engine, address = compile_loop(loop_source())
    loop = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(address)
    outputs = [np.zeros(LANES, np.float32) for _ in range(threads)]
    jobs = [partial(loop, ITERATIONS, output.ctypes.data) for output in outputs]
    rate = threads * 2 * CHAINS * LANES * ITERATIONS / best_seconds(jobs)
    del engine
    return rate


def best_seconds(jobs: Sequence[Callable[[], object]]) -> float:
    """The shortest time in which all jobs, a thread each, were done."""
    return min(parallel_seconds(jobs) for _ in range(TURNS))


def parallel_seconds(jobs: Sequence[Callable[[], object]]) -> float:
    barrier = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], object]) -> None:
        barrier.wait()
        job()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    barrier.wait()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def compile_loop(source: str) -> tuple[object, int]:
    """A function `loop` as machine code: the engine that owns it, and its address."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = ",".join([llvm.get_host_cpu_features().flatten(), "-prefer-256-bit"])
    machine = llvm.Target.from_default_triple().create_target_machine(llvm.get_host_cpu_name(), features, opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)
    engine.finalize_object()
    return engine, engine.get_function_address("loop")


def loop_source() -> str:
    vector, chains = f"<{LANES} x float>", range(CHAINS)
    splat = lambda value: "<" + ", ".join([f"float {value}"] * LANES) + ">"  # noqa: E731
    phis = [f"  %a{i} = phi {vector} [{splat('0.0')}, %entry], [%b{i}, %body]" for i in chains]
    halve = f"{vector} {splat('0.5')}"
    steps = [
        f"  %b{i} = call {vector} @llvm.fma.v{LANES}f32({vector} %a{i}, {halve}, {vector} {splat(f'{i + 1}.0')})"
        for i in chains
    ]
    sums = [f"  %s{i + 1} = fadd {vector} %{'s' if i else 'b'}{i}, %b{i + 1}" for i in range(CHAINS - 1)]
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.v{LANES}f32({vector}, {vector}, {vector})",
            "define void @loop(i64 %count, ptr %out) {",
            "entry:",
            "  br label %body",
            "body:",
            "  %n = phi i64 [%count, %entry], [%rest, %body]",
            *phis,
            *steps,
            "  %rest = sub i64 %n, 1",
            "  %done = icmp eq i64 %rest, 0",
            "  br i1 %done, label %exit, label %body",
            "exit:",
            *sums,
            f"  store {vector} %s{CHAINS - 1}, ptr %out, align 4",
            "  ret void",
            "}",
        ]
    )


def processor() -> str:
    """The processor's name, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    threads = parser.parse_args().threads
    pin(threads)
    print(json.dumps(asdict(measure(threads))))


if __name__ == "__main__":
    main()
