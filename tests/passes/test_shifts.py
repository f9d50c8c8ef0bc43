"""Softmaxes written out: their maxima take no gradient, others do; gradients are those of finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.interpreter import interpreting
from braze.ir.ops.namespace import F
from braze.ir.types import TensorType, float64
from braze.passes.autodiff import differentiate
from braze.passes.shifts import maxima_of_softmaxes

N = 5


def column(x):
    return F.reshape(x, shape=(N, 1))


def softmax(x):
    e = F.exp(x - column(F.max(x, axes=(1,))))
    return e / column(F.sum(e, axes=(1,)))


def of_other_rows(x):
    """The maximum of row j is subtracted from column j."""
    e = F.exp(x - F.max(x, axes=(1,)))
    return e / column(F.sum(e, axes=(1,)))


def divided_by_other_sums(x):
    e = F.exp(x - column(F.max(x, axes=(1,))))
    return e / F.sum(e, axes=(1,))


def read_again(x):
    peak = column(F.max(x, axes=(1,)))
    e = F.exp(x - peak)
    return e / column(F.sum(e, axes=(1,))) * peak


def exponentials_read_again(x):
    e = F.exp(x - column(F.max(x, axes=(1,))))
    return e / column(F.sum(e, axes=(1,))) + e


FUNCTIONS = {softmax: 1, of_other_rows: 0, divided_by_other_sums: 0, read_again: 0, exponentials_read_again: 0}


def graph_of(function):
    builder = GraphBuilder("softmax")
    x = builder.input(TensorType((N, N), float64), "x")
    with interpreting(builder):
        return builder.build([function(x)])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_are_those_of_finite_differences(function):
    graph, rng = graph_of(function), np.random.default_rng(0)
    assert len(maxima_of_softmaxes(graph.nodes)) == FUNCTIONS[function]
    x, given = rng.standard_normal((N, N)), rng.standard_normal((N, N))
    joint = differentiate(graph, [0])
    assert FUNCTIONS[function] == (sum(n.op is F.equal for n in joint.nodes) == 0), joint
    _, found = joint.eval(x, given)
    wanted, step = np.empty((N, N)), 1e-6
    for at in np.ndindex(N, N):
        moved = np.zeros((N, N))
        moved[at] = step
        (up,), (down,) = graph.eval(x + moved), graph.eval(x - moved)
        wanted[at] = ((up - down) * given).sum() / (2 * step)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)
