"""Loops arranged for the register tile: matrices laid out before them, gates as products of their own; values stay."""

import braze
import numpy as np
import pytest
from braze.ir.graph import Graph
from braze.ir.ops import F
from braze.ir.program import Loop
from braze.ir.types import TensorType, float32, int64
from braze.passes.gates import split_products
from braze.passes.panels import arrange_loops, lay_out_matrices

from .test_hoist import TURNS, WIDTH, build, scan, transposed


def check(graph: Graph, changed: Graph, rtol=1e-5):
    """Both give the same on random arrays."""
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape).astype(np.float32) for v in graph.inputs]
    for want, got in zip(graph.eval(*arrays), changed.eval(*arrays)):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("rows,expected", [(4, 0), (32, 1), (1024, 0)])
def test_a_matrix_that_is_read_across_is_laid_out_once(rows, expected):
    graph = scan(lambda h, x, w, v: F.tanh(x + F.matmul(h, transposed(w))), rows=rows)
    arranged = lay_out_matrices(graph)
    assert sum(n.op is F.permute for n in arranged.nodes) == expected
    check(graph, arranged, rtol=0)


def multiplied(step, columns, turned=False, rows=32) -> Graph:
    """A loop over rows that are first multiplied by the carried state, and then given to `step` with a matrix."""
    matrix = (columns, WIDTH) if turned else (WIDTH, columns)

    def body(turn, h, x, w):
        y = F.matmul(x, h)
        return h * 0.5, step(y, transposed(w) if turned else w)

    region = build(body, TensorType((), int64), (WIDTH, WIDTH), (rows, WIDTH), matrix)
    return build(lambda h, x, w: F.loop(F.constant(value=TURNS, dtype=int64), h, x, w, body=region, carried=1,
                                        scanned=1, reverse=False), (WIDTH, WIDTH), (TURNS, rows, WIDTH), matrix)


def loop(graph: Graph):
    (found,) = [n for n in graph.nodes if n.op is F.loop]
    return found


@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "across"])
@pytest.mark.parametrize("columns,panels", [(64, 2), (40, 0)])
def test_a_matrix_is_laid_out_in_panels(turned, columns, panels):
    graph = multiplied(F.matmul, columns, turned)
    arranged = lay_out_matrices(graph)
    assert ((panels, WIDTH, 32) in [v.shape for v in loop(arranged).operands]) == bool(panels)
    check(graph, arranged)


def part(x, n, width):
    return F.slice(x, start=(0, n * width), shape=(x.shape[0], width), step=(1, 1))


def gated(parts, width):
    def step(y, w):
        x = F.tanh(F.matmul(y, w) * 0.5)
        total = part(x, 0, width)
        for n in range(1, parts):
            total = total * F.exp(part(x, n, width)) + 1.0
        return total

    return step


@pytest.mark.parametrize("parts,width,products", [(2, 32, 2), (4, 16, 4), (5, 16, 1), (3, 10, 1)])
def test_parts_that_are_combined_are_products_of_their_own(parts, width, products):
    graph = multiplied(gated(parts, width), parts * width)
    arranged = split_products(graph)
    body = loop(arranged).attrs["body"]
    assert sum(n.op is F.matmul for n in body.nodes) == 1 + products
    check(graph, arranged)


def joined(y, w):
    return F.concat(part(F.matmul(y, w), 1, 32), part(F.matmul(y, w), 0, 32), axis=1)


def used_whole(y, w):
    x = F.matmul(y, w)
    return F.sum(x, axes=(1,)) + F.sum(part(x, 0, 32) * part(x, 1, 32), axes=(1,))


def overlapping(y, w):
    x = F.matmul(y, w)
    return part(x, 0, 32) * F.slice(x, start=(0, 16), shape=(x.shape[0], 32), step=(1, 1))


@pytest.mark.parametrize("step", [joined, used_whole, overlapping], ids=lambda f: f.__name__)
def test_what_is_not_combined_stays_one_product(step):
    graph = multiplied(step, 64)
    count = sum(n.op is F.matmul for n in loop(graph).attrs["body"].nodes)
    assert sum(n.op is F.matmul for n in loop(split_products(graph)).attrs["body"].nodes) == count


def test_few_rows_stay_one_product():
    graph = multiplied(gated(2, 32), 64, rows=8)
    assert sum(n.op is F.matmul for n in loop(split_products(graph)).attrs["body"].nodes) == 2


def test_a_graph_without_loops_is_itself():
    graph = build(lambda a, b: F.matmul(a, b), (32, WIDTH), TensorType((WIDTH, 64), float32))
    assert arrange_loops(graph) is graph


CELLS = {"RNN": (braze.nn.RNN, 1), "LSTM": (braze.nn.LSTM, 4), "GRU": (braze.nn.GRU, 3)}


@pytest.mark.parametrize("name", CELLS)
def test_a_step_of_a_recurrent_layer_is_one_kernel(name):
    kind, gates = CELLS[name]
    layer = kind(16, 32)
    x = braze.tensor(np.random.default_rng(0).standard_normal((5, 20, 16)).astype(np.float32))
    compiled = braze.compile(lambda x: layer(x)[0])
    with braze.no_grad():
        got = compiled(x)
    program = compiled.ir("fused")
    (steps,) = [s.steps for s in program.steps if isinstance(s, Loop)]
    assert len(steps) == 1 and sum(v.op == "reduce" for v in steps[0].kernel.values) == gates, program
    np.testing.assert_allclose(got.detach(), layer(x)[0].detach(), rtol=1e-4, atol=1e-5)


def test_a_gated_feed_forward_layer_is_two_kernels():
    """silu(x @ v) * (x @ w): both products in one tile."""
    random = np.random.default_rng(0)
    x, v, w, u = (braze.tensor(random.standard_normal(s).astype(np.float32) * 0.2)
                  for s in ((40, 32), (32, 64), (32, 64), (64, 32)))
    compiled = braze.compile(lambda x: (braze.nn.functional.silu(x @ v) * (x @ w)) @ u)
    got = compiled(x)
    assert len(compiled.ir("fused").kernels) == 2, compiled.ir("fused")
    want = [np.asarray(a, np.float64) for a in (x, v, w, u)]
    a = want[0] @ want[1]
    np.testing.assert_allclose(got, (a / (1 + np.exp(-a)) * (want[0] @ want[2])) @ want[3], rtol=1e-4, atol=1e-5)
