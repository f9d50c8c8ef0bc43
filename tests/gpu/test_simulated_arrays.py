"""The simulated device's arrays keep to themselves, and its namespace computes what NumPy does."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from braze.ir.errors import DeviceError
from braze.runtime import devices
from braze.runtime.simulated import SimulatedArray

pytestmark = pytest.mark.simulated


@pytest.fixture
def x(device):
    return device.from_host(np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_round_trip_gives_equal_copies(device):
    given = np.arange(12).reshape(3, 4)[:, ::2].astype(ml_dtypes.bfloat16)
    there = device.from_host(given)
    back = device.to_host(there)
    assert type(back) is np.ndarray and back.dtype == given.dtype and (back == given).all()
    back[...] = 0
    assert (device.to_host(there) == given).all()


RESULTS = {
    "a ufunc": lambda xp, x: xp.exp(x), "an operator": lambda xp, x: x * 2 + x, "a reduction": lambda xp, x: x.sum(),
    "a function": lambda xp, x: xp.concatenate([x, x]), "an element": lambda xp, x: x[0, 1],
    "a view": lambda xp, x: x.T[1:], "a creation": lambda xp, x: xp.zeros(3), "fancy": lambda xp, x: x[xp.array([1])],
    "a submodule": lambda xp, x: xp.linalg.norm(x), "several": lambda xp, x: xp.unique(x, return_counts=True)[1],
    "a cast": lambda xp, x: x.astype(np.float64), "a ufunc's method": lambda xp, x: xp.maximum.accumulate(x, axis=0),
    "a host array": lambda xp, x: xp.asarray(np.ones(3)), "a scalar's": lambda xp, x: xp.sqrt(2.0),
}  # fmt: skip


@pytest.mark.parametrize("compute", RESULTS.values(), ids=RESULTS)
def test_results_stay_on_the_device(device, x, compute):
    result = compute(device.xp, x)
    assert type(result) is SimulatedArray and devices.device_of(result) == "cuda:0"
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(device.to_host(result), compute(np, plain))


def test_arrays_of_numpy_are_refused_as_operands(device, x):
    plain = np.ones((2, 3))
    for wrong in (lambda: x + plain, lambda: device.xp.add(x, plain), lambda: np.concatenate([x, plain])):
        with pytest.raises(TypeError, match="an array of NumPy"):
            wrong()


def test_a_host_array_is_copied(device):
    given = np.ones(3)
    there = device.xp.asarray(given)
    there += 1
    assert (given == 1).all()


def test_in_place_operations_write_the_device_array(x):
    y = x
    y += 1
    y[0] = 7
    assert y is x and x.get().tolist() == [[7, 7, 7], [4, 5, 6]]


def test_memory_in_use_is_counted(device):
    device.release()
    before = device.allocated_bytes
    a = device.empty((1000,), np.dtype(np.float32))
    view = a[10:20]
    assert device.allocated_bytes == before + 4000
    device.reset_peak()
    b = device.xp.zeros(500, np.float32)
    assert device.peak_bytes == before + 6000
    del a, b
    assert device.allocated_bytes == before + 4000 and device.peak_bytes == before + 6000
    del view
    assert device.allocated_bytes == before


@pytest.mark.parametrize("name, words", [("cuda:1", "simulates one"), ("tpu", "no device 'tpu'"), ("cuda:x", "cuda:0")])
def test_devices_that_are_not_there(name, words):
    with pytest.raises(DeviceError, match=words):
        devices.get(name)


def test_names(device):
    assert device is devices.get("cuda:0") and devices.count() == 1
    assert devices.device_of(np.ones(3)) == "cpu" == devices.device_of(np.float32(1))
