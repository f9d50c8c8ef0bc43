"""Functions written with other ops, against NumPy and SciPy; with symbolic sizes they say the same."""

import inspect

import numpy as np
import pytest
import scipy.special
from braze.ir import expr
from braze.ir.build import GraphBuilder
from braze.ir.errors import ShapeError
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.ops.declare import Op
from braze.ir.types import TensorType, dtype, float32, float64, int64
from braze.ir.verify import verify
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import random_graph

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (3, 4)).astype(np.float32)
Y = RNG.uniform(-2, 2, (3, 4)).astype(np.float32)
V = RNG.uniform(-2, 2, 5).astype(np.float32)
W = RNG.uniform(-2, 2, 5).astype(np.float32)
T = RNG.uniform(-2, 2, (2, 3, 4)).astype(np.float32)
M = RNG.uniform(-2, 2, (4, 4)).astype(np.float32)
Z = (X + 1j * Y).astype(np.complex64)
I = np.array([2, 0, 2, 1])
HOLES = np.array([1.0, np.nan, -np.inf, np.inf, -0.0, 3.0], np.float32)


def run(make, *arrays, symbolic=()):
    """What a function computes; `symbolic` names the sizes of the first operand, None for a static one."""
    b = GraphBuilder("f")
    inputs = []
    for n, a in enumerate(arrays):
        names = symbolic if n == 0 and symbolic else (None,) * a.ndim
        shape = tuple(d if name is None else expr.symbol(name, 1) for d, name in zip(a.shape, names))
        inputs.append(b.input(TensorType(shape, dtype(a.dtype)), f"x{n}"))
    with interpreting(b):
        out = make(*inputs)
    graph = b.build(out if isinstance(out, tuple) else (out,))
    verify(graph)
    got = graph.eval(*arrays)
    return got if isinstance(out, tuple) else got[0]


def log_softmax(x, axis):
    return x - scipy.special.logsumexp(x, axis=axis, keepdims=True)


def softplus(x):
    return np.logaddexp(0, x)


CASES = {
    "expand_dims": [(lambda x: F.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), X)],
    "squeeze": [(lambda x: F.squeeze(F.expand_dims(x, 1)), lambda x: x, X),
                (lambda x: F.squeeze(F.expand_dims(x, 1), 1), lambda x: x, X)],
    "flatten": [(lambda x: F.flatten(x), np.ravel, T), (lambda x: F.flatten(x, 1), lambda x: x.reshape(2, 12), T)],
    "moveaxis": [(lambda x: F.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), T),
                 (lambda x: F.moveaxis(x, (0, 2), (1, 0)), lambda x: np.moveaxis(x, (0, 2), (1, 0)), T)],
    "swapaxes": [(lambda x: F.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), T)],
    "matrix_transpose": [(lambda x: F.matrix_transpose(x), lambda x: np.swapaxes(x, -1, -2), T)],
    "flip": [(lambda x: F.flip(x, 1), lambda x: np.flip(x, 1), X), (lambda x: F.flip(x), np.flip, X)],
    "flipud": [(lambda x: F.flipud(x), np.flipud, X)],
    "rot90": [(lambda x, k=k: F.rot90(x, k), lambda x, k=k: np.rot90(x, k), X) for k in range(-1, 4)],
    "stack": [(lambda x, y, a=a: F.stack((x, y), a), lambda x, y, a=a: np.stack((x, y), a), X, Y) for a in (0, 1, -1)],
    "unstack": [(lambda x: F.unstack(x, 1), lambda x: tuple(np.moveaxis(x, 1, 0)), X)],
    "split": [(lambda x: F.split(x, 3, 1), lambda x: tuple(np.split(x, [3], 1)), X),
              (lambda x: F.split(x, (1, 2, 1), 1), lambda x: tuple(np.split(x, [1, 3], 1)), X)],
    "chunk": [(lambda x: F.chunk(x, 3, 1), lambda x: tuple(np.array_split(x, 3, 1)), X)],
    "tile": [(lambda x: F.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3)), X),
             (lambda x: F.tile(x, (2, 1, 2)), lambda x: np.tile(x, (2, 1, 2)), X),
             (lambda x: F.tile(x, 2), lambda x: np.tile(x, 2), X)],
    "repeat": [(lambda x: F.repeat(x, 3, 0), lambda x: np.repeat(x, 3, 0), X),
               (lambda x: F.repeat(x, (0, 2, 1), 0), lambda x: np.repeat(x, (0, 2, 1), 0), X)],
    "roll": [(lambda x, s=s: F.roll(x, s, 1), lambda x, s=s: np.roll(x, s, 1), X) for s in (0, 1, -1, 5)]
    + [(lambda x: F.roll(x, (1, 2), (0, 1)), lambda x: np.roll(x, (1, 2), (0, 1)), X)],
    "tril": [(lambda x, k=k: F.tril(x, k), lambda x, k=k: np.tril(x, k), T) for k in (-1, 0, 2)],
    "triu": [(lambda x, k=k: F.triu(x, k), lambda x, k=k: np.triu(x, k), T) for k in (-1, 0, 2)],
    "eye": [(lambda x, k=k: F.eye(3, 4, k, float32), lambda x, k=k: np.eye(3, 4, k, dtype=np.float32), X)
            for k in (-1, 0, 1)],
    "diagonal": [(lambda x, k=k: F.diagonal(x, k, -2, -1), lambda x, k=k: np.diagonal(x, k, -2, -1), T)
                 for k in (-2, 0, 1, 3)]
    + [(lambda x: F.diagonal(x), lambda x: np.diagonal(x), T)],
    "diag_embed": [(lambda x, k=k: F.diag_embed(x, k), lambda x, k=k: np.diag(x, k), V) for k in (-1, 0, 2)],
    "trace": [(lambda x: F.trace(x), np.trace, M)],
    "take": [(lambda x, i: F.take(x, i, 0), lambda x, i: np.take(x, i, 0), X, np.array([0, -1, 2]))],
    "take_along": [(lambda x, i: F.take_along(x, i, 1), lambda x, i: np.take_along_axis(x, np.broadcast_to(i, (3, 1)),
                                                                                        1), X, np.array([[-1]]))],
    "put_along": [(lambda x, i, v: F.put_along(x, i, v, 1), lambda x, i, v: np.where(np.arange(4) == i, v, x), X,
                   np.array([[1], [0], [3]]), np.ones((3, 1), np.float32))],
    "one_hot": [(lambda i: F.one_hot(i, 4, float32), lambda i: np.eye(4, dtype=np.float32)[i], I)],
    "bincount": [(lambda i: F.bincount(i, 4), lambda i: np.bincount(i, minlength=4), I),
                 (lambda i, w: F.bincount(i, 4, w), lambda i, w: np.bincount(i, w, 4).astype(np.float32), I, V[:4])],
    "isin": [(lambda x, y: F.isin(x, y), np.isin, I, np.array([2, 5]))],
    "diff": [(lambda x: F.diff(x), np.diff, X), (lambda x: F.diff(x, 0, 2), lambda x: np.diff(x, 2, 0), X)],
    "linspace": [(lambda x: F.linspace(-1.0, 2.0, 7, float32), lambda x: np.linspace(-1, 2, 7, dtype=np.float32), X),
                 (lambda x: F.linspace(1.0, 2.0, 1, float32), lambda x: np.linspace(1, 2, 1, dtype=np.float32), X)],
    "logspace": [(lambda x: F.logspace(0.0, 2.0, 5, 10.0, float32), lambda x: np.logspace(0, 2, 5, dtype=np.float32),
                  X)],
    "meshgrid": [(lambda x, y, m=m: F.meshgrid((x, y), m), lambda x, y, m=m: tuple(np.meshgrid(x, y, indexing=m)), V,
                  W[:2]) for m in ("xy", "ij")],
    "vander": [(lambda x: F.vander(x, 4), lambda x: np.vander(x, 4, increasing=True), np.abs(V))],
    "sort": [(lambda x: F.sort(x), np.sort, X), (lambda x: F.sort(x, 0, True), lambda x: -np.sort(-x, 0), X)],
    "topk": [(lambda x: F.topk(x, 2)[0], lambda x: -np.sort(-x)[:, :2], X),
             (lambda x: F.topk(x, 2, 0, False)[1], lambda x: np.argsort(x, 0)[:2], X)],
    "quantile": [(lambda x, q=q: F.quantile(x, q, 1), lambda x, q=q: np.quantile(x, q, 1), X)
                 for q in (0.0, 0.3, 0.5, 1.0)],
    "median": [(lambda x: F.median(x, 0), lambda x: np.median(x, 0), X)],
    "dot": [(lambda x, y: F.dot(x, y), np.dot, V, W), (lambda x, y: F.dot(x, y), np.dot, T, M),
            (lambda x, y: F.dot(x, y), np.dot, M, V[:4])],
    "vecdot": [(lambda x, y: F.vecdot(x, y), lambda x, y: np.sum(np.conj(x) * y, -1), Z, Z * 1j)],
    "matvec": [(lambda a, x: F.matvec(a, x), lambda a, x: a @ x, T, V[:4])],
    "outer": [(lambda x, y: F.outer(x, y), np.outer, V, W)],
    "inner": [(lambda x, y: F.inner(x, y), np.inner, X, M)],
    "tensordot": [(lambda x, y: F.tensordot(x, y, 1), lambda x, y: np.tensordot(x, y, 1), T, M),
                  (lambda x, y: F.tensordot(x, y, ((2, 1), (1, 0))), lambda x, y: np.tensordot(x, y, ((2, 1), (1, 0))),
                   T, X),
                  (lambda x, y: F.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0), X, V)],
    "kron": [(lambda x, y: F.kron(x, y), np.kron, X, M), (lambda x, y: F.kron(x, y), np.kron, V, X)],
    "cross": [(lambda x, y: F.cross(x, y, 1), lambda x, y: np.cross(x, y, axis=1), X[:, :3], Y[:, :3])],
    "mean": [(lambda x: F.mean(x, 1), lambda x: x.mean(1), X), (lambda x: F.mean(x), np.mean, I.astype(np.int32))],
    "variance": [(lambda x: F.variance(x, 0, 1), lambda x: x.var(0, ddof=1), X), (lambda x: F.variance(x), np.var, Z)],
    "std": [(lambda x: F.std(x, 1), lambda x: x.std(1), X)],
    "count_nonzero": [(lambda x: F.count_nonzero(x, 0), lambda x: np.count_nonzero(x, 0), np.round(X))],
    "ptp": [(lambda x: F.ptp(x, 1), lambda x: np.ptp(x, 1), X)],
    "nansum": [(lambda x: F.nansum(x), np.nansum, HOLES[:2])],
    "nanmean": [(lambda x: F.nanmean(x), np.nanmean, HOLES[:2])],
    "nanmax": [(lambda x: F.nanmax(x), np.nanmax, HOLES)], "nanmin": [(lambda x: F.nanmin(x), np.nanmin, HOLES)],
    "norm": [(lambda x, p=p: F.norm(x, 1, p), lambda x, p=p: np.linalg.norm(x, p, 1), X)
             for p in (0, 1, 2, 3, np.inf, -np.inf)]
    + [(lambda x: F.norm(x), lambda x: np.linalg.norm(x.ravel()), Z)],
    "logsumexp": [(lambda x: F.logsumexp(x, 1), lambda x: scipy.special.logsumexp(x, 1), X * 100)],
    "softmax": [(lambda x: F.softmax(x, 0), lambda x: scipy.special.softmax(x, 0), X * 50)],
    "log_softmax": [(lambda x: F.log_softmax(x, 1), lambda x: log_softmax(x, 1), X * 50)],
    "layer_norm": [(lambda x, y: F.layer_norm(x, (1,), None, y),
                    lambda x, y: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) + y, X, Y)],
    "clip": [(lambda x: F.clip(x, -1.0, 0.5), lambda x: np.clip(x, -1, 0.5), X),
             (lambda x: F.clip(x, None, 0.5), lambda x: np.minimum(x, 0.5), X)],
    "nan_to_num": [(lambda x: F.nan_to_num(x), lambda x: np.nan_to_num(x.astype(np.float32)), HOLES),
                   (lambda x: F.nan_to_num(x, 1.0, 2.0, 3.0), lambda x: np.nan_to_num(x, True, 1, 2, 3), HOLES)],
    "lerp": [(lambda x, y: F.lerp(x, y, 0.25), lambda x, y: x * 0.75 + y * 0.25, X, Y)],
    "xlogy": [(lambda x, y: F.xlogy(x, y), scipy.special.xlogy, np.round(X), np.abs(Y))],
    "sinc": [(lambda x: F.sinc(x), np.sinc, np.append(V, np.float32(0)))],
    "logit": [(lambda x: F.logit(x), scipy.special.logit, np.abs(V) / 3)],
    "heaviside": [(lambda x: F.heaviside(x, 0.5), lambda x: np.heaviside(x, np.float32(0.5)), HOLES)],
    "isclose": [(lambda x, y: F.isclose(x, y), np.isclose, HOLES, HOLES * np.float32(1.000001)),
                (lambda x: F.isclose(x, x, equal_nan=True), lambda x: np.isclose(x, x, equal_nan=True), HOLES)],
    "square_modulus": [(lambda x: F.square_modulus(x), lambda x: np.abs(x) ** 2, Z)],
    "angle": [(lambda x: F.angle(x), np.angle, Z), (lambda x: F.angle(x), np.angle, X)],
    "view_as_complex": [(lambda x: F.view_as_complex(F.reshape(x, shape=(3, 2, 2))),
                         lambda x: x[:, ::2] + 1j * x[:, 1::2], X)],
    "polar": [(lambda x, y: F.polar(x, y), lambda x, y: x * np.exp(1j * y), X, Y)],
    "gelu": [(lambda x: F.gelu(x), lambda x: x * scipy.special.ndtr(x), X)],
    "silu": [(lambda x: F.silu(x), lambda x: x * scipy.special.expit(x), X)],
    "softplus": [(lambda x: F.softplus(x), softplus, X * 60)],
    "log_sigmoid": [(lambda x: F.log_sigmoid(x), scipy.special.log_expit, X * 60)],
    "mish": [(lambda x: F.mish(x), lambda x: x * np.tanh(softplus(x)), X)],
    "leaky_relu": [(lambda x: F.leaky_relu(x), lambda x: np.where(x > 0, x, 0.01 * x), X)],
    "elu": [(lambda x: F.elu(x, 2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x)), X)],
    "celu": [(lambda x: F.celu(x, 2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x / 2)), X)],
    "selu": [(lambda x: F.selu(x), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
              X)],
    "relu6": [(lambda x: F.relu6(x), lambda x: np.clip(x, 0, 6), X * 5)],
    "hardtanh": [(lambda x: F.hardtanh(x), lambda x: np.clip(x, -1, 1), X)],
    "hardsigmoid": [(lambda x: F.hardsigmoid(x), lambda x: np.clip(x / 6 + 0.5, 0, 1), X * 3)],
    "hardswish": [(lambda x: F.hardswish(x), lambda x: x * np.clip(x / 6 + 0.5, 0, 1), X * 3)],
    "softsign": [(lambda x: F.softsign(x), lambda x: x / (1 + np.abs(x)), X)],
    "tanhshrink": [(lambda x: F.tanhshrink(x), lambda x: x - np.tanh(x), X)],
    "softshrink": [(lambda x: F.softshrink(x), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), X)],
    "hardshrink": [(lambda x: F.hardshrink(x), lambda x: np.where(np.abs(x) > 0.5, x, 0), X)],
    "prelu": [(lambda x, y: F.prelu(x, y), lambda x, y: np.where(x > 0, x, x * y), X, Y)],
    "glu": [(lambda x: F.glu(x, 1), lambda x: x[:, :2] * scipy.special.expit(x[:, 2:]), X)],
    "cross_entropy": [(lambda x, t: F.cross_entropy(x, t), lambda x, t: -log_softmax(x, 1)[np.arange(3), t], X, I[:3]),
                      (lambda x, t: F.cross_entropy(x, t, 0), lambda x, t: -log_softmax(x, 0)[t, np.arange(4)], X, I),
                      (lambda x, t: F.cross_entropy(x, t, 1, 0.2),
                       lambda x, t: -0.8 * log_softmax(x, 1)[np.arange(3), t] - 0.2 * log_softmax(x, 1).mean(1),
                       X, I[:3])],
    "nll": [(lambda x, t: F.nll(x, t), lambda x, t: -x[np.arange(3), t], X, I[:3])],
    "soft_cross_entropy": [(lambda x, t: F.soft_cross_entropy(x, t), lambda x, t: -(t * log_softmax(x, 1)).sum(1), X,
                            np.abs(Y))],
    "binary_cross_entropy_with_logits": [
        (lambda x, t, w=w: F.binary_cross_entropy_with_logits(x, t, w),
         lambda x, t, w=w: -(w * t * scipy.special.log_expit(x) + (1 - t) * scipy.special.log_expit(-x)), X * 30,
         np.abs(Y) / 2) for w in (1.0, 3.0)],
    "squared_error": [(lambda x, y: F.squared_error(x, y), lambda x, y: (x - y) ** 2, X, Y)],
    "absolute_error": [(lambda x, y: F.absolute_error(x, y), lambda x, y: np.abs(x - y), X, Y)],
    "huber": [(lambda x, y: F.huber(x, y), lambda x, y: scipy.special.huber(1, x - y), X, Y)],
    "kl_divergence": [(lambda x, t: F.kl_divergence(x, t), lambda x, t: scipy.special.xlogy(t, t) - t * x, X,
                       np.abs(np.round(Y)))],
    "cosine_similarity": [(lambda x, y: F.cosine_similarity(x, y),
                           lambda x, y: (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1), X, Y)],
    "hinge": [(lambda x, t: F.hinge(x, t), lambda x, t: np.maximum(1 - t * x, 0), X, np.sign(Y))],
    "full": [(lambda x: F.full((2, 3), 1.5, float64), lambda x: np.full((2, 3), 1.5), X)],
    "full_like": [(lambda x: F.full_like(x, 2), lambda x: np.full_like(x, 2), X)],
    "zeros_like": [(lambda x: F.zeros_like(x), np.zeros_like, X)],
    "ones_like": [(lambda x: F.ones_like(x), np.ones_like, Z)],
    "astype": [(lambda x: F.astype(x, int64), lambda x: x.astype(np.int64), X)],
    "as_inexact": [(lambda x: F.as_inexact(x), lambda x: x.astype(np.float32), I)],
    "arange": [(lambda x: F.arange(2, 9, 3), lambda x: np.arange(2, 9, 3), X),
               (lambda x: F.arange(0.0, 1.0, 0.25), lambda x: np.arange(0, 1, 0.25, np.float32), X)],
    "update_slice": [(lambda x, v: F.update_slice(x, v, (1, 0), (1, 2)),
                      lambda x, v: np.concatenate([x[:1], np.stack([v, x[1:, 1::2]], -1).reshape(2, 4)]), X,
                      Y[:2, :2])],
    "attention": [(lambda q, k, v: F.attention(q, k, v),
                   lambda q, k, v: scipy.special.softmax(q @ np.swapaxes(k, -1, -2) / 2, -1) @ v, T, T[:, ::-1],
                   T * 2)],
}
ELSEWHERE = {"einsum", "random_uniform", "random_normal", "count", "ragged_dot"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_composites_against_numpy(name):
    for make, reference, *arrays in CASES[name]:
        got, want = run(make, *arrays), reference(*(a.astype(np.float64) if a.dtype == np.float32 else a
                                                    for a in arrays))
        for g, w in zip(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,),
                        strict=True):
            assert g.shape == np.shape(w)
            if np.asarray(w).dtype == g.dtype and g.dtype.kind in "biu":
                np.testing.assert_array_equal(g, w)
            else:
                np.testing.assert_allclose(g, np.asarray(w).astype(np.complex128 if g.dtype.kind == "c"
                                                                   else np.float64).astype(g.dtype), rtol=3e-6,
                                           atol=3e-6)


def test_every_composite_is_tested():
    names = {f.__name__ for f in F if not isinstance(f, Op)}
    assert names - set(CASES) - ELSEWHERE == set()


SYMBOLIC = sorted(set(CASES) - {
    # need the size of the axis they work on
    "unstack", "quantile", "median", "split", "repeat", "cross", "glu", "prelu",
    "eye", "linspace", "logspace", "full", "arange", "update_slice", "layer_norm", "attention",
    "roll", "meshgrid"})


@pytest.mark.parametrize("name", SYMBOLIC)
def test_composites_with_symbolic_sizes(name):
    for make, _, *arrays in CASES[name]:
        names = tuple(f"n{i}" for i in range(arrays[0].ndim))
        want = run(make, *arrays)
        got = run(Trusting(make), *arrays, symbolic=names)
        for g, w in zip(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,),
                        strict=True):
            np.testing.assert_array_equal(g, w)


class Trusting:
    """A function whose symbolic sizes are taken to fit each other, as a trace's guards would find."""

    def __init__(self, make):
        self.make = make

    def __call__(self, *inputs):
        from braze.ir.interpreter import current

        current().decide_equal = lambda a, b: True
        return self.make(*inputs)


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("i,j->ij", (2,), (3,)), ("i,i->i", (3,), (3,)), ("i,i", (3,), (3,)),
    ("ijk,ikl->jl", (2, 3, 4), (2, 4, 5)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)), ("...i,...i->...", (2, 3), (3,)), ("ij...->j...i", (2, 3, 4, 5)),
    ("...", (2, 3)),
    ("a...,a...->...", (2, 3, 4), (2, 4)), ("iij->j", (3, 3, 2)), ("iij,jkk->ik", (3, 3, 2), (2, 4, 4)),
    ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 2)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,kl->", (2, 3), (2, 2)),
    ("ij,ij,ij->i", (2, 3), (2, 3), (2, 3)), ("i,->i", (3,), ()),
    ("ba,ca", (2, 3), (4, 3)), ("iii->i", (3, 3, 3)), ("ij,jk->k", (2, 1), (1, 4)),
]


@pytest.mark.parametrize("equation, shapes", [(e, s) for e, *s in EQUATIONS])
def test_einsum(equation, shapes):
    arrays = [RNG.uniform(-1, 1, s) for s in shapes]
    np.testing.assert_allclose(run(lambda *x: F.einsum(equation, *x), *arrays), np.einsum(equation, *arrays),
                               atol=1e-12)
    got = run(Trusting(lambda *x: F.einsum(equation, *x)), *arrays,
              symbolic=tuple(f"n{i}" for i in range(len(shapes[0]))))
    if not any(1 in s for s in shapes):
        np.testing.assert_allclose(got, np.einsum(equation, *arrays), atol=1e-12)


@given(st.data())
def test_einsum_random(data):
    letters = "abcd"
    terms = data.draw(st.lists(st.lists(st.sampled_from(letters), max_size=3).map("".join), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    output = "".join(data.draw(st.permutations(used))[: data.draw(st.integers(0, len(used)))])
    size = {c: n for c, n in zip(letters, (2, 3, 1, 4))}
    arrays = [np.random.default_rng(n).uniform(-1, 1, [size[c] for c in t]) for n, t in enumerate(terms)]
    equation = f"{','.join(terms)}->{output}"
    np.testing.assert_allclose(run(lambda *x: F.einsum(equation, *x), *arrays), np.einsum(equation, *arrays),
                               atol=1e-12)


@pytest.mark.parametrize("equation, shapes, message", [
    ("ij,jk->ik", [(2, 3)], "names 2 operands"), ("ij->i", [(2, 3, 4)], "does not fit"),
    ("ij->k", [(2, 3)], "is in no operand"),
    ("i,i->", [(2,), (3,)], "sizes 2 and 3"), ("i1->i", [(2, 3)], "something else than letters"),
])
def test_einsum_errors(equation, shapes, message):
    with pytest.raises(ShapeError, match=message):
        run(lambda *x: F.einsum(equation, *x), *(np.zeros(s) for s in shapes))


def test_random_numbers_look_uniform_and_normal():
    state = np.array([3, 0], np.uint64)
    for d in (float32, float64):
        u = run(lambda s: F.random_uniform(s, (20000,), d, 0), state)
        assert u.dtype == d.numpy and u.min() >= 0 and u.max() < 1
        assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002
        z = run(lambda s: F.random_normal(s, (20000,), d, 0), state)
        assert np.isfinite(z).all() and abs(z.mean()) < 0.03 and abs(z.var() - 1) < 0.04


def test_random_bits_are_philox():
    """The known answer of Random123: counter and key 0."""
    bits = run(lambda s: F.random_bits(s, shape=(1,), stream=0), np.array([0, 0], np.uint64))
    assert bits[0] == 0x6627E8D5


@given(random_graph(dtypes=(float64,)))
def test_random_graphs_differentiate(drawn):
    """The chained rules against a finite difference in one direction, where the graph is smooth there."""
    from braze.passes.autodiff import differentiate

    graph, arrays = drawn
    wrt = [n for n, v in enumerate(graph.inputs) if v.dtype is float64]
    if not wrt or not graph.outputs[0].dtype.is_inexact:
        return
    joint = differentiate(graph, wrt)
    rng = np.random.default_rng(0)
    # away from ties with constants
    arrays = [a + rng.uniform(1e-3, 2e-3, a.shape) if n in wrt else a for n, a in enumerate(arrays)]
    given_ = [rng.uniform(-1, 1, v.shape) for v in graph.outputs if v.dtype.is_inexact]
    gradients = joint.eval(*arrays, *given_)[len(graph.outputs):]
    directions = {n: rng.uniform(-1, 1, arrays[n].shape) for n in wrt}
    slope = sum(float(np.sum(g * directions[n])) for g, n in zip(gradients, wrt))

    def loss(step):
        moved = [a + step * directions[n] if n in directions else a for n, a in enumerate(arrays)]
        out = [o for o, v in zip(graph.eval(*moved), graph.outputs) if v.dtype.is_inexact]
        return sum(float(np.sum(o * g)) for o, g in zip(out, given_))

    estimates = [(loss(h) - loss(-h)) / (2 * h) for h in (1e-6, 1e-7)]
    one_sided = [(loss(h) - loss(0)) / h for h in (1e-7, -1e-7)]
    scale = 1 + abs(slope) + abs(loss(0))
    if abs(one_sided[0] - one_sided[1]) > 1e-4 * scale or abs(estimates[0] - estimates[1]) > 1e-4 * scale:
        return                                                # a kink at this point
    assert abs(slope - estimates[0]) <= 1e-4 * scale


def test_the_signatures_of_composites_are_documented():
    for f in F:
        assert inspect.getdoc(f) if not isinstance(f, Op) else f.doc, f

