"""The pool under all at once: callers, forks, errors, signals, changing numbers of threads. Results stay right, and
nothing is left over (`stress.py` is the process that is looked at).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 1 << 20
needs_linux = pytest.mark.skipif(not (hasattr(os, "fork") and Path("/proc/self/task").exists()),
                                 reason="the process is looked at through /proc, and forks")


def stressed(rounds: int, seconds: float) -> dict:
    """What is left of a process after some rounds."""
    flag = "-P" if sys.version_info >= (3, 11) else "-s"
    done = subprocess.run([sys.executable, flag, str(Path(__file__).with_name("stress.py")), str(rounds), str(seconds)],
                          capture_output=True, text=True, timeout=120 + 20 * rounds * (seconds + 2))
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def check(left: dict, growth: float) -> None:
    """Every call counted, no descriptor, thread or memory more than there was, and nothing that still runs."""
    assert left["errors"] == []
    assert left["totals"] == [left["calls"]]
    assert left["descriptors"][0] == left["descriptors"][1]
    assert left["threads"] <= 4 + 1                   # workers for 4 threads, the main thread, LLVM's none
    assert left["resident"][-1] - left["resident"][len(left["resident"]) // 2] < growth
    assert left["idle"] < 0.05


@needs_linux
def test_results_are_right_and_nothing_is_left_over():
    check(stressed(rounds=3, seconds=0.5), 16 * MEBIBYTE)


@needs_linux
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_results_are_right_and_nothing_is_left_over_for_minutes():
    check(stressed(rounds=40, seconds=3.0), 16 * MEBIBYTE)
