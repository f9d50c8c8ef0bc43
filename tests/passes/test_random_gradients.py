"""Random graphs: both modes of differentiation agree, and the passes after them change no bit."""

import numpy as np
from braze.ir.types import float64
from braze.ir.verify import verify
from braze.passes.autodiff import differentiate
from braze.passes.forward import jvp
from braze.passes.partition import partition
from braze.passes.simplify import simplify
from hypothesis import assume, given, settings
from random_graphs import random_graph
from rule_checker import same_bits


def directions_for(values, rng):
    return [rng.standard_normal(v.shape) for v in values]


@given(random_graph(nodes=12, dtypes=(float64,)))
@settings(max_examples=60, deadline=None)
def test_forward_and_reverse_are_transposes(drawn):
    graph, arrays = drawn
    wrt = [i for i, v in enumerate(graph.inputs) if v.dtype is float64]
    ends = [v for v in graph.outputs if v.dtype is float64]
    rng = np.random.default_rng(0)
    directions, cotangents = directions_for([graph.inputs[i] for i in wrt], rng), directions_for(ends, rng)
    joint, tangent = differentiate(graph, wrt), jvp(graph, wrt)
    verify(joint)
    verify(tangent)
    gradients = joint.eval(*arrays, *cotangents)[len(graph.outputs):]
    tangents = tangent.eval(*arrays, *directions)[len(graph.outputs):]
    one = sum(np.sum(a * b) for a, b in zip(gradients, directions))
    other = sum(np.sum(a * b) for a, b in zip(tangents, cotangents))
    size = sum(np.sum(np.abs(a * b)) for a, b in zip((*gradients, *tangents), (*directions, *cotangents)))
    assume(np.isfinite(size))                        # not at the end of a domain, where a derivative is infinite
    assert abs(one - other) <= 1e-9 * size + 1e-12


@given(random_graph(nodes=12, dtypes=(float64,)))
@settings(max_examples=60, deadline=None)
def test_simplification_and_partition_keep_every_bit_of_gradients(drawn):
    graph, arrays = drawn
    wrt = [i for i, v in enumerate(graph.inputs) if v.dtype is float64]
    joint = differentiate(graph, wrt)
    cotangents = directions_for([v for v in graph.outputs if v.dtype.is_inexact], np.random.default_rng(0))
    simple = simplify(joint)
    verify(simple)
    halves = partition(simple, len(graph.outputs))
    verify(halves.forward)
    verify(halves.backward)
    outputs = halves.forward.eval(*arrays)
    gradients = halves.backward.eval(*outputs[len(graph.outputs):], *(arrays[i] for i in halves.held), *cotangents)
    for want, got in zip(joint.eval(*arrays, *cotangents), (*outputs[:len(graph.outputs)], *gradients)):
        assert same_bits(np.asarray(want), np.asarray(got)).all()
