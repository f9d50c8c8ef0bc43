"""Devices as people name them, where there is the CPU alone: names, moves that are none, errors."""

from __future__ import annotations

import copy
import os
import pickle

import braze
import numpy as np
import pytest
from braze.ir.errors import DeviceError
from braze.runtime import devices as hardware
from braze.tracer.devices import device

pytestmark = pytest.mark.skipif(os.environ.get("BRAZE_TRITON_INTERPRET") == "1", reason="of a machine without a GPU")
without_gpu = pytest.mark.skipif(hardware.count() > 0, reason="there is a GPU")


@pytest.mark.parametrize("given, text, kind, index", [
    ("cpu", "cpu", "cpu", None), ("cpu:0", "cpu", "cpu", None), ("cuda", "cuda", "cuda", None),
    ("cuda:1", "cuda:1", "cuda", 1), ("gpu:01", "cuda:1", "cuda", 1), (2, "cuda:2", "cuda", 2),
])
def test_names(given, text, kind, index):
    d = device(given)
    assert d == text and hash(d) == hash(text) and (d.type, d.index) == (kind, index)
    assert device(d) is d and pickle.loads(pickle.dumps(d)) == d and repr(d) == f"device({text!r})"


def test_a_name_and_a_number():
    assert device("cuda", 1) == "cuda:1" and device(type("Name", (str,), {})("cuda:1")) == "cuda:1"


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:-1", "", "cuda:"])
def test_names_of_nothing(name):
    with pytest.raises(DeviceError, match="names no device|devices are"):
        device(name)


@without_gpu
@pytest.mark.parametrize("ask", [
    lambda: braze.ones(3).to("cuda"), lambda: braze.ones(3).cuda(), lambda: braze.zeros(3, device="cuda:1"),
    lambda: braze.tensor([1.0], device="cuda"), lambda: braze.arange(3, device="cuda"),
    lambda: device("cuda").__enter__(), lambda: braze.nn.Linear(2, 2).to("cuda"), lambda: braze.nn.Linear(2, 2).cuda(),
    lambda: braze.nn.Linear(2, 2, device="cuda"), lambda: braze.rand(3, device="cuda"),
], ids=["to", "cuda", "zeros", "tensor", "arange", "with", "module", "module.cuda", "a new module", "random"])
def test_where_there_is_no_gpu_one_sentence_says_what_was_looked_for(ask):
    with pytest.raises(DeviceError) as error:
        ask()
    assert "there is no device cuda:" in str(error.value) and "test_devices.py" in str(error.value)


def test_tensors_are_on_the_cpu_and_stay_there():
    x = braze.ones(2, 3)
    assert x.device == "cpu" and isinstance(x.device, device) and x.type.device == "cpu"
    assert x.to("cpu") is x and x.cpu() is x and x.to(x) is x and x.to(braze.float32) is x
    assert x.to("cpu", braze.float64).dtype is braze.float64 and x.to(braze.int32).dtype is braze.int32
    assert x.to(braze.ones(1, dtype="float64")).dtype is braze.float64
    assert x.to("cpu", copy=True) is not x


def test_creation_takes_the_cpu():
    with device("cpu"):
        for t in (braze.zeros(2, device="cpu"), braze.ones_like(braze.zeros(2), device="cpu"),
                  braze.eye(2, device="cpu"), braze.linspace(0, 1, 3, device="cpu"), braze.rand(2, device="cpu"),
                  braze.asarray(np.ones(2), device="cpu"), braze.randint(0, 3, (2,), device="cpu")):
            assert t.device == "cpu"


def test_copies_and_pickles_are_on_the_cpu():
    x = braze.tensor([1.0, 2.0], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == [1, 2] and y.requires_grad and y.device == "cpu"
    p = braze.nn.Parameter(braze.ones(2))
    assert type(copy.deepcopy(p)) is braze.nn.Parameter


def test_moves_that_are_none_leave_nothing_in_a_trace():
    f = braze.compile(lambda x: x.to(x.device).cpu().to("cpu") + braze.zeros(3, device=x.device))
    assert f(braze.ones(3)).tolist() == [1, 1, 1]
    assert "to" not in {n.op.name for n in f.ir("graph").nodes}
