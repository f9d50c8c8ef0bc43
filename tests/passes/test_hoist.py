"""Products taken out of loops: which ones, and that the graph gives what it gave."""

import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.graph import Graph
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, float32, int64
from braze.passes.hoist import hoist_products

TURNS, ROWS, WIDTH = 5, 3, 4
STATE, MATRIX = (ROWS, WIDTH), (WIDTH, WIDTH)


def build(function, *types) -> Graph:
    b = GraphBuilder("test")
    with interpreting(b):
        out = function(*[b.input(t if isinstance(t, TensorType) else TensorType(t, float32), f"x{n}")
                         for n, t in enumerate(types)])
    return b.build(list(out) if isinstance(out, tuple) else [out])


def scan(step, reverse=False, rows=ROWS) -> Graph:
    """A loop that carries a state over a sequence: `step(state, element, w, v)` gives it, and it is stacked too."""
    state = (rows, WIDTH)

    def body(turn, h, x, w, v):
        h = step(h, x, w, v)
        return h, h

    region = build(body, TensorType((), int64), state, state, MATRIX, MATRIX)
    return build(lambda h, x, w, v: F.loop(F.constant(value=TURNS, dtype=int64), h, x, w, v, body=region, carried=1,
                                           scanned=1, reverse=reverse), state, (TURNS, *state), MATRIX, MATRIX)


def transposed(w):
    return F.permute(w, axes=(1, 0))


def products(graph: Graph) -> tuple[int, int]:
    """How many products stand outside loops, and how many inside."""
    inside = sum(n.op is F.matmul for node in graph.nodes for r in node.regions for n in r.nodes)
    return sum(n.op is F.matmul for n in graph.nodes), inside


STEPS = {
    "an element by a matrix": (lambda h, x, w, v: F.tanh(F.matmul(x, w) + F.matmul(h, v)), (1, 1)),
    "by its transpose": (lambda h, x, w, v: F.tanh(F.matmul(x, transposed(w)) + h), (1, 0)),
    "by what matrices make": (lambda h, x, w, v: h * F.matmul(x, F.exp(w) + v), (1, 0)),
    "with what follows": (lambda h, x, w, v: h + (F.tanh(F.matmul(x, w)) + F.sum(v, axes=(0,))), (1, 0)),
    "two products": (lambda h, x, w, v: F.matmul(x, w) + F.sin(h) * F.matmul(x, v), (2, 0)),
    "the state by a matrix": (lambda h, x, w, v: F.tanh(x + F.matmul(h, w)), (0, 1)),
    "what the state takes part in": (lambda h, x, w, v: F.matmul(x * h, w), (0, 1)),
}


@pytest.mark.parametrize("reverse", [False, True], ids=("forwards", "backwards"))
@pytest.mark.parametrize("name", STEPS)
def test_products_of_elements_leave_the_loop(name, reverse):
    step, expected = STEPS[name]
    graph = scan(step, reverse)
    hoisted = hoist_products(graph)
    assert products(hoisted) == expected
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape).astype(np.float32) for v in graph.inputs]
    for want, got in zip(graph.eval(*arrays), hoisted.eval(*arrays)):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_is_made_of_products_alone_comes_along():
    def step(h, x, w, v):
        return h + F.tanh(F.matmul(x, w) * F.exp(F.slice(v, start=(0, 0), shape=(1, WIDTH), step=(1, 1))))

    hoisted = hoist_products(scan(step))
    (loop,) = [n for n in hoisted.nodes if n.op is F.loop]
    assert [n.op.name for n in loop.attrs["body"].nodes] == ["add"]
    assert loop.attrs["scanned"] == 1, "the elements themselves are not read any more"


def test_many_rows_a_turn_read_the_matrix_often_enough():
    assert products(hoist_products(scan(STEPS["an element by a matrix"][0], rows=1024))) == (0, 2)


def test_a_graph_without_loops_is_itself():
    graph = build(lambda a, b: F.matmul(a, b), STATE, MATRIX)
    assert hoist_products(graph) is graph
