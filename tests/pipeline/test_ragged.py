"""Rows multiplied group by group, against a loop over the groups in float64: eager, compiled, of any sizes; gradients.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import HostCall, walk

# rows, depth, columns, the sizes of the groups
CASES = {
    "groups of all kinds": (50, 8, 6, [10, 0, 25, 7]), "all rows": (300, 16, 8, [300]), "few rows": (3, 4, 5, [1, 1]),
    "no row": (0, 4, 5, [0, 0]), "the last group": (17, 3, 3, [0, 17, 0]),
    "more than a block": (290, 5, 4, [130, 1, 150]), "more than there are": (20, 4, 3, [15, 10, 3]),
    "one depth": (9, 1, 2, [4, 5]),
}  # fmt: skip


def made(name, d=np.float32):
    m, k, n, sizes = CASES[name]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((m, k)).astype(d), rng.standard_normal((len(sizes), k, n)).astype(d)
    return x, w, np.array(sizes)


def expected(x, w, sizes):
    y, at = np.zeros((len(x), w.shape[2])), 0
    for matrix, size in zip(w.astype(np.float64), sizes):
        y[at:at + size] = x[at:at + size].astype(np.float64) @ matrix
        at += size
    return y


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("how", ["eager", "compiled", "numpy", "any sizes"])
def test_rows_meet_the_matrix_of_their_group(name, how):
    x, w, sizes = made(name)
    f = {"eager": braze.ragged_dot, "compiled": braze.compile(braze.ragged_dot),
         "numpy": braze.compile(braze.ragged_dot, backend="numpy"),
         "any sizes": braze.compile(braze.ragged_dot, dynamic=True)}[how]
    got = f(braze.tensor(x), braze.tensor(w), braze.tensor(sizes.astype(np.int32)))
    np.testing.assert_allclose(got.numpy(), expected(x, w, sizes), rtol=1e-5, atol=1e-5)


def test_one_program_serves_all_sizes_of_groups_and_numbers_of_rows():
    f = braze.compile(braze.ragged_dot, dynamic=True)
    rng = np.random.default_rng(1)
    w = rng.standard_normal((3, 4, 5)).astype(np.float32)
    for m, sizes in ((40, [10, 20, 5]), (200, [0, 130, 70]), (33, [33, 0, 0])):
        x = rng.standard_normal((m, 4)).astype(np.float32)
        got = f(braze.tensor(x), braze.tensor(w), braze.tensor(np.array(sizes)))
        np.testing.assert_allclose(got.numpy(), expected(x, w, sizes), rtol=1e-5, atol=1e-5)
    assert "1 specialisation" in str(f.explain())


def test_narrow_numbers_are_summed_in_float32():
    x, w, sizes = made("groups of all kinds")
    x, w = (braze.tensor(a).astype(braze.bfloat16) for a in (x, w))
    want = expected(x.float().numpy(), w.float().numpy(), sizes)
    for f in (braze.ragged_dot, braze.compile(braze.ragged_dot)):
        got = f(x, w, braze.tensor(sizes))
        assert got.dtype is braze.bfloat16
        np.testing.assert_allclose(got.float().numpy(), want, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("name", ["groups of all kinds", "more than a block", "few rows"])
def test_gradients(name):
    x, w, sizes = made(name, np.float64)
    c = np.random.default_rng(2).standard_normal((len(x), w.shape[2]))
    gx, gw, at = np.zeros_like(x), np.zeros_like(w), 0
    for q, size in enumerate(sizes):
        rows = slice(at, at + size)
        gx[rows], gw[q] = c[rows] @ w[q].T, x[rows].T @ c[rows]
        at += size
    f = braze.grad(lambda x, w, s, c: (braze.ragged_dot(x, w, s) * c).sum(), (0, 1))
    for g in (f, braze.compile(f)):
        got = g(*map(braze.tensor, (x, w, sizes, c)))
        for a, b in zip(got, (gx, gw)):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-12)


def test_first_and_second_derivatives_against_finite_differences():
    x, w, sizes = made("few rows", np.float64)
    s = braze.tensor(sizes)
    x, w = braze.tensor(x, requires_grad=True), braze.tensor(w, requires_grad=True)
    assert braze.testing.gradcheck(lambda x, w: braze.ragged_dot(x, w, s).tanh(), (x, w))
    assert braze.testing.gradcheck(
        lambda x, w: braze.grad(lambda x, w: (braze.ragged_dot(x, w, s) ** 3).sum(), (0, 1))(x, w)[1], (x, w))


def test_the_host_takes_no_part_forwards():
    f = braze.compile(braze.ragged_dot)
    f(*map(braze.tensor, made("groups of all kinds")))
    assert not any(isinstance(s, HostCall) for s in walk(f.ir("fused").steps))


def test_what_does_not_fit_is_refused():
    x, w, sizes = map(braze.tensor, made("groups of all kinds"))
    for bad in ((x, w, sizes[1:]), (x[:, 1:], w, sizes), (x, w[0], sizes)):
        with pytest.raises(braze.errors.ShapeError, match="ragged_dot: .* do not fit one another"):
            braze.ragged_dot(*bad)
