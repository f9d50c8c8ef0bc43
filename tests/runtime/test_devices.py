"""Where there is no GPU, asking for one is a sentence that says what was looked for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from braze.ir.errors import DeviceError
from braze.runtime import cuda, devices


@pytest.mark.skipif(devices.count() > 0, reason="there is a GPU")
def test_a_missing_gpu_is_one_sentence():
    with pytest.raises(DeviceError, match="there is no device cuda:0: CuPy .*"):
        devices.get("cuda")


def test_a_missing_cupy_is_named(monkeypatch):
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(cuda, "_cupy", cuda._cupy.__wrapped__)
    with pytest.raises(DeviceError, match=r"no device cuda:2: CuPy is not installed \(pip install cupy-cuda12x or "
                                          r"cupy-cuda13x, by the driver's CUDA\)"):
        devices.get("cuda:2")
    assert devices.count() == 0


def test_arrays_of_numpy_are_on_the_cpu():
    assert devices.device_of(np.ones(3)) == "cpu"


def test_asking_where_an_array_is_imports_nothing():
    code = ("import sys, numpy, braze.runtime.devices as d; d.device_of(numpy.ones(3));"
            "print([m for m in ('cupy', 'triton') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"
