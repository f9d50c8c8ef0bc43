"""Tests of devices: on a GPU where there is one, else on the simulated device, which BRAZE_TRITON_INTERPRET=1 gives
where it is set before Triton is imported (`tests/test_gpu_simulated.py` does it in a process of its own). Without
either they are left out. Tests marked `simulated` are about the simulated device itself.
"""

import os

import pytest
from braze.runtime import devices

IS_SIMULATED = os.environ.get("BRAZE_TRITON_INTERPRET") == "1"
collect_ignore_glob = ["test_*.py"] if devices.count() == 0 else []


def pytest_collection_modifyitems(items):
    for item in items:
        if not IS_SIMULATED and "simulated" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="about the simulated device"))


@pytest.fixture
def device():
    """The device that tests run on."""
    return devices.get("cuda")
