"""Compiled functions: signatures, specialisations, dynamic sizes, captured state, results as trees, donation,
threads.
"""

import copy
import dataclasses
import pickle
import threading
from collections import namedtuple

import braze
import numpy as np
import pytest

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class State:
    weights: list
    step: object
    name: str = "state"


def agree(got, wanted, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=tolerance, atol=tolerance)


# ---- one signature, one compilation ----------------------------------------------------------------------------------


def test_equal_signatures_compile_once():
    f = braze.compile(lambda x, y: x * y + 1)
    for n in range(5):
        agree(f(braze.ones(3) * n, braze.ones(3)), np.full(3, n + 1.0))
    assert len(f.compilations) == 1


@pytest.mark.parametrize("first, second", [
    ((braze.ones(3),), (braze.ones(3, dtype="float64"),)),
    ((braze.ones(3),), (braze.ones(3, 1),)),
    ((braze.ones(3),), (braze.ones(3, requires_grad=True),)),
    ((braze.ones(3), True), (braze.ones(3), False)),
    ((braze.ones(3), "a"), (braze.ones(3), "b")),
    ((braze.ones(3), None), (braze.ones(3), 2)),
    (([braze.ones(3)],), ((braze.ones(3),),)),
    (({"a": braze.ones(3)},), ({"b": braze.ones(3)},)),
], ids=str)  # fmt: skip
def test_different_kinds_compile_again(first, second):
    f = braze.compile(lambda x, *more: x * 2 if not isinstance(x, (list, tuple, dict)) else 0)
    f(*first), f(*first), f(*second), f(*second), f(*first)
    assert len(f.compilations) == 2


def test_floats_are_inputs():
    f = braze.compile(lambda x, rate: x * rate)
    x = braze.ones(4)
    for n in range(1000):
        assert np.asarray(f(x, n / 7))[0] == np.float32(n / 7)
    assert len(f.compilations) == 1


def test_a_float_argument_promotes_as_a_python_number():
    f = braze.compile(lambda x, rate: (x * rate, rate + 1))
    for dtype in ("float16", "float32", "float64", "int64", "bfloat16"):
        x = braze.ones(2, dtype=dtype)
        got, plain = f(x, 0.5)
        assert got.dtype is (x * 0.5).dtype
    assert plain.dtype is braze.float32


def test_ints_are_constants_and_inputs_once_they_have_varied():
    f = braze.compile(lambda x, n: x * n)
    x = braze.ones(3)
    for n in range(2, 50):
        agree(f(x, n), np.full(3, n))
    assert len(f.compilations) == 2


def test_static_arguments_are_constants():
    f = braze.compile(lambda x, n: x.reshape(n, -1) * n, static_argnames="n")
    x = braze.arange(12.0)
    for n in (2, 3, 4, 2, 3):
        assert f(x, n).shape == (n, 12 // n)
        assert f(x, n=n).shape == (n, 12 // n)
    assert len(f.compilations) <= 6


@pytest.mark.parametrize("key", ["keyword", "position"])
def test_keyword_arguments(key):
    f = braze.compile(lambda x, y=2.0, *, z=1.0: x * y + z)
    x = braze.ones(2)
    agree(f(x), [3, 3])
    agree(f(x, 3.0) if key == "position" else f(x, y=3.0), [4, 4])
    agree(f(x, z=braze.ones(2) * 5), [7, 7])


def test_methods_and_instances():
    class Scaled:
        def __init__(self, factor):
            self.factor = factor

        @braze.compile
        def run(self, x):
            return x * self.factor

        def __call__(self, x):
            return x + self.factor

    two, three = Scaled(2.0), Scaled(3.0)
    x = braze.ones(2)
    for _ in range(3):
        agree(two.run(x), [2, 2])
        agree(three.run(x), [3, 3])
    agree(braze.compile(two)(x), [3, 3])
    agree(braze.compile(three.run)(x), [3, 3])
    two.factor = 7.0
    agree(two.run(x), [7, 7])


def test_arrays_and_numpy_scalars_are_tensors():
    f = braze.compile(lambda x, y: x + y)
    agree(f(np.ones(3, np.float32), np.float32(2)), [3, 3, 3])


def test_the_wrapper_keeps_name_and_doc():
    @braze.compile
    def named(x):
        """Its doc."""
        return x

    assert (named.__name__, named.__doc__) == ("named", "Its doc.")


# ---- sizes -----------------------------------------------------------------------------------------------------------


def test_a_thousand_lengths_are_two_traces():
    f = braze.compile(lambda x: (x.softmax(-1) * x.shape[-1]).sum())
    for n in range(2, 1002):
        got = f(braze.ones(n))
        if n % 100 == 2:
            agree(got, float(n))
    assert len(f.compilations) <= 2


def test_sizes_zero_and_one_are_their_own():
    f = braze.compile(lambda x: x * 2 + x.shape[0])
    for n in (5, 6, 1, 0, 7, 1, 0):
        agree(f(braze.ones(n)), np.full(n, 2.0 + n))
    assert len(f.compilations) <= 4


def test_equal_sizes_are_not_taken_for_the_same():
    f = braze.compile(lambda x, y: (x.sum() + y.sum(), x.shape[0] == y.shape[0]))
    for n, m in ((3, 3), (4, 4), (5, 6), (7, 8), (9, 9)):
        total, same = f(braze.ones(n), braze.ones(m))
        agree(total, n + m)
        assert same is (n == m)


def test_a_matrix_product_of_any_sizes():
    f = braze.compile(lambda a, b: a @ b)
    rng = np.random.default_rng(0)
    for n, k, m in ((2, 3, 4), (5, 6, 7), (8, 9, 3), (33, 17, 65)):
        a, b = rng.standard_normal((n, k)).astype("f"), rng.standard_normal((k, m)).astype("f")
        agree(f(braze.tensor(a), braze.tensor(b)), a @ b, 1e-4)
    assert len(f.compilations) == 2


def test_python_on_sizes_is_followed_and_guarded():
    def f(x):
        n = x.shape[0]
        if n > 4:
            return x[: n // 2] * n
        return x.reshape(n, 1).sum(1) + (n - 1)

    g = braze.compile(f)
    for n in (3, 4, 5, 6, 7, 2, 100, 3):
        agree(g(braze.arange(n).float()), f(braze.arange(n).float()))
    assert len(g.compilations) <= 4


def test_dynamic_false_and_true():
    static, dynamic = (braze.compile(lambda x: x * 2, dynamic=d) for d in (False, True))
    for n in (3, 4, 5):
        static(braze.ones(n)), dynamic(braze.ones(n))
    assert (len(static.compilations), len(dynamic.compilations)) == (3, 1)


def test_sizes_can_be_returned():
    f = braze.compile(lambda x: (x.shape[0], x.shape[0] * 2 + 1, x.ndim))
    assert [f(braze.ones(n)) for n in (3, 4, 5)] == [(3, 7, 1), (4, 9, 1), (5, 11, 1)]


# ---- trees -----------------------------------------------------------------------------------------------------------


def test_trees_go_in_and_come_out():
    @braze.compile
    def f(state, batch):
        new = State([w - batch["x"] for w in state.weights], state.step + 1)
        return {"state": new, "pair": Pair(batch["x"], 3), "rest": [None, "text", (batch["x"].sum(),)]}

    x = braze.ones(2)
    for _ in range(3):
        out = f(State([x * 2, x * 3], braze.tensor(0)), {"x": x})
        assert isinstance(out["state"], State) and isinstance(out["pair"], Pair)
        agree(out["state"].weights[1], [2, 2])
        assert int(out["state"].step) == 1
        assert out["pair"].second == 3 and out["rest"][:2] == [None, "text"]
        agree(out["rest"][2][0], 2)


def test_an_argument_that_is_returned_is_itself():
    f = braze.compile(lambda x, y: (y, x * 2))
    x, y = braze.ones(2), braze.zeros(2)
    for _ in range(3):
        assert f(x, y)[0] is y


def test_a_result_twice_is_one_tensor_as_in_eager_mode():
    f = braze.compile(lambda x: (lambda y: (y, y))(x * 2))
    for _ in range(3):
        one, other = f(braze.ones(2))
        assert one is other


def test_constants_come_out():
    f = braze.compile(lambda x: (braze.ones(2), braze.tensor(3.0), 4))
    for _ in range(3):
        a, b, c = f(braze.zeros(1))
        agree(a, [1, 1]), agree(b, 3)
        assert c == 4


# ---- captured state --------------------------------------------------------------------------------------------------


def training():
    rng = np.random.default_rng(0)
    w = braze.tensor(rng.standard_normal((5, 3)).astype("f"), requires_grad=True)
    bias = braze.zeros(3, requires_grad=True)
    x, y = (braze.tensor(rng.standard_normal(s).astype("f")) for s in ((8, 5), (8, 3)))

    def step(x, y, rate):
        loss = (((x @ w + bias).tanh() - y) ** 2).mean()
        loss.backward()
        with braze.no_grad():
            for p in (w, bias):
                p -= rate * p.grad
                p.grad = None
        return loss

    return step, (w, bias), x, y


def test_a_training_step_agrees_with_eager():
    eager, eager_parameters, x, y = training()
    plain, parameters, _, _ = training()
    compiled = braze.compile(plain)
    for n in range(6):
        agree(compiled(x, y, 0.5 / (n + 1)), eager(x, y, 0.5 / (n + 1)))
    for p, q in zip(parameters, eager_parameters):
        agree(p, q)
        assert p.grad is None and p.requires_grad and p.is_leaf
    assert len(compiled.compilations) == 1


def test_gradients_accumulate_over_compiled_calls():
    w = braze.ones(3, requires_grad=True)

    @braze.compile
    def f(x):
        (w * x).sum().backward()

    for n in range(1, 4):
        f(braze.ones(3) * 2)
        agree(w.grad, np.full(3, 2.0 * n))


def test_what_is_held_of_a_parameter_never_changes():
    step, (w, bias), x, y = training()
    compiled = braze.compile(step)
    for _ in range(3):
        compiled(x, y, 0.1)
    export, alias, row, handle = np.asarray(w), w.detach(), w.detach()[0], w.numpy()
    before = np.array(w)
    for _ in range(3):
        compiled(x, y, 0.1)
    assert not np.array_equal(before, np.asarray(w))
    for held in (export, alias, handle):
        np.testing.assert_array_equal(before, np.asarray(held))
    np.testing.assert_array_equal(before[0], np.asarray(row))
    assert not export.flags.writeable


def test_outputs_of_earlier_calls_never_change():
    f = braze.compile(lambda x: x * 2)
    held = [(n, f(braze.ones(1000) * n)) for n in range(10)]
    for n, y in held:
        agree(y, np.full(1000, 2.0 * n))


def test_state_updated_in_place_and_by_index():
    total, count = braze.zeros(4), braze.tensor(0)

    @braze.compile
    def f(x):
        nonlocal total, count
        total += x
        total[1] = 100.0
        count += 1
        return total * 2

    for n in range(1, 4):
        out = f(braze.ones(4))
        agree(total, [n, 100, n, n]), agree(out, np.asarray(total) * 2)
        assert int(count) == n


def test_a_captured_tensor_that_becomes_another_type_compiles_again():
    w = braze.ones(3)
    f = braze.compile(lambda x: x * w)
    f(braze.ones(3)), f(braze.ones(3))
    w._assign_traced(braze.ones(3, dtype="float64"))
    assert f(braze.ones(3)).dtype is braze.float64


def test_nested_compiled_functions_are_one_program():
    inner = braze.compile(lambda x: x * 2)
    outer = braze.compile(lambda x: inner(x) + inner(x + 1))
    agree(outer(braze.ones(3)), [6, 6, 6])
    assert not inner.specialisations


def test_grad_mode_is_part_of_the_signature():
    w = braze.ones(3, requires_grad=True)
    f = braze.compile(lambda x: (w * x).sum())
    assert f(braze.ones(3)).requires_grad
    with braze.no_grad():
        assert not f(braze.ones(3)).requires_grad
    assert f(braze.ones(3)).requires_grad


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_back_ends_agree(backend):
    def f(x, y):
        return (x @ y).softmax(-1), x.exp().sum(0), (x > 0).any()

    rng = np.random.default_rng(1)
    x, y = (braze.tensor(rng.standard_normal(s).astype("f")) for s in ((6, 5), (5, 7)))
    for got, wanted in zip(braze.compile(f, backend=backend)(x, y), f(x, y)):
        agree(got, wanted)


# ---- threads ---------------------------------------------------------------------------------------------------------


def test_one_function_called_by_many_threads():
    f = braze.compile(lambda x: (x * 2).sum())
    found = {}

    def work(n):
        for m in range(20):
            found[n, m] = float(f(braze.ones(n + m % 3 + 2)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(v == 2.0 * (n + m % 3 + 2) for (n, m), v in found.items()) and len(found) == 80


def test_eager_work_in_another_thread_while_one_traces():
    entered, leave, result = threading.Event(), threading.Event(), []

    def slow(x):
        entered.set()
        leave.wait(10)
        return x * 2

    thread = threading.Thread(target=lambda: result.append(braze.compile(slow)(braze.ones(2))))
    thread.start()
    entered.wait(10)
    y = (braze.ones(2) + 1) * 3
    agree(y, [6, 6])
    leave.set()
    thread.join()
    agree(result[0], [2, 2])


# ---- looking inside --------------------------------------------------------------------------------------------------


def test_every_stage_prints():
    f = braze.compile(lambda x: (x * 2).sum())
    f(braze.ones(3))
    for stage in ("graph", "joint", "optimized", "fused", "source"):
        assert str(f.ir(stage))
    assert "test_compile.py" in str(f.ir("graph")) and "1 specialisation" in repr(f)
    assert [name for name, _, _ in f.history()][0] == "graph"


# ---- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))],
                         ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("t", [braze.ones(2, 3), braze.tensor(1.5, requires_grad=True), braze.arange(3),
                               braze.ones(0, 2, dtype="bfloat16"), braze.ones(3, 4).T], ids=str)
def test_copies_of_tensors(t, copied):
    new = copied(t)
    assert new.shape == t.shape and new.dtype is t.dtype and new.requires_grad is t.requires_grad
    np.testing.assert_array_equal(np.asarray(new).astype("f"), np.asarray(t).astype("f"))


def test_a_deep_copy_is_independent_and_shares_within():
    t = braze.ones(3)
    pair = copy.deepcopy([t, t])
    t += 1
    assert pair[0] is pair[1]
    agree(pair[0], [1, 1, 1])


def test_traced_tensors_cannot_be_pickled():
    with pytest.raises(braze.errors.TraceError, match="pickling"):
        braze.compile(lambda x: pickle.dumps(x))(braze.ones(3))
