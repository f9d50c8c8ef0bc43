"""Attention through the whole pipeline: by name or written out, it is one kernel that streams; so does its gradient."""

from __future__ import annotations

import math

import braze
import numpy as np
import pytest
from attention_reference import gradients, launches, squares, streams
from braze.ir.build import GraphBuilder
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import GpuContraction, GpuStreamed, operand_of
from braze.ir.gpu_tiled import Tiled
from braze.ir.interpreter import interpreting
from braze.ir.ops.namespace import F
from braze.ir.program import Launch
from braze.ir.streamed import Streamed, roles
from braze.ir.types import TensorType, bfloat16, bool_, float16, float32, float64
from braze.nn import functional
from braze.passes.assemble import assemble
from braze.passes.autodiff import differentiate
from braze.passes.partition import partition
from braze.passes.row_sums import shorten_row_sums
from braze.passes.simplify import simplify
from braze.tracer.pipeline import lower

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def graph_of(function, shapes, dtypes=None):
    """The graph of a function of values with these shapes."""
    builder = GraphBuilder("attention")
    types = [TensorType(s, d) for s, d in zip(shapes, dtypes or [float32] * len(shapes))]
    inputs = [builder.input(t, f"x{n}") for n, t in enumerate(types)]
    with interpreting(builder):
        results = function(*inputs)
    return builder.build(list(results) if isinstance(results, (tuple, list)) else [results])


def arrays_for(shapes, dtypes=None, seed=0):
    rng = np.random.default_rng(seed)
    dtypes = dtypes or [float32] * len(shapes)
    return [rng.random(s) < 0.7 if d is bool_ else rng.standard_normal(s).astype(d.numpy)
            for s, d in zip(shapes, dtypes)]


def schedules(stages):
    return [type(step.schedule) for step in stages.program.steps if isinstance(step, Launch)]


def compare(graph, arrays, tolerance=2e-5, kernels=1):
    """Compiled equals the reference interpreter's; so many kernels stream."""
    stages = lower(graph, "llvm", {}, {})
    assert kernels is None or schedules(stages).count(Streamed) == kernels, stages.program
    for found, wanted in zip(stages.executable([np.ascontiguousarray(a) for a in arrays]), graph.eval(*arrays)):
        largest = max(1, np.abs(np.nan_to_num(wanted)).max())
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * largest)
    return stages


def last_two(x):
    n = len(x.shape)
    return F.permute(x, axes=(*range(n - 2), n - 1, n - 2))


def softmax(x):
    n = len(x.shape) - 1
    e = F.exp(x - F.reshape(F.stop_gradient(F.max(x, axes=(n,))), shape=(*x.shape[:n], 1)))
    return e / F.reshape(F.sum(e, axes=(n,)), shape=(*x.shape[:n], 1))


def divided_afterwards(q, k, v):
    s = F.matmul(q * 0.25, last_two(k))
    n = len(s.shape) - 1
    e = F.exp(s - F.reshape(F.stop_gradient(F.max(s, axes=(n,))), shape=(*s.shape[:n], 1)))
    return F.matmul(e, v) / F.reshape(F.sum(e, axes=(n,)), shape=(*s.shape[:n], 1))


def filled(q, k, v, hidden):
    s = F.where(hidden, -math.inf, F.matmul(q, last_two(k)) / 8.0)
    return F.matmul(softmax(s), v)


def heads_from_projections(x, w):
    """[B, T, 3 * H * D] in, [B, T, H * D] out, as models write it."""
    b, t, _ = x.shape
    y = F.reshape(F.matmul(x, w), shape=(b, t, 3, 4, 16))
    parts = [F.slice(y, start=(0, 0, n, 0, 0), shape=(b, t, 1, 4, 16), step=(1,) * 5) for n in range(3)]
    o = F.attention(*(F.permute(F.reshape(p, shape=(b, t, 4, 16)), axes=(0, 2, 1, 3)) for p in parts), causal=True)
    return F.reshape(F.permute(o, axes=(0, 2, 1, 3)), shape=(b, t, 64))


def grouped(q, k, v):
    """Heads of q in groups that share a head of k and v."""
    b, h, t, d = q.shape
    q = F.reshape(q, shape=(b, h // 3, 3, t, d))
    k, v = (F.reshape(x, shape=(b, h // 3, 1, *x.shape[2:])) for x in (k, v))
    return F.reshape(F.attention(q, k, v, causal=True), shape=(b, h, t, d))


SQUARE = [(2, 3, 200, 32)] * 3
CROSS = [(2, 3, 150, 16), (2, 3, 260, 16), (2, 3, 260, 24)]
CASES = {
    "by name": (F.attention, SQUARE, None),
    "causal": (lambda q, k, v: F.attention(q, k, v, causal=True), SQUARE, None),
    "three dimensions": (lambda q, k, v: F.attention(q, k, v, causal=True), [(3, 333, 48)] * 3, None),
    "two dimensions": (F.attention, [(400, 64)] * 3, None),
    "cross": (F.attention, CROSS, None),
    "cross, causal": (lambda q, k, v: F.attention(q, k, v, causal=True), CROSS, None),
    "float64": (lambda q, k, v: F.attention(q, k, v, causal=True), SQUARE, [float64] * 3),
    "bias": (lambda q, k, v, m: F.attention(q, k, v, mask=m), [*SQUARE, (3, 200, 200)], None),
    "bias and causal": (lambda q, k, v, m: F.attention(q, k, v, mask=m, causal=True), [*SQUARE, (200, 200)], None),
    "bool mask": (lambda q, k, v, m: F.attention(q, k, v, mask=m), [*SQUARE, (2, 1, 1, 200)], [*[float32] * 3, bool_]),
    "hidden": (filled, [*SQUARE, (200, 200)], [*[float32] * 3, bool_]),
    "divided afterwards": (divided_afterwards, SQUARE, None),
    "grouped": (grouped, [(2, 6, 150, 32), (2, 2, 150, 32), (2, 2, 150, 32)], None),
    "one head of keys": (F.attention, [(2, 6, 150, 32), (2, 1, 150, 32), (2, 1, 150, 32)], None),
    "projections": (heads_from_projections, [(2, 190, 64), (64, 192)], None),
    "permuted": (lambda *x: F.attention(*(F.permute(t, axes=(0, 2, 1, 3)) for t in x)), [(2, 200, 4, 32)] * 3, None),
    "gelu of it": (lambda q, k, v: F.gelu(F.attention(q, k, v)) + q, SQUARE, None),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_kernel(name):
    function, shapes, dtypes = CASES[name]
    compare(graph_of(function, shapes, dtypes), arrays_for(shapes, dtypes))


# ---- gradients ------------------------------------------------------------------------------------------------------


def joint(function, shapes, dtypes=None):
    """The graph of the results and of the gradients of all float inputs."""
    graph = graph_of(function, shapes, dtypes)
    return differentiate(graph, [n for n, v in enumerate(graph.inputs) if v.dtype.is_float])


@pytest.mark.parametrize("name", CASES)
def test_gradients_stream(name):
    function, shapes, dtypes = CASES[name]
    graph = joint(function, shapes, dtypes)
    arrays = arrays_for(shapes, dtypes)
    given = graph.inputs[len(arrays):]
    cotangents = arrays_for([v.shape for v in given], [v.dtype for v in given], seed=1)
    compare(graph, [*arrays, *cotangents], 1e-4, kernels=None if "bias" in name else 3)


@pytest.mark.parametrize("name", ["causal", "bool mask", "divided afterwards", "projections"])
def test_halves_stream_and_keep_no_square(name):
    function, shapes, dtypes = CASES[name]
    graph = joint(function, shapes, dtypes)
    halves = partition(shorten_row_sums(simplify(graph)), 1)
    square = max(math.prod(v.shape) for v in graph.inputs)
    assert all(math.prod(v.shape) <= square for v in halves.forward.outputs)
    arrays = arrays_for(shapes, dtypes)
    given = arrays_for([v.shape for v in graph.inputs[len(arrays):]], seed=1)
    compare(halves.forward, arrays, 1e-4)
    forward = lower(halves.forward, "llvm", {}, {}).executable(arrays)
    residuals = forward[len(forward) - halves.residuals:]
    backward = [*residuals, *(arrays[i] for i in halves.held), *given]
    compare(halves.backward, [np.ascontiguousarray(a) for a in backward], 1e-4, kernels=2)
    wanted = graph.eval(*arrays, *given)
    for x, y in zip(lower(halves.backward, "llvm", {}, {}).executable(backward), wanted[1:]):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4 * max(1, np.abs(y).max()))


def test_not_worth_it_where_the_scores_are_few():
    graph = graph_of(F.attention, [(2, 12, 32)] * 3)
    assert Streamed not in schedules(lower(graph, "llvm", {}, {}))


def test_stays_whole_where_the_weights_are_asked_for():
    def both(q, k, v):
        weights = F.softmax(F.matmul(q, last_two(k)), -1)
        return F.matmul(weights, v), weights

    compare(graph_of(both, SQUARE), arrays_for(SQUARE), kernels=0)


@pytest.mark.parametrize("dtype,tolerance", [(float16, 2e-3), (bfloat16, 2e-2)])
def test_narrow_floats_stream(dtype, tolerance):
    for function in (F.attention, CASES["causal"][0], softmax_between):
        compare(graph_of(function, SQUARE, [dtype] * 3), arrays_for(SQUARE, [dtype] * 3), tolerance)


def softmax_between(q, k, v):
    """Rounded between, but not inside of the softmax."""
    return F.matmul(F.softmax(F.matmul(q, last_two(k)) * 0.25, -1), v)


def test_rows_that_see_nothing_are_nan():
    shapes, dtypes = CASES["bool mask"][1], CASES["bool mask"][2]
    arrays = arrays_for(shapes, dtypes)
    arrays[3][1] = False
    stages = compare(graph_of(CASES["bool mask"][0], shapes, dtypes), arrays)
    (y,) = stages.executable(arrays)
    assert np.isnan(y[1]).all() and not np.isnan(y[0]).any()


# ---- as a user writes it --------------------------------------------------------------------------------------------


def by_hand(q, k, v):
    """Causal attention on tensors."""
    t = q.shape[-2]
    rows = braze.arange(t).reshape(t, 1)
    scores = braze.where(rows >= braze.arange(t), q @ k.mT / math.sqrt(q.shape[-1]), -math.inf)
    e = braze.exp(scores - scores.detach().max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def named(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def tensors(t, seed=0):
    rng = np.random.default_rng(seed)
    return [braze.tensor(rng.standard_normal((2, 4, t, 32)).astype(np.float32), requires_grad=True) for _ in range(3)]


def with_gradients(function, inputs):
    y = function(*inputs)
    (y * y).sum().backward()
    out = [np.asarray(y.detach()), *(np.asarray(x.grad) for x in inputs)]
    for x in inputs:
        x.grad = None
    return out


@pytest.mark.parametrize("function", [by_hand, named])
def test_backward_agrees_with_eager(function):
    results = (with_gradients(f, tensors(150)) for f in (braze.compile(function), function))
    for found, wanted in zip(*results):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("function", [by_hand, named])
def test_any_length(function):
    compiled = braze.compile(function)
    with braze.no_grad():
        for t in (1, 7, 63, 65, 200):
            x = tensors(t, t)
            np.testing.assert_allclose(np.asarray(compiled(*x)), np.asarray(function(*x)), rtol=1e-4, atol=1e-5)
    assert "Streamed" in str(compiled.explain())


def test_a_training_step():
    def step(q, k, v):
        y = named(q, k, v)
        (y * y).sum().backward()
        out = y.detach(), q.grad, k.grad, v.grad
        return out

    for found, wanted in zip(braze.compile(step)(*tensors(150)), step(*tensors(150))):
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-3, atol=1e-4)


# ---- losses that give gradients without a side, or mostly zero -------------------------------------------------------


def only(part):
    """An array of ones in a part, else zero, for a function that takes the part."""
    def given(y):
        out = np.zeros_like(y)
        out[part] = 1
        return out
    return given


LOSSES = {
    "sum": (lambda y: y.sum(), lambda y: 1.0),
    "mean": (lambda y: y.mean(), lambda y: 1 / y.size),
    "twice the sum": (lambda y: 2 * y.sum(), lambda y: 2.0),
    "sums of rows": (lambda y: (y.sum(-1) ** 2).sum(), lambda y: 2 * y.sum(-1, keepdims=True)),
    "sums of columns": (lambda y: (y.sum(-2) ** 2).sum(), lambda y: 2 * y.sum(-2, keepdims=True)),
    "means of heads": (lambda y: (y.mean((-1, -2)) ** 2).sum(),
                       lambda y: 2 * y.mean((-1, -2), keepdims=True) / (y.shape[-1] * y.shape[-2])),
    "first head": (lambda y: y[:, 0].sum(), only(np.s_[:, 0])),
    "last row": (lambda y: y[:, :, -1].sum(), only(np.s_[:, :, -1])),
    "first column": (lambda y: y[..., 0].sum(), only(np.s_[..., 0])),
    "merged heads": (lambda y: (y.transpose(1, 2).reshape(*y.shape[:1], y.shape[2], -1).sum(-1)).sum(), lambda y: 1.0),
}


def backward_of(loss):
    def step(q, k, v):
        loss(named(q, k, v)).backward()
        return q.grad, k.grad, v.grad
    return braze.compile(step)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_stream_whatever_the_loss_reads(name):
    loss, given = LOSSES[name]
    step, inputs = backward_of(loss), tensors(190)
    wanted = gradients(*(np.asarray(x.detach()) for x in inputs), given, seen=np.tril(np.ones((190, 190), bool)))
    for found, wanted in zip(step(*inputs), wanted):
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-4, atol=1e-5 * max(1, np.abs(wanted).max()))
    for target in (None, GpuTarget()):
        program = step.ir("fused") if target is None else assemble(step.ir("optimized"), target)
        assert streams(program) in (2, 3) and not squares(program, 190), program


@pytest.mark.parametrize("name", LOSSES)
def test_tensor_cores_are_given_narrow_numbers(name):
    """On a GPU, what meets 16-bit numbers is one of them: no product is one of float32."""
    loss, _ = LOSSES[name]
    q, k, v = (x.detach().astype(bfloat16).requires_grad_() for x in tensors(190))
    step = backward_of(lambda y: loss(y.astype(float32)))
    step(q, k, v)
    for launch in launches(assemble(step.ir("optimized"), GpuTarget())):
        assert not isinstance(launch.schedule, GpuContraction), launch
        if isinstance(launch.schedule, GpuStreamed):
            found = roles(launch.kernel, launch.schedule.row, launch.schedule.stream)
            for p in (*found.inner, *found.outer):
                assert operand_of(p, found) is bfloat16, launch


# ---- decoding on a GPU ----------------------------------------------------------------------------------------------


DECODING = {                     # (batch, heads, heads of keys, queries, keys), how many kernels follow the stream
    "a head of keys for each": ((8, 32, 32, 1, 4096), 0),
    "few heads": ((1, 16, 16, 1, 8192), 1),
    "grouped": ((8, 32, 8, 1, 8192), 1),
    "several queries": ((8, 32, 8, 4, 8192), 1),
    "one head of keys": ((2, 24, 1, 1, 4096), 1),
    "one sequence": ((1, 32, 8, 1, 40000), 1),
}


@pytest.mark.parametrize("dtype", [bfloat16, float16])
@pytest.mark.parametrize("name", DECODING)
def test_decoding_is_one_stream_of_narrow_products(name, dtype):
    (b, heads, groups, queries, keys), more = DECODING[name]

    def attend(q, k, v):
        k, v = (F.repeat(x, heads // groups, 1) for x in (k, v))
        return F.attention(q, k, v)

    graph = graph_of(attend, [(b, heads, queries, 128), *[(b, groups, keys, 128)] * 2], [dtype] * 3)
    first, *rest = launches(assemble(simplify(graph), GpuTarget()))
    assert isinstance(first.schedule, GpuStreamed) and [type(x.schedule) for x in rest] == [Tiled] * more
    found = roles(first.kernel, first.schedule.row, first.schedule.stream)
    assert {operand_of(p, found) for p in (*found.inner, *found.outer)} == {dtype}
    sizes = [dict(first.kernel.axes)[a] for a in found.g]
    assert math.prod(sizes) % (b * groups) == 0 and math.prod(sizes) <= 32 * b * groups    # a place a head of keys
