"""Gradients: against finite differences, eager against compiled against both, higher orders, and everything that steers
them.
"""

import braze
import numpy as np
import pytest

RNG = np.random.default_rng(0)


def draw(*shape):
    return braze.tensor(RNG.uniform(0.3, 1.2, shape), dtype="float64")


W = draw(4, 3)

# functions of one float64 tensor of shape (3, 4), to a number
FUNCTIONS = {
    "polynomial": lambda x: (x**3 - 2 * x).sum(),
    "softmax": lambda x: (x.softmax(-1) * x).sum(),
    "logsumexp": lambda x: x.exp().sum(1).log().mean(),
    "matmul": lambda x: ((x @ W).tanh() ** 2).sum(),
    "broadcast": lambda x: (x * x.sum(0) + x.mean(1, keepdims=True)).sum(),
    "indexing": lambda x: (x[0] * x[:, 1:3].sum() + x[braze.tensor([0, 2, 0])].sum(0)).sum(),
    "slices": lambda x: (x[::2, ::-1] * x[1:, 1:2]).sum(),
    "permute and reshape": lambda x: (x.T.reshape(2, 6) ** 2)[1].sum(),
    "concatenate": lambda x: (braze.cat([x, x * 2], 0) ** 2).sum(),
    "where": lambda x: braze.where(x > 0.7, x * x, -x).sum(),
    "max": lambda x: (x.max(1) * x.min(0).sum()).sum(),
    "norm": lambda x: (x / (x * x).sum().sqrt()).sin().sum(),
    "cumulative": lambda x: (x.cumsum(1) * x).sum(),
    "in place": lambda x: _in_place(x),
    "assigned": lambda x: _assigned(x),
    "shared": lambda x: (lambda y: (y * y + y.sin() * y).sum())(x.exp()),
    "not all used": lambda x: x[1, 2] * 3,
    "constant parts": lambda x: (x.detach() * x).sum(),
}  # fmt: skip


def _in_place(x):
    y = x * 2
    z = y * y
    y += 1
    y *= x
    return (y + z).sum()


def _assigned(x):
    y = x * 1
    y[0] = x[1] * 2
    y[1:, 2] = 3.0
    y[:, 0] *= 2
    return (y * x).sum()


def numeric(f, x, eps=1e-6):
    array = np.array(x)
    out = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        for sign in (1, -1):
            moved = array.copy()
            moved[i] += sign * eps
            out[i] += sign * float(f(braze.tensor(moved))) / (2 * eps)
    return out


def by_backward(f):
    def run(x):
        x = x.detach().requires_grad_()
        f(x).backward()
        return x.grad

    return run


ROADS = {
    "backward": by_backward,
    "backward compiled": lambda f: braze.compile(by_backward(f)),
    "compiled, then backward": lambda f: by_backward(braze.compile(f)),
    "grad": braze.grad,
    "grad compiled": lambda f: braze.compile(braze.grad(f)),
    "grad of compiled": lambda f: braze.grad(braze.compile(f)),
    "value_and_grad": lambda f: lambda x: braze.value_and_grad(f)(x)[1],
    "vjp": lambda f: lambda x: braze.vjp(f, x)[1](braze.tensor(1.0, dtype="float64"))[0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_roads_lead_to_the_derivative(name):
    f, x = FUNCTIONS[name], draw(3, 4)
    wanted = numeric(f if name != "constant parts" else lambda y: (x * y).sum(), x)
    for road, make in ROADS.items():
        np.testing.assert_allclose(np.asarray(make(f)(x)), wanted, rtol=1e-5, atol=1e-7, err_msg=road)


SMOOTH = ["polynomial", "softmax", "logsumexp", "matmul", "broadcast", "norm", "shared", "slices", "in place"]
SECOND = {
    "grad of grad": lambda f, v: braze.grad(lambda x: (braze.grad(f)(x) * v).sum()),
    "compiled": lambda f, v: braze.compile(braze.grad(lambda x: (braze.grad(f)(x) * v).sum())),
    "inner compiled": lambda f, v: braze.grad(lambda x: (braze.grad(braze.compile(f))(x) * v).sum()),
    "create_graph": lambda f, v: lambda x: _double_backward(f, v, x),
}


def _double_backward(f, v, x):
    x = x.detach().requires_grad_()
    (g,) = braze.autograd.grad(f(x), [x], create_graph=True)
    return braze.autograd.grad((g * v).sum(), [x])[0]


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives(name):
    f, x, v = FUNCTIONS[name], draw(3, 4), draw(3, 4)
    wanted = numeric(lambda y: (braze.grad(f)(y) * v).sum(), x)
    for road, make in SECOND.items():
        np.testing.assert_allclose(np.asarray(make(f, v)(x)), wanted, rtol=1e-4, atol=1e-6, err_msg=road)


def test_the_fourth_derivative():
    def f(x):
        return x**5
    for _ in range(4):
        f = braze.grad(f)
    assert float(f(braze.tensor(2.0))) == pytest.approx(240.0)
    assert float(braze.compile(f)(braze.tensor(2.0))) == pytest.approx(240.0)


# ---- backward --------------------------------------------------------------------------------------------------------


def leaf(*values):
    return braze.tensor(list(values), requires_grad=True)


def test_gradients_accumulate_and_are_reset():
    w = leaf(1.0, 2.0)
    for n in range(1, 3):
        (w * 3).sum().backward()
        np.testing.assert_array_equal(np.asarray(w.grad), [3.0 * n] * 2)
    w.grad = None
    (w * 3).sum().backward()
    np.testing.assert_array_equal(np.asarray(w.grad), [3, 3])


def test_backward_with_a_cotangent():
    w = leaf(1.0, 2.0)
    (w * w).backward(braze.tensor([1.0, 10.0]))
    np.testing.assert_array_equal(np.asarray(w.grad), [2, 40])


def test_retain_graph_allows_a_second_backward():
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(np.asarray(w.grad), [4, 8])


def test_two_losses_on_one_trunk():
    w = leaf(1.0, 2.0)
    trunk = w * 2
    (trunk.sum() + (trunk * trunk).sum()).backward()
    np.testing.assert_array_equal(np.asarray(w.grad), [10, 18])


@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_no_grad_detach_and_requires_grad(wrap):
    w = leaf(1.0, 2.0)

    def f(x):
        with braze.no_grad():
            free = w * x
        with braze.no_grad(), braze.enable_grad():
            bound = w * x
        return free, bound, (w * x).detach(), w * x

    free, bound, detached, plain = wrap(f)(braze.ones(2))
    assert (free.requires_grad, bound.requires_grad, detached.requires_grad, plain.requires_grad) == (False, True,
                                                                                                      False, True)
    assert not plain.is_leaf and w.is_leaf


def test_saved_values_stay_when_a_tensor_changes_in_place():
    w = leaf(1.0, 2.0)
    y = w * 1
    z = y * y
    with braze.no_grad():
        w.mul_(100)
        y.mul_(100)
    z.sum().backward()
    np.testing.assert_array_equal(np.asarray(w.grad), [2, 4])


def test_integers_have_no_gradients():
    w, i = leaf(1.0, 2.0), braze.tensor([1, 0])
    w[i].sum().backward()
    assert not (w.argmax()).requires_grad and not (w > 1).requires_grad
    np.testing.assert_array_equal(np.asarray(w.grad), [1, 1])


def test_autograd_grad_leaves_dot_grad_alone():
    w, other = leaf(1.0, 2.0), leaf(1.0)
    g, none = braze.autograd.grad((w * w).sum(), [w, other], allow_unused=True)
    np.testing.assert_array_equal(np.asarray(g), [2, 4])
    assert none is None and w.grad is None


def test_gradient_of_an_intermediate():
    w = leaf(1.0, 2.0)
    y = w * 3
    (g,) = braze.autograd.grad((y * y).sum(), [y])
    np.testing.assert_array_equal(np.asarray(g), [6, 12])


def test_grad_of_trees_and_several_arguments():
    def f(p, x, scale):
        return (p["w"] * x * scale + p["b"][0]).sum()

    p, x = {"w": braze.ones(2), "b": [braze.zeros(2)]}, braze.tensor([3.0, 4.0])
    for g in (braze.grad(f, argnums=(0, 1)), braze.compile(braze.grad(f, argnums=(0, 1)))):
        dp, dx = g(p, x, 2.0)
        np.testing.assert_array_equal(np.asarray(dp["w"]), [6, 8])
        np.testing.assert_array_equal(np.asarray(dp["b"][0]), [1, 1])
        np.testing.assert_array_equal(np.asarray(dx), [2, 2])


def test_has_aux():
    value, aux = braze.value_and_grad(lambda x: ((x * x).sum(), x + 1), has_aux=True)(braze.ones(2))[0]
    assert float(value) == 2.0 and aux.shape == (2,)


def test_zero_dimensional_and_empty():
    x = braze.tensor(3.0, requires_grad=True)
    (x * x).backward()
    assert float(x.grad) == 6.0
    e = braze.zeros(0, 3, requires_grad=True)
    e.sum().backward()
    assert e.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_gradients_have_the_dtype_of_their_leaf(dtype):
    x = braze.ones(3, dtype=dtype).requires_grad_()
    y = (x * x).sum()
    (y.abs() if dtype == "complex64" else y).backward()
    assert x.grad.dtype is x.dtype


# ---- Function and checkpoint -----------------------------------------------------------------------------------------


class Clipped(braze.Function):
    @staticmethod
    def forward(ctx, x, limit):
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clip(-limit, limit), x.sum()

    @staticmethod
    def backward(ctx, g, h):
        (x,) = ctx.saved_tensors
        return g * 10 * x + h, None


@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_a_function_with_its_own_backward(wrap):
    def f(x):
        y, total = Clipped.apply(x, 1.0)
        return y.sum() + total * 2

    x = braze.tensor([0.5, 3.0])
    np.testing.assert_allclose(np.asarray(wrap(braze.grad(f))(x)), [7.0, 32.0])


@pytest.mark.parametrize("wrap", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_checkpoint_gives_the_same_gradients(wrap):
    w = leaf(0.5, 0.7)

    def block(x):
        return (x * w).tanh().exp()

    def plain(x):
        return block(block(x)).sum()

    def saved(x):
        return braze.checkpoint(block, braze.checkpoint(block, x)).sum()

    x = braze.tensor([1.0, 2.0])
    wanted = braze.grad(plain)(x)
    plain(x).backward()
    of_w, w.grad = w.grad, None
    np.testing.assert_allclose(np.asarray(wrap(braze.grad(saved))(x)), np.asarray(wanted), rtol=1e-5)
    w.grad = None
    y = x.detach().requires_grad_()
    wrap(saved)(y).backward()
    np.testing.assert_allclose(np.asarray(w.grad), np.asarray(of_w), rtol=1e-5)


def test_a_compiled_model_trained_with_an_eager_backward():
    w, b = leaf(0.5, -0.3), leaf(0.1, 0.2)

    @braze.compile
    def model(x):
        return ((x * w + b).tanh() ** 2).mean()

    for n in range(3):
        x = braze.tensor([1.0 + n, 2.0])
        model(x).backward()
        got, w.grad, b.grad = [np.asarray(w.grad), np.asarray(b.grad)], None, None
        model.function(x).backward()
        for g, p in zip(got, (w, b)):
            np.testing.assert_allclose(g, np.asarray(p.grad), rtol=1e-5)
        with braze.no_grad():
            for p in (w, b):
                p -= 0.1 * p.grad
        w.grad = b.grad = None
    assert len(model.compilations) == 1


def test_compiled_results_can_be_used_on_before_backward():
    w = leaf(0.5, -0.3)
    f = braze.compile(lambda x: (x * w, (w * w).sum()))
    y, penalty = f(braze.ones(2))
    (y.sin().sum() + 2 * penalty).backward()
    np.testing.assert_allclose(np.asarray(w.grad), np.cos(np.asarray(w)) + 4 * np.asarray(w), rtol=1e-5)


def test_gradcheck_finds_a_wrong_derivative():
    class Wrong(braze.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * 3

    x = braze.tensor([0.3, 0.7], dtype="float64", requires_grad=True)
    assert braze.testing.gradcheck(lambda x: braze.sin(x) * x, x)
    with pytest.raises(AssertionError):
        braze.testing.gradcheck(Wrong.apply, x)
