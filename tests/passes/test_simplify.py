"""Simplification: what folds, what is shared, what dies; graphs keep their values."""

import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.graph import Graph
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, bool_, float32, float64, int64
from braze.passes.autodiff import differentiate
from braze.passes.rewrite import DEFAULT, Exactness
from braze.passes.simplify import dce, simplify, strip_markers
from hypothesis import given, settings
from random_graphs import random_graph
from rule_checker import same_bits

N = symbol("N", 2)


def build(function, *types):
    """The graph of a Python function of values, as written: equal nodes are not shared."""
    b = GraphBuilder("test")
    with interpreting(b):
        inputs = [b.input(t if isinstance(t, TensorType) else TensorType(t, float32), f"x{n}")
                  for n, t in enumerate(types)]
        out = function(*inputs)
    return b.build(list(out) if isinstance(out, (tuple, list)) else [out])


def ops(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.op is not F.constant]


def constant(number, dtype=float32):
    return F.constant(value=number, dtype=dtype)


CASES = {
    "constants fold": (lambda x: x * F.exp(constant(0.0)) + F.sqrt(constant(4.0)), ((3,),), ["add"]),
    "numbers of tensors fold": (lambda x: x * F.full((3,), 2.0, float32) * F.exp(F.full((3,), 0.0, float32)), ((3,),),
                                ["mul"]),
    "a neutral number that shapes the result": (lambda x: x * F.full((2, 3), 1.0, float32), ((3,),), ["broadcast_to"]),
    "what is repeated is computed once": (lambda x: F.exp(F.broadcast_to(x, shape=(4, 3))), ((3,),),
                                          ["exp", "broadcast_to"]),
    "pointwise ops broadcast by themselves": (lambda x, y: x + F.broadcast_to(y, shape=(4, 3)), ((4, 3), (3,)),
                                              ["add"]),
    "equal nodes are one": (lambda x: (F.exp(x), F.exp(F.reshape(F.reshape(x, shape=(3, 1)), shape=(3,)))), ((3,),),
                            ["exp"]),
    "chains of views": (lambda x: F.permute(F.reshape(F.permute(F.permute(x, axes=(1, 0)), axes=(1, 0)), shape=(2, 3)),
                                            axes=(0, 1)), ((2, 3),), []),
    "a rewrite opens the next": (lambda x: F.neg(F.neg(F.cast(F.cast(x * 1.0, dtype=float64), dtype=float32))) - 0.0,
                                 ((3,),), []),
    "two flips": (lambda x: F.flip(F.flip(x, (0,)), (0,)), ((3,),), []),
    "mean of a power of two": (lambda x: F.mean(x, (0,)), ((8,),), ["sum", "mul"]),
    "a number in a branch": (lambda x: F.where(F.less(constant(1.0), constant(2.0)), x, x + 1.0), ((3,),), []),
    "symbolic sizes": (lambda x: F.reshape(F.reshape(x, shape=(N * 3,)), shape=(N, 3)) * F.full((N, 3), 1.0, float32),
                       ((N, 3),), []),
}


@pytest.mark.parametrize("name", CASES)
def test_normal_forms(name):
    function, types, expected = CASES[name]
    assert ops(simplify(build(function, *types))) == expected


def test_floating_point_is_kept_unless_asked():
    graph = build(lambda x: (x + 0.0, x - x, x * 0.0, x / 3.0, (x + 1.0) + 2.0), (3,))
    assert ops(simplify(graph)) == ["add", "sub", "mul", "div", "add", "add"]
    assert ops(simplify(graph, DEFAULT | {Exactness.finite, Exactness.reassociate})) == ["broadcast_to", "mul", "add"]


def test_a_square_by_pow_is_rounded_otherwise():
    graph = build(lambda x: F.pow(x, 2.0), (3,))
    assert ops(simplify(graph)) == ["pow"]
    assert ops(simplify(graph, DEFAULT | {Exactness.accurate})) == ["square"]


def test_zero_of_either_sign_is_a_constant_of_its_own():
    simple = simplify(build(lambda: (constant(0.0), constant(-0.0))))
    assert [np.signbit(a) for a in simple.eval()] == [False, True]


def test_a_known_branch_is_taken():
    then, otherwise = build(lambda x: x * 2.0, (3,)), build(lambda x: x * 3.0, (3,))
    graph = build(lambda x: F.cond(F.less(constant(1.0), constant(2.0)), x, then=then, otherwise=otherwise), (3,))
    assert ops(simplify(graph)) == ["mul"]


def test_regions_are_simplified():
    then, otherwise = build(lambda x: F.neg(F.neg(x)) * 1.0, (3,)), build(lambda x: x * 3.0, (3,))
    graph = simplify(build(lambda c, x: F.cond(c, x, then=then, otherwise=otherwise), TensorType((), bool_), (3,)))
    assert [ops(r) for r in graph.nodes[0].regions] == [[], ["mul"]]


def test_gradients_must_have_been_expanded():
    with pytest.raises(VerifyError, match="expand"):
        simplify(build(lambda x: F.gradient(x, x, x, count=1), (3,)))


def test_a_gradient_has_no_waste():
    joint = simplify(strip_markers(differentiate(build(lambda x: F.sum(F.tanh(x) * 1.0, axes=(0,)), (3,)), [0])))
    assert ops(joint) == ["tanh", "sum", "square", "sub", "mul"]


# ---- dead code -------------------------------------------------------------------------------------------------------


def test_dead_nodes_go_and_live_graphs_stay_as_they_are():
    graph = build(lambda x: (F.exp(x), F.sin(x))[1], (3,))
    assert ops(dce(graph)) == ["sin"]
    live = dce(graph)
    assert dce(live) is live


def test_unused_results_of_branches_and_loops_go():
    body = build(lambda i, a, b, s, w: (a + s, b * w, F.exp(s), F.sin(b)), TensorType((), int64), (3,), (3,), (3,),
                 (3,))
    graph = build(lambda a, b, s, w: F.loop(F.constant(value=4, dtype=int64), a, b, s, w, body=body, carried=2,
                                            scanned=1, reverse=False),
                  (3,), (3,), (4, 3), (3,))
    arrays = [np.arange(n, dtype=np.float32).reshape(s) / n for n, s in ((3, (3,)), (3, (3,)), (12, (4, 3)), (3, (3,)))]
    for which, (operands, carried, scanned) in enumerate([(3, 1, 1), (3, 1, 0), (2, 0, 1), (4, 1, 1)]):
        one = dce(Graph(graph.name, graph.inputs, graph.nodes, (graph.outputs[which],)))
        (node,) = [n for n in one.nodes if n.op is F.loop]
        assert (len(node.operands), node.attrs["carried"], node.attrs["scanned"]) == (operands, carried, scanned)
        np.testing.assert_array_equal(one.eval(*arrays)[0], graph.eval(*arrays)[which])


def test_markers_are_stripped():
    graph = build(lambda x: F.barrier(F.stop_gradient(x) * 2.0)[0], (3,))
    assert ops(strip_markers(graph)) == ["mul"]


# ---- all together ----------------------------------------------------------------------------------------------------


@given(random_graph(nodes=14))
@settings(max_examples=120, deadline=None)
def test_random_graphs_keep_every_bit(drawn):
    graph, arrays = drawn
    for want, got in zip(graph.eval(*arrays), simplify(graph).eval(*arrays)):
        assert same_bits(np.asarray(want), np.asarray(got)).all()
