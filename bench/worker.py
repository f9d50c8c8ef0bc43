"""Measures one workload in one framework, in a process of its own, and prints what it found as one line of JSON.

run.py starts it: `python worker.py FRAMEWORK WORKLOAD --reference FILE.npz [--seconds S] [--threads N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from frameworks import FRAMEWORKS
from memory import peak_bytes, resident_bytes
from processes import pin
from timing import median_seconds
from workload import as_list, largest_error, make_inputs
from workloads import WORKLOADS


def measure(framework_name: str, workload_name: str, reference: Path, seconds: float, threads: int) -> dict[str, Any]:
    """Import, first call, check, steady calls. Memory counts from when the inputs are there, compilation included."""
    pin(threads)
    start = time.perf_counter()
    framework, workload = FRAMEWORKS[framework_name](threads), WORKLOADS[workload_name]
    import_seconds = time.perf_counter() - start
    with framework.scope(workload):
        tensors = [framework.tensor(array) for array in make_inputs(workload)]
        resident = resident_bytes()
        start = time.perf_counter()
        call = framework.call(workload, tensors)
        result = call()
        first_seconds = time.perf_counter() - start
        for _ in range(workload.check_calls - 1):
            result = call()
        results = [np.array(framework.array(tensor)) for tensor in as_list(result)]
        del result
        steady_seconds = median_seconds(call, seconds)
        peak = peak_bytes()
    with np.load(reference) as stored:
        error = largest_error(results, [stored[name] for name in stored.files])
    return {
        "seconds": steady_seconds,
        "first_seconds": first_seconds,
        "import_seconds": import_seconds,
        "memory_bytes": max(0, peak - resident),
        "error": error,
        "version": framework.version,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps(measure(options.framework, options.workload, options.reference, options.seconds, options.threads)))
    sys.stdout.flush()
    os._exit(0)  # torch's pools take over a second to shut down


if __name__ == "__main__":
    main()
