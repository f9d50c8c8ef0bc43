"""Convolutions of spread images: which phases they become, and that these give what the definition gives."""

import braze
import numpy as np
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.expr import symbol
from braze.ir.interpreter import interpreting
from braze.ir.ops.namespace import F
from braze.ir.types import TensorType, int64
from braze.passes.phases import phases, split_phases


def spread(size, weights, step, low, high, dilation=1, groups=1, batch=2, channels=3):
    """conv(dilate(x), w) of as many dimensions as there are sizes."""
    builder = GraphBuilder("spread")
    rank = len(size)
    x = builder.input(TensorType((batch, channels * groups, *size), int64), "x")
    w = builder.input(TensorType((4 * groups, channels, *weights), int64), "w")
    with interpreting(builder):
        wide = F.dilate(x, step=(1, 1, *step))
        y = F.conv(wide, w, stride=(1,) * rank, padding=((low, high),) * rank, dilation=(dilation,) * rank,
                   groups=groups)
    return builder.build([y])


CASES = {
    "a window of twice the stride": spread((5, 6), (4, 4), (2, 2), 2, 2),
    "an odd window": spread((5, 4), (3, 3), (2, 2), 1, 2),
    "one dimension": spread((7,), (5,), (3,), 4, 1),
    "three dimensions": spread((2, 3, 2), (3, 2, 3), (2, 3, 1), 2, 2),
    "phases without taps": spread((4, 4), (1, 1), (2, 2), 0, 1),
    "a dilation that the stride divides": spread((6,), (3,), (2,), 4, 4, dilation=2),
    "a dilation that shares a factor": spread((6, 5), (3, 2), (4, 4), 7, 7, dilation=6),
    "a dilation of its own": spread((6, 5), (3, 2), (3, 2), 4, 3, dilation=2),
    "groups": spread((5, 6), (3, 3), (2, 2), 2, 1, groups=3),
    "what is cut away": spread((6, 6), (3, 3), (2, 2), -2, -1),
    "far from the image": spread((3,), (2,), (2,), 7, 9),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_spread_and_nothing_changes(name):
    """In integers, so that the order of sums does not matter."""
    graph = CASES[name]
    found = split_phases(graph)
    assert not any(n.op is F.dilate for n in found.nodes)
    random = np.random.default_rng(0)
    arrays = [random.integers(-9, 10, v.shape) for v in graph.inputs]
    wide, w = graph.nodes[0], arrays[1]
    exact = F.conv.evaluate(np, F.dilate.evaluate(np, arrays[0], **wide.attrs), w, **graph.nodes[1].attrs)
    (result,) = found.eval(*arrays)
    np.testing.assert_array_equal(result, exact)


@pytest.mark.parametrize("stride,window,dilation", [(2, 3, 1), (2, 4, 1), (3, 5, 2), (4, 3, 6), (5, 2, 1), (2, 1, 4)])
@pytest.mark.parametrize("low", [-3, 0, 1, 8])
def test_each_tap_is_in_the_phase_that_reads_it(stride, window, dilation, low):
    size = 6
    result = low + (size - 1) * stride + 1 + 5 - dilation * (window - 1)
    if result < 1:
        return
    wanted = {(p, r) for p in range(result) for r in range(window)
              if (p + r * dilation - low) % stride == 0 and 0 <= (p + r * dilation - low) // stride < size}
    found = set()
    for at, phase in enumerate(phases(size, window, result, stride, low, dilation)):
        for t in range(-(-result // stride)) if phase else ():
            for u in range(phase.taps):
                place = t + u * phase.dilation - phase.padding[0]
                if 0 <= place < size and at + t * stride < result:
                    found.add((at + t * stride, phase.first + u * phase.step))
    assert found == wanted


def exchanged():
    """The gradient of a transposed convolution's weights: batch and channels of the spread image change places."""
    builder = GraphBuilder("exchanged")
    x = builder.input(TensorType((2, 6, 4, 5), int64), "x")
    g = builder.input(TensorType((4, 2, 5, 8), int64), "g")
    with interpreting(builder):
        parts = F.reshape(F.dilate(x, step=(1, 1, 2, 3)), shape=(2, 2, 3, 7, 13))
        swapped = F.reshape(F.permute(parts, axes=(2, 1, 0, 3, 4)), shape=(3, 4, 7, 13))
        y = F.conv(swapped, g, stride=(1, 1), padding=((1, 0), (2, 1)), dilation=(1, 1), groups=2)
    return builder.build([y])


def skipping(start, step, low=1, high=2, stride=1, extra=()):
    """Some positions of a convolution, and others of its values as further results."""
    builder = GraphBuilder("skipping")
    x = builder.input(TensorType((2, 3, 11, 12), int64), "x")
    w = builder.input(TensorType((4, 3, 3, 2), int64), "w")
    with interpreting(builder):
        y = F.conv(x, w, stride=(stride,) * 2, padding=((low, high),) * 2, dilation=(2, 1), groups=1)
        count = tuple((d - a - 1) // s + 1 for d, a, s in zip(y.shape[2:], start, step))
        part = F.slice(y, start=(0, 0, *start), shape=(2, 4, *count), step=(1, 1, *step))
        return builder.build([part, *(y for _ in extra)])


@pytest.mark.parametrize("graph", [exchanged(), skipping((0, 0), (2, 2)), skipping((1, 3), (2, 3), 0, 0),
                                   skipping((2, 1), (1, 2), -1, 4, stride=2)])
def test_what_is_not_there_and_what_is_not_read(graph):
    found = split_phases(graph)
    images = [v for n in found.nodes if n.op is F.slice for v in n.operands if v.node is not None]
    assert not any(n.op is F.dilate for n in found.nodes) and not any(v.node.op is F.conv for v in images)
    random = np.random.default_rng(0)
    arrays = [random.integers(-9, 10, v.shape) for v in graph.inputs]
    np.testing.assert_array_equal(found.eval(*arrays)[0], graph.eval(*arrays)[0])


def test_positions_that_something_else_reads_are_computed():
    graph = skipping((0, 0), (2, 2), extra=(1,))
    assert split_phases(graph) is graph


def test_sizes_that_are_not_known_are_left_alone():
    n = symbol("N", 1)
    graph = spread((n,), (4,), (2,), 2, 2)
    assert split_phases(graph) is graph
    assert split_phases(spread((4, 4), (3, 3), (1, 1), 1, 1)) is not None
    batches = split_phases(spread((5,), (4,), (2,), 2, 2, batch=n))
    assert sum(m.op is F.conv for m in batches.nodes) == 2


def test_a_transposed_convolution_multiplies_no_zeros():
    f = braze.compile(lambda x, w: braze.nn.functional.conv_transpose2d(x, w, stride=2, padding=1))
    f(braze.ones(1, 4, 5, 5), braze.ones(4, 8, 4, 4))
    assert sum(n.op is F.conv for n in f.ir("optimized").nodes) == 4
    assert not any(n.op is F.dilate for n in f.ir("optimized").nodes)
