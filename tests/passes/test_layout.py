"""The order of dimensions in memory: what is chosen for small graphs, and that no choice changes a result."""

import numpy as np
import pytest
from braze.ir.parse import parse_graph
from braze.ir.program import Launch, walk
from braze.passes.assemble import assemble
from braze.passes.autodiff import differentiate
from braze.passes.simplify import simplify
from braze.runtime.machine import host
from braze.tracer.pipeline import lower

CONV = "stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1"
ONE = CONV.replace("(1, 1), (1, 1)", "(0, 0), (0, 0)")

# name: (nodes, shapes of the temporaries in memory)
GRAPHS = {
    "two convolutions": (
        """(%x: f32[2, 24, 9, 7], %v: f32[32, 24, 3, 3], %w: f32[8, 32, 3, 3]) -> f32[2, 8, 9, 7] {
        %0 = conv %x, %v {CONV} : f32[2, 32, 9, 7]
        %1 = relu %0 : f32[2, 32, 9, 7]
        %2 = conv %1, %w {CONV} : f32[2, 8, 9, 7]
        return %2 }""",
        [(2, 9, 7, 32)],
    ),
    "too few channels": (
        """(%x: f32[2, 3, 9, 7], %v: f32[4, 3, 3, 3], %w: f32[8, 4, 3, 3]) -> f32[2, 8, 9, 7] {
        %0 = conv %x, %v {CONV} : f32[2, 4, 9, 7]
        %1 = conv %0, %w {CONV} : f32[2, 8, 9, 7]
        return %1 }""",
        [(2, 4, 9, 7)],
    ),
    "a sum with what lies between": (
        """(%x: f32[2, 16, 6, 8], %v: f32[16, 16, 3, 3], %w: f32[16, 16, 3, 3]) -> f32[2, 16] {
        %0 = conv %x, %v {CONV} : f32[2, 16, 6, 8]
        %1 = exp %0 : f32[2, 16, 6, 8]
        %2 = conv %1, %w {CONV} : f32[2, 16, 6, 8]
        %3 = add %2, %1 : f32[2, 16, 6, 8]
        %4 = tanh %3 : f32[2, 16, 6, 8]
        %5 = sum %4 {axes=(2, 3)} : f32[2, 16]
        return %5 }""",
        [(2, 6, 8, 16), (2, 6, 8, 16)],
    ),
    "one dimension": (
        """(%x: f32[2, 20, 40], %v: f32[20, 20, 3], %w: f32[20, 20, 5]) -> f32[2, 20, 34] {
        %0 = conv %x, %v {stride=(1,), padding=((0, 0),), dilation=(1,), groups=1} : f32[2, 20, 38]
        %1 = conv %0, %w {stride=(1,), padding=((0, 0),), dilation=(1,), groups=1} : f32[2, 20, 34]
        return %1 }""",
        [(2, 38, 20)],
    ),
    "a reader that flattens": (
        """(%x: f32[4, 16, 6, 6], %v: f32[16, 16, 3, 3], %w: f32[576, 10]) -> f32[4, 10] {
        %0 = conv %x, %v {CONV} : f32[4, 16, 6, 6]
        %1 = reshape %0 {shape=(4, 576)} : f32[4, 576]
        %2 = matmul %1, %w : f32[4, 10]
        return %2 }""",
        [(4, 16, 6, 6)],
    ),
    "along all channels": (
        """(%x: f32[2, 24, 9, 7], %v: f32[32, 24, 1, 1], %d: f32[32, 1, 3, 3], %w: f32[8, 32, 1, 1])
            -> f32[2, 8, 9, 7] {
        %0 = conv %x, %v {ONE} : f32[2, 32, 9, 7]
        %1 = conv %0, %d {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=32} : f32[2, 32, 9, 7]
        %2 = conv %1, %w {ONE} : f32[2, 8, 9, 7]
        return %2 }""",
        [(2, 9, 7, 32), (2, 9, 7, 32)],
    ),
    "a depthwise convolution of a given image": (
        """(%x: f32[2, 32, 9, 7], %d: f32[32, 1, 3, 3], %w: f32[8, 32, 1, 1]) -> f32[2, 8, 9, 7] {
        %0 = conv %x, %d {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=32} : f32[2, 32, 9, 7]
        %1 = conv %0, %w {ONE} : f32[2, 8, 9, 7]
        return %1 }""",
        [(2, 32, 9, 7)],
    ),
    "a flattened image": (
        """(%x: f32[2, 512], %w: f32[16, 32, 3, 3]) -> f32[2, 16, 4, 4] {
        %0 = reshape %x {shape=(2, 32, 4, 4)} : f32[2, 32, 4, 4]
        %1 = conv %0, %w {CONV} : f32[2, 16, 4, 4]
        return %1 }""",
        [(2, 4, 4, 32)],
    ),
    "short groups of channels": (
        """(%x: f32[2, 24, 9, 7], %v: f32[32, 24, 1, 1], %d: f32[32, 4, 3, 3], %w: f32[8, 32, 1, 1])
            -> f32[2, 8, 9, 7] {
        %0 = conv %x, %v {ONE} : f32[2, 32, 9, 7]
        %1 = conv %0, %d {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=8} : f32[2, 32, 9, 7]
        %2 = conv %1, %w {ONE} : f32[2, 8, 9, 7]
        return %2 }""",
        [(2, 32, 9, 7), (2, 32, 9, 7)],
    ),
    "parts that are put together": (
        """(%x: f32[2, 24, 9, 7], %v: f32[16, 24, 3, 3], %w: f32[8, 32, 3, 3]) -> f32[2, 8, 9, 7] {
        %0 = conv %x, %v {CONV} : f32[2, 16, 9, 7]
        %1 = exp %0 : f32[2, 16, 9, 7]
        %2 = concat %0, %1 {axis=1} : f32[2, 32, 9, 7]
        %3 = conv %2, %w {CONV} : f32[2, 8, 9, 7]
        return %3 }""",
        [(2, 9, 7, 16), (2, 9, 7, 32)],
    ),
    "an output": (
        """(%x: f32[2, 16, 6, 8], %v: f32[16, 16, 3, 3]) -> f32[2, 16, 6, 8] {
        %0 = conv %x, %v {CONV} : f32[2, 16, 6, 8]
        return %0 }""",
        [],
    ),
    "no convolution": (
        """(%x: f32[2, 16, 6, 8], %v: f32[8, 8]) -> f32[2, 16, 6, 8] {
        %0 = matmul %x, %v : f32[2, 16, 6, 8]
        %1 = matmul %0, %v : f32[2, 16, 6, 8]
        return %1 }""",
        [(2, 16, 6, 8)],
    ),
}  # fmt: skip


def graph_of(name):
    return parse_graph("graph @" + name.replace(" ", "_") + GRAPHS[name][0].replace("CONV", CONV).replace("ONE", ONE))


def arrays_for(graph):
    random = np.random.default_rng(0)
    return [random.standard_normal(v.shape).astype(v.dtype.numpy) for v in graph.inputs]


def agree(graph):
    """The compiled graph gives what NumPy gives in float64."""
    arrays = arrays_for(graph)
    found = lower(graph, "llvm", {}, {}).executable(arrays)
    for a, b in zip(graph.eval(*[a.astype(np.float64) for a in arrays]), found):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=2e-5 * max(1.0, np.abs(a).max()))


@pytest.mark.parametrize("name", GRAPHS)
def test_temporaries_lie_as_their_kernels_ask(name):
    program = assemble(graph_of(name), host())
    assert [s.shape for s in program.slots.values() if s.role == "temporary"] == GRAPHS[name][1]


@pytest.mark.parametrize("name", GRAPHS)
def test_results_do_not_depend_on_it(name):
    agree(graph_of(name))


@pytest.mark.parametrize("name", [n for n in GRAPHS if n != "no convolution"])
def test_neither_do_those_of_gradients(name):
    graph = graph_of(name)
    agree(simplify(differentiate(graph, range(len(graph.inputs)))))


def test_nothing_is_moved():
    """Orders are a matter of addresses: no kernel copies a value into another order."""
    program = assemble(graph_of("a sum with what lies between"), host())
    names = [s.kernel.name for s in walk(program.steps) if isinstance(s, Launch)]
    assert len(names) == 3 and not any("copy" in n for n in names)
