"""What the machinery costs where arithmetic costs nothing: an eager op on 64 elements, a node of a backward pass.

`python bench/overhead.py` prints microseconds for each library that is installed, each in its own process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from processes import ask, environment, interpreter, is_installed, pin
from results import Overhead
from timing import median_seconds

LIBRARIES = {"numpy": "numpy", "braze": "braze", "torch": "torch", "jax": "jax.numpy"}
PEERS = ("torch", "jax")
ELEMENTS, NODES = 64, 200

OPERATIONS: dict[str, Callable[[ModuleType, Any, Any], Any]] = {
    "x + y": lambda xp, x, y: x + y,
    "x * 2": lambda xp, x, y: x * 2.0,
    "exp(x)": lambda xp, x, y: xp.exp(x),
    "x.sum()": lambda xp, x, y: x.sum(),
}


def measure(names: list[str], processes: int, seconds: float, threads: int) -> dict[str, Overhead]:
    """Overheads of each library that is installed, in turn."""
    pythons = {name: interpreter(is_peer=name in PEERS) for name in names}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names if is_installed(name, pythons[name])}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(processes):
            for name, given in answers.items():
                env = environment(threads, Path(folder))
                given.append(ask(pythons[name], "overhead.py", "--one", name, "--seconds", str(seconds), env=env))
    return {name: combine(given) for name, given in answers.items()}


def combine(answers: list[dict[str, Any]]) -> Overhead:
    """The median over processes, or the first failure."""
    for answer in answers:
        if "error" in answer:
            return Overhead(failure=answer["error"])
    labels = answers[0].keys()
    return Overhead({label: statistics.median(answer[label] for answer in answers) for label in labels})


def measure_here(name: str, seconds: float) -> dict[str, float]:
    """Seconds by label, in this process."""
    xp = importlib.import_module(LIBRARIES[name])
    array = np.linspace(0.0, 1.0, ELEMENTS, dtype=np.float32)
    make = {"numpy": np.array, "jax": getattr(xp, "array", None)}.get(name) or xp.tensor
    x, y = make(array), make(array)
    times = {
        label: median_seconds(lambda run=run: run(xp, x, y), seconds)  # type: ignore[misc]
        for label, run in OPERATIONS.items()
    }
    if name in ("braze", "torch"):
        times |= backward_times(xp, make(array), seconds)
    return times


def backward_times(xp: ModuleType, x: Any, seconds: float) -> dict[str, float]:
    """The forward pass of a chain of NODES recorded operations, and its backward pass, for each node."""
    x.requires_grad = True

    def forward() -> Any:
        value = x
        for _ in range(NODES - 1):
            value = value * 1.01
        return value.sum()

    def both() -> None:
        x.grad = None
        forward().backward()

    recorded, whole = median_seconds(forward, seconds), median_seconds(both, seconds)
    return {"recorded op": recorded / NODES, "backward node": (whole - recorded) / NODES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--one", choices=LIBRARIES, help="measure this one in this process and print JSON")
    options = parser.parse_args()
    if options.one:
        pin(options.threads)
        print(json.dumps(measure_here(options.one, options.seconds)))
        return
    for name, overhead in measure(options.libraries, options.processes, options.seconds, options.threads).items():
        times = "   ".join(f"{label} {1e6 * value:.2f} us" for label, value in overhead.seconds.items())
        print(f"{name:6} {overhead.failure or times}")


if __name__ == "__main__":
    main()
