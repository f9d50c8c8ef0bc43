"""Gradients of graphs against finite differences and analytic values, in float64, through the reference interpreter."""

import numpy as np
import pytest
from braze.ir.errors import GradientError
from braze.ir.graph import Graph, Value
from braze.ir.location import Location
from braze.ir.ops import F
from braze.ir.types import float64, int64
from braze.ir.verify import verify
from braze.passes.autodiff import differentiate, expand_gradients
from gradient_graphs import (
    GRAPHS_WITH_REGIONS,
    INT,
    STRAIGHT,
    N,
    arrays_for,
    branch,
    build,
    draw,
    gradient,
    recurrence,
    region,
    turns,
)


def numeric_gradient(graph, arrays, cotangents, which):
    """Central differences of sum(output * cotangent) with respect to one input."""
    x, step = np.array(arrays[which], np.float64), 1e-6
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            results = graph.eval(*arrays[:which], moved, *arrays[which + 1:])
            ends.append(sum(np.sum(r * c) for r, c in zip(results, cotangents)))
        out[place] = (ends[0] - ends[1]) / (2 * step)
    return out


def check(graph: Graph, *arrays, wrt=None, tolerance=1e-6):
    """The joint graph's outputs and gradients, against the graph itself and finite differences of it."""
    wrt = [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact] if wrt is None else wrt
    results = graph.eval(*arrays)
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(r.shape) for r in results]
    joint = differentiate(graph, wrt)
    verify(joint)
    got = joint.eval(*arrays, *(c for c, v in zip(cotangents, graph.outputs) if v.dtype.is_inexact))
    for have, want in zip(got, results):
        np.testing.assert_array_equal(have, want)
    for i, have in zip(wrt, got[len(results):]):
        assert have.shape == np.shape(arrays[i])
        np.testing.assert_allclose(have, numeric_gradient(graph, arrays, cotangents, i), rtol=tolerance, atol=tolerance)
    return joint


@pytest.mark.parametrize("name", STRAIGHT)
def test_gradients_of_straight_graphs(name):
    function, *shapes = STRAIGHT[name]
    check(build(function, *shapes), *(draw(*s) for s in shapes))


def test_no_path_gives_zeros():
    joint = differentiate(build(lambda x, y: F.exp(x), (2,), (3,)), [1, 0])
    dy, dx = joint.eval(np.ones(2), np.ones(3), np.full(2, 2.0))[1:]
    np.testing.assert_array_equal(dy, np.zeros(3))
    np.testing.assert_allclose(dx, 2 * np.e * np.ones(2))


def test_no_gradient_flows_through_stop_gradient_or_integers():
    graph = build(lambda x: x * F.stop_gradient(x) + F.cast(F.cast(x, dtype=int64), dtype=float64), (3,))
    np.testing.assert_array_equal(differentiate(graph, [0]).eval(np.full(3, 2.5), np.ones(3))[1], np.full(3, 2.5))


def test_gradient_with_respect_to_a_value_in_the_middle_and_what_it_comes_from():
    def f(x):
        y = x * x
        return gradient(F.sum(F.sin(y), axes=(0,)), y, x)

    x = draw(3)
    dy, dx = expand_gradients(build(f, (3,))).eval(x)
    np.testing.assert_allclose(dy, np.cos(x * x))
    np.testing.assert_allclose(dx, np.cos(x * x) * 2 * x)


def test_gradients_of_gradients():
    def f(x):
        (first,) = gradient(F.sum(F.sin(x) * x, axes=(0,)), x)
        (second,) = gradient(F.sum(first, axes=(0,)), x)
        (third,) = gradient(F.sum(second, axes=(0,)), x)
        return first, second, third

    x = draw(4)
    first, second, third = expand_gradients(build(f, (4,))).eval(x)
    np.testing.assert_allclose(first, np.cos(x) * x + np.sin(x))
    np.testing.assert_allclose(second, 2 * np.cos(x) - x * np.sin(x))
    np.testing.assert_allclose(third, -3 * np.sin(x) - x * np.cos(x))


def test_symbolic_sizes():
    joint = differentiate(build(lambda x: F.softmax(x * 2.0, -1), (N, 4)), [0])
    x, g = draw(3, 4), draw(3, 4)
    y, dx = joint.eval(x, g)
    np.testing.assert_allclose(dx, 2 * y * (g - np.sum(g * y, -1, keepdims=True)))


def test_the_second_derivative_of_the_joint_graph():
    joint = differentiate(build(lambda x: F.exp(x * x), (3,)), [0])
    check(joint, draw(3), draw(3))


# ---- markers ---------------------------------------------------------------------------------------------------------


def test_custom_vjp_runs_its_backward_region():
    backward = region(lambda g, x: g * x * 10.0, (3,), (3,), name="backward")
    graph = build(lambda x: F.custom_vjp(F.floor(x), x, x, count=1, backward=backward)[0] * 2.0, (3,))
    x, g = draw(3), draw(3)
    np.testing.assert_allclose(differentiate(graph, [0]).eval(x, g)[1], 20 * g * x)


def test_a_custom_vjp_has_higher_orders():
    backward = region(lambda g, x: g * 3.0 * x * x, (3,), (3,), name="backward")
    check(differentiate(build(lambda x: F.custom_vjp(x * x * x, x, x, count=1, backward=backward), (3,)), [0]), draw(3),
          draw(3))


def test_a_barrier_lets_gradients_through():
    check(build(lambda x, y: F.barrier(F.exp(x) * y, y)[0] * x, (3,), (3,)), draw(3), draw(3))


# ---- control flow ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS_WITH_REGIONS)
def test_gradients_through_regions(name):
    graph = GRAPHS_WITH_REGIONS[name]()
    check(graph, *arrays_for(graph))


def test_gradient_of_the_other_branch():
    check(branch(), *arrays_for(branch(), truth=False))


def test_second_derivative_of_a_recurrence():
    check(differentiate(recurrence(lambda: turns(3), 3), [0, 1, 2]), draw(2, 3), draw(3, 2, 3), draw(3, 3), draw(2, 3),
          draw(3, 2), tolerance=1e-5)


def test_a_gradient_within_a_loop_body():
    """Gradient descent inside a loop: x -= 0.1 * d(sum x^4)/dx."""
    body = region(lambda i, x: x - 0.1 * gradient(F.sum(x * x * x * x, axes=(0,)), x)[0], INT, (3,))
    graph = build(lambda x: F.loop(turns(3), x, body=body, carried=1, scanned=0, reverse=False), (3,))
    x = start = draw(3)
    for _ in range(3):
        x = x - 0.4 * x**3
    expanded = expand_gradients(graph)
    np.testing.assert_allclose(expanded.eval(start)[0], x)
    check(expanded, start)


def test_states_that_no_gradient_needs_are_not_stacked():
    body = region(lambda i, c, w: c + w, INT, (3,), (3,))
    joint = differentiate(build(lambda c, w: F.loop(turns(5), c, w, body=body, carried=1, scanned=0, reverse=False),
                                (3,), (3,)), [0, 1])
    forward, backward = (n for n in joint.nodes if n.op is F.loop)
    assert (len(forward.results), forward.attrs["scanned"]) == (1, 0)
    assert (len(backward.results), backward.attrs["scanned"]) == (2, 0)


# ---- errors and locations --------------------------------------------------------------------------------------------


def test_the_reverse_of_a_while_loop_is_an_error_that_names_the_way_out():
    test = region(lambda x: F.less(F.sum(x, axes=(0,)), 9.0), (3,))
    body = region(lambda x: x * 2.0, (3,))
    graph = build(lambda x: F.while_loop(x, test=test, body=body, carried=1), (3,))
    with pytest.raises(GradientError, match="fori_loop"):
        differentiate(graph, [0])


def test_a_loop_whose_turns_are_data_has_no_gradient():
    body = region(lambda i, c: c * c, INT, (3,))
    graph = build(lambda n, c: F.loop(n, c, body=body, carried=1, scanned=0, reverse=False), INT, (3,))
    with pytest.raises(GradientError, match="number of its turns"):
        differentiate(graph, [1])


def located(x: Value, line: int, scope: str = "") -> Value:
    x.node.loc = Location(None, 0, scope, "model.py", line)
    return x


def test_an_op_without_derivative_is_named_with_its_line(monkeypatch):
    graph = build(lambda x: located(F.tanh(x), 14), (3,))
    monkeypatch.setattr(F.tanh, "vjp", None)
    with pytest.raises(GradientError, match=r"tanh has no derivative[^§]*model.py:14"):
        differentiate(graph, [0])


def test_backward_nodes_carry_the_line_of_their_forward_node():
    joint = differentiate(build(lambda x: located(F.exp(located(F.sin(x), 3, "block.0")), 4), (3,)), [0])
    assert [(n.op.name, str(n.loc)) for n in joint.nodes if n.op is not F.conj] == [
        ("sin", "model.py:3 in block.0"), ("exp", "model.py:4"), ("mul", "model.py:4 in gradient of exp"),
        ("cos", "model.py:3 in gradient of block.0"), ("mul", "model.py:3 in gradient of block.0")]
