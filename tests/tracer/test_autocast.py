"""Automatic mixed precision: which operations are cast, and training beside PyTorch's figures (torch 2.13, CPU)."""

from __future__ import annotations

import math
import threading

import braze
import numpy as np
import pytest
from braze import nn, optim
from braze.ir.errors import DTypeError, GradientError
from braze.nn import functional

BF16, F16, F32, F64 = braze.bfloat16, braze.float16, braze.float32, braze.float64

# After "CUDA Ops that can autocast to float16" and "… to float32" in PyTorch's documentation of torch.amp.
NARROW = {
    "matmul": lambda x: x @ x, "einsum": lambda x: braze.einsum("ij,jk->ik", x, x),
    "linear": lambda x: functional.linear(x, x, x[0]), "conv": lambda x: functional.conv1d(x[None], x[None], x[0, :1]),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x, x),
}  # fmt: skip
WIDE = {
    "exp": braze.exp, "log": braze.log, "log1p": braze.log1p, "pow": lambda x: x ** 3.0, "rsqrt": braze.rsqrt,
    "reciprocal": braze.reciprocal, "sum": braze.sum, "prod": braze.prod, "cumsum": lambda x: braze.cumsum(x, 0),
    "norm": lambda x: x.norm(), "softplus": braze.softplus, "softmax": lambda x: functional.softmax(x, -1),
    "log_softmax": lambda x: functional.log_softmax(x, -1), "layer_norm": lambda x: functional.layer_norm(x, (4,)),
    "rms_norm": lambda x: functional.rms_norm(x, (4,)), "batch_norm": lambda x: functional.batch_norm(x, None, None),
    "cross_entropy": lambda x: functional.cross_entropy(x, braze.arange(4)), "mse": lambda x: functional.mse_loss(x, x),
    "l1": lambda x: functional.l1_loss(x, x), "cosine": lambda x: functional.cosine_similarity(x, x),
}  # fmt: skip
KEPT = {
    "add": lambda x: x + x, "mul": lambda x: x * 2.0, "relu": functional.relu, "tanh": braze.tanh, "max": braze.max,
    "gelu": functional.gelu, "reshape": lambda x: x.reshape(-1), "where": lambda x: braze.where(x > 0, x, 0.0),
}  # fmt: skip


def positive(d):
    return braze.tensor(np.linspace(0.5, 2.0, 16).reshape(4, 4), dtype=d)


def run(f, x, compiled):
    with braze.autocast():
        return (braze.compile(f) if compiled else f)(x)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", [*NARROW, *WIDE, *KEPT])
def test_dtypes_are_those_of_pytorchs_lists(name, compiled):
    f = NARROW.get(name) or WIDE.get(name) or KEPT[name]
    for d in (F32, BF16):
        assert run(f, positive(d), compiled).dtype is (BF16 if name in NARROW else F32 if name in WIDE else d)
    assert run(f, positive(F64), compiled).dtype is F64


def test_float32_and_float16_mix_to_float32():
    with braze.autocast(F16):
        assert (positive(F16) + positive(F32)).dtype is F32
        assert (positive(BF16) @ positive(F32)).dtype is F16


def test_results_are_rounded_once_from_exact_operands():
    x = positive(F32)
    with braze.autocast():
        got = x @ x
    want = x.bfloat16().numpy().astype(np.float64) @ x.bfloat16().numpy().astype(np.float64)
    np.testing.assert_allclose(got.numpy().astype(np.float64), want, rtol=2**-8)


def test_regions_nest_and_end():
    x = positive(F32)
    with braze.autocast():
        with braze.autocast(enabled=False):
            assert (x @ x).dtype is F32 and not braze.amp.is_autocast_enabled()
        with braze.autocast("cpu", dtype=F16):
            assert (x @ x).dtype is F16
        with braze.autocast(device_type="cuda"):
            assert (x @ x).dtype is F32
        assert (x @ x).dtype is BF16 and braze.amp.is_autocast_enabled()
    assert (x @ x).dtype is F32


def test_a_decorator():
    @braze.amp.autocast(dtype=F16)
    def f(x):
        return x @ x

    assert f(positive(F32)).dtype is F16 and braze.compile(f)(positive(F32)).dtype is F16


def test_other_threads_are_not_cast():
    found = []
    with braze.autocast():
        thread = threading.Thread(target=lambda: found.append((positive(F32) @ positive(F32)).dtype))
        thread.start()
        thread.join()
    assert found == [F32]


@pytest.mark.parametrize("d", [F32, F64, braze.int8])
def test_only_to_16_bits(d):
    with pytest.raises(DTypeError, match="bfloat16 or float16"):
        braze.autocast(d)


def test_parameters_are_cast_once_a_region_and_anew_after_a_change():
    w = nn.Parameter(positive(F32))
    x = positive(F32)
    with braze.autocast():
        casts = braze.ir.precision._casting.get()
        first = casts.cast("narrow", (w,))[0]
        assert casts.cast("narrow", (w,))[0] is first and casts.cast("narrow", (x,))[0] is not casts.cast(
            "narrow", (x,))[0]
        with braze.no_grad():
            w.mul_(2.0)
        np.testing.assert_array_equal((w @ x).numpy(), (first.detach() * 2 @ x).numpy())
        for _ in range(2):                    # the cast is part of a graph that the first backward frees
            (w @ x).sum().backward()
    assert w.grad.dtype is F32 and braze.compile(lambda: w @ w)().dtype is F32


def test_a_compiled_function_has_a_program_for_each_region():
    f = braze.compile(lambda x: x @ x)
    x = positive(F32)
    for _ in range(3):
        assert f(x).dtype is F32
        with braze.autocast():
            assert f(x).dtype is BF16
        with braze.autocast(F16):
            assert f(x).dtype is F16
    assert len(f.compilations) == 3


def test_a_region_inside_a_compiled_function_casts_each_weight_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    @braze.compile
    def f(x):
        with braze.autocast():
            return model(x) + model(x)

    f(positive(F32))
    casts = [n for n in f.ir("graph").nodes if n.op.name == "cast"
             and n.operands[0] in f.ir("graph").inputs and "weight" in n.operands[0].name]
    assert len(casts) == 2


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_what_is_computed_again_is_cast_again(compiled):
    w = nn.Parameter(positive(F32))
    seen = []

    def part(x):
        y = x @ w
        if not compiled:
            seen.append(y.dtype)
        return y.tanh()

    def run(call):
        w.grad = None

        def step(x):
            with braze.autocast():
                loss = call(x).sum()
            loss.backward()
            return loss

        (braze.compile(step) if compiled else step)(positive(F32))
        return w.grad.numpy()

    want, got = run(part), run(lambda x: braze.checkpoint(part, x))
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-3)
    assert set(seen) <= {BF16}


# ---- training beside PyTorch -----------------------------------------------------------------------------------------


def values(*shape, scale=1.0, shift=0.0):
    return (np.sin(np.arange(math.prod(shape)) * 1.7 + shift) * scale).astype(np.float32).reshape(shape)


def perceptron():
    """The same weights as the script had that recorded the figures with torch."""
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
    with braze.no_grad():
        for n, p in enumerate(model.parameters()):
            p.copy_(values(*p.shape, scale=0.3, shift=n) + (1.0 if n == 2 else 0.0))
    return model


def trained(d, scaler, steps, make, compiled):
    model = perceptron()
    opt = make(model.parameters())
    x, y = braze.tensor(values(12, 8)), braze.arange(12) % 4

    def step(x, y):
        with braze.autocast(d):
            loss = functional.cross_entropy(model(x), y)
        if scaler is None:
            loss.backward()
            opt.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        opt.zero_grad()
        return loss

    run = braze.compile(step) if compiled else step
    losses, scales = [], []
    for _ in range(steps):
        losses.append(run(x, y).item())
        scales.append(None if scaler is None else scaler.get_scale())
    assert not compiled or len(run.compilations) == 1
    return losses, scales


SGD = [1.6959739923477173, 1.3924134969711304, 1.370419979095459, 1.3639260530471802, 1.3578996658325195,
       1.3539849519729614]
ADAMW = [1.6959739923477173, 1.5733753442764282, 1.4842491149902344, 1.4247608184814453, 1.3925331830978394,
         1.3780899047851562]
SCALED = [1.6961803436279297, 1.6961803436279297, 1.391507625579834, 1.371562123298645, 1.3643501996994019,
          1.359302043914795, 1.3540247678756714, 1.3487638235092163]
SCALES = [131072.0, 131072.0, 262144.0, 262144.0, 524288.0, 524288.0, 1048576.0, 524288.0]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("make, figures", [(lambda p: optim.SGD(p, lr=0.5), SGD),
                                           (lambda p: optim.AdamW(p, lr=0.01), ADAMW)], ids=["SGD", "AdamW"])
def test_a_perceptron_trains_in_bfloat16_as_in_pytorch(make, figures, compiled):
    losses, _ = trained(BF16, None, 6, make, compiled)
    np.testing.assert_allclose(losses, figures, rtol=2e-3)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_scaled_float16_gradients_leave_out_the_steps_that_pytorch_leaves_out(compiled):
    scaler = braze.amp.GradScaler(init_scale=2.0**18, growth_interval=2)
    losses, scales = trained(F16, scaler, 8, lambda p: optim.SGD(p, lr=0.5), compiled)
    assert scales == SCALES
    np.testing.assert_allclose(losses, SCALED, rtol=1e-3)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_step_that_is_left_out_changes_neither_parameters_nor_state(compiled):
    w = nn.Parameter(braze.ones(3))
    opt = optim.AdamW([w], lr=0.1)
    scaler = braze.amp.GradScaler(init_scale=4.0)

    def step(x):
        scaler.scale((w * x).sum()).backward()
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()

    run = braze.compile(step) if compiled else step
    run(braze.tensor([1.0, math.inf, 1.0]))
    assert w.tolist() == [1, 1, 1] and scaler.get_scale() == 2.0
    run(braze.ones(3))
    np.testing.assert_allclose(w.detach().numpy(), 0.899, atol=1e-5)       # the first step of AdamW
    before = [t.tolist() for t in opt.state[w].values()]
    run(braze.tensor([math.nan, 1.0, 1.0]))
    assert [t.tolist() for t in opt.state[w].values()] == before and scaler.get_scale() == 1.0


def test_unscaled_gradients_can_be_clipped():
    w = nn.Parameter(braze.ones(2))
    opt = optim.SGD([w], lr=1.0)
    scaler = braze.amp.GradScaler(init_scale=8.0)
    scaler.scale((w * 3.0).sum()).backward()
    assert w.grad.tolist() == [24, 24]
    scaler.unscale_(opt)
    assert w.grad.tolist() == [3, 3]
    with pytest.raises(GradientError, match="called already"):
        scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    assert w.tolist() == [-2, -2]
    with pytest.raises(GradientError, match="needs a step"):
        scaler.update()


def test_its_state_goes_from_one_to_another():
    one, other = braze.amp.GradScaler(init_scale=2.0, growth_interval=7), braze.amp.GradScaler()
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict() == {
        "scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 7, "_growth_tracker": 0}
    assert braze.amp.GradScaler().get_scale() == 65536.0 and braze.amp.GradScaler().growth_interval == 2000


def test_disabled_it_does_nothing():
    scaler = braze.amp.GradScaler(enabled=False)
    w = nn.Parameter(braze.ones(2))
    opt = optim.SGD([w], lr=1.0)
    loss = w.sum()
    assert scaler.scale(loss) is loss and scaler.state_dict() == {} and scaler.get_scale() == 1.0
    loss.backward()
    scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    assert w.tolist() == [0, 0]
