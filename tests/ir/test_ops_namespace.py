"""Evaluation rules run in any namespace like NumPy's: what they take from it, and from its arrays, CuPy has too.

CuPy is looked at, not run: its import needs no GPU. Ops with the trait "host" are left out: they go by NumPy.
"""

from __future__ import annotations

import types

import numpy as np
import pytest
from op_samples import OPS, samples

cupy = pytest.importorskip("cupy")
special = pytest.importorskip("cupyx.scipy.special")

# Methods of ufuncs that CuPy carries out; of the others it has the name alone (cupy/_core/_kernel.pyx).
UFUNC_METHODS = {"add.reduce", "multiply.reduce", "add.accumulate", "multiply.accumulate"}
METHODS = ("reduce", "accumulate", "reduceat", "outer", "at")


class Recorded(np.ndarray):
    """An array that notes which of its attributes, and which functions of NumPy, are used on it."""

    used: set[str] = set()

    def __getattribute__(self, name):
        if not name.startswith("_"):
            Recorded.used.add(f"ndarray.{name}")
        return super().__getattribute__(name)

    def min(self):
        return recorded(plain(self).min())

    def max(self):
        return recorded(plain(self).max())

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        Recorded.used.add(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}")
        out = {"out": tuple(map(plain, out))} if out else {}
        return recorded(getattr(ufunc, method)(*map(plain, inputs), **out, **options))

    def __array_function__(self, function, kinds, args, kwargs):
        Recorded.used.add(f"{function.__module__.removeprefix('numpy').lstrip('.')}.{function.__name__}".lstrip("."))
        return recorded(function(*plain(args), **plain(kwargs)))


def plain(x):
    if isinstance(x, Recorded):
        return x.view(np.ndarray)
    if type(x) in (list, tuple):
        return type(x)(map(plain, x))
    return {k: plain(v) for k, v in x.items()} if type(x) is dict else x


def recorded(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x).view(Recorded)
    return tuple(map(recorded, x)) if isinstance(x, tuple) else x


class Namespace:
    """NumPy, with a note of every name that is used."""

    def __init__(self, module=np, path=""):
        self._module, self._path = module, path

    def __getattr__(self, name):
        found, path = getattr(self._module, name), f"{self._path}{name}"
        if isinstance(found, types.ModuleType):
            return Namespace(found, f"{path}.")
        Recorded.used.add(path)
        return found if isinstance(found, type) or not callable(found) else Function(found, path)


class Function(Namespace):
    """A function of NumPy on recorded arrays."""

    def __init__(self, function, path):
        super().__init__(function, f"{path}.")

    def __call__(self, *args, **options):
        return recorded(self._module(*plain(args), **plain(options)))


def used_by(op):
    """The names that an op's rule takes from the namespace, and from its arrays."""
    Recorded.used = set()
    for d in op.dtypes:
        for s in samples(op, d):
            with np.errstate(all="ignore"):
                op.evaluate(Namespace(), *(recorded(a) for a in s.arrays), **s.attrs)
    return Recorded.used


def has(name):
    *path, last = name.split(".")
    if last in METHODS and path:
        return name in UFUNC_METHODS
    found = cupy
    for part in (*path, last):
        found = getattr(found, part, None)
    return found is not None or hasattr(special, name)


@pytest.mark.parametrize("op", [op for op in OPS if "host" not in op.traits], ids=lambda op: op.name)
def test_cupy_has_what_an_evaluation_rule_uses(op):
    assert sorted(name for name in used_by(op) if not has(name)) == []


def test_it_notices_what_is_missing():
    x = recorded(np.ones(3))
    Recorded.used = set()
    Namespace().logaddexp.accumulate(x), np.frompyfunc(abs, 1, 1)(x), np.cov(x), x.flags  # noqa: B018
    assert {name for name in Recorded.used if not has(name)} >= {"logaddexp.accumulate"}
