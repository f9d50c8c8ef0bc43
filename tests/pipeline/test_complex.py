"""Complex numbers in compiled programs: every op's samples, values at the edges, and what must be one kernel."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import HostCall, walk
from braze.ir.types import COMPLEX
from braze.tracer.compare import BOUND
from braze.tracer.pipeline import compile_graph
from op_samples import OPS, build, gradient_graph, samples

BACKENDS = ("llvm", "numpy")
ON_THE_HOST = {"argsort", "cumprod", "outer_chosen"}                     # besides library routines
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


# ---- whole programs --------------------------------------------------------------------------------------------------


def host_calls(f):
    return [s.name for s in walk(f.ir("fused").steps) if isinstance(s, HostCall)]


def numbers(rng, *shape):
    return braze.tensor((rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64))


POINTWISE = [
    lambda x, y: x * y + x, lambda x, y: x / (y + 3), lambda x, y: braze.where(x.abs() < y.abs(), x, y.conj()),
    lambda x, y: braze.exp(0.1j * x) - y, lambda x, y: braze.sqrt(x) * y.real(), lambda x, y: x.imag() + 1j * y.abs(),
    lambda x, y: x - y.mean(), lambda x, y: x * y.sum(axis=-1, keepdims=True), lambda x, y: x.T.reshape(x.shape) + y,
    lambda x, y: braze.concat([x[:, 1:], y[:, :1]], axis=1), lambda x, y: x[::-1] * y, lambda x, y: x @ x.T.conj() @ y,
    lambda x, y: braze.cumsum(x, axis=1) - y, lambda x, y: braze.sin(x) * 0.1 + y**2,
    lambda x, y: x.conj().T.T * 2j - y, lambda x, y: x[np.arange(x.shape[0])[::-1].copy()] + y,
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(12))
def test_random_chains_agree_with_eager_without_host_calls(seed, backend):
    rng = np.random.default_rng(seed)
    x, y = numbers(rng, *[(3, 5), (17, 33), (1, 7), (40, 40)][seed % 4]), None
    y = numbers(rng, *x.shape)
    steps = rng.choice(len(POINTWISE), 5)

    def program(x, y):
        for s in steps:
            z = POINTWISE[s](x, y)
            x, y = y, z / (1 + z.abs().max())
        return x, y, (x * y.conj()).sum(), x.real().mean()

    f = braze.compile(program, backend=backend)
    for got, want in zip(f(x, y), program(x, y)):
        assert_close(np.asarray(got), np.asarray(want), str(steps))
    assert not host_calls(f)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_agree_with_eager_without_host_calls(backend):
    rng = np.random.default_rng(0)
    w, x = numbers(rng, 6, 5), numbers(rng, 9, 6)

    def loss(w):
        h = x @ w
        return (braze.exp(1j * h.abs()) * h / (2 + h * h.conj())).abs().sum() + (h.T.conj() @ h).real().mean()

    f = braze.compile(braze.grad(loss), backend=backend)
    assert_close(np.asarray(f(w)), np.asarray(braze.grad(loss)(w)), "")
    assert not host_calls(f)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_carries_complex_numbers(backend):
    c = braze.tensor(np.linspace(-2, 1, 31).astype(np.float32)[:, None] * 1j + np.linspace(-1, 1, 9).astype(np.float32))

    def escape(c):
        def step(_, state):
            z, count = state
            z = braze.where(z.abs() < 2, z * z + c, z)
            return z, count + (z.abs() < 2).astype("int32")

        return braze.fori_loop(0, 12, step, (c * 0, braze.zeros(c.shape, dtype="int32")))

    f = braze.compile(escape, backend=backend)
    for got, want in zip(f(c), escape(c)):
        assert_close(np.asarray(got), np.asarray(want), "")
    assert not host_calls(f)


@pytest.mark.parametrize("backend", BACKENDS)
def test_elements_are_read_and_written_in_place(backend):
    rng = np.random.default_rng(3)
    x, v, index = numbers(rng, 8, 4), numbers(rng, 3, 4), braze.tensor(np.array([6, 0, 3]))

    def program(x, v, index):
        x = x * 1
        x[index] = v * 2
        x[1] += 1j
        return x, x[index].conj(), braze.tensor(2 - 1j) * x[0]

    f = braze.compile(program, backend=backend)
    for got, want in zip(f(x, v, index), program(x, v, index)):
        assert_close(np.asarray(got), np.asarray(want), "")
    assert not host_calls(f)


def test_kernels_stand_beside_library_routines():
    """What has no kernel gets complex memory, and its neighbours are kernels."""
    x = numbers(np.random.default_rng(4), 6, 6)
    f = braze.compile(lambda x: braze.argsort((x * 2j).reshape(-1)), backend="llvm")
    np.testing.assert_array_equal(np.asarray(f(x)), np.argsort((np.asarray(x) * 2j).reshape(-1), kind="stable"))
    assert host_calls(f) == ["argsort"] and len(f.ir("fused").kernels) == 1


def test_an_elementwise_program_is_one_kernel_on_whole_vectors():
    x = numbers(np.random.default_rng(5), 1000)
    f = braze.compile(lambda x, y: x * y + x.conj(), backend="llvm")
    f(x, x * 2)
    assert len(f.ir("fused").kernels) == 1
    assert "gather" not in f.ir("source") and "scatter" not in f.ir("source")


def test_a_product_of_matrices_is_two_real_ones_of_the_same_rows():
    rng = np.random.default_rng(6)
    f = braze.compile(lambda a, b: braze.exp(a @ b), backend="llvm")
    f(numbers(rng, 32, 48), numbers(rng, 48, 64))
    (kernel,) = f.ir("fused").kernels
    assert [v.op for v in kernel.values].count("reduce") == 2 and kernel.axes["k"] == 96


def test_sizes_may_be_symbols():
    f = braze.compile(lambda x: ((x * x.conj()).real(), x @ x.T, x.sum()))
    rng = np.random.default_rng(7)
    for n in (3, 4, 5, 17):
        x = numbers(rng, n, 6)
        for got, want in zip(f(x), ((x * x.conj()).real(), x @ x.T, x.sum())):
            assert_close(np.asarray(got), np.asarray(want), str(n))
    assert len(f.compilations) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_takes_the_memory_of_what_it_replaces(backend):
    """Also where a part is made of the other one, which is written before it."""
    x = numbers(np.random.default_rng(8), 133)

    state = x * 1

    @braze.compile(backend=backend)
    def turn():
        state.copy_(state.imag() + 1j * state.real())

    want = np.asarray(x)
    for _ in range(4):
        turn()
        want = want.imag + 1j * want.real
        assert_close(np.asarray(state), want, "")
    assert "takes" in str(turn.ir("fused"))


PROGRAMS = {
    "branch": lambda z: braze.cond(z.real().sum() > 0, lambda z: z * 2, lambda z: z.conj(), z),
    "while": lambda z: braze.while_loop(lambda z: z.abs().max() < 100, lambda z: z * z + 1, z * 3),
    "scan": lambda z: braze.scan(lambda s, x: (s * 0.5j + x, s.abs() + 1j * x), z[0], z),
    "gradient of a scan": braze.grad(lambda z: braze.scan(lambda s, x: (s * 0.5j + x, s.abs()), z[0], z)[1].sum()),
    "gradient of a product": braze.grad(lambda z: braze.tanh(z @ z.T).abs().sum()),
    "nothing": lambda z: (z[:0] * 2, z[:0].sum(), z[:, :0] @ z[:0]),
    "no dimensions": lambda z: z.sum() * 2j + 1,
    "an output twice, and an input": lambda z: (z, z * 1j, z * 1j, z.T),
    "numbers": lambda z: (braze.zeros((3,), dtype="complex64") + z[0, 0], braze.full((2, 2), 1 - 2j)),
    "beside each other": lambda z: (braze.stack([z, z * 2], axis=-1), braze.roll(z, 2, 1), z[::2, ::-1]),
    "two precisions": lambda z: (z.astype("complex128") * 2 + z, z.astype("complex128").astype("complex64")),
    "integers": lambda z: z * braze.arange(5) + braze.arange(5).astype("complex64"),
    "einsum": lambda z: braze.einsum("ij,kj->ik", z, z.conj()),
    "one real operand": lambda z: (z.real().astype("complex64") @ z.T, z @ z.imag().T.astype("complex64")),
    "moments": lambda z: (z.var(), z.mean(axis=0), braze.norm(z), z.prod(axis=1)),
    "polar": lambda z: braze.polar(z.abs(), braze.angle(z)),
    "pairs": lambda z: (braze.view_as_real(z), braze.view_as_real(z * 2),
                        braze.view_as_complex(braze.view_as_real(z) * 2)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_agree_with_eager_without_host_calls(name, backend):
    z = numbers(np.random.default_rng(9), 6, 5)
    f = braze.compile(PROGRAMS[name], backend=backend)
    got, want = (x if isinstance(x, (tuple, list)) else (x,) for x in (f(z), PROGRAMS[name](z)))
    for a, b in zip(got, want, strict=True):
        assert_close(np.asarray(a), np.asarray(b), name)
    assert not host_calls(f)


@pytest.mark.parametrize("op", [op for op in COMPUTED if op.kind == "pointwise" and op.domain is not None
                                and op.arity == 1], ids=lambda op: op.name)
def test_elementary_functions_are_within_four_units_of_their_size(op):
    """Of the last place of |f(z)|, against complex128, over six orders of magnitude and around the unit circle."""
    rng = np.random.default_rng(10)
    re, im = (np.exp(rng.uniform(-7, 7, 20000)) * rng.choice([-1, 1], 20000) for _ in range(2))
    circle = np.exp(1j * rng.uniform(0, 6.3, 5000)) * (1 + 1e-3 * rng.normal(size=5000))
    z = np.concatenate([re + 1j * im, circle]).astype(np.complex64)
    with np.errstate(all="ignore"):
        (want,) = build(op, (z,), {}).eval(z.astype(np.complex128))
        ((got,), _) = run(build(op, (z,), {}), (z,), "llvm")
        known = np.isfinite(want) & (np.abs(want) < 3e38) & (np.abs(want) > 1e-37)
        error = np.abs(got - want)[known] / np.abs(want)[known] / np.finfo(np.float32).eps
    assert known.mean() > 0.7 and error.max() < 4, z[known][np.argmax(error)]


SHAPES = [((1, 40), (40, 30)), ((30, 40), (40, 1)), ((20, 40), (40, 7)), ((5, 6), (6, 90)), ((5, 40), (40, 24)),
          ((33, 41), (41, 50)), ((2, 3, 20, 17), (3, 17, 24)), ((4, 20, 17), (17, 24)), ((3, 0), (0, 20))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products_of_matrices(shapes, backend):
    """Of any shape, of conjugates, transposed operands, and with what is real."""
    rng = np.random.default_rng(11)
    a, b = (numbers(rng, *shape) for shape in shapes)

    def program(a, b):
        turned = a.conj().reshape(a.shape[::-1]).T if a.ndim == 2 else a.conj()
        real, imag = a.real().astype(a.dtype), b.imag().astype(b.dtype)
        return a @ b, turned @ b, a @ b.conj(), real @ b, a @ imag, (a * 2) @ b + 1

    f = braze.compile(program, backend=backend)
    for d in ("complex64", "complex128"):
        for got, want in zip(f(a.astype(d), b.astype(d)), program(a.astype(d), b.astype(d))):
            assert_close(np.asarray(got), np.asarray(want), str(shapes))
    assert not host_calls(f)
