"""Cold start: seconds from starting the process to the first result of a program of one kernel, compiled.

Measured from outside, so that the interpreter's own start and all imports count. Once with an empty disk cache, then
with what the first run left there. `python bench/start.py [--processes N] [--frameworks ...]` prints the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from processes import HERE, environment, interpreter, is_installed, last_line
from results import Start

PROGRAMS = {
    "numpy": """
import numpy
x = numpy.arange(1000, dtype=numpy.float32)
print(float((1 / (1 + numpy.exp(-x)))[0]), flush=True)
""",
    "braze_compiled": """
import braze, numpy
sigmoid = braze.compile(lambda x: 1 / (1 + braze.exp(-x)))
x = braze.tensor(numpy.arange(1000, dtype=numpy.float32))
print(float(numpy.asarray(sigmoid(x))[0]), flush=True)
""",
    "braze_eager": """
import braze, numpy
x = braze.tensor(numpy.arange(1000, dtype=numpy.float32))
print(float(numpy.asarray(1 / (1 + braze.exp(-x)))[0]), flush=True)
""",
    "torch_eager": """
import torch
x = torch.arange(1000, dtype=torch.float32)
print(float((1 / (1 + torch.exp(-x)))[0]), flush=True)
""",
    "torch_compile": """
import torch
sigmoid = torch.compile(lambda x: 1 / (1 + torch.exp(-x)))
x = torch.arange(1000, dtype=torch.float32)
print(float(sigmoid(x)[0]), flush=True)
""",
    "jax": """
import jax, numpy
sigmoid = jax.jit(lambda x: 1 / (1 + jax.numpy.exp(-x)))
x = jax.numpy.asarray(numpy.arange(1000, dtype=numpy.float32))
print(float(numpy.asarray(sigmoid(x))[0]), flush=True)
""",
}

PACKAGES = {"numpy": "numpy", "braze_compiled": "braze", "braze_eager": "braze", "jax": "jax"} | dict.fromkeys(
    ("torch_eager", "torch_compile"), "torch"
)


def measure(names: list[str], processes: int, threads: int) -> dict[str, Start]:
    """Starts of each framework that is installed, in turn."""
    names = [name for name in names if is_installed(PACKAGES[name], interpreter_for(name))]
    starts = {name: Start() for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(processes + 1):
            for name in names:
                if starts[name].failure is None:
                    record(starts[name], name, turn, environment(threads, Path(folder) / name))
    return starts


def record(start: Start, name: str, turn: int, env: dict[str, str]) -> None:
    """One start: the first of all finds an empty disk cache."""
    outcome = seconds_to_first_result(name, env)
    if isinstance(outcome, str):
        start.failure = outcome
    elif turn == 0:
        start.empty_cache = outcome
    else:
        start.warm_cache.append(outcome)


def seconds_to_first_result(name: str, env: dict[str, str]) -> float | str:
    """Seconds until the program printed its result, or the last line of its error."""
    begin = time.perf_counter()
    command = [interpreter_for(name), "-c", PROGRAMS[name]]
    with subprocess.Popen(
        command, cwd=HERE, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        seconds = time.perf_counter() - begin
        _, complaint = child.communicate()
    return seconds if line.strip() == "0.5" else last_line(complaint) or f"printed {line.strip()!r}"


def interpreter_for(name: str) -> str:
    return interpreter(is_peer=PACKAGES[name] in ("torch", "jax"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frameworks", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    for name, start in measure(options.frameworks, options.processes, options.threads).items():
        if start.failure:
            print(f"{name:16} {start.failure}")
        else:
            print(
                f"{name:16} empty cache {start.empty_cache:6.2f} s   warm {statistics.median(start.warm_cache):6.2f} s"
            )


if __name__ == "__main__":
    main()
