"""The hit path: printed functions serve what they should, hand on what they must, and give what the general path
gives.
"""

from __future__ import annotations

from collections import namedtuple

import braze
import numpy as np
import pytest

Pair = namedtuple("Pair", "left right")


class Counted:
    """A compiled function whose general path counts the calls that it serves."""

    def __init__(self, function, **options):
        self.compiled = braze.compile(function, **options)
        self.general = 0
        run = self.compiled._run

        def counting(args, kwargs):
            self.general += 1
            return run(args, kwargs)

        self.compiled._run = counting

    def __call__(self, *args, **kwargs):
        return self.compiled(*args, **kwargs)

    def served(self, *args, **kwargs):
        """How many of three calls the general path serves, after the function has been printed; all calls give the
        same.
        """
        for _ in range(3):
            expected = self(*args, **kwargs)
        before = self.general
        for _ in range(3):
            assert_same(self(*args, **kwargs), expected)
        return self.general - before


def assert_same(a, b):
    left, right = braze.tracer.pytree.flatten(a), braze.tracer.pytree.flatten(b)
    assert left[1] == right[1]
    for x, y in zip(left[0], right[0]):
        if isinstance(x, braze.Tensor):
            assert x.dtype is y.dtype and x.requires_grad == y.requires_grad
            np.testing.assert_array_equal(np.asarray(x.detach()), np.asarray(y.detach()))
        else:
            assert type(x) is type(y) and x == y


def vector(n=5, start=0):
    return braze.tensor(np.arange(start, start + n, dtype=np.float32))


CALLS = {
    "tensors": (lambda x, y: x + y, (vector(), vector()), {}),
    "a float": (lambda x, s: x * s, (vector(), 2.5), {}),
    "an int": (lambda x, n: x * n, (vector(), 3), {}),
    "statics": (lambda x, a, b, c: x + 1 if a and b == "b" and c is None else x, (vector(), True, "b", None), {}),
    "a type": (lambda x, d: x.to(dtype=d), (vector(), braze.float64), {}),
    "keywords": (lambda x, *, y, s=1.0: x * s + y, (vector(),), {"y": vector(), "s": 2.0}),
    "a tuple": (lambda p: p[0] - p[1], ((vector(), vector(5, 3)),), {}),
    "a dict of lists": (lambda d: {"sum": d["a"] + d["b"][1], "same": d["b"][0]},
                        ({"a": vector(), "b": [vector(), vector(5, 1)]},), {}),
    "a namedtuple": (lambda p: Pair(p.right, p.left * 2), (Pair(vector(), vector(5, 2)),), {}),
    "nothing": (lambda: braze.ones(3) * 2, (), {}),
    "results of all kinds": (lambda x: [x * 2, (x.shape[0], "text", None), {"x": x}], (vector(),), {}),
    "two dimensions": (lambda x: x @ x.mT, (braze.ones(3, 4),), {}),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_served_by_printed_functions(name, dynamic):
    function, args, kwargs = CALLS[name]
    f = Counted(function, dynamic=dynamic)
    assert f.served(*args, **kwargs) == 0
    assert_same(f(*args, **kwargs), function(*args, **kwargs))


def test_a_new_tensor_of_the_same_type_is_served():
    f = Counted(lambda x: x + 1)
    assert f.served(vector()) == 0
    before = f.general
    assert f(vector(5, 7)).tolist() == [8, 9, 10, 11, 12]
    assert f(vector(6, 0)[1:]).tolist() == [2, 3, 4, 5, 6]
    assert f.general == before


@pytest.mark.parametrize("other", [
    lambda: vector(4), lambda: braze.ones(5, dtype=braze.float64), lambda: braze.ones(1, 5),
    lambda: vector().requires_grad_(),
    lambda: braze.ones(5, 2)[:, 0], lambda: np.ones(5, np.float32), lambda: 3, lambda: 2.5, lambda: [vector()],
], ids=["size", "dtype", "rank", "requires_grad", "strided", "array", "int", "float", "list"])
def test_what_differs_is_handed_on(other):
    def function(x):
        return (x[0] if isinstance(x, list) else x) * 2

    f = Counted(function)
    assert f.served(vector()) == 0
    x = other()
    assert_same(f(x), braze.compile(function)(x))


@pytest.mark.parametrize("call, complaint", [(lambda f: f(), "argument"),
                                             (lambda f: f(vector(), vector(), vector()), "argument"),
                                             (lambda f: f(vector(), z=1), "unexpected keyword")])
def test_wrong_arguments_are_the_functions_error(call, complaint):
    def function(x, y=None):
        return x + 1

    f = Counted(function)
    f.served(vector())
    with pytest.raises(TypeError, match=complaint):
        call(f)


def test_symbolic_sizes_are_read_from_the_tensors():
    f = Counted(lambda x, y: (x @ y, x.shape[0] * 2), dynamic=True)
    rng = np.random.default_rng(0)
    f.served(braze.ones(3, 4), braze.ones(4, 5))
    before = f.general
    for m, k, n in [(2, 3, 4), (7, 4, 2), (2, 3, 4), (9, 9, 9)]:
        a, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (k, n)))
        product, size = f(braze.tensor(a), braze.tensor(b))
        np.testing.assert_allclose(np.asarray(product), a @ b, rtol=1e-5, atol=1e-6)
        assert size == 2 * m and product.shape == (m, n)
    assert f.general == before and len(f.compiled.specialisations) == 1


def test_relations_of_sizes_are_checked():
    f = Counted(lambda x: x * 2 if x.shape[0] > 10 else x + 1, dynamic=True)
    assert f.served(vector(4)) == 0
    assert f(vector(12)).tolist() == [2.0 * n for n in range(12)]
    assert f(vector(3)).tolist() == [1, 2, 3]


def test_alternating_signatures_keep_their_functions():
    f = Counted(lambda x: x * 2, dynamic=False)
    inputs = [vector(n) for n in (3, 4, 5, 6)]
    for _ in range(3):
        for x in inputs:
            f(x)
    before = f.general
    for _ in range(5):
        for x in inputs:
            assert f(x).shape == x.shape
    assert f.general == before


def test_gradients_flow_through_a_served_call():
    w = vector(5, 1).requires_grad_()
    f = Counted(lambda x: ((x * w).sum(), x * 3))
    assert f.served(vector()) == 0
    x = vector(5, 2).requires_grad_()
    for _ in range(3):
        f(x)
    before = f.general
    for turn in range(1, 4):
        loss, other = f(x)
        assert loss.requires_grad and other.requires_grad
        (loss + other.sum()).backward()
        np.testing.assert_allclose(np.asarray(w.grad), turn * np.arange(2, 7))
        np.testing.assert_allclose(np.asarray(x.grad), turn * (np.arange(1, 6) + 3))
    assert f.general == before
    with braze.no_grad():
        assert not f(x)[0].requires_grad


def test_methods_and_modules_are_served():
    class Scaled:
        def __init__(self, s):
            self.s = braze.tensor([s])

        def scaled(self, x):
            return x * self.s

    two, three = Scaled(2.0), Scaled(3.0)
    f = Counted(Scaled.scaled)
    assert f.served(two, vector()) == 0 and f.served(three, vector()) == 0
    assert f(two, vector()).tolist() == [0, 2, 4, 6, 8] and f(three, vector()).tolist() == [0, 3, 6, 9, 12]
    assert f.served(two, vector()) == 0


def test_captured_state_is_written_back_in_place():
    state = vector()

    def step(x):
        state.add_(x)

    f = Counted(step)
    for _ in range(3):
        f(braze.ones(5))
    before, memory = f.general, np.asarray(state).ctypes.data
    for _ in range(4):
        f(braze.ones(5))
    assert f.general == before and np.asarray(state).ctypes.data == memory
    assert state.tolist() == [7, 8, 9, 10, 11]


def test_who_holds_the_old_value_keeps_it():
    state = vector()

    def step():
        state.mul_(2)

    f = Counted(step)
    for _ in range(3):
        f()
    held = state.numpy()
    before = held.copy()
    f()
    np.testing.assert_array_equal(held, before)
    np.testing.assert_array_equal(np.asarray(state), before * 2)


def test_what_captured_tensors_are_is_checked():
    w = vector()
    f = Counted(lambda x: x * w)
    assert f.served(vector()) == 0
    w._assign(braze.ones(5) * 10)
    assert f(vector()).tolist() == [0, 10, 20, 30, 40]
    w.requires_grad_()
    assert f(vector()).requires_grad


def test_changes_elsewhere_do_not_print_anew():
    layer, other = braze.nn.Linear(4, 4), braze.nn.Linear(2, 2)
    f = Counted(lambda x: layer(x))
    x = braze.ones(1, 4)
    assert f.served(x) == 0
    function = f.compiled._chain.first
    other.eval()
    before = f.general
    f(x)
    assert f.general == before and f.compiled._chain.first is function


def test_traces_and_grad_modes_go_the_general_path():
    f = Counted(lambda x: x * 2)
    assert f.served(vector()) == 0
    outer = braze.compile(lambda x: f(x) + 1)
    assert outer(vector()).tolist() == [1, 3, 5, 7, 9]
    with braze.no_grad():
        assert f(vector()).tolist() == [0, 2, 4, 6, 8]
