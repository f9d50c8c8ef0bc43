"""Tests of the simulated device: they run where BRAZE_TRITON_INTERPRET=1 was set before Triton was imported, which
`tests/test_gpu_simulated.py` does in a process of its own. Anywhere else they are skipped.
"""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if os.environ.get("BRAZE_TRITON_INTERPRET") == "1":
        return
    skip = pytest.mark.skip(reason="needs BRAZE_TRITON_INTERPRET=1 (run by tests/test_gpu_simulated.py)")
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(skip)


@pytest.fixture
def device():
    """The simulated device."""
    from braze.runtime import devices

    return devices.get("cuda")
