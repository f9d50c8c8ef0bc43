"""Forward mode: tangents against finite differences and against the reverse mode, through branches and loops."""

import numpy as np
import pytest
from braze.ir.errors import GradientError
from braze.ir.ops import F
from braze.ir.types import int64
from braze.ir.verify import verify
from braze.passes.autodiff import differentiate
from braze.passes.forward import jvp
from gradient_graphs import GRAPHS_WITH_REGIONS, INT, STRAIGHT, arrays_for, build, draw, gradient, region


def check(graph, *arrays):
    """Results, tangents along a random direction by central differences, and the transposition test against the reverse
    mode.
    """
    wrt = [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact]
    rng = np.random.default_rng(2)
    directions = [rng.standard_normal(arrays[i].shape) for i in wrt]
    tangent = jvp(graph, wrt)
    verify(tangent)
    got = tangent.eval(*arrays, *directions)
    results, tangents = got[:len(graph.outputs)], got[len(graph.outputs):]
    moved = [[a + sign * 1e-6 * directions[wrt.index(i)] if i in wrt else a for i, a in enumerate(arrays)]
             for sign in (1, -1)]
    inexact = [i for i, v in enumerate(graph.outputs) if v.dtype.is_inexact]
    high, low = (graph.eval(*m) for m in moved)
    for want, have in zip(graph.eval(*arrays), results):
        np.testing.assert_array_equal(have, want)
    for i, have in zip(inexact, tangents):
        np.testing.assert_allclose(have, (high[i] - low[i]) / 2e-6, rtol=1e-6, atol=1e-6)
    cotangents = [rng.standard_normal(results[i].shape) for i in inexact]
    return wrt, directions, tangents, cotangents


def check_against_reverse(graph, *arrays):
    wrt, directions, tangents, cotangents = check(graph, *arrays)
    gradients = differentiate(graph, wrt).eval(*arrays, *cotangents)[len(graph.outputs):]
    np.testing.assert_allclose(sum(np.sum(a * b) for a, b in zip(gradients, directions)),
                               sum(np.sum(a * b) for a, b in zip(tangents, cotangents)), rtol=1e-10)


@pytest.mark.parametrize("name", STRAIGHT)
def test_tangents_of_straight_graphs(name):
    function, *shapes = STRAIGHT[name]
    check_against_reverse(build(function, *shapes), *(draw(*s) for s in shapes))


@pytest.mark.parametrize("name", GRAPHS_WITH_REGIONS)
def test_tangents_through_regions(name):
    graph = GRAPHS_WITH_REGIONS[name]()
    check_against_reverse(graph, *arrays_for(graph))


def test_tangents_of_a_while_loop():
    test = region(lambda x, n, w: F.less(F.sum(x, axes=(0,)), 9.0), (3,), INT, (3,))
    body = region(lambda x, n, w: (x * w + x, n + 1), (3,), INT, (3,))
    graph = build(lambda x, w: F.while_loop(x, F.constant(value=0, dtype=int64), w, test=test, body=body, carried=2),
                  (3,), (3,))
    check(graph, draw(3), draw(3))


def test_forward_over_reverse_gives_products_with_the_hessian():
    graph = build(lambda x: gradient(F.sum(F.sin(x) * x * x, axes=(0,)), x)[0], (3,))
    x, v = draw(3), draw(3)
    hessian = -np.sin(x) * x * x + 4 * x * np.cos(x) + 2 * np.sin(x)
    np.testing.assert_allclose(jvp(graph, [0]).eval(x, v)[1], hessian * v)


def test_results_that_do_not_depend_have_zero_tangents():
    tangent = jvp(build(lambda x, y: (F.exp(y), F.cast(x, dtype=int64), F.stop_gradient(x)), (3,), (2,)), [0])
    results = tangent.eval(np.ones(3), np.ones(2), np.ones(3))
    assert len(results) == 5
    np.testing.assert_array_equal(results[3], np.zeros(2))
    np.testing.assert_array_equal(results[4], np.zeros(3))


def test_a_backward_of_its_own_has_no_forward_mode():
    backward = region(lambda g, x: g * x, (3,), (3,), name="backward")
    with pytest.raises(GradientError, match="backward of its own"):
        jvp(build(lambda x: F.custom_vjp(F.floor(x), x, x, count=1, backward=backward), (3,)), [0])
