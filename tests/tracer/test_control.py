"""Control flow on values: eager Python is the reference, compiled regions must agree, derivatives too."""

import braze
import numpy as np
import pytest

RNG = np.random.default_rng(3)
W = braze.tensor(RNG.standard_normal((4, 4)).astype("f") / 2)


def draw(*shape):
    return braze.tensor(RNG.standard_normal(shape).astype("f"))


def agree(got, wanted, tolerance=1e-5):
    from braze.tracer.pytree import flatten

    for g, w in zip(flatten(got)[0], flatten(wanted)[0], strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=tolerance, atol=tolerance)


def newton(x):
    return braze.while_loop(lambda s: (s[0] * s[0] - x).abs() > 1e-4, lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1),
                            (x, braze.tensor(0)))


def rnn(xs, h):
    return braze.scan(lambda h, x: ((lambda n: (n, n * 2))((h @ W + x).tanh())), h, xs)


def fibonacci(x):
    return braze.fori_loop(0, 10, lambda i, s: (s[1], s[0] + s[1]), (x, x))


def index_of_turn(x):
    return braze.fori_loop(2, 5, lambda i, s: s + i * x, x)


def nested_loops(x):
    return braze.fori_loop(0, 3, lambda i, s: braze.fori_loop(0, i + 1, lambda j, t: t + x * (i - j), s), x)


def nested_fixed(x):
    return braze.fori_loop(0, 3, lambda i, s: braze.fori_loop(0, 2, lambda j, t: (t * x * (i - j)).sin(), s), x)


def loop_with_branch(x):
    return braze.fori_loop(0, 4, lambda i, s: braze.cond(i < 2, lambda t: t * 2, lambda t: t + x, s), x)


def branch_with_loop(x):
    return braze.cond(x.sum() > 0, lambda y: braze.fori_loop(0, 3, lambda i, s: s * y, y), lambda y: y - 1, x)


def trees(x):
    state = braze.fori_loop(0, 3, lambda i, s: {"a": s["a"] + s["b"][0], "b": [s["b"][0] * 2, s["b"][1]]},
                            {"a": x, "b": [x, 1.5]})
    return state["a"], state["b"]


def many_operands(x):
    return braze.cond(x.sum() > 0, lambda p, q: {"r": p["x"] * q}, lambda p, q: {"r": p["x"] - q}, {"x": x}, x + 1)


PROGRAMS = {
    "cond true": (lambda x: braze.cond(x.sum() > -1e9, lambda x: x * 2, lambda x: x.exp(), x), [(3,)]),
    "cond false": (lambda x: braze.cond(x.sum() < -1e9, lambda x: x * 2, lambda x: x.exp(), x), [(3,)]),
    "cond of trees": (many_operands, [(3,)]),
    "cond of nothing": (lambda x: braze.cond(x.sum() > 0, lambda: x, lambda: -x), [(3,)]),
    "newton": (lambda x: newton(x.abs().sum() + 2), [(3,)]),
    "fibonacci": (fibonacci, [(3,)]),
    "index of the turn": (index_of_turn, [(2, 3)]),
    "nested loops": (nested_loops, [(3,)]),
    "nested loops of known turns": (nested_fixed, [(3,)]),
    "loop with a branch": (loop_with_branch, [(3,)]),
    "branch with a loop": (branch_with_loop, [(3,)]),
    "trees": (trees, [(3,)]),
    "rnn": (rnn, [(5, 2, 4), (2, 4)]),
    "scan reversed": (lambda xs: braze.scan(lambda c, x: (c + x, c * x), braze.zeros(3), xs, reverse=True), [(4, 3)]),
    "scan of a length": (lambda x: braze.scan(lambda c, _: (c * 2, c), x, length=4), [(3,)]),
    "scan of trees": (lambda x, y: braze.scan(lambda c, xy: (c + xy["p"], (c, xy["q"])), braze.zeros(3),
                                              {"p": x, "q": y}), [(4, 3), (4, 2)]),
    "zero turns": (lambda x: braze.fori_loop(0, 0, lambda i, s: s * 2, x), [(3,)]),
    "no turns of while": (lambda x: braze.while_loop(lambda s: s.sum() > 1e9, lambda s: s * 2, x), [(3,)]),
    "promoted carry": (lambda x: braze.fori_loop(0, 3, lambda i, s: s + x, braze.zeros(3, dtype="int32")), [(3,)]),
    "a loop's turns are a value": (lambda x: braze.fori_loop(0, (x * x).sum().astype("int64") + 1, lambda i, s: s + 1,
                                                             x), [(3,)]),
    "slices by the turn": (lambda x: braze.fori_loop(0, 4, lambda i, s: s + x[i], braze.zeros(3)), [(4, 3)]),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_agrees_with_eager(name, backend):
    f, shapes = PROGRAMS[name]
    args = [draw(*s) for s in shapes]
    compiled = braze.compile(f, backend=backend)
    for _ in range(3):
        agree(compiled(*args), f(*args))


DIFFERENTIABLE = ["cond true", "cond false", "cond of trees", "cond of nothing", "fibonacci", "index of the turn",
                  "nested loops of known turns", "loop with a branch",
                  "branch with a loop", "trees", "rnn", "scan reversed", "scan of a length", "scan of trees",
                  "zero turns", "slices by the turn"]


def total(out):
    from braze.tracer.pytree import flatten

    return sum((y * (n + 1)).sum() for n, y in enumerate(flatten(out)[0]) if y.dtype.is_float)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_agree(name):
    f, shapes = PROGRAMS[name]
    args = [draw(*s) for s in shapes]
    gradient = braze.grad(lambda *a: total(f(*a)), argnums=tuple(range(len(args))))
    wanted = gradient(*args)
    agree(braze.compile(gradient)(*args), wanted, 1e-4)
    outer = braze.grad(lambda *a: total(braze.compile(f)(*a)), argnums=tuple(range(len(args))))
    agree(outer(*args), wanted, 1e-4)


def test_the_gradient_of_a_loop_of_unknown_turns_is_refused():
    with pytest.raises(braze.errors.GradientError, match="number of its turns"):
        braze.compile(braze.grad(lambda x: nested_loops(x).sum()))(draw(3))


def test_gradients_reach_captured_parameters():
    w = braze.ones(3, requires_grad=True)

    def loss(x):
        return (braze.fori_loop(0, 3, lambda i, s: s * w, x) + braze.cond(x.sum() > 0, lambda: w, lambda: -w)).sum()

    x = braze.tensor([1.0, 2.0, 3.0])
    loss(x).backward()
    wanted, w.grad = np.asarray(w.grad), None
    braze.compile(lambda x: loss(x).backward())(x)
    np.testing.assert_allclose(np.asarray(w.grad), wanted)
    w.grad = None
    braze.compile(loss)(x).backward()
    np.testing.assert_allclose(np.asarray(w.grad), wanted)


def test_only_one_branch_runs_in_eager_mode():
    ran = []
    braze.cond(braze.tensor(True), lambda: ran.append("true"), lambda: ran.append("false"))
    assert ran == ["true"]


def test_dynamic_lengths_of_a_scan():
    f = braze.compile(lambda xs: braze.scan(lambda c, x: (c + x, c), braze.zeros(2), xs))
    for n in (3, 4, 5, 9):
        xs = draw(n, 2)
        agree(f(xs), f.function(xs))
    assert len(f.compilations) == 2


def test_second_derivatives_through_a_scan():
    def f(x):
        return braze.scan(lambda c, v: (c * v, c), braze.tensor(1.0), x)[0]
    def hessian(x):
        return braze.grad(lambda y: braze.grad(f)(y).sum())(x)
    x = braze.tensor([1.5, 2.0, 3.0])
    np.testing.assert_allclose(np.asarray(hessian(x)), [5.0, 4.5, 3.5])
    np.testing.assert_allclose(np.asarray(braze.compile(hessian)(x)), [5.0, 4.5, 3.5], rtol=1e-5)


# ---- None is a tree without leaves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_none_may_stand_for_no_tensor(wrap):
    x = braze.arange(4.0)
    last, ys = wrap(lambda x: braze.scan(lambda c, v: (c + v, None), braze.tensor(0.0), x))(x)
    assert float(last) == 6.0 and ys is None
    last, (ys, none) = wrap(lambda x: braze.scan(lambda c, v: (c + v, (c, None)), braze.tensor(0.0), x))(x)
    np.testing.assert_array_equal(np.asarray(ys), [0, 0, 1, 3])
    assert none is None
    state = wrap(lambda x: braze.fori_loop(0, 3, lambda i, s: (s[0] + 1, s[1]), (x, None)))(x)
    np.testing.assert_array_equal(np.asarray(state[0]), np.arange(4) + 3.0)
    assert state[1] is None
    state = wrap(lambda x: braze.while_loop(lambda s: s["a"].sum() < 20, lambda s: {"a": s["a"] * 2, "b": None},
                                            {"a": x, "b": None}))(x)
    assert float(state["a"].sum()) == 24.0 and state["b"] is None
    y, none = wrap(lambda x: braze.cond(x.sum() > 3, lambda x: (x + 1, None), lambda x: (x - 1, None), x))(x)
    np.testing.assert_array_equal(np.asarray(y), np.arange(4) + 1.0)
    assert none is None


def test_none_among_arguments_and_results_of_compiled_functions():
    f = braze.compile(lambda x, more: (x * 2, more, {"n": None}))
    for _ in range(4):                                          # also by the printed function
        y, more, named = f(braze.ones(2), None)
        assert float(y.sum()) == 4.0 and more is None and named == {"n": None}
    y, more, _ = f(braze.ones(2), (None, braze.ones(3)))
    assert more[0] is None and more[1].shape == (3,)
    assert len(f.compilations) == 2
