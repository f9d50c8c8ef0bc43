"""NumPy source of every kernel of the zoo, and of random ones, against the definition; with and without blocks of
rows.
"""

import numpy as np
import pytest
from braze.codegen.numpy import emit
from braze.ir import kernel_eval
from braze.ir.target import Target
from hypothesis import given, settings
from kernel_zoo import CASES, ZOO, assert_close, inputs, sizes_of, special_inputs
from random_kernels import random_kernels
from sorted_kernels import SORTED, SYMBOLIC
from zoo_tools import outputs

ONE_ROW, WHOLE = Target(l2_bytes=2), Target(l2_bytes=1 << 30)


def run(kernel, arrays, sizes, target=None):
    source = emit(kernel, target=target)
    space = {}
    exec(compile(source.text, source.entry, "exec"), space)
    made = outputs(kernel, arrays, sizes)
    with np.errstate(all="ignore"):
        space[source.entry](*(made[b] if b in made else arrays[b] for b in kernel.buffers), **sizes)
    return made


def check(kernel, arrays, sizes, target):
    before = {name: a.copy() for name, a in arrays.items()}
    with np.errstate(all="ignore"):
        wanted = kernel_eval.evaluate(kernel, arrays, sizes)
    assert_close(kernel, run(kernel, arrays, sizes, target), wanted, sizes)
    for name, a in arrays.items():
        assert a.tobytes() == before[name].tobytes(), f"the input {name} was written to"


@pytest.mark.parametrize("target", [ONE_ROW, WHOLE, None], ids=["row by row", "at once", "as by default"])
@pytest.mark.parametrize("name, sizes", CASES)
def test_zoo(name, sizes, target):
    kernel = ZOO[name]
    for make in (inputs, special_inputs):
        check(kernel, make(kernel, np.random.default_rng(0), sizes), sizes, target)


@pytest.mark.parametrize("name", [*SORTED, *SYMBOLIC])
def test_sorting(name):
    kernel = {**SORTED, **SYMBOLIC}[name]
    for sizes in sizes_of(kernel):
        for make, target in ((inputs, ONE_ROW), (special_inputs, WHOLE)):
            check(kernel, make(kernel, np.random.default_rng(0), sizes), sizes, target)


@given(random_kernels())
@settings(deadline=None, max_examples=150)
def test_random_kernels(kernel):
    for sizes in sizes_of(kernel):
        arrays = inputs(kernel, np.random.default_rng(0), sizes)
        for target in (ONE_ROW, WHOLE):
            check(kernel, arrays, sizes, target)


def body(name, target=None):
    """The statements of the emitted function."""
    text = emit(ZOO[name], target=target).text
    return [line.strip() for line in text.split('"""')[2].strip().splitlines()]


def test_softmax_reads_as_one_would_write_it():
    assert body("softmax_wide", Target(l2_bytes=2 * 3 * 130 * 4 * 3)) == [
        "for i0 in range(0, 4, 3):",
        "i1 = min(i0 + 3, 4)",
        "v0 = x[i0:i1]",
        "v1 = np.maximum.reduce(v0, axis=1)",
        "v2 = v0 - v1[:, None]",
        "v3 = np.exp(v2, out=v2)",
        "v4 = np.add.reduce(v3, axis=1)",
        "np.divide(v3, v4[:, None], out=y[i0:i1])",
    ]


@pytest.mark.parametrize(
    "name, line",
    [
        ("matmul", "v3 = v0 @ v1.T"),
        ("batched_matmul", "v3 = v0 @ v1.swapaxes(-1, -2)"),
        ("transpose", "v0 = x.T"),
        ("pad_zero", "v0 = bz.padded(x, (-2, 16), fill=0.0)"),
        ("slices", "v0 = x[1:50:3]"),
        ("slices", "v1 = y[::-1]"),
        ("embedding", "v1 = table[v0[:, None], d]"),
        ("reductions_i8", "v1 = np.add.reduce(v0, axis=(0, 2), dtype=np.int8)"),
        ("cumulative", "v1 = np.add.accumulate(v0, axis=1)"),
    ],
)
def test_idioms(name, line):
    assert line in body(name)


@pytest.mark.parametrize("name", ["matmul", "linear_silu", "convolution_nhwc", "attention", "batched_matmul_shared"])
def test_no_product_is_made_where_a_contraction_does(name):
    assert not [line for line in body(name) if ("np.multiply" in line or " * " in line) and "0.25" not in line]
