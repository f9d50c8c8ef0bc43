"""Hand-written sources in the interpreter: what is mended there gives what a GPU would."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from braze.ir.schedule import Source
from braze.runtime.triton_interpreter import interpret

pytestmark = pytest.mark.simulated
BF16 = ml_dtypes.bfloat16
HEAD = "import triton\nimport triton.language as tl\n\n\n"


def source(text: str, **arguments: str) -> Source:
    given = tuple(arguments.items())
    facts = {"arguments": given, "grid": (1, 1, 1), "warps": 4, "stages": 2}
    return Source(HEAD + text, "kernel", "triton", facts=facts)


def test_casts_to_bfloat16_round_to_nearest_even():
    s = source("""
@triton.jit
def kernel(x, y):
    i = tl.arange(0, 8)
    tl.store(y + i, tl.load(x + i).to(tl.bfloat16))
""", x="*fp32", y="*bf16")
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9, np.nan, np.inf, 3e38, -1e-40], np.float32)
    y = np.empty(8, BF16)
    interpret(s, [x, y], {})
    np.testing.assert_array_equal(y.astype(np.float32), x.astype(BF16).astype(np.float32))


@pytest.mark.parametrize("kind, dtype", [("bf16", BF16), ("fp16", np.float16)])
def test_dot_multiplies_numbers(kind, dtype):
    s = source("""
@triton.jit
def kernel(a, b, c):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    left, right = tl.load(a + 16 * i + j), tl.load(b + 16 * i + j)
    tl.store(c + 16 * i + j, tl.dot(left, right, input_precision="ieee"))
""", a=f"*{kind}", b=f"*{kind}", c="*fp32")
    a, b = (np.random.default_rng(n).standard_normal((16, 16)).astype(dtype) for n in (0, 1))
    c = np.empty((16, 16), np.float32)
    interpret(s, [a, b, c], {})
    np.testing.assert_allclose(c, a.astype(np.float32) @ b.astype(np.float32), rtol=1e-5, atol=1e-5)


FOLDS = """
@triton.jit
def later(a, i, b, j):
    takes = (b > a) | ((b == a) & (j < i))
    return tl.where(takes, b, a), tl.where(takes, j, i)


@triton.jit
def second(a, b):
    return a * 0 + b


@triton.jit
def kernel(x, largest, place, last):
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, 32)[None, :]
    v = tl.load(x + 32 * i + j)
    most, where = tl.reduce((v, tl.broadcast_to(j, [4, 32])), 1, later)
    row = tl.arange(0, 4)
    tl.store(largest + row, most)
    tl.store(place + row, where)
    tl.store(last + 32 * i + j, tl.associative_scan(v, 1, second))
"""


def test_folds_by_a_function_of_ones_own_keep_the_order():
    s = source(FOLDS, x="*fp32", largest="*fp32", place="*i32", last="*fp32")
    x = np.random.default_rng(0).integers(0, 9, (4, 32)).astype(np.float32)
    largest, place, last = np.empty(4, np.float32), np.empty(4, np.int32), np.empty((4, 32), np.float32)
    interpret(s, [x, largest, place, last], {})
    np.testing.assert_array_equal(largest, x.max(1))
    np.testing.assert_array_equal(place, x.argmax(1))
    np.testing.assert_array_equal(last, x)


def test_sizes_have_the_declared_width_and_bound_loops():
    s = source("""
@triton.jit
def kernel(y, n, m):
    total = n * 0
    for turn in range(0, m):
        total += n
    tl.store(y, total)
""", y="*i64", n="i64", m="i32")
    y = np.empty((), np.int64)
    interpret(s, [y], {"n": 2_000_000_000, "m": 5})
    assert y == 10_000_000_000
