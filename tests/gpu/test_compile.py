"""Compiled functions on the device: one program, the eager figures, results that stay there."""

from __future__ import annotations

import sys
import threading

import braze
import numpy as np
import pytest
from braze import nn, optim
from braze.ir.errors import CompileError, DeviceError, TraceError
from braze.ir.program import HostCall, Launch, walk

GPU = "cuda:0"


def close(a, b, rtol=2e-5, atol=2e-6):
    np.testing.assert_allclose(a.cpu().detach().numpy(), b.cpu().detach().numpy(), rtol=rtol, atol=atol)


def both(f, *args):
    """(eager, compiled) on the device, the compiled function called three times."""
    there = [a.to(GPU) if isinstance(a, braze.Tensor) else a for a in args]
    compiled = braze.compile(f)
    for _ in range(2):
        compiled(*there)
    return f(*there), compiled(*there), compiled


X = braze.randn(6, 10)
FUNCTIONS = {
    "pointwise": lambda x: (x * 2 + 1).tanh(), "rows": lambda x: x.softmax(-1), "columns": lambda x: x.sum(0),
    "views": lambda x: x.T.reshape(5, 12)[1:, ::2], "product": lambda x: x @ x.T, "scan": lambda x: x.cumsum(1),
    "mask": lambda x: braze.where(x > 0, x, 0.0), "gather": lambda x: x[braze.tensor([0, 2, 5], device=x.device)],
    "list": lambda x: (x[[0, 2, 5]] + x[:, [1, 2]].sum(), braze.isin(x, [0.5, 1.0]), nn.functional.nll_loss(
        x, braze.arange(6, device=x.device), weight=[1.0] * 10)),
    "creation": lambda x: x + braze.arange(10.0, device=x.device) * braze.ones(10, device=x.device),
    "complex": lambda x: (braze.exp(1j * x) @ (x.T * 2j + 1)).abs().sum(1),
    "parts": lambda x: braze.view_as_real((x * (1 + 2j))[1:].conj()),
    "norm": lambda x: nn.functional.layer_norm(x, (10,)), "argmax": lambda x: x.argmax(1),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "sort": lambda x: x.sort(1), "half": lambda x: (x.half() @ x.half().T).float(),
    "several": lambda x: (x.max(1), {"a": x.mean(), "b": [x, 3]}),
    "where it is": lambda x: x.to(x.device).to(x) + braze.zeros(10, device=x.device),
    "fori_loop": lambda x: braze.fori_loop(0, 3, lambda i, y: y * 0.5 + x, x),
    "scan of rows": lambda x: braze.scan(lambda c, row: (c + row, c * row), x[0], x)[1],
    "cond": lambda x: braze.cond(x.sum() > 1e9, lambda: x * 2, lambda: x * 3),
    "while_loop": lambda x: braze.while_loop(lambda y: y.sum() < 100.0, lambda y: y * 2.0, x.abs()),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_is_as_eager_and_stays(name):
    eager, compiled, f = both(FUNCTIONS[name], X)
    a, b = (t if isinstance(t, tuple) else (t,) for t in (eager, compiled))
    for x, y in zip(a, b):
        if isinstance(x, braze.Tensor):
            assert y.device == GPU
            close(x, y, 2e-3 if name == "half" else 2e-5, 2e-3 if name == "half" else 2e-6)
    assert len(f.compilations) == 1


@pytest.mark.parametrize("shape, dtype", [((1, 128_256), "float32"), ((8, 70_000), "bfloat16"),
                                          ((3, 66_001), "float32")])
def test_places_in_rows_of_a_vocabulary(shape, dtype):
    x = braze.randn(*shape).astype(getattr(braze, dtype))
    for f in (lambda x: x.argmax(-1), lambda x: x.argmin(-1), lambda x: (x - x.max()).min()):
        y = braze.compile(f)(x.to(GPU)).cpu().numpy()
        assert np.array_equal(y, f(x).numpy())


def test_threads_that_call_one_function():
    f = braze.compile(lambda x: (x * 2).tanh())
    xs = [braze.randn(3000).to(GPU) for _ in range(4)]
    expected = [f(x).cpu().numpy() for x in xs]
    errors, begin = [], threading.Barrier(4)

    def work(n):
        begin.wait()
        try:
            for _ in range(4):
                np.testing.assert_array_equal(f(xs[n]).cpu().numpy(), expected[n])
        except Exception as error:  # noqa: BLE001  (any error of a thread fails the test)
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)              # threads meet inside kernels
    try:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors


def test_a_training_step_is_one_program_that_updates_in_place():
    def train(where, compiled):
        braze.manual_seed(1)
        model = nn.Sequential(nn.Linear(10, 8, device=where), nn.GELU(), nn.LayerNorm(8), nn.Dropout(0.25),
                              nn.Linear(8, 3)).to(where)
        opt = optim.AdamW(model.parameters(), lr=0.05)
        x, y = X.to(where), (braze.arange(6) % 3).to(where)

        def step(x, y):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
            return loss

        run = braze.compile(step) if compiled else step
        losses = [run(x, y).item() for _ in range(4)]
        return losses, [p.cpu() for p in model.parameters()], run

    want, parameters, _ = train(GPU, False)
    got, others, step = train(GPU, True)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    for p, q in zip(parameters, others):
        close(p, q, 1e-3, 1e-4)
    assert len(step.compilations) == 1 and not [s for s in walk(step.ir("fused").steps) if isinstance(s, HostCall)]
    assert got[-1] < got[0]


def test_forward_and_backward_are_two_programs():
    w = braze.randn(10, 4).to(GPU).requires_grad_()
    f = braze.compile(lambda x: (x @ w).sigmoid())
    for _ in range(3):
        w.grad = None
        f(X.to(GPU)).sum().backward()
    assert w.grad.device == GPU
    v = w.detach().cpu().requires_grad_()
    (X @ v).sigmoid().sum().backward()
    close(w.grad, v.grad)


def test_gradients_flow_from_the_device_into_a_compiled_function_and_back():
    x = X.clone().requires_grad_()
    f = braze.compile(lambda x: (x * x).sum(1))
    for _ in range(3):
        x.grad = None
        (f(x.to(GPU)) * 2.0).cpu().sum().backward()
    assert x.grad.device == "cpu"
    close(x.grad, 4 * X)


def test_results_without_a_cotangent_count_as_zero():
    x = X.to(GPU).requires_grad_()
    f = braze.compile(lambda x: (x * 2, x.exp()))
    for _ in range(3):
        x.grad = None
        f(x)[0].sum().backward()
    close(x.grad, braze.full((6, 10), 2.0))


def test_calls_like_the_ones_before_go_to_a_printed_function():
    w, there = X.to(GPU), X.to(GPU)
    f = braze.compile(lambda x, n, k=1: (x + w) * n * k)
    for _ in range(3):
        close(f(there, 2.0, k=3), X * 12.0)
    fast = f._chain.first
    assert fast is not f._general
    close(fast(there, 0.5, k=3), X * 3.0)
    w.fill_(1.0)
    close(f(there, 1.0, k=3), X * 3.0 + 3.0)
    assert f(braze.ones(6, 10).to(GPU).requires_grad_(), 1.0, k=3).requires_grad and len(f.compilations) == 2


def test_checkpointed_parts_run_again():
    w = braze.randn(10, 10).to(GPU).requires_grad_()

    def f(x):
        loss = braze.checkpoint(lambda x: (x @ w).tanh(), x).sum()
        loss.backward()
        return loss

    step = braze.compile(f)
    step(X.to(GPU))
    got, w.grad = w.grad, None
    f(X.to(GPU))
    close(got, w.grad)


def test_sizes_become_symbols():
    f = braze.compile(lambda x: (x * 2).sum(1))
    for n in (3, 4, 5, 6, 9):
        x = braze.randn(n, 7)
        close(f(x.to(GPU)), (x * 2).sum(1))
    assert len(f.compilations) == 2


def test_numbers_and_cpu_scalars_go_with_each_call():
    f = braze.compile(lambda x, lr, t: x * lr + t)
    for n in range(1, 4):
        close(f(X.to(GPU), 0.5 * n, braze.tensor(float(n))), X * (0.5 * n) + float(n))
    assert len(f.compilations) == 1 and braze.tensor(1.0).device == "cpu"


def test_a_scalar_of_the_cpu_that_is_changed_stays_there():
    count = braze.tensor(0.0)

    @braze.compile
    def f(x):
        nonlocal_count = count
        nonlocal_count += 1.0
        return x + nonlocal_count

    for n in range(1, 4):
        close(f(X.to(GPU)), X + float(n))
    assert count.device == "cpu" and count.item() == 3


def test_random_numbers_have_the_cpus_bits_and_go_on():
    f = braze.compile(lambda: (braze.rand(5), braze.rand(3, 2)))
    on_device = braze.compile(lambda x: (braze.rand(5), braze.rand(3, 2), x)[:2])
    braze.manual_seed(5)
    for _ in range(3):
        for a, b in zip(f(), on_device(X.to(GPU))):
            assert b.device == GPU and a.numpy().tobytes() == b.cpu().numpy().tobytes()


def test_what_is_captured_decides_where_a_program_runs_though_random_numbers_were_drawn_before():
    w = X.to(GPU)
    f = braze.compile(lambda: braze.rand(10) + w)
    braze.manual_seed(2)
    got = [f() for _ in range(2)]
    braze.manual_seed(2)
    for y in got:
        assert y.device == GPU
        close(y, braze.rand(10) + X)
    assert len(f.compilations) == 1


def test_the_default_device_is_part_of_the_signature():
    f = braze.compile(lambda: braze.ones(3) * 2)
    for _ in range(3):
        assert f().device == "cpu"
        with braze.device(GPU):
            y = f()
            assert y.device == GPU and y.tolist() == [2, 2, 2]
    assert len(f.compilations) == 2


def test_a_tensor_elsewhere_is_another_call():
    f = braze.compile(lambda x: x + 1)
    for _ in range(3):
        assert f(X).device == "cpu" and f(X.to(GPU)).device == GPU
    assert len(f.compilations) == 2 and "on cuda:0" in str(f.compilations[1])


def test_a_captured_tensor_that_moved_is_noticed():
    layer = nn.Linear(10, 2)
    f = braze.compile(lambda x: layer(x))
    want = f(X)
    f(X)
    layer.to(GPU)
    close(f(X.to(GPU)), want)
    with pytest.raises(DeviceError, match="one device"):
        f(X)
    layer.cpu()
    close(f(X), want)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f, args, kind, words", [
    (lambda x, y: x + y, (X, X.to(GPU)), DeviceError, "on cpu.*on cuda:0"),
    (lambda x: x + X, (X.to(GPU),), DeviceError, "on cuda:0.*on cpu"),
    (lambda x: x.to("cpu"), (X.to(GPU),), TraceError, "Move the tensor before the call"),
    (lambda x: x.to("cuda"), (X,), TraceError, "Move the tensor before the call"),
    (lambda x: x + braze.ones(10, device="cpu"), (X.to(GPU),), DeviceError, "device='cpu'"),
    (lambda x: nn.Module().to("cuda"), (X,), TraceError, "do it outside"),
], ids=["arguments", "a captured tensor", "to the CPU", "to the device", "creation", "module"])
def test_what_a_trace_refuses(f, args, kind, words):
    with pytest.raises(kind, match=words) as error:
        braze.compile(f)(*args)
    assert "test_compile.py" in str(error.value)


@pytest.mark.parametrize("backend, x, words", [
    ("llvm", X.to(GPU), "for tensors on the CPU.*cuda:0"), ("numpy", X.to(GPU), "for tensors on the CPU"),
    ("triton", X, r"move them there.*x.to\('cuda'\)"),
])
def test_back_ends_for_other_devices(backend, x, words):
    with pytest.raises(CompileError, match=words):
        braze.compile(lambda x: x + 1, backend=backend)(x)


# ---- looking inside --------------------------------------------------------------------------------------------------


def test_every_stage_can_be_seen(tmp_path):
    f = braze.compile(lambda x: x.softmax(-1), backend="triton")
    f(X.to(GPU))
    assert "@triton.jit" in f.ir("source") and "on cuda:0" in str(f.explain())
    assert [name for name, _, _ in f.history()][:5] == ["graph", "joint", "optimized", "fused", "load"]
    assert [s for s in walk(f.ir("fused").steps) if isinstance(s, Launch)]


def test_compare_runs_there():
    found = braze.compare(lambda x: (x.exp() @ x.T).sum(1), X.to(GPU), repeats=1)
    assert found.error < 1e-5 and found.first_difference is None


def test_precision_is_part_of_a_program():
    f = braze.compile(lambda x: x @ x.T)
    sources = []
    for precision in ("highest", "high", "highest"):
        braze.set_float32_matmul_precision(precision)
        try:
            f(braze.randn(32, 32).to(GPU))
        finally:
            braze.set_float32_matmul_precision("highest")
        sources.append(f.ir("source", len(f.specialisations) - 1))
    assert len(f.compilations) == 2 and sources[0] != sources[1]


def test_mixed_precision_on_the_device():
    w = braze.randn(10, 10).to(GPU).requires_grad_()

    def f(x):
        with braze.autocast("cuda"):
            loss = (x @ w).softmax(-1).square().sum()
        loss.backward()
        return loss

    want = f(X.to(GPU))
    eager, w.grad = w.grad, None
    got = braze.compile(f)(X.to(GPU))
    close(want, got, 1e-2)
    close(eager, w.grad, 5e-2, 1e-2)
    assert w.grad.dtype is braze.float32


def test_a_scaled_step_decides_on_the_device_whether_it_is_left_out():
    w = nn.Parameter(braze.ones(3, device=GPU))
    opt = optim.AdamW([w], lr=0.1)
    scaler = braze.amp.GradScaler(init_scale=4.0, growth_interval=2)

    @braze.compile
    def step(x):
        with braze.autocast(braze.float16):
            loss = (w * x).sum()
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
        return loss

    step(braze.tensor([1.0, np.inf, 1.0], device=GPU))
    assert w.tolist() == [1, 1, 1] and scaler.get_scale() == 2.0 and scaler._scale.device == GPU
    step(braze.ones(3, device=GPU))
    np.testing.assert_allclose(w.detach().cpu().numpy(), 0.899, atol=1e-5)
    step(braze.ones(3, device=GPU))
    assert scaler.get_scale() == 4.0 and len(step.compilations) == 1
    assert not [s for s in walk(step.ir("fused").steps) if isinstance(s, HostCall)]


def test_memory_of_parameters_is_written_in_place():
    w = nn.Parameter(braze.ones(64, device=GPU))
    opt = optim.SGD([w], lr=0.5)

    @braze.compile
    def step(x):
        (w * x).sum().backward()
        opt.step()
        opt.zero_grad()

    x = braze.ones(64, device=GPU)
    step(x)
    assert any(s.takes for s in step.ir("fused").slots.values())
    kept = w.detach()
    for _ in range(3):
        step(x)
    assert kept.tolist() == [0.5] * 64 and w.tolist() == [-1.0] * 64


def test_what_no_kernel_does_is_named():
    f = braze.compile(lambda x: braze.logcumsumexp((x * 2).sort(0), 0) + 1, dynamic=True)     # rows of unknown length
    f(X.to(GPU))
    lines = str(f.explain()).splitlines()
    calls = [(line.split(maxsplit=3)[3], after) for line, after in zip(lines, lines[1:]) if "host call" in line]
    assert [what for what, _ in calls] == [
        "argsort: the device's library (CuPy) does it, no kernel exists for it",
        "logcumsumexp: NumPy does it on the host, which waits for the device and copies there and back"]
    assert all("test_compile.py" in after for _, after in calls)
