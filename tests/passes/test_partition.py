"""The two halves of a joint graph: together they are the graph, and the forward half keeps little."""

import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.expr import symbol
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, float32, float64, int64, uint64
from braze.passes.autodiff import differentiate
from braze.passes.partition import bytes_of, partition
from braze.passes.simplify import simplify

N = symbol("N", 2)
SIZES = {"N": 5}


def build(function, *types):
    b = GraphBuilder("test")
    with interpreting(b):
        inputs = [b.input(t if isinstance(t, TensorType) else TensorType(t, float64), f"x{n}")
                  for n, t in enumerate(types)]
        out = function(*inputs)
    return b.build(list(out) if isinstance(out, (tuple, list)) else [out])


def halves_of(graph, wrt=None):
    wrt = [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact] if wrt is None else wrt
    joint = simplify(differentiate(graph, wrt))
    return joint, partition(joint, len(graph.outputs), SIZES)


def kept_bytes(halves, outputs=1):
    return sum(bytes_of(v.type, SIZES) for v in halves.forward.outputs[outputs:])


def bytes_of_everything(graph):
    return sum(bytes_of(r.type, SIZES) for n in graph.nodes for r in n.results)


def count(graph, op):
    return sum(n.op is op for n in graph.nodes)


def check(graph, joint, halves):
    """Running the halves one after the other is running the joint graph."""
    rng = np.random.default_rng(0)
    arrays = [np.array([1, 2], np.uint64) if v.dtype is uint64
              else rng.uniform(0.2, 1, [SIZES["N"] if d == N else d for d in v.shape])
              for v in joint.inputs]
    cotangents = sum(v.dtype.is_inexact for v in graph.outputs)
    primals, given = arrays[:len(arrays) - cotangents], arrays[len(arrays) - cotangents:]
    outputs = halves.forward.eval(*primals, sizes=SIZES)
    plain, kept = outputs[:len(graph.outputs)], outputs[len(graph.outputs):]
    assert len(kept) == halves.residuals
    gradients = halves.backward.eval(*kept, *(primals[i] for i in halves.held), *given, sizes=SIZES)
    for want, got in zip(joint.eval(*arrays), (*plain, *gradients)):
        np.testing.assert_array_equal(want, got)


def mlp(x, w1, b1, w2, b2):
    return F.matmul(F.gelu(F.matmul(x, w1) + b1), w2) + b2


def dropout(state, x, w):
    return F.where(F.less(F.random_uniform(state, (4, 8), float32, 0), 0.5), F.matmul(x, w) * 2.0, 0.0)


STEP = build(lambda i, c, x, w: F.tanh(F.matmul(c, w) + x), TensorType((), int64), (2, 3), (2, 3), (3, 3))


def recurrence(c, xs, w):
    return F.loop(F.constant(value=3, dtype=int64), c, xs, w, body=STEP, carried=1, scanned=1, reverse=False)[0]


GRAPHS = {
    "mlp": (mlp, (N, 6), (6, 12), (12,), (12, 3), (3,)),
    "attention": (lambda q, k, v: F.attention(q, k, v, causal=True), (2, N, 4), (2, N, 4), (2, N, 4)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (1,), w, b), (N, 6), (6,), (6,)),
    "a result that the gradient uses": (lambda x: F.tanh(x), (N,)),
    "an input that is a result": (lambda x: (x, F.sin(x)), (N,)),
    "no path": (lambda x, y: F.exp(x), (N,), (3,)),
    "dropout": (dropout, TensorType((2,), uint64), (4, 3), (3, 8)),
    "a recurrence": (recurrence, (2, 3), (3, 2, 3), (3, 3)),
    "checkpointed": (lambda x, w, v: _checkpoint(lambda h: F.matmul(F.exp(F.matmul(h, w)), v), F.sin(x)) * 2.0, (N, 4),
                     (4, 9), (9, 4)),
}


def _checkpoint(function, *inputs):
    """How a checkpoint is written: the results and the operands of the function pass one barrier."""
    return F.barrier(function(*inputs), *inputs)[0]


@pytest.mark.parametrize("name", GRAPHS)
def test_the_halves_are_the_joint_graph(name):
    function, *types = GRAPHS[name]
    graph = build(function, *types)
    check(graph, *halves_of(graph))


def test_an_mlp_keeps_one_hidden_layer():
    graph = build(mlp, (64, 32), (32, 128), (128,), (128, 8), (8,))
    joint, halves = halves_of(graph)
    assert kept_bytes(halves) == 64 * 128 * 8
    assert kept_bytes(halves) < bytes_of_everything(graph) / 5
    assert count(halves.backward, F.erf) == 1                        # gelu is computed again
    assert count(halves.forward, F.matmul) + count(halves.backward, F.matmul) == count(joint, F.matmul)


def test_attention_keeps_no_more_than_one_matrix_of_scores():
    graph = build(lambda q, k, v: F.attention(q, k, v), (2, 64, 16), (2, 64, 16), (2, 64, 16))
    joint, halves = halves_of(graph)
    scores, rows = 2 * 64 * 64 * 8, 2 * 64 * 8
    assert kept_bytes(halves) <= scores + 2 * rows
    assert count(halves.forward, F.matmul) + count(halves.backward, F.matmul) == count(joint, F.matmul)


def test_cheap_chains_from_the_inputs_keep_nothing():
    graph = build(lambda x, y: F.sin(F.exp(x) * y) + F.tanh(x), (100,), (100,))
    joint, halves = halves_of(graph)
    assert (halves.residuals, halves.held) == (0, (0, 1))


def test_the_smaller_of_two_values_is_kept():
    """A mask of bools is an eighth of the number it is made from; a row is kept before it is repeated."""
    graph = build(lambda x, w: F.where(F.greater(F.matmul(x, w), 0.0), x, 0.0), (32, 32), (32, 32))
    _, halves = halves_of(graph, [0])
    assert [v.dtype.name for v in halves.forward.outputs[1:]] == ["b1"]


def test_of_values_of_one_size_the_last_is_kept():
    """The sum with the bias, not the product: nothing is added again."""
    _, halves = halves_of(build(lambda x, w, b: F.sin(F.matmul(x, w) + b), (32, 32), (32, 32), (32,)))
    assert halves.residuals == 1 and count(halves.backward, F.add) == 0


def test_what_only_the_gradient_wants_is_not_computed_ahead():
    graph = build(lambda x, w: F.sin(F.matmul(x, w)), (32, 32), (32, 32))
    _, halves = halves_of(graph)
    assert (count(halves.forward, F.cos), count(halves.backward, F.cos)) == (0, 1)


def test_a_result_is_kept_for_nothing():
    _, halves = halves_of(build(lambda x, w: F.tanh(F.matmul(x, w)), (32, 32), (32, 32)))
    assert halves.residuals == 1 and halves.forward.outputs[1] is halves.forward.outputs[0]


def test_nothing_inside_a_checkpoint_is_kept():
    function, *types = GRAPHS["checkpointed"]
    graph = build(function, (64, 4), *types[1:])
    joint, halves = halves_of(graph)
    assert kept_bytes(halves) <= 64 * 4 * 8                         # sin(x), or nothing where it is computed again
    assert count(halves.backward, F.exp) == 1
    assert not any(n.op is F.barrier for n in (*halves.forward.nodes, *halves.backward.nodes))
    plain = build(lambda x, w, v: F.matmul(F.exp(F.matmul(F.sin(x), w)), v) * 2.0, (64, 4), *types[1:])
    assert kept_bytes(halves_of(plain)[1]) == 64 * 9 * 8
