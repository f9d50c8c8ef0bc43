"""Complex numbers in compiled programs: every op's samples, values at the edges, and what must be one kernel."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.program import HostCall, walk
from braze.ir.types import COMPLEX
from braze.tracer.compare import BOUND
from braze.tracer.pipeline import compile_graph
from op_samples import OPS, build, gradient_graph, samples

BACKENDS = ("llvm", "numpy")
ON_THE_HOST = {"argsort", "prod", "cumprod"}                     # besides library routines
COMPUTED = [op for op in OPS if set(COMPLEX) & set(op.dtypes) or op.name == "complex"]


def run(graph, arrays, backend):
    """The outputs of a graph's program, and the names of its host calls."""
    stages = compile_graph(graph, backend, {}, {})
    calls = [s.name for s in walk(stages.executable.program.steps) if isinstance(s, HostCall)]
    return stages.executable([np.asarray(a) for a in arrays]), calls


def assert_close(got, want, name):
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype), name
    bound = BOUND.get(want.dtype.name, 0)
    largest = np.abs(want[np.isfinite(want)]).max(initial=0.0) if bound else 0
    np.testing.assert_allclose(got, want, rtol=bound, atol=bound * float(largest), err_msg=name)


def few(op, d):
    """Samples with complex operands, or results."""
    for s in samples(op, d):
        if d.kind == "c" or op.name == "complex":
            yield s


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", COMPUTED, ids=lambda op: op.name)
def test_every_op_agrees_with_eager(op, backend):
    for d in op.dtypes:
        for s in few(op, d):
            graph = build(op, s.arrays, s.attrs)
            with np.errstate(all="ignore"):
                want = graph.eval(*s.arrays)
            got, calls = run(graph, s.arrays, backend)
            assert_close(got[0], want[0], s.name)
            assert not calls or op.kind == "library" or op.name in ON_THE_HOST, s.name


DIFFERENTIABLE = [op for op in COMPUTED if op.is_differentiable and op.kind != "library"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_every_reverse_rule_agrees_with_eager(op, backend):
    rng = np.random.default_rng(1)
    for d in op.dtypes:
        for s in list(few(op, d))[-2:]:
            graph, which = gradient_graph(op, s.arrays, s.attrs)
            if not which:
                continue
            g = rng.normal(size=graph.inputs[-1].shape) + 1j * rng.normal(size=graph.inputs[-1].shape)
            kind = graph.inputs[-1].dtype.numpy
            arrays = [*s.arrays, (g if kind.kind == "c" else g.real).astype(kind)]
            with np.errstate(all="ignore"):
                wanted = graph.eval(*arrays)
            for got, want in zip(run(graph, arrays, backend)[0], wanted):
                assert_close(got, want, s.name)


ORDINARY = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e15, -1e15, 1e-15)
EDGES = (*ORDINARY, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 1e-41)
# products that overflow, and powers of infinities, depend on how NumPy has been compiled
RANGES = {"square": (*ORDINARY, np.nan), "mul": (*ORDINARY, np.nan), "pow": ORDINARY[:-3]}
SMALLEST = {"log1p": 1e-7, "expm1": 1e-7}                        # NumPy's are not exact near 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", [op for op in COMPUTED if op.kind == "pointwise" and op.arity in (1, 2)
                                and not op.parameters and op.name != "complex"], ids=lambda op: op.name)
def test_edges_are_those_of_eager(op, backend):
    """Infinities, NaN, zeros and huge numbers part by part, as NumPy has them; the sign of a zero counts where it
    chooses a branch.
    """
    numbers = RANGES.get(op.name, EDGES)
    z = np.array([complex(a, b) for a in numbers for b in numbers], np.complex64)
    z = z if op.arity == 1 else z[::2]
    arrays = (z,) if op.arity == 1 else (np.repeat(z, len(z)), np.tile(z, len(z)))
    graph = build(op, arrays, {})
    with np.errstate(all="ignore"):
        (want,) = graph.eval(*arrays)
    (got,), _ = run(graph, arrays, backend)
    if want.dtype.kind == "b":
        np.testing.assert_array_equal(got, want)
        return
    got, want = got.astype(np.complex64), want.astype(np.complex64)
    signless = np.isnan(want.real) ^ np.isnan(want.imag)      # C99 leaves some signs open
    wrong = []
    for g, w in ((got.real, want.real), (got.imag, want.imag)):
        g, w = (np.where(signless & ~np.isfinite(w), np.abs(x), x) for x in (g, w))
        size = np.where(np.isfinite(want), np.abs(want), 0)
        with np.errstate(all="ignore"):
            near = np.isclose(g, w, rtol=1e-4, atol=0, equal_nan=True) | (
                np.abs(g - w) <= 3e-7 * size + SMALLEST.get(op.name, 1e-35))
        wrong += [(*(a[i] for a in arrays), got[i], want[i]) for i in np.flatnonzero(~near)]
    assert not wrong, "\n".join(map(str, wrong[:40]))
