"""What streams and what does not; schedules that follow from the machine; row sums that are taken from results."""

from __future__ import annotations

import math

import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.errors import VerifyError
from braze.ir.interpreter import interpreting
from braze.ir.kernel import KernelBuilder
from braze.ir.ops.namespace import F
from braze.ir.streamed import Streamed, roles
from braze.ir.target import Target
from braze.ir.types import TensorType, float32
from braze.passes import streamed
from braze.passes.assemble import assemble
from braze.passes.autodiff import differentiate
from braze.passes.row_sums import shorten_row_sums
from braze.passes.schedule import schedule
from braze.passes.simplify import simplify
from braze.passes.streaming import never_stored
from kernel_zoo import ZOO, attention

B, I, J, D = 2, 70, 90, 16


def kernel(change=None):
    """softmax(q k^T) v, part of it changed: `change` maps a stage's name to a function of (builder, value)."""
    k = KernelBuilder("attention", {"b": B, "i": I, "j": J, "d": D, "c": D})
    at = {a: k.axis(a) for a in k.axes}
    changed = {"scores": lambda k, x: x, "weights": lambda k, x: x, "result": lambda k, x: x, **(change or {})}

    def read(name, axes):
        return k.load(name, [k.axes[a] for a in axes], "f32", [at[a] for a in axes])

    s = changed["scores"](k, k.reduce("sum", k.mul(read("q", "bid"), read("k", "bjd")), ("d",)))
    e = k.exp(k.sub(s, k.reduce("max", s, ("j",))))
    p = changed["weights"](k, k.div(e, k.reduce("sum", e, ("j",))))
    y = changed["result"](k, k.reduce("sum", k.mul(p, read("v", "bjc")), ("j",)))
    k.store("y", (B, I, D), (at["b"], at["i"], at["c"]), y)
    return k.build()


STREAMS = {
    "scaled": {"scores": lambda k, x: k.mul(x, 0.25)},
    "biased": {"scores": lambda k, x: k.add(x, k.load("m", (I, J), "f32", (k.axis("i"), k.axis("j"))))},
    "causal": {"scores": lambda k, x: k.select(k.ge(k.index(k.axis("i")), k.index(k.axis("j"))), x, -math.inf)},
    "dropped out": {"weights": lambda k, x: k.mul(x, k.load("m", (I, J), "f32", (k.axis("i"), k.axis("j"))))},
    "chosen": {"weights": lambda k, x: k.select(k.load("m", (I, J), "b1", (k.axis("i"), k.axis("j"))), x, 0.0)},
    "followed": {"result": lambda k, x: k.tanh(k.add(x, 1.0))},
}
DOES_NOT = {
    "weights plus one": {"weights": lambda k, x: k.add(x, 1.0)},
    "squared weights": {"weights": lambda k, x: k.mul(x, x)},
    "weights of a function": {"weights": lambda k, x: k.tanh(x)},
    "two maxima": {"weights": lambda k, x: k.mul(x, k.reduce("max", x, ("j",)))},
    "a result in the weights' place": {"result": lambda k, x: k.add(x, k.reduce("sum", x, ("i",)))},
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name):
    found = streamed.match(kernel(STREAMS[name]))
    assert found is not None and found[:2] == ("i", "j")
    assert len(found[2].limits) == (name == "causal")


@pytest.mark.parametrize("name", DOES_NOT)
def test_does_not_stream(name):
    assert streamed.match(kernel(DOES_NOT[name])) is None
    with pytest.raises(VerifyError, match="does not stream along j"):
        roles(kernel(DOES_NOT[name]), "i", "j")


def test_no_other_kernel_of_the_zoo_streams():
    assert [n for n, k in ZOO.items() if streamed.match(k)] == [n for n in ZOO if n in ("attention", "attention_full")]


@pytest.mark.parametrize("target", [Target(), Target(vector_bytes=32, registers=16, threads=8),
                                    Target(vector_bytes=64, registers=32, threads=96)], ids=str)
def test_schedules_are_legal_and_fit_the_registers(target):
    for k in (attention(3, 300, 500, 64, 64), attention(1, 1, 1, 1, 1), attention(64, 2048, 2048, 128, 96)):
        found = schedule(k, target)
        assert isinstance(found, Streamed)
        found.check(k)
        assert found.rows * found.vectors + found.vectors + 1 <= target.registers


# ---- groups ---------------------------------------------------------------------------------------------------------


def graph_of(function, shapes):
    builder = GraphBuilder("attention")
    inputs = [builder.input(TensorType(s, float32), f"x{n}") for n, s in enumerate(shapes)]
    with interpreting(builder):
        return builder.build([function(*inputs)])


def streams(graph) -> int:
    return sum(isinstance(s.schedule, Streamed) for s in assemble(simplify(graph), Target()).steps)


def test_layers_in_a_row_do_not_stream():
    graph = graph_of(lambda x, v, w: F.matmul(F.gelu(F.matmul(x, v)), w), [(512, 64), (64, 512), (512, 64)])
    assert streams(graph) == 0 and not never_stored(graph)


def test_contractions_of_weights_are_made_again():
    (scores,) = never_stored(graph_of(F.attention, [(4, 200, 32)] * 3))
    assert scores.results[0].shape == (4, 200, 200)


# ---- row sums -------------------------------------------------------------------------------------------------------


def product_of_dropped_weights(q, k, v, m):
    s = F.matmul(q, F.permute(k, axes=(0, 2, 1)))
    return F.matmul(F.softmax(s, -1) * m / 0.9, v)


ROW_SUMS = {
    "attention": (lambda q, k, v: F.attention(q, k, v, causal=True), [(4, 50, 8)] * 3),
    "dropout": (product_of_dropped_weights, [(4, 50, 8)] * 3 + [(4, 50, 50)]),
    "negative": (lambda q, k, v: -F.attention(q, k, -v), [(4, 50, 8)] * 3),
}


@pytest.mark.parametrize("name", ROW_SUMS)
def test_row_sums_come_from_results(name):
    function, shapes = ROW_SUMS[name]
    graph = simplify(differentiate(graph_of(function, shapes), [0, 1, 2]))
    shorter = shorten_row_sums(graph)

    def square_sums(g):
        return sum(n.op is F.sum and n.operands[0].shape == (4, 50, 50) for n in g.nodes)

    assert (square_sums(graph), square_sums(shorter)) == (2, 1)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(graph.eval(*arrays), shorter.eval(*arrays)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_graphs_without_such_sums_stay_as_they_are():
    graph = simplify(graph_of(lambda q, k, v: F.attention(q, k, v), [(4, 50, 8)] * 3))
    assert shorten_row_sums(graph) is graph
