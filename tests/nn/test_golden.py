"""Functions, modules: results, gradients, state and names are PyTorch's (golden.py); compiled is the same as eager."""

import importlib.util
import pathlib

import braze
import numpy as np
import pytest
from braze import nn


def load(name):
    """A helper module of this folder."""
    spec = importlib.util.spec_from_file_location(f"nn_{name}", pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases, golden = load("cases"), load("golden")


def tensor(array, differentiable):
    """A float64 (or integer) tensor."""
    return braze.tensor(array, requires_grad=differentiable)


def close(found, expected, what):
    """Equal, but for constants that PyTorch keeps in float32."""
    np.testing.assert_allclose(np.asarray(found, np.float64).reshape(-1), expected, rtol=1e-7, atol=1e-8, err_msg=what)


def gradients(y, wanted):
    """Gradients of sum(y * pattern)."""
    return braze.autograd.grad((y * braze.tensor(cases.pattern(y.shape, 9))).sum(), wanted, allow_unused=True)


def check(y, wanted, expected):
    """Result and gradients against PyTorch's."""
    close(y, expected["result"], "result")
    for n, (g, e) in enumerate(zip(gradients(y, wanted), expected["gradients"], strict=True)):
        if e is not None:
            close(g, e, f"gradient {n}")


def prepared(name):
    function, specs, options = cases.FUNCTIONS[name]
    listed, named = cases.arguments(specs, tensor)
    f = getattr(nn.functional, function)
    inputs = [*listed, *named.values()]
    names = list(named)

    def run(*given):
        count = len(given) - len(names)
        return f(*given[:count], **dict(zip(names, given[count:])), **options)

    return run, inputs


@pytest.mark.parametrize("name", cases.FUNCTIONS)
def test_functions_are_pytorchs(name):
    run, inputs = prepared(name)
    check(run(*inputs), [t for t in inputs if t.requires_grad], golden.FUNCTIONS[name])


@pytest.mark.parametrize("name", cases.FUNCTIONS)
def test_functions_compiled(name):
    run, inputs = prepared(name)

    def whole(*given):
        y = run(*given)
        return y, gradients(y, [t for t in given if t.requires_grad])

    y, found = braze.compile(whole)(*inputs)
    close(y, golden.FUNCTIONS[name]["result"], "result")
    for g, e in zip(found, golden.FUNCTIONS[name]["gradients"], strict=True):
        if e is not None:
            close(g, e, "gradient")


def module(name):
    kind, args, options, specs, call = cases.MODULES[name]
    m = getattr(nn, kind)(*args, **options).double()
    state = {n: cases.values(("unit", t.shape), i) for i, (n, t) in enumerate(sorted(m.state_dict().items()))
             if t.dtype.is_float}
    m.load_state_dict(state, strict=False)
    inputs, _ = cases.arguments(specs, tensor)
    return m, inputs, call


def first(y):
    """Attention returns its weights too."""
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", cases.MODULES)
def test_modules_are_pytorchs(name, compiled):
    m, inputs, call = module(name)
    expected = golden.MODULES[name]
    assert sorted(m.state_dict()) == expected["names"]
    y = first((braze.compile(m) if compiled else m)(*inputs, **call))
    check(y, [*(t for t in inputs if t.dtype.is_float), *(p for _, p in sorted(m.named_parameters()))], expected)
    for path, b in m.named_buffers():
        close(b, expected["state"][path], path)
