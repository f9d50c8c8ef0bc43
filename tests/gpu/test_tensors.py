"""Tensors on the device, eagerly: made there, moved, mixed, differentiated, printed, saved."""

from __future__ import annotations

import copy
import io
import pickle

import braze
import numpy as np
import pytest
from braze import nn, optim
from braze.ir.errors import DeviceError, IndexingError
from braze.ir.gpu_contraction import GpuStreamed
from braze.ir.ops import F

from .device_runner import assert_agree

GPU = "cuda:0"


def there(*shape):
    return braze.randn(*shape).to(GPU)


def test_devices_of_tensors():
    x = braze.ones(2, 3).to("cuda")
    assert x.device == GPU and x.device.type == "cuda" and x.device.index == 0 and x.shape == (2, 3)
    assert x.type.device == GPU and x.to("cuda") is x and x.to("cuda:0") is x and x.cuda() is x and x.to(x) is x
    assert x.cpu().device == "cpu" and x.to("cpu", braze.float64).dtype is braze.float64
    assert x.to("cuda", braze.float16).device == GPU and x.double().device == GPU and x.cuda(0) is x
    assert braze.zeros(3).to(x).device == GPU and x.detach().device == x.clone().device == GPU


CREATED = {
    "tensor": lambda **d: braze.tensor([1, 2], **d), "of a tensor": lambda **d: braze.tensor(braze.ones(2), **d),
    "asarray": lambda **d: braze.asarray(np.ones(2), **d), "zeros": lambda **d: braze.zeros(2, 3, **d),
    "ones": lambda **d: braze.ones((2, 3), dtype="bfloat16", **d), "empty": lambda **d: braze.empty(2, **d),
    "full": lambda **d: braze.full((2,), 1.5, requires_grad=True, **d),
    "float8": lambda **d: braze.full((2,), 0.3, dtype="float8_e4m3fn", **d), "arange": lambda **d: braze.arange(3, **d),
    "linspace": lambda **d: braze.linspace(0, 1, 5, **d), "eye": lambda **d: braze.eye(3, **d),
    "zeros_like": lambda **d: braze.zeros_like(braze.ones(2, dtype="int8"), **d),
    "full_like": lambda **d: braze.full_like(braze.ones(2), 3, **d), "rand": lambda **d: braze.rand(2, **d),
    "randn": lambda **d: braze.randn(2, **d), "randint": lambda **d: braze.randint(0, 9, (4,), **d),
    "randperm": lambda **d: braze.randperm(7, **d), "of NumPy": lambda **d: braze.tensor(np.float64(2), **d),
}  # fmt: skip


@pytest.mark.parametrize("name", CREATED)
def test_creation_has_the_same_bits_there(name):
    braze.manual_seed(3)
    want = CREATED[name](device="cpu")
    braze.manual_seed(3)
    got = CREATED[name](device="cuda")
    assert got.device == GPU and want.device == "cpu" and got.dtype is want.dtype and got.is_leaf
    assert got.requires_grad is want.requires_grad
    assert_agree(got.detach().cpu().numpy(), want.detach().numpy())
    if name not in ("zeros_like", "full_like", "of a tensor"):       # these go with what they are made like
        braze.manual_seed(3)
        with braze.device("cuda"):
            assert CREATED[name]().device == GPU
    assert braze.zeros(1).device == "cpu"


def test_what_is_made_like_a_tensor_is_beside_it():
    x = there(2)
    for made in (braze.zeros_like(x), braze.ones_like(x), braze.full_like(x, 2), braze.rand_like(x),
                 braze.randn_like(x), braze.tensor(x), braze.asarray(x), braze.empty_like(x)):
        assert made.device == GPU
    assert braze.zeros_like(x, device="cpu").device == "cpu"


def test_values_come_back_when_asked_for():
    x = braze.tensor([[1.5, 2.0]]).to(GPU)
    assert x.tolist() == [[1.5, 2.0]] and x[0, 0].item() == 1.5 and float(x.sum()) == 3.5 and bool((x > 0).all())
    assert repr(x) == "tensor([[1.5, 2. ]], device='cuda:0')" and f"{x.sum():.1f}" == "3.5" and len(x) == 1
    assert [1, 2, 3][braze.tensor(1).to(GPU)] == 2 and [y.shape for y in x] == [(2,)]
    assert braze.tensor([1.0]).bfloat16().to(GPU).item() == 1.0 and x.cpu().numpy().flags.writeable is False


@pytest.mark.parametrize("ask", [np.asarray, lambda t: t.numpy(), np.array], ids=["asarray", "numpy", "array"])
def test_numpy_says_that_a_copy_is_needed(ask):
    with pytest.raises(DeviceError, match=r"t.cpu\(\)"):
        ask(there(3))


@pytest.mark.parametrize("mix", [
    lambda x, y: x + y, lambda x, y: x @ y, lambda x, y: braze.where(x > 0, x, y), lambda x, y: braze.concat([x, y]),
    lambda x, y: braze.atan2(y, x), lambda x, y: x.copy_(x + y),
])
def test_devices_do_not_mix(mix):
    with pytest.raises(DeviceError, match="on cuda:0.* on cpu.*one device|on cpu.* on cuda:0.*one device") as error:
        mix(there(3, 3), braze.ones(3, 3))
    assert "test_tensors.py" in str(error.value)


def test_numbers_and_scalars_of_the_cpu_mix():
    x = braze.ones(3).to(GPU)
    for y in (x + 1, 1 / x, x ** 2, x + braze.tensor(1.0), braze.tensor(2) * x, braze.where(x > 0, x, 0.0),
              braze.maximum(x, 0.5), x + np.float32(1), x.clip(0, 1)):
        assert y.device == GPU and y.dtype is braze.float32
    assert (x.int() / 2).dtype is braze.float32 and (x.half() * 2.0).dtype is braze.float16
    assert (braze.tensor(1.0).to(GPU) + x).device == GPU
    with pytest.raises(DeviceError):
        braze.ones(3) + braze.tensor(1.0).to(GPU)


FUNCTIONS = {
    "softmax": lambda x: x.softmax(-1), "std": lambda x: x.std(0), "tril": braze.tril, "norm": lambda x: x.norm(),
    "one_hot": lambda x: nn.functional.one_hot(x.argmax(1), 5), "sort": lambda x: x.sort(0), "pad": lambda x: braze.pad(
        x, [(1, 1), (0, 2)], value=1.0), "roll": lambda x: braze.roll(x, 1, 0), "median": lambda x: x.median(1),
    "einsum": lambda x: braze.einsum("ij,kj->ik", x, x), "cumprod": lambda x: x.cumprod(1), "erf": braze.erf,
    "logcumsumexp": lambda x: F.logcumsumexp(x, axis=1), "cummax": lambda x: F.cummax(x, axis=0),
    "int": lambda x: (x * 9).int() % 4,
    "diagonal": lambda x: x.diagonal(), "unique bits": lambda x: (x * 9).int() << 2, "lgamma": braze.lgamma,
    "repeat": lambda x: x.repeat(2, 1), "stack": lambda x: braze.stack([x, x * 2]), "mean": lambda x: x.mean((0, 1)),
    "conv": lambda x: nn.functional.conv1d(x[None], x[None, :, :3]), "isin": lambda x: braze.isin(x, x[0]),
    "pool": lambda x: nn.functional.max_pool1d(x[None], 2), "triu": lambda x: x.triu(1), "topk": lambda x: x.topk(2)[0],
    "bincount": lambda x: braze.bincount(x.argmax(1), 5), "cross": lambda x: braze.cross(x[:, :3], x[:, 1:4]),
    "nan_to_num": braze.nan_to_num, "heaviside": lambda x: braze.heaviside(x, x), "angle": braze.angle,
    "trace": lambda x: x.trace(), "kron": lambda x: x.kron(x),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "gather": lambda x: braze.take_along_axis(x, x.argsort(1), 1), "eq": lambda x: x == x.T.T,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_give_what_the_cpu_gives(name):
    x = braze.tensor(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))
    want, got = FUNCTIONS[name](x), FUNCTIONS[name](x.to(GPU))
    assert got.device == GPU and got.dtype is want.dtype
    assert_agree(got.cpu().numpy(), want.numpy())


@pytest.mark.parametrize("key", [
    0, -1, slice(1, 3), (slice(None), 2), (Ellipsis, None, 1), slice(None, None, -2), (1, 2), [0, 2], ([0, 1], [2, 3]),
    "index", "mask", "row mask",
], ids=str)
def test_indexing_and_assignment(key):
    def on(x):
        k = {"index": braze.tensor([2, 0]).to(x.device), "mask": x > 0, "row mask": x[:, 0] > 0}.get(
            key, key) if isinstance(key, str) else key
        y = x.clone()
        y[k] = 5.0
        return x[k], y

    x = braze.tensor(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32))
    for want, got in zip(on(x), on(x.to(GPU))):
        assert got.device == GPU and got.tolist() == want.tolist()


@pytest.mark.parametrize("key", [5, [0, 4], ([0], [-6]), "index"], ids=str)
def test_indices_outside_are_errors(key):
    x = there(4, 5)
    k = braze.tensor([1, 4]).to(GPU) if key == "index" else key
    with pytest.raises(IndexingError, match="outside|out of bounds"):
        x[k]
    with pytest.raises(IndexingError, match="outside|out of bounds"):
        x[k] = 1.0
    with pytest.raises(DeviceError, match="index.to"):
        x[braze.tensor([0, 1])]


def test_masks_and_lists_index_what_requires_gradients():
    x = there(4, 5).requires_grad_()
    y = x * 1.0
    loss = y[y > 0].sum() + y[[0, 2]].sum() + y[:, braze.tensor([1, 3]).to(GPU)].sum()
    y[[1, 3]] = [1.0] * 5
    (loss + y.sum()).backward()
    want = (x.detach() > 0).float()
    want[[0, 2]] += 2.0
    want[:, [1, 3]] += 1.0
    assert x.grad.device == GPU and x.grad.tolist() == want.tolist()


def test_gradients_of_a_number_of_the_cpu_are_there():
    t = braze.tensor(2.0, requires_grad=True)
    x = there(3).requires_grad_()
    (x * t).sum().backward()
    assert t.grad.device == "cpu" and x.grad.device == GPU and x.grad.tolist() == [2, 2, 2]
    np.testing.assert_allclose(t.grad.item(), x.sum().item(), rtol=1e-6)


def test_assignment_of_tensors():
    x, y = there(4, 3), there(3)
    x[1] = y
    x[braze.tensor([0, 2]).to(GPU)] = y * 2
    assert x[1].tolist() == y.tolist() and x[2].tolist() == (y * 2).tolist()
    x += 1.0
    x.zero_()
    assert x.device == GPU and x.tolist() == [[0] * 3] * 4
    x.copy_(braze.ones(4, 3).to(GPU)).fill_(2)
    x.copy_(np.ones((4, 3)))
    assert x.device == GPU and x.sum().item() == 12


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in (
    "one_hot", "int", "bincount", "unique bits", "isin", "heaviside", "eq", "angle")])
def test_gradients_are_the_cpus(name):
    data = np.random.default_rng(1).uniform(0.2, 1.5, (4, 5)).astype(np.float32)
    grads = []
    for where in ("cpu", GPU):
        for _ in range(2):                        # the second time by a printed pullback, on the CPU
            x = braze.tensor(data, device=where, requires_grad=True)
            FUNCTIONS[name](x).square().sum().backward()
        assert x.grad.device == where
        grads.append(x.grad.cpu().numpy())
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-5, atol=1e-6)


def test_gradients_come_back_the_way_that_values_went():
    x = braze.ones(3, requires_grad=True)
    y = (x * 2).to("cuda")
    assert y.requires_grad and not y.is_leaf
    (y * braze.tensor([1.0, 2.0, 3.0]).to(GPU)).sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [2, 4, 6]
    w = braze.ones(2, device=GPU, requires_grad=True)
    w.cpu().square().sum().backward()
    assert w.grad.device == GPU and w.grad.tolist() == [2, 2]


def test_second_derivatives():
    x = braze.tensor([0.5, 1.0], device=GPU, requires_grad=True)
    (g,) = braze.autograd.grad((x ** 3).sum(), x, create_graph=True)
    g.sum().backward()
    assert x.grad.device == GPU
    np.testing.assert_allclose(x.grad.tolist(), [3.0, 6.0], rtol=1e-6)


# ---- modules, optimisers, saving -------------------------------------------------------------------------------------


def network():
    braze.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))


def test_modules_move_in_place_with_gradients_and_buffers():
    model = network()
    parameters = list(model.parameters())
    x = braze.randn(2, 1, 4, 4)
    model(x).sum().backward()
    want = [p.grad.tolist() for p in parameters]
    assert model.to("cuda") is model and all(p is q for p, q in zip(parameters, model.parameters()))
    assert {t.device for t in (*model.parameters(), *model.buffers())} == {GPU}
    assert [p.grad.tolist() for p in parameters] == want and parameters[0].grad.device == GPU
    model.eval()
    got = model(x.to(GPU))
    np.testing.assert_allclose(got.cpu().detach().numpy(), model.cpu()(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert {t.device for t in (*model.parameters(), *model.buffers())} == {"cpu"}
    model.to("cuda", braze.float64)
    assert parameters[0].dtype is braze.float64 and parameters[0].device == GPU
    assert next(model.buffers()).dtype is braze.float64 and model.cuda(0) is model


def test_modules_are_made_on_a_device_with_the_same_values():
    braze.manual_seed(4)
    want = nn.Linear(3, 2)
    braze.manual_seed(4)
    got = nn.Linear(3, 2, device="cuda")
    assert got.weight.device == GPU and got.weight.tolist() == want.weight.tolist()
    assert nn.BatchNorm1d(2, device=GPU).running_mean.device == GPU and nn.Linear(2, 2).weight.device == "cpu"
    assert nn.MultiheadAttention(4, 2, device=GPU).out_proj.weight.device == GPU


@pytest.mark.parametrize("make", [lambda p: optim.AdamW(p, lr=0.1), lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
                                  lambda p: optim.Adagrad(p, lr=0.1), lambda p: optim.RMSprop(p, lr=0.1)],
                         ids=["AdamW", "SGD", "Adagrad", "RMSprop"])
def test_optimisers_keep_their_state_beside_the_parameters(make):
    losses = []
    for where in ("cpu", GPU):
        model = network().to(where)
        opt = make(model.parameters())
        braze.manual_seed(9)
        x, y = braze.randn(6, 1, 4, 4, device=where), braze.arange(6, device=where) % 4
        steps = []
        for _ in range(3):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            steps.append(loss.item())
        losses.append(steps)
        assert {t.device for s in opt.state.values() for t in s.values()} <= {where}
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_states_are_loaded_across_devices():
    one, other = network(), network().to(GPU)
    other.load_state_dict({k: v * 2 for k, v in one.state_dict().items()})
    assert other[4].weight.device == GPU and other[4].weight.tolist() == (one[4].weight * 2).tolist()
    one.load_state_dict(other.state_dict())
    assert one[4].weight.device == "cpu" and one[4].weight.tolist() == other[4].weight.tolist()
    opts = [optim.AdamW(m.parameters(), lr=0.1) for m in (one, other)]
    one(braze.randn(2, 1, 4, 4)).sum().backward()
    opts[0].step()
    opts[1].load_state_dict(opts[0].state_dict())
    assert {t.device for s in opts[1].state.values() for t in s.values()} == {GPU}


def test_pickles_go_through_the_host_and_copies_stay():
    x = there(3).requires_grad_()
    back = pickle.loads(pickle.dumps(x))
    assert back.device == "cpu" and back.tolist() == x.tolist() and back.requires_grad
    assert copy.deepcopy(x).device == GPU
    layer = nn.Linear(2, 2, device=GPU)
    stream = io.BytesIO()
    pickle.dump(layer, stream)
    assert copy.deepcopy(layer).weight.device == GPU
    assert pickle.loads(stream.getvalue()).weight.tolist() == layer.weight.tolist()


def test_generators_are_one_for_each_device():
    g = braze.Generator(5, device=GPU)
    assert braze.rand(3, generator=g, device=GPU).tolist() == braze.rand(3, generator=braze.Generator(5)).tolist()
    braze.manual_seed(11)
    a = braze.rand(2, device=GPU)
    braze.rand(2)
    b = braze.rand(2, device=GPU)
    braze.manual_seed(11)
    assert braze.rand(2).tolist() == a.tolist() and braze.rand(2).tolist() == b.tolist()


# ---- braze.cuda ------------------------------------------------------------------------------------------------------


def test_the_cuda_namespace():
    cuda = braze.cuda
    assert cuda.is_available() and cuda.device_count() == 1 and cuda.current_device() == 0
    assert "cuda:0" in cuda.get_device_name()
    before = cuda.memory_allocated()
    x = braze.zeros(1000, device=GPU)
    assert cuda.memory_allocated() >= before + 4000 and cuda.max_memory_allocated() >= before + 4000
    cuda.reset_peak_memory_stats()
    cuda.empty_cache()
    assert cuda.mem_get_info()[0] <= cuda.mem_get_info()[1]
    start, end = cuda.Event(), cuda.Event()
    with cuda.stream(cuda.Stream()):
        start.record()
        x += 1
        end.record()
    cuda.synchronize()
    assert end.query() and start.elapsed_time(end) >= 0
    with pytest.raises(DeviceError, match="cuda:1"):
        cuda.synchronize("cuda:1")


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_8_bit_floats(name):
    """Cast, moved, indexed, assigned, compared and multiplied there, with the CPU's bits."""
    x, w = braze.randn(20, 48) * 30, braze.randn(17, 48).to(name)
    here, far = x.to(name), x.to(GPU).to(name)

    def same(f):
        got, want = f(far), f(here)
        assert got.device == GPU and got.dtype is want.dtype
        assert got.cpu().numpy().tobytes() == want.numpy().tobytes()

    for f in (lambda t: t, lambda t: t[3:5, ::2].T, lambda t: t[braze.tensor([2, 0]).to(t.device)], lambda t: t < 1.0,
              lambda t: braze.where(t > 0, t, 2.0), lambda t: braze.concat([t, t[:1]]), lambda t: t.float32(),
              lambda t: t.to("bfloat16"), lambda t: braze.isnan(t), lambda t: t.clone()):
        same(f)
    for t in (here, far):
        t[2:4] = 1.0
        t[0, 1] = -5
    same(lambda t: t)
    product = braze.compile(lambda a, b: braze.matmul(a, b.T, dtype=braze.float32))
    exact = here.numpy().astype(np.float64) @ w.numpy().astype(np.float64).T
    np.testing.assert_allclose(product(far, w.to(GPU)).cpu().numpy(), exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("bfloat16", 1.5e-2)])
def test_attention_to_8_bit_floats(dtype, bound):
    """Keys and values are widened on their tiles; weights are as precise as the scores."""
    shape = (1, 4, 130, 32)
    q, k, v = braze.randn(*shape).to(dtype), *(braze.randn(*shape).to("float8_e4m3fn") for _ in range(2))
    f = braze.compile(lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k.to(q), v.to(q), is_causal=True))
    found = f(*(t.to(GPU) for t in (q, k, v))).cpu().numpy().astype(np.float64)
    q, k, v = (t.numpy().astype(np.float64) for t in (q, k, v))
    e = np.tri(130) * np.exp(q @ k.swapaxes(2, 3) / np.sqrt(32))
    exact = e / e.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(found, exact, rtol=bound, atol=bound * np.abs(exact).max())
    (step,) = f.ir("fused").steps
    assert isinstance(step.schedule, GpuStreamed)
