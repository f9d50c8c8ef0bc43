"""Reverse and forward derivatives of every op against finite differences in float64 and complex128.

For a real loss L the gradient g of z means dL = Re sum(conj(g) dz) (PyTorch's convention), which is what is checked, in
random directions.
"""

import numpy as np
import pytest
from braze.ir.ops import F
from braze.ir.types import complex128, dtype, float64
from op_samples import OPS, build, gradient_graph, samples, tangent_graph

STEP = 1e-6
SMOOTH = [op for op in OPS if op.vjp is not None and any(d.is_inexact for d in op.dtypes) and op.kind != "random"]
WITHOUT_TANGENT = {"stop_gradient", "bitcast"}


def moved(arrays, directions, step):
    return [a if t is None else a + step * t for a, t in zip(arrays, directions)]


def random_like(a, rng):
    x = rng.uniform(-1, 1, a.shape)
    return (x + 1j * rng.uniform(-1, 1, a.shape) if a.dtype.kind == "c" else x).astype(a.dtype)


def cases(op):
    for d in (float64, complex128):
        if d in op.dtypes:
            yield from (s for s in samples(op, d) if s.attrs.get("dtype", d) is d)


def difference(graph, s, directions):
    up, down = (graph.eval(*moved(s.arrays, directions, step))[0] for step in (STEP, -STEP))
    return (up - down) / (2 * STEP)


def pairing(g, t):
    return float(np.sum((np.conj(g) * t).real))


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_reverse_derivatives(op):
    rng = np.random.default_rng(1)
    for s in cases(op):
        graph = build(op, s.arrays, s.attrs)
        (y,) = graph.eval(*s.arrays)
        backward, which = gradient_graph(op, s.arrays, s.attrs)
        cotangent = random_like(y, rng)
        got = backward.eval(*s.arrays, cotangent)
        for n, g in zip(which, got):
            assert g.shape == s.arrays[n].shape and g.dtype == s.arrays[n].dtype, s.name
            directions = [random_like(a, rng) if i == n else None for i, a in enumerate(s.arrays)]
            want = pairing(cotangent, difference(graph, s, directions))
            np.testing.assert_allclose(pairing(g, directions[n]), want, rtol=2e-6, atol=2e-7,
                                       err_msg=f"{s.name}, operand {n}")


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_what_has_no_gradient_does_not_move_the_result_smoothly(op):
    """An operand without a cotangent either is no float or the op is locally constant in it."""
    if op.name in WITHOUT_TANGENT:
        return
    rng = np.random.default_rng(2)
    for s in cases(op):
        _, which = gradient_graph(op, s.arrays, s.attrs)
        for n, a in enumerate(s.arrays):
            if n in which or a.dtype.kind not in "fc":
                continue
            directions = [random_like(x, rng) if i == n else None for i, x in enumerate(s.arrays)]
            up, down = (build(op, s.arrays, s.attrs).eval(*moved(s.arrays, directions, step))[0]
                        for step in (1e-9, -1e-9))
            np.testing.assert_array_equal(up, down, err_msg=s.name)


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_forward_derivatives(op):
    if op.name in WITHOUT_TANGENT:
        return
    rng = np.random.default_rng(3)
    for s in cases(op):
        floats = [n for n, a in enumerate(s.arrays) if a.dtype.kind in "fc"]
        for moving in [floats, *([n] for n in floats[: 2 * (len(floats) > 1)])]:
            graph = tangent_graph(op, s.arrays, s.attrs, moving)
            directions = [random_like(a, rng) if n in moving else None for n, a in enumerate(s.arrays)]
            if not build(op, s.arrays, s.attrs).outputs[0].dtype.is_inexact:
                assert graph is None
                continue
            want = difference(build(op, s.arrays, s.attrs), s, directions)
            if graph is None:
                np.testing.assert_allclose(want, 0, atol=1e-6, err_msg=s.name)
                continue
            (got,) = graph.eval(*s.arrays, *(directions[n] for n in moving))
            assert got.shape == want.shape, s.name
            np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6, err_msg=f"{s.name}, moving {moving}")


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_derivatives_keep_the_dtype(op):
    rng = np.random.default_rng(4)
    for d in op.dtypes:
        if not d.is_inexact or d.is_storage:
            continue
        for s in list(samples(op, d))[:2]:
            graph = build(op, s.arrays, s.attrs)
            if not graph.outputs[0].dtype.is_inexact:
                continue
            backward, which = gradient_graph(op, s.arrays, s.attrs)
            (y,) = graph.eval(*s.arrays)
            for n, g in zip(which, backward.eval(*s.arrays, rng.uniform(-1, 1, y.shape).astype(y.dtype))):
                assert g.dtype == s.arrays[n].dtype and g.shape == s.arrays[n].shape, s.name
            moving = [n for n, a in enumerate(s.arrays) if dtype(a.dtype).is_inexact]
            forward = tangent_graph(op, s.arrays, s.attrs, moving)
            if forward is not None and moving:
                assert forward.outputs[0].type == graph.outputs[0].type, s.name


SPECIAL_POINTS = [
    ("abs", [0.0], {}, [0.0]),
    ("relu", [0.0], {}, [0.0]),
    ("maximum", [1.0, 1.0], {}, [0.5, 0.5]),
    ("pow", [0.0, 0.0], {}, [0.0, 0.0]),
    ("pow", [0.0, 2.0], {}, [0.0, 0.0]),
    ("hypot", [0.0, 0.0], {}, [0.0, 0.0]),
    ("where", [True, 1.0, float("nan")], {}, [1.0, 0.0]),
    ("prod", [[0.0, 2.0, 3.0]], {"axes": (0,)}, [[6.0, 0.0, 0.0]]),
    ("prod", [[0.0, 0.0, 3.0]], {"axes": (0,)}, [[0.0, 0.0, 0.0]]),
    ("cumprod", [[2.0, 0.0, 3.0, 5.0]], {"axis": 0, "reverse": False}, [[1.0, 2 + 6 + 30.0, 0.0, 0.0]]),
    ("cumprod", [[2.0, 0.0, 0.0, 5.0]], {"axis": 0, "reverse": False}, [[1.0, 2.0, 0.0, 0.0]]),
    ("cumprod", [[5.0, 0.0, 2.0]], {"axis": 0, "reverse": True}, [[0.0, 12.0, 1.0]]),
    ("max", [[3.0, 1.0, 3.0]], {"axes": (0,)}, [[0.5, 0.0, 0.5]]),
    ("cummax", [[1.0, 3.0, 3.0, 2.0]], {"axis": 0, "reverse": False}, [[1.0, 1.0, 2.0, 0.0]]),
]


@pytest.mark.parametrize("name, values, attrs, want", SPECIAL_POINTS)
def test_gradients_where_formulas_break(name, values, attrs, want):
    arrays = [np.asarray(v) for v in values]
    backward, _ = gradient_graph(F[name], arrays, attrs)
    (y,) = build(F[name], arrays, attrs).eval(*arrays)
    for got, expected in zip(backward.eval(*arrays, np.ones_like(y)), want):
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_the_product_of_tangents_with_zeros():
    x, t = np.array([2.0, 0.0, 3.0, 0.0]), np.array([0.5, 0.25, -1.0, 2.0])
    attrs = {"axis": 0, "reverse": False}
    (got,) = tangent_graph(F.cumprod, (x,), attrs, [0]).eval(x, t)
    want = (np.cumprod(x + STEP * t) - np.cumprod(x - STEP * t)) / (2 * STEP)
    np.testing.assert_allclose(got, want, atol=1e-8)


