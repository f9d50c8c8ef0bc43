"""Products and what goes on with their rows, joined to one kernel: which are, that bits stay, and that what is read
elsewhere is stored.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from attention_reference import launches
from braze.ir.kernel import KernelBuilder
from braze.ir.product_rows import ProductRows
from braze.ir.schedule import Contraction
from braze.passes import assemble
from braze.passes.join_products import join_products
from braze.passes.launches import Launcher
from braze.runtime.machine import host
from hypothesis import given, settings
from hypothesis import strategies as some

F = braze.nn.functional


def t(*shape, seed=0):
    return braze.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32))


def apart(function, *arguments):
    """What the function gives when nothing is joined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "join_products", lambda work, *_: work)
        patch.setattr(braze.ir.configuration.configuration, "cache_directory", "")
        found = braze.compile(lambda *a: function(*a))(*arguments)
    return found


def arrays(found):
    return [np.asarray(x) for x in (found if isinstance(found, tuple) else (found,))]


def kinds(compiled):
    """Schedules of the kernels that multiply matrices."""
    found = [x.schedule for x in launches(compiled.ir("fused"))]
    return [type(s) for s in found if isinstance(s, (ProductRows, Contraction))]


def nearest(x, y):
    return ((y * y).sum(1) - 2 * (x @ y.mT)).argmin(1)


def nearest_by_definition(x, y):
    gap = x[:, None] - y[None]
    return (gap * gap).sum(-1).min(1)


def loss(x, w, labels):
    return F.cross_entropy(x @ w, labels)


def loss_and_gradient(x, w, labels):
    return braze.value_and_grad(loss, argnums=(0, 1))(x, w, labels)


def labels(n, classes):
    return braze.tensor(np.random.default_rng(n).integers(0, classes, n))


JOINED = {
    "nearest": (nearest, [t(500, 32), t(100, 32)]),
    "nearest by definition": (nearest_by_definition, [t(200, 20), t(90, 20)]),
    "maximum": (lambda x, w: (x @ w).max(1), [t(300, 40), t(40, 70)]),
    "sum of squares": (lambda x, w: ((x @ w) ** 2).sum(1), [t(300, 40), t(40, 70)]),
    "softmax": (lambda x, w: F.softmax(x @ w, -1), [t(300, 40), t(40, 70)]),
    "logsumexp": (lambda x, w: braze.logsumexp(x @ w, -1), [t(300, 40), t(40, 70)]),
    "norm": (lambda x, w, r: F.layer_norm(x @ w + r, (64,)), [t(300, 40), t(40, 64), t(300, 64)]),
    "norm of sequences": (lambda x, w: F.rms_norm(x @ w, (64,)), [t(4, 80, 40), t(40, 64)]),
    "softmax of a batch": (lambda x, w: F.softmax(x @ w, -1), [t(3, 100, 40), t(3, 40, 70)]),
    "few columns": (lambda x, w: (x @ w).max(1), [t(3000, 40), t(40, 6)]),
    "loss": (loss, [t(256, 48), t(48, 100), labels(256, 100)]),
    "stored too": (lambda x, w: (lambda y: (y, y.max(1)))(x @ w), [t(300, 40), t(40, 70)]),
    "read twice": (lambda x, w: (lambda y: (y.max(1), y.sum(0)))(x @ w), [t(300, 40), t(40, 70)]),
    "all of it after": (lambda x, w: F.softmax(x @ w, -1).sum(), [t(300, 40), t(40, 70)]),
}
APART = {
    "columns": (lambda x, w: (x @ w).sum(0), [t(3000, 40), t(40, 70)]),
    "few rows": (lambda x, w: (x @ w).max(1), [t(4, 400), t(400, 700)]),
    "wide": (lambda x, w: (x @ w).max(1), [t(64, 300), t(300, 4000)]),
    "turned": (lambda x, w: (lambda y: (y + y.mT).max(1))(x @ w), [t(100, 40), t(40, 100)]),
    "shifted": (lambda x, w: (x @ w)[:, 1:].max(1), [t(300, 40), t(40, 70)]),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_kernels_give_the_bits_of_two(name):
    function, given = JOINED[name]
    compiled = braze.compile(lambda *a: function(*a))
    for x, y in zip(arrays(compiled(*given)), arrays(apart(function, *given)), strict=True):
        assert x.tobytes() == y.tobytes()
    assert kinds(compiled) == [ProductRows], compiled.ir("fused")
    for x, y in zip(arrays(compiled(*given)), arrays(function(*given)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", APART)
def test_what_would_not_gain_stays_apart(name):
    function, given = APART[name]
    compiled = braze.compile(lambda *a: function(*a))
    np.testing.assert_allclose(np.asarray(compiled(*given)), np.asarray(function(*given)), rtol=1e-4, atol=1e-3)
    assert ProductRows not in kinds(compiled), compiled.ir("fused")


@pytest.mark.parametrize("name", ["nearest", "softmax", "loss", "softmax of a batch"])
def test_the_same_bits_by_any_number_of_threads(name):
    function, given = JOINED[name]
    before, found = braze.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            braze.set_num_threads(threads)
            found.add(b"".join(x.tobytes() for x in arrays(braze.compile(lambda *a: function(*a))(*given))))
    finally:
        braze.set_num_threads(before)
    assert len(found) == 1


def test_a_product_that_nobody_else_reads_is_not_in_memory():
    compiled = braze.compile(nearest)
    compiled(t(500, 32), t(100, 32))
    assert (500, 100) not in {s.shape for s in compiled.ir("fused").slots.values()}


def test_a_training_step_keeps_what_its_gradient_reads():
    given = [t(256, 48), t(48, 100), labels(256, 100)]
    compiled = braze.compile(loss_and_gradient)
    value, (dx, dw) = compiled(*given)
    wanted, (ex, ew) = loss_and_gradient(*given)
    assert ProductRows in kinds(compiled)
    for x, y in ((value, wanted), (dx, ex), (dw, ew)):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-4, atol=1e-6)


def test_what_overwrites_an_operand_waits_for_the_rows():
    """The product's operand is written by another kernel between the product and what reads it."""
    def step(x, w):
        y = x @ w
        x[0] = 0.0
        return F.softmax(y, -1), x * 2

    given = t(300, 40), t(40, 70)
    y, x = braze.compile(step)(*given)
    before = np.asarray(t(300, 40)).copy()
    want = np.exp(before @ np.asarray(given[1]))
    np.testing.assert_allclose(np.asarray(y), want / want.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)
    before[0] = 0
    np.testing.assert_allclose(np.asarray(x), 2 * before)


def kernel_of(name, loads, stores, reduces):
    """y[i] or y[i, j] = a fold of products or of rows of what is loaded."""
    k = KernelBuilder(name, {"i": 100, "j": 40, "k": 20} if reduces == "k" else {"i": 100, "j": 40})
    values = [k.load(slot, tuple(k.axes[a] for a in axes), "f32", [k.axis(a) for a in axes]) for slot, axes in loads]
    x = k.mul(*values) if len(values) > 1 else values[0]
    k.store(stores, tuple(k.axes[a] for a in k.axes if a != reduces), [k.axis(a) for a in k.axes if a != reduces],
            k.reduce("sum" if reduces == "k" else "max", x, [reduces]))
    return k.build()


PRODUCT = kernel_of("product", [("a", "ik"), ("b", "jk")], "t", "k")
LARGEST = kernel_of("largest", [("t", "ij")], "y", "j")
OTHER = kernel_of("other", [("t", "ij")], "d", "j")
ORDERS = {
    "others between": ([PRODUCT, kernel_of("other", [("c", "ij")], "d", "j"), LARGEST], ["other", "product_largest"]),
    "the first of two": ([PRODUCT, OTHER, LARGEST], ["product_other", "largest"]),
    "an operand is written between": ([PRODUCT, kernel_of("other", [("c", "ij")], "a", "j"), LARGEST],
                                      ["product", "other", "largest"]),
    "an operand is written by the rows": ([PRODUCT, kernel_of("largest", [("t", "ij")], "a", "j")],
                                          ["product", "largest"]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_product_waits_where_nothing_is_in_the_way(name):
    work, names = ORDERS[name]
    found = join_products(work, frozenset("t"), Launcher(host(), lambda b: b.name).plan)
    assert [k.name for k in found] == names
    wanted = {b.name for k in found for b in k.inputs}
    assert ("t" in {b.name for k in found for b in k.outputs}) == ("t" in wanted)


def test_rows_in_a_loop():
    def turns(x, w):
        def turn(x, _):
            return F.softmax(x @ w, -1), x.sum()

        return braze.scan(turn, x, braze.arange(5))

    given = t(200, 64), t(64, 64)
    compiled = braze.compile(turns)
    x, sums = compiled(*given)
    want, wanted = turns(*given)
    np.testing.assert_allclose(np.asarray(x), np.asarray(want), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.asarray(sums), np.asarray(wanted), rtol=1e-4)


def test_sizes_that_vary():
    compiled = braze.compile(nearest)
    centres = t(100, 32)
    for n in (500, 501, 37, 2, 1, 1000):
        x = t(n, 32, seed=n)
        assert np.asarray(compiled(x, centres)).tolist() == np.asarray(nearest(x, centres)).tolist()


@settings(max_examples=12, deadline=None)
@given(some.integers(0, 80), some.integers(1, 150), some.integers(1, 60), some.sampled_from(["softmax", "far"]))
def test_random_sizes(m, n, k, end):
    rng = np.random.default_rng([m, n, k])
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((n, k)).astype(np.float32)
    whole = a.astype(np.float64) @ b.T.astype(np.float64)
    if end == "softmax":
        got = braze.compile(lambda x, y: F.softmax(x @ y.mT, -1))(braze.tensor(a), braze.tensor(b))
        want = np.exp(whole - whole.max(1, keepdims=True)) if m else whole
        want = want / want.sum(1, keepdims=True)
    else:
        got = braze.compile(lambda x, y: (x @ y.mT).abs().max(1))(braze.tensor(a), braze.tensor(b))
        want = np.abs(whole).max(1) if m else np.zeros(0)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-5)


FOLDS = {
    "largest": lambda y: y.max(1),
    "smallest": lambda y: y.min(1),
    "where": lambda y: y.argmax(1),
    "where the smallest": lambda y: y.argmin(1),
    "squares": lambda y: (y * y).sum(1),
}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("columns", [20_000, 20_011])
def test_rows_too_long_for_the_cache_are_folded_in_pieces(name, columns):
    """Of products of small integers, which are exact, and most of them equal to others."""
    rng = np.random.default_rng(columns)
    x, w = (rng.integers(-2, 3, s).astype(np.float32) for s in ((150, 64), (columns, 64)))
    given, before, found = (braze.tensor(x), braze.tensor(w)), braze.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            braze.set_num_threads(threads)
            compiled = braze.compile(lambda x, w: FOLDS[name](x @ w.mT))
            found.add(np.asarray(compiled(*given)).tobytes())
    finally:
        braze.set_num_threads(before)
    assert found == {FOLDS[name](x @ w.T).tobytes()}
    assert (150, columns) not in {s.shape for s in compiled.ir("fused").slots.values()}


@pytest.mark.parametrize("combine", ["max", "min"])
def test_nan_wins_over_all_pieces(combine):
    x, w = np.ones((150, 64), np.float32), np.ones((20_000, 64), np.float32)
    w[[17_000, 9_000], 3] = np.nan, np.nan
    x[5, 0] = np.nan
    where = braze.compile(lambda x, w: getattr(x @ w.mT, f"arg{combine}")(1))(braze.tensor(x), braze.tensor(w))
    largest = braze.compile(lambda x, w: getattr(x @ w.mT, combine)(1))(braze.tensor(x), braze.tensor(w))
    assert np.asarray(where).tolist() == [0 if i == 5 else 9_000 for i in range(150)]
    assert np.isnan(np.asarray(largest)).all()


def test_what_is_stored_along_rows_is_not_made_in_pieces():
    compiled = braze.compile(lambda x, w: F.softmax(x @ w, -1))
    given = t(100, 64), t(64, 20_000)
    np.testing.assert_allclose(np.asarray(compiled(*given)), np.asarray(F.softmax(given[0] @ given[1], -1)), rtol=1e-4,
                               atol=1e-7)
    assert kinds(compiled) == [Contraction]
