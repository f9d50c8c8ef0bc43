"""Runs tests/gpu in a process of its own, with Triton's interpreter for a GPU: the interpreter must be chosen before
Triton is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "gpu"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("test_*.py")), ids=lambda p: p.stem)
def test_on_the_simulated_device(path):
    if os.environ.get("BRAZE_TRITON_INTERPRET") == "1":
        pytest.skip("the tests in tests/gpu run by themselves here")
    environment = {**os.environ, "BRAZE_TRITON_INTERPRET": "1", "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-m", "pytest", "-q", str(path)]
    done = subprocess.run(command, env=environment, cwd=FOLDER.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
