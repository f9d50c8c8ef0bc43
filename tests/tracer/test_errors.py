"""Errors as a product: what was wrong with which shapes, the user's line, one remedy, few lines, few frames of ours."""

import os
import subprocess
import sys
import threading
import traceback

import braze
import numpy as np
import pytest
from braze.ir.errors import BrazeError, user_traceback
from braze.ir.location import is_internal

HERE = os.path.abspath(__file__)


def a():
    return braze.ones(3, 4)


def b():
    return braze.ones(5, 6)


def leaf(*shape):
    return braze.ones(*(shape or (3,)), requires_grad=True)


def backward_twice():
    loss = (leaf() * leaf()).sum()
    loss.backward()
    loss.backward()


def in_place_on_leaf():
    w = leaf()
    w += 1


def in_place_on_view():
    x = a()
    y = x[0]
    y += 1


def compiled(function, *args):
    return lambda: braze.compile(function)(*args)


def backward_compiled(function):
    def run():
        w = leaf()
        braze.compile(lambda x: function(w, x).backward())(braze.ones(3))

    return run


def no_grad_cut(w, x):
    with braze.no_grad():
        y = (w * x).sum()
    return y


def if_positive(x):
    if x.sum() > 0:
        return x
    return -x


def count_up(x):
    for _ in range(x.sum().astype("int64")):
        x = x + 1
    return x


def loop_that_assigns(x):
    total = braze.zeros(3)

    def body(i, s):
        total.copy_(s)
        return s

    return braze.fori_loop(0, 3, body, x)


def frozen():
    f = braze.compile(lambda x: x * 2)
    f(braze.ones(3))
    f.freeze()
    f(braze.ones(3, 3))


class Box:
    pass


def leak():
    box = Box()

    def f(x):
        box.kept = x * 2
        return x

    braze.compile(f)(braze.ones(3))
    return box.kept + 1


CASES = {
    "matmul": (lambda: a() @ b(), braze.errors.ShapeError, r"\[3, 4\] @ \[5, 6\]"),
    "matmul 0-d": (lambda: a() @ braze.tensor(1.0), braze.errors.ShapeError, "use \\*"),
    "broadcast": (lambda: a() + b(), braze.errors.ShapeError, r"\[3, 4\] and \[5, 6\] do not broadcast"),
    "broadcast with gradients": (lambda: leaf(3, 4) * leaf(5, 6), braze.errors.ShapeError, r"\[3, 4\] and \[5, 6\]"),
    "where": (lambda: braze.where(a() > 0, a(), b()), braze.errors.ShapeError, r"\[3, 4\].*\[5, 6\]"),
    "reshape": (lambda: a().reshape(5, 5), braze.errors.ShapeError, r"\[3, 4\] has 12 elements, \[5, 5\] has 25"),
    "reshape with a hole": (lambda: a().reshape(-1, 5), braze.errors.ShapeError,
                            r"12 elements .* do not fit \[-1, 5\]"),
    "permute": (lambda: a().permute(0, 0), braze.errors.ShapeError, "do not name each dimension"),
    "squeeze": (lambda: a().squeeze(0), braze.errors.ShapeError, "has size 3, not 1"),
    "split": (lambda: a().split([1, 1], 0), braze.errors.ShapeError, "do not add up"),
    "concatenate": (lambda: braze.cat([a(), b()]), braze.errors.ShapeError, r"\[3, 4\] and \[5, 6\]"),
    "axis": (lambda: a().sum(axis=5), braze.errors.ShapeError, "axis 5 is outside a tensor of 2 dimensions"),
    "index": (lambda: a()[9], braze.errors.IndexingError, r"index 9 .* size 3 \(shape \[3, 4\]\)"),
    "too many indices": (lambda: a()[1, 2, 3], braze.errors.IndexingError, r"\[3, 4\]"),
    "float index": (lambda: a()[braze.tensor(1.5)], braze.errors.IndexingError, "integer"),
    "index in a tensor": (lambda: a()[braze.tensor([7])], braze.errors.IndexingError, "7"),
    "index while recording": (lambda: leaf(3, 4)[9], braze.errors.IndexingError, r"index 9 .* size 3"),
    "assignment": (lambda: a().__setitem__(slice(0, 2), braze.ones(9)), braze.errors.ShapeError, r"9.*\[3, 4\]"),
    "ragged": (lambda: braze.tensor([[1, 2], [3]]), braze.errors.ShapeError, "differ in shape"),
    "text": (lambda: braze.tensor("abc"), braze.errors.DTypeError, "str"),
    "unknown dtype": (lambda: braze.zeros(3, dtype="float3"), braze.errors.DTypeError,
                      "'float3' is not a dtype.*float32"),
    "bits of a float": (lambda: a() & 1, braze.errors.DTypeError, "bitwise_and does not take float32"),
    "not a number": (lambda: a() + "x", braze.errors.DTypeError, "not str"),
    "neither device nor dtype": (lambda: a().to("tpu"), braze.errors.DTypeError, "not a dtype"),
    "truth": (lambda: bool(a()), braze.errors.ShapeError, r"any\(\) or t.all\(\)"),
    "item": (lambda: a().item(), braze.errors.ShapeError, "exactly one element"),
    "integer leaf": (lambda: braze.tensor([1]).requires_grad_(), braze.errors.GradientError, "floating-point"),
    "backward twice": (backward_twice, braze.errors.GradientError, "a second time.*retain_graph=True"),
    "backward from many": (lambda: (leaf() * 2).backward(), braze.errors.GradientError, r"shape \[3\].*\.sum\(\)"),
    "backward with another shape": (lambda: (leaf() * 2).backward(braze.ones(4)), braze.errors.GradientError,
                                    r"\[4\].*\[3\]"),
    "backward from nothing": (lambda: a().sum().backward(), braze.errors.GradientError, "requires no gradient"),
    "in place on a leaf": (in_place_on_leaf, braze.errors.GradientError, r"no_grad\(\)"),
    "in place on a view": (in_place_on_view, braze.errors.TraceError, r"base\[index\] \+="),
    "unused input": (lambda: braze.autograd.grad(leaf().sum(), [leaf()]), braze.errors.GradientError,
                     "allow_unused=True"),
    "grad of many": (lambda: braze.grad(lambda x: x)(a()), braze.errors.GradientError, "one number.*vjp"),
    "wrong .grad": (lambda: setattr(leaf(), "grad", b()), braze.errors.GradientError, r"\[3\]"),
    "detach cuts": (backward_compiled(lambda w, x: (w * x).detach().sum()), braze.errors.GradientError,
                    r"detach\(\).* at test_errors.py"),
    "no_grad cuts": (backward_compiled(no_grad_cut), braze.errors.GradientError, r"no_grad\(\) at test_errors.py"),
    "a cast cuts": (backward_compiled(lambda w, x: (w * x).astype("int64").astype("float32").sum()),
                    braze.errors.GradientError, "int64, at test_errors.py"),
    "no parameter": (backward_compiled(lambda w, x: x.sum()), braze.errors.GradientError, "requires_grad_"),
    "if": (compiled(if_positive, a()), braze.errors.TraceError, "if t.*braze.where.*braze.cond"),
    "float": (compiled(lambda x: x * float(x.sum()), a()), braze.errors.TraceError, r"float\(t\).*keep it a tensor"),
    "np.asarray": (compiled(lambda x: braze.tensor(np.asarray(x)), a()), braze.errors.TraceError,
                   "np.asarray.*return the tensor"),
    "item in a trace": (compiled(lambda x: x * x.sum().item(), a()), braze.errors.TraceError,
                        r"item\(\).*read it outside"),
    "range": (compiled(count_up, a()), braze.errors.TraceError, r"index"),
    "format": (compiled(lambda x: f"{x.sum():.3f}", a()), braze.errors.TraceError, "formatting"),
    "mask": (compiled(lambda x: x[x > 0], a()), braze.errors.TraceError, "depends on values.*braze.where"),
    "leaked": (leak, braze.errors.TraceError, "made at test_errors.py.*return it"),
    "cond structure": (compiled(lambda x: braze.cond(x.sum() > 0, lambda x: x, lambda x: (x, x), x), a()),
                       braze.errors.ShapeError, r"f32\[3, 4\] against \(f32\[3, 4\], f32\[3, 4\]\)"),
    "cond types": (compiled(lambda x: braze.cond(x.sum() > 0, lambda x: x, lambda x: x.sum(), x), a()),
                   braze.errors.ShapeError, r"f32\[3, 4\] against f32\[\]"),
    "cond predicate": (compiled(lambda x: braze.cond(x.sum(), lambda x: x, lambda x: x, x), a()),
                       braze.errors.DTypeError, "0-d bool"),
    "loop that assigns": (compiled(loop_that_assigns, braze.ones(3)), braze.errors.TraceError,
                          "changes a tensor from outside.*return it"),
    "loop that changes shape": (compiled(lambda x: braze.fori_loop(0, 3, lambda i, s: braze.cat([s, s]), x), a()),
                                braze.errors.ShapeError, r"fori_loop.*f32\[3, 4\] against f32\[6, 4\]"),
    "scan lengths": (lambda: braze.scan(lambda c, x: (c, x[0]), braze.zeros(1), (a(), b())), braze.errors.ShapeError,
                     "different lengths"),
    "frozen": (frozen, braze.errors.CompileError, "is frozen.*compilation"),
    "unknown back end": (lambda: braze.compile(lambda x: x, backend="cuda")(a()), braze.errors.CompileError,
                         "no back end 'cuda'.*llvm"),
    "stage before a call": (lambda: braze.compile(lambda x: x).ir(), braze.errors.CompileError, "call it once"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_error_says_what_where_and_what_to_do(name):
    function, kind, text = CASES[name]
    with pytest.raises(kind, match=f"(?s){text}") as caught:
        function()
    error = caught.value
    assert isinstance(error, BrazeError)
    assert error.location is not None and error.location.startswith(HERE)
    assert f"at {HERE}" in str(error)
    assert len(str(error).splitlines()) <= 4 and len(str(error)) < 600
    ours = sum(is_internal(frame.f_code) for frame, _ in traceback.walk_tb(error.__traceback__))
    assert ours <= 5


def test_builtin_kinds_can_be_caught():
    for kind, builtin in (("ShapeError", ValueError), ("DTypeError", TypeError), ("IndexingError", IndexError),
                          ("GradientError", RuntimeError)):
        assert issubclass(getattr(braze.errors, kind), builtin)


def test_a_traceback_of_the_users_frames_alone():
    try:
        if_compiled = braze.compile(if_positive)
        if_compiled(a())
    except BrazeError as error:
        names = [f.name for f in traceback.extract_tb(user_traceback(error.__traceback__))]
    assert names == ["test_a_traceback_of_the_users_frames_alone", "if_positive"]


SCRIPT = """
import braze
def layer(x):
    return x @ braze.ones(7, 7)
braze.compile(layer)(braze.ones(3, 4))
"""


@pytest.mark.parametrize("mode, inside", [("short", False), ("", True), ("full", True)])
def test_what_an_uncaught_error_prints(tmp_path, mode, inside):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "BRAZE_TRACEBACK": mode}
    printed = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True).stderr
    for part in ("matmul: [3, 4] @ [7, 7]", "script.py:4", "return x @ braze.ones(7, 7)"):
        assert part in printed
    assert (os.sep + "tracer" + os.sep in printed) is inside
    if mode != "full":
        assert len(printed.splitlines()) <= (12 if mode == "short" else 20)


def test_the_hook_for_threads_hides_frames_and_leaves_other_errors_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args))
    monkeypatch.setattr(sys, "excepthook", lambda *args: seen.append(args))
    braze.errors.hide_internal_frames()
    for target in (lambda: a() + b(), lambda: 1 / 0):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert [args.exc_type for args in seen] == [braze.errors.ShapeError, ZeroDivisionError]
    assert not any(is_internal(frame.f_code) for frame, _ in traceback.walk_tb(seen[0].exc_traceback))


# ---- nothing is left behind ------------------------------------------------------------------------------------------


def test_a_failed_trace_leaves_everything_as_it_was():
    w, state = leaf(), braze.random.default_generator.state
    w.grad = braze.ones(3)
    before = np.array(w), np.array(w.grad), np.array(state)

    def f(x):
        y = (w * x * braze.rand(3)).sum()
        y.backward()
        with braze.no_grad():
            w.sub_(w.grad)
            w.grad = None
        return float(y)

    with pytest.raises(braze.errors.TraceError):
        braze.compile(f)(braze.ones(3))
    for was, now in zip(before, (w, w.grad, state)):
        np.testing.assert_array_equal(was, np.asarray(now))
    assert braze.is_grad_enabled() and w.requires_grad


def test_a_good_call_after_a_failed_trace():
    @braze.compile
    def f(x, fail):
        y = x * 2
        return float(y.sum()) if fail else y

    with pytest.raises(braze.errors.TraceError):
        f(braze.ones(3), True)
    np.testing.assert_array_equal(np.asarray(f(braze.ones(3), False)), [2, 2, 2])


def test_the_users_own_exceptions_pass_through():
    @braze.compile
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        f(braze.ones(3))
