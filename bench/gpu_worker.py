"""Measures one workload in one framework on a GPU, in a process of its own; gpu.py starts it and talks to it by lines.

It prints {"event": "first"} before the first call and {"event": "ready"} after it, waits for a line (others stand still
meanwhile), times the calls, and prints {"event": "result", ...}. What can't be done is {"event": "failure", ...}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gpu_frameworks import FRAMEWORKS, GpuFramework
from gpu_workloads import GpuWorkload, workloads

ROTATED_BYTES = 256 << 20  # inputs of calls that follow each other: several times a second-level cache
MOST_COPIES = 16
TURNS = 15
TURN_SECONDS = 0.03
COPY_BYTES = 1 << 30


def say(event: str, **facts: Any) -> None:
    """A line for the parent."""
    print(json.dumps({"event": event, **facts}), flush=True)


def measure(framework_name: str, workload_name: str, tiny: bool) -> dict[str, Any]:
    """Import, first call, check, steady calls."""
    start = time.monotonic()
    framework = FRAMEWORKS[framework_name]()
    import_seconds = time.monotonic() - start
    workload = workloads(tiny)[workload_name]
    arrays = workload.inputs()
    copies = count_of_copies(workload, arrays, tiny)
    sets = [tensors_of(framework, workload, arrays) for _ in range(copies)]
    say("first")
    start = time.monotonic()
    run = framework.run(workload, sets[0])
    result = run(sets[0])
    framework.wait(result)
    first_seconds = time.monotonic() - start
    for _ in range(workload.base.check_calls - 1):
        result = run(sets[0])
    sample = framework.array(workload.sample(result))
    del result
    say("ready")
    sys.stdin.readline()
    seconds = steady_seconds(framework, run, sets, tiny)
    return {
        "seconds": seconds,
        "first_seconds": first_seconds,
        "import_seconds": import_seconds,
        "memory_bytes": framework.peak_bytes(),
        "sample": [float(x) for x in np.ravel(sample)],
        "reference": reference_of(workload, arrays),
        "version": framework.version,
        "copies": copies,
    }


def count_of_copies(workload: GpuWorkload, arrays: Sequence[np.ndarray], tiny: bool) -> int:
    """So many that the inputs of one call have left the cache when its turn comes again."""
    if not workload.rotates or tiny:
        return 1
    size = sum(a.nbytes for a in arrays) // (2 if workload.dtype == "bfloat16" else 1)
    return max(2, min(MOST_COPIES, -(-ROTATED_BYTES // size)))


def tensors_of(framework: GpuFramework, workload: GpuWorkload, arrays: Sequence[np.ndarray]) -> list[Any]:
    return [framework.tensor(array, workload.dtype, workload.channels_last) for array in arrays]


def reference_of(workload: GpuWorkload, arrays: list[np.ndarray]) -> list[float] | None:
    found = workload.reference(arrays)
    return None if found is None else [float(x) for x in np.ravel(found)]


def steady_seconds(framework: GpuFramework, run: Callable[[Sequence[Any]], Any], sets: list[Any], tiny: bool) -> float:
    """The median over turns of many calls, inputs rotated; after warming up."""
    def calls(count: int) -> Callable[[], Any]:
        def enqueue() -> Any:
            result = None
            for n in range(count):
                result = run(sets[n % len(sets)])
            return result

        return enqueue

    warm_up = 1 if tiny else 3
    once = min(framework.seconds(calls(len(sets))) / len(sets) for _ in range(warm_up))
    count = 1 if tiny else max(len(sets), min(500, round(TURN_SECONDS / max(once, 1e-6))))
    return statistics.median(framework.seconds(calls(count)) / count for _ in range(1 if tiny else TURNS))


def facts() -> dict[str, Any]:
    """What the device is, and the bandwidth of a copy, by whichever library is here."""
    try:
        import cupy
    except ImportError:
        return torch_facts()
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    source, target = (cupy.ones(COPY_BYTES // 4, cupy.float32) for _ in range(2))

    def copy() -> None:
        cupy.copyto(target, source)

    return {
        "device": properties["name"].decode(),
        "processors": properties["multiProcessorCount"],
        "l2_bytes": properties["l2CacheSize"],
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "copy_bandwidth": 2 * COPY_BYTES / best_copy(lambda: cupy.cuda.Event(), cupy.cuda.get_elapsed_time, copy),
    }


def torch_facts() -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(0)
    source, target = (torch.ones(COPY_BYTES // 4, device="cuda") for _ in range(2))

    def event() -> Any:
        return torch.cuda.Event(enable_timing=True)

    seconds = best_copy(event, lambda start, end: start.elapsed_time(end), lambda: target.copy_(source))
    return {
        "device": properties.name,
        "processors": properties.multi_processor_count,
        "l2_bytes": getattr(properties, "L2_cache_size", 0),
        "driver": 0,
        "copy_bandwidth": 2 * COPY_BYTES / seconds,
    }


def best_copy(event: Callable[[], Any], elapsed: Callable[[Any, Any], float], copy: Callable[[], Any]) -> float:
    """The median seconds of a copy over some turns."""
    times = []
    for _ in range(20):
        start, end = event(), event()
        start.record()
        copy()
        end.record()
        end.synchronize()
        times.append(1e-3 * elapsed(start, end))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=[*FRAMEWORKS, "facts"])
    parser.add_argument("workload", nargs="?", default="")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.framework == "facts":
        say("result", **facts())
    else:
        say("result", **measure(options.framework, options.workload, options.tiny))
    os._exit(0)


if __name__ == "__main__":
    main()
