"""Child processes: which interpreter has which library, the environment a measurement runs in, and its JSON answer."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BRAZE_NUM_THREADS")
TIME_LIMIT = 600.0

Answer = dict[str, Any]
"""What a child printed as JSON, or `{"error": one line}`."""


def interpreter(is_peer: bool) -> str:
    """Braze runs here; peers run in the interpreter that PEERS_PYTHON names, if it is set."""
    return os.environ.get("PEERS_PYTHON", sys.executable) if is_peer else sys.executable


@functools.cache
def is_installed(package: str, python: str) -> bool:
    """Whether an interpreter finds a package (asked without importing it)."""
    question = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", question], cwd=HERE, capture_output=True).returncode == 0


def environment(threads: int, cache: Path) -> dict[str, str]:
    """Environment with a thread count, and with all compilers' disk caches in one folder (empty, or warm). Python keeps
    its bytecode, as it is kept of installed packages.
    """
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **{name: str(threads) for name in THREAD_VARIABLES},
        "BRAZE_CACHE_DIR": str(cache / "braze"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def pin(threads: int) -> None:
    """Restrict this process to as many cores as it has threads: XLA sizes its pool by this alone."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def ask(python: str, script: str, *arguments: str, env: dict[str, str]) -> Answer:
    """Run a script of this folder and read the JSON on the last line that it prints; a failure becomes one line."""
    command = [python, str(HERE / script), *arguments]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {TIME_LIMIT:.0f} s"}
    if done.returncode != 0:
        return {"error": last_line(done.stderr) or f"exit status {done.returncode}"}
    return json.loads(last_line(done.stdout))


def last_line(text: str) -> str:
    """The last line that says something; Python's tracebacks end with the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
