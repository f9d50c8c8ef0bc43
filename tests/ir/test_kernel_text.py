"""Kernels print, and what is read back prints the same and computes the same."""

import numpy as np
import pytest
from braze.ir import kernel_eval
from braze.ir.errors import ParseError, VerifyError
from braze.ir.kernel_text import parse_kernel
from hypothesis import given, settings
from kernel_zoo import CASES, ZOO, inputs
from random_kernels import random_kernels
from sorted_kernels import SORTED, SYMBOLIC

TWICE = """
kernel twice(x: f32[N, 4]) -> (y: f32[N]) axes i: N, j: 4 where 1 <= N {
  %0[i, j] = load x[i, j] : f32
  %1[i, j] = mul %0, 2.0 : f32
  %2[i] = sum %1 over j : f32
  store y[i], %2
}
""".strip()


@pytest.mark.parametrize("name", ZOO)
def test_zoo_kernels_read_back(name):
    assert str(parse_kernel(str(ZOO[name]))) == str(ZOO[name])


@pytest.mark.parametrize("kernel", [SORTED["in_order"], SYMBOLIC["order_down_f64"], SORTED["largest_but_one"]])
def test_kernels_that_sort_read_back(kernel):
    assert str(parse_kernel(str(kernel))) == str(kernel)


@given(random_kernels())
@settings(deadline=None)
def test_random_kernels_read_back(kernel):
    assert str(parse_kernel(str(kernel))) == str(kernel)


@pytest.mark.parametrize("name, sizes", CASES[::3])
def test_what_is_read_back_computes_the_same_bits(name, sizes):
    kernel = ZOO[name]
    arrays = inputs(kernel, np.random.default_rng(0), sizes)
    wanted = kernel_eval.evaluate(kernel, arrays, sizes)
    for output, got in kernel_eval.evaluate(parse_kernel(str(kernel)), arrays, sizes).items():
        np.testing.assert_array_equal(got, wanted[output])


def test_ranges_of_sizes_are_kept():
    kernel = parse_kernel(TWICE)
    assert str(kernel) == TWICE and kernel.sizes == ("N",)
    assert parse_kernel(TWICE.replace("1 <= N", "1 <= N <= 8")).axes["i"] != kernel.axes["i"]


def test_layout_and_comments_do_not_matter():
    assert str(parse_kernel(TWICE.replace("\n", "  # a comment\n").replace(", ", " ,  "))) == TWICE


@pytest.mark.parametrize("number", ["-0.0", "inf", "-inf", "nan", "1e-45", "0.1", "1e+30"])
def test_constants_keep_their_bits(number):
    kernel = parse_kernel(TWICE.replace("2.0", number))
    constant = next(v for v in kernel.values if v.op == "const")
    assert repr(constant.number) == number and str(kernel) == TWICE.replace("2.0", number)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("mul %0", "mul %7", "line 3: %7 is not made above"),
        ("load x", "load z", "line 2: there is no buffer 'z'; buffers are x, y"),
        ("over j", "over k", "line 4: there is no axis 'k'; axes are i, j"),
        (": f32\n  %2", ": f31\n  %2", "line 3: there is no dtype 'f31'"),
        ("mul %0", "multiply %0", "line 3: multiply is not an operation of the scalar core"),
        ("%2[i] =", "%1[i] =", "line 4: %1 is made twice"),
        ("x[i, j]", "x[i // 0, j]", "line 2: a divisor must be positive"),
        ("x[i, j]", "x[i, 0.5]", "line 2: expected a size"),
        ("store", "put", "line 5: expected a value such as %0, `store`, `add`"),
        ("\n}", "", "expected a value such as %0, `store`, `add` or '}', found the end"),
        ("(y: f32[N])", "(x: f32[N])", "line 1: there are two buffers named x"),
        ("\n}", "\n} }", "expected the end of the text"),
    ],
)
def test_damaged_text_gives_one_clear_error(old, new, message):
    assert old in TWICE
    with pytest.raises(ParseError) as caught:
        parse_kernel(TWICE.replace(old, new))
    assert message in str(caught.value) and "^" in str(caught.value)


def test_well_formed_text_that_breaks_a_rule_is_refused():
    with pytest.raises(VerifyError, match="loads x with 1 index entries"):
        parse_kernel(TWICE.replace("x[i, j]", "x[i]"))
    with pytest.raises(VerifyError, match="keeps the axes"):
        parse_kernel(TWICE.replace("%2[i]", "%2[i, j]"))


@pytest.mark.parametrize("name", ["softmax_MN", "convolution_nhwc", "embedding_gradient", "philox"])
def test_every_cut_off_text_is_refused(name):
    text = str(ZOO[name])
    for end in range(0, len(text) - 1, 7):
        with pytest.raises((ParseError, VerifyError)):
            parse_kernel(text[:end])
