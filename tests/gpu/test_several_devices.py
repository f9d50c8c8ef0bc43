"""Tensors on several GPUs, of a fake CuPy that computes on its current device and refuses operands of another one."""

from __future__ import annotations

import copy

import braze
import numpy as np
import pytest
from braze import nn, optim
from braze.ir.errors import DeviceError
from fake_cupy import Cuda, faked_for_tensors

pytestmark = pytest.mark.simulated           # the fake's kernels run in Triton's interpreter
SECOND = "cuda:1"


@pytest.fixture
def fake(monkeypatch):
    """Two GPUs, of which the first is the current one."""
    return faked_for_tensors(monkeypatch, Cuda(devices=2))


def ramp(n=6):
    return braze.arange(float(n), device=SECOND)


MADE = {
    "zeros": lambda: braze.zeros(3, device=SECOND), "ones": lambda: braze.ones(2, 3, device=SECOND),
    "full": lambda: braze.full((2,), 7, device=SECOND), "arange": ramp, "rand": lambda: braze.rand(3, device=SECOND),
    "full_like": lambda: braze.full_like(ramp(), 3), "tensor": lambda: braze.tensor([1.0, 2.0], device=SECOND),
    "a copy of an array": lambda: braze.tensor(ramp()._array), "deepcopy": lambda: copy.deepcopy(ramp()),
    "a slice": lambda: ramp()[1:4], "an element": lambda: ramp()[2], "a list": lambda: ramp()[[0, 2]],
    "a mask": lambda: ramp()[ramp() > 2], "an index": lambda: ramp()[braze.tensor([1, -1], device=SECOND)],
    "arithmetic": lambda: ramp() * 2 + ramp(), "reduced": lambda: ramp().sum(), "to": lambda: braze.ones(2).to(SECOND),
    "module": lambda: nn.Linear(2, 3, device=SECOND).half().weight, "cloned": lambda: ramp().clone(),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_for_a_device_is_there(fake, name):
    t = MADE[name]()
    assert t.device == SECOND and t._array.data.device_id == 1 and fake.device == 0


def test_the_default_device_of_a_block(fake):
    with braze.device(SECOND):
        made = [braze.zeros(3), braze.ones(2), braze.randn(2), nn.Linear(2, 2).weight, braze.tensor([1.0])]
    assert {t.device for t in made} == {SECOND} and {t._array.data.device_id for t in made} == {1}


def test_values_are_read_from_where_they_are(fake):
    x = ramp()
    assert x[1].item() == 1 and x.tolist() == [0, 1, 2, 3, 4, 5] and bool(x[1]) and float(x[2]) == 2
    assert braze.tensor(3, device=SECOND).__index__() == 3 and "device='cuda:1'" in repr(x)
    with pytest.raises(braze.ir.errors.IndexingError, match="outside dimension 0"):
        x[[6]]


def test_assignments(fake):
    x = ramp()
    x[1:3] = 7
    x[[0, 5]] = braze.tensor([8.0, 9.0], device=SECOND)
    x[x == 4] = -1
    assert x.tolist() == [8, 7, 7, 3, -1, 9] and x.device == SECOND


def test_a_view_is_never_written_through(fake):
    x = ramp()
    y = x[1:4]
    y[0] = 100
    assert x.tolist() == [0, 1, 2, 3, 4, 5] and y.tolist() == [100, 2, 3]


def test_gradients_meet_on_the_device(fake):
    x = ramp().requires_grad_()
    y = x * 2
    (y * y + y).sum().backward()
    assert x.grad.device == SECOND and x.grad.tolist() == [2 + 8 * n for n in range(6)]
    (x * 3 + x).sum().backward()
    assert x.grad.tolist() == [6 + 8 * n for n in range(6)]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_8_bit_floats(fake, name):
    """CuPy has no kernels for them: their bytes are moved, and numbers are converted by tables."""
    d = getattr(braze, name)
    x = (ramp() / 7).to(d)
    want = (np.arange(6, dtype=np.float32) / np.float32(7)).astype(d.numpy)
    layer = nn.Linear(2, 3, device=SECOND)
    weight = layer.weight.detach().cpu().numpy().astype(d.numpy)
    layer.to(d)
    for t, expected in [
        (x, want), (copy.deepcopy(x), want), (x.clone(), want), (x[1:4], want[1:4]), (x[2], want[2]),
        (x[[0, 2]], want[[0, 2]]), (x[x > 0.5], want[want.astype(np.float32) > 0.5]), (layer.weight.detach(), weight),
        (braze.tensor(x._array), want), (braze.tensor(ramp()._array, d), np.arange(6.0).astype(d.numpy)),
        (braze.full((2,), 0.3, dtype=d, device=SECOND), np.full(2, 0.3).astype(d.numpy)),
        (braze.tensor(x._array, braze.float32), want.astype(np.float32)),
    ]:  # fmt: skip
        assert t.device == SECOND and t.dtype.numpy == expected.dtype and fake.device == 0
        np.testing.assert_array_equal(t.cpu().numpy().astype(np.float32), expected.astype(np.float32))
    x[1:3] = 2.0
    x[[0]] = braze.tensor([3.0], device=SECOND)
    assert x.tolist() == [3, 2, 2, *map(float, want[3:])]


def test_gradients_of_8_bit_floats_meet_on_the_device(fake):
    x = ramp().requires_grad_()
    y = x.to(braze.float8_e5m2)
    ((y.float32() * 0.5).sum() + (y.float32() * 0.25).sum()).backward()
    assert x.grad.device == SECOND and x.grad.tolist() == [0.75] * 6


def test_draws_of_a_generator(fake):
    g = braze.random.Generator(3, SECOND)
    a, b = braze.rand(4, generator=g), braze.rand(4, generator=g)
    h = braze.random.Generator(3)
    assert a.device == SECOND and a.tolist() == braze.rand(4, generator=h, device="cpu").tolist()
    assert b.tolist() == braze.rand(4, generator=h, device="cpu").tolist() and a.tolist() != b.tolist()


def test_a_model_and_its_optimiser(fake):
    model = nn.Linear(3, 2).to(SECOND)
    opt = optim.Adam(model.parameters(), lr=0.1)
    here = copy.deepcopy(model).to("cpu")
    other = optim.Adam(here.parameters(), lr=0.1)
    for m, o, where in ((model, opt, SECOND), (here, other, "cpu")):
        for turn in range(2):
            o.zero_grad()
            loss = nn.functional.cross_entropy(m(braze.ones(4, 3, device=where) * turn),
                                               braze.tensor([0, 1, 1, 0], device=where))
            loss.backward()
            o.step()
    for p, q in zip(model.parameters(), here.parameters()):
        assert p.device == SECOND
        np.testing.assert_allclose(p.cpu().detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_compiled_functions_run_where_their_arguments_are(fake):
    f = braze.compile(lambda x: (x * 2 + 1).sum())
    assert f(ramp()).device == SECOND and f(ramp()).item() == 36
    assert f(braze.arange(6.0, device="cuda:0")).device == "cuda:0"
    assert sorted({number for number, _ in fake.loaded}) == [0, 1]


@pytest.mark.parametrize("make", [
    lambda: braze.zeros(200, 256, device=SECOND), lambda: braze.ones(200, 256, device=SECOND),
    lambda: braze.full((200, 256), 3.0, device=SECOND),
])
def test_memory_that_runs_out_when_tensors_are_made(monkeypatch, make):
    faked_for_tensors(monkeypatch, Cuda(devices=2, limit=100 << 10))
    held = braze.zeros(80, 256, device=SECOND)
    with pytest.raises(DeviceError, match=r"cuda:1 has no memory for float32\[200, 256\]: .* 1 x float32\[80, 256\]"):
        make()
    assert held.sum().item() == 0


def test_memory_that_runs_out_elsewhere_in_eager_code(monkeypatch):
    faked_for_tensors(monkeypatch, Cuda(devices=2, limit=100 << 10))
    x = braze.zeros(80, 256, device=SECOND)
    rows = braze.zeros(80, dtype=braze.int64, device=SECOND)
    for work in (lambda: x[rows], lambda: copy.deepcopy(x), lambda: braze.tensor(x._array), lambda: x + 1):
        with pytest.raises(DeviceError, match="cuda:1 has no memory for .*KiB of 100 KiB free; 2 arrays hold"):
            work()


# ---- what PyTorch's users ask for ------------------------------------------------------------------------------------


def test_the_current_device(fake):
    cuda = braze.cuda
    assert cuda.is_available() and cuda.device_count() == 2 and cuda.current_device() == 0
    x = braze.zeros(2, device="cuda")
    cuda.set_device(1)
    assert cuda.current_device() == 1 and fake.device == 1
    assert braze.zeros(2, device="cuda").device == SECOND and x.device == "cuda:0"
    cuda.set_device("cuda:0")
    with braze.device(SECOND):
        assert cuda.current_device() == 1 and fake.device == 0
    with pytest.raises(DeviceError, match="there is no device cuda:2"):
        cuda.set_device(2)
    fake.log.clear()
    cuda.synchronize(1)
    assert ("wait",) in fake.log


def test_facts_of_a_device(fake):
    facts = braze.cuda.get_device_properties(SECOND)
    assert (facts.name, facts.major, facts.minor, facts.total_memory) == ("Fake GPU", 9, 0, 1 << 30)
    assert (facts.multi_processor_count, facts.warp_size, facts.L2_cache_size) == (132, 32, 50 << 20)
    assert braze.cuda.get_device_capability() == (9, 0)


def test_streams(fake):
    assert braze.cuda.current_stream().cuda_stream == 0 and braze.cuda.Stream(SECOND).cuda_stream > 1000


def test_where_a_tensor_is(fake):
    assert ramp().is_cuda and not braze.ones(2).is_cuda and not braze.Tensor(np.ones(2)).is_cuda
    assert braze.compile(lambda x: x + (1 if x.is_cuda else 2))(ramp()).tolist() == [1, 2, 3, 4, 5, 6]


# ---- arrays of other libraries on the same memory --------------------------------------------------------------------


class Exporter:
    """Some other library's array, with `__cuda_array_interface__` alone."""

    def __init__(self, x):
        self.held, self.__cuda_array_interface__ = x, x.__cuda_array_interface__


def address(t):
    return t._array.data.ptr


@pytest.mark.parametrize("take", [braze.asarray, braze.from_dlpack])
def test_memory_on_any_device_is_taken_in_without_a_copy(fake, take):
    given = braze.arange(6.0, device=SECOND)
    t = take(Exporter(given))
    assert address(t) == address(given) and t.device == SECOND and t.tolist() == [0, 1, 2, 3, 4, 5]
    t[0] = 100
    t += 1
    step = braze.compile(lambda: t.add_(1))
    for _ in range(3):
        step()
    assert given.tolist() == [0, 1, 2, 3, 4, 5] and t.tolist() == [104, 5, 6, 7, 8, 9]


def test_copies_of_memory_on_a_device(fake):
    given = braze.arange(6.0, device=SECOND)
    for t in (braze.tensor(Exporter(given)), braze.asarray(Exporter(given), copy=True),
              braze.from_dlpack(Exporter(given), copy=True)):
        assert address(t) != address(given) and t.device == SECOND and t.tolist() == given.tolist()
    assert braze.asarray(Exporter(given), braze.int32, "cpu").tolist() == [0, 1, 2, 3, 4, 5]


def test_what_a_tensor_says_of_its_memory(fake):
    x = braze.ones(2, 3, device=SECOND)
    facts = x.__cuda_array_interface__
    assert (facts["shape"], facts["typestr"], facts["version"]) == ((2, 3), "<f4", 3)
    assert facts["data"] == (address(x), True)           # read-only
    assert x[:, ::2].__cuda_array_interface__["strides"] == (12, 8)
    for bare in (x.bfloat16(), x.requires_grad_()):
        assert not hasattr(bare, "__cuda_array_interface__")


def test_what_was_given_out_stays_what_it_was(fake):
    x = braze.arange(4.0, device=SECOND)
    theirs = fake.module.asarray(Exporter(x))
    step = braze.compile(lambda: x.add_(1))
    for _ in range(3):
        step()
    x[0] = 9
    assert x.tolist() == [9, 4, 5, 6] and theirs.get().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("given", [5, [1.0], "text", None])
def test_what_is_no_array_is_refused(given):
    with pytest.raises(TypeError, match="has no __dlpack__ and no __cuda_array_interface__; it takes an array of"):
        braze.from_dlpack(given)
