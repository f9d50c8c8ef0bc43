"""Sizes and index expressions: whatever is simplified equals what was written, for all values of the symbols (by brute
force).
"""

import itertools

import pytest
from braze.ir import expr
from braze.ir.expr import bounds, floordiv, maximum, minimum, mod, symbol
from hypothesis import given, settings
from hypothesis import strategies as st

N = symbol("N", 1, 4)
Z = symbol("Z", 0, 2)
SYMBOLS = {
    "N": N, "Z": Z, "i": symbol("i", 0, 7), "j": symbol("j", 0, N - 1), "k": symbol("k", -3, 2),
    "m": symbol("m", 1, 2 * N),
    "e": symbol("e", 0, Z - 1),                            # an axis that may have no positions
}  # fmt: skip
POINTS = [
    {"N": n, "Z": z, "i": i, "j": j, "k": k, "m": m, "e": e}
    for n, z, i, k in itertools.product(range(1, 5), range(3), (0, 1, 3, 4, 7), range(-3, 3))
    for j in {0, n - 1} for m in {1, n, 2 * n} for e in range(z)
]  # fmt: skip
POINTS_WITHOUT_E = [
    {"N": n, "Z": z, "i": i, "j": j, "k": k, "m": m}
    for n, z, i, k in itertools.product(range(1, 5), range(3), range(8), range(-3, 3))
    for j in range(n) for m in (1, n, 2 * n)
]  # fmt: skip
OPERATIONS = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "mul": (lambda x, y: x * y, lambda x, y: x * y),
    "floordiv": (floordiv, lambda x, y: x // y),
    "mod": (mod, lambda x, y: x % y),
    "minimum": (minimum, min),
    "maximum": (maximum, max),
}
DIVISORS = st.one_of(st.integers(1, 6), st.sampled_from(["N", "m", "2*N", "N*m"]))


@st.composite
def trees(draw, names="NZijkm", depth=3):
    """An expression as it is written: a number, a name, or (operation, tree, tree); divisors are positive."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(st.sampled_from(names), st.integers(-5, 9)))
    op = draw(st.sampled_from(("add", "add", "sub", "mul", "floordiv", "mod", "minimum", "maximum")))
    left = draw(trees(names, depth - 1))
    if op in ("floordiv", "mod"):
        right = {"2*N": ("mul", 2, "N"), "N*m": ("mul", "N", "m")}.get(d := draw(DIVISORS), d)
    else:
        right = draw(trees(names, depth - 1))
    return (op, left, right)


def build(tree):
    """The tree, simplified as it is built."""
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]][0](build(tree[1]), build(tree[2]))
    return SYMBOLS[tree] if isinstance(tree, str) else tree


def value(tree, point):
    """The tree in plain integers."""
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]][1](value(tree[1], point), value(tree[2], point))
    return point[tree] if isinstance(tree, str) else tree


@given(trees())
@settings(max_examples=300, deadline=None)
def test_what_is_built_equals_what_was_written(tree):
    built = build(tree)
    low, high = bounds(built)
    for point in POINTS_WITHOUT_E[::7]:
        wanted = value(tree, point)
        assert expr.evaluate(built, point) == wanted
        assert low is None or low <= wanted
        assert high is None or wanted <= high


@given(trees(names="NZeik"))
@settings(max_examples=150, deadline=None)
def test_axes_that_may_be_empty(tree):
    built = build(tree)
    for point in POINTS[::11]:
        assert expr.evaluate(built, point) == value(tree, point)


@given(trees(depth=2), trees(depth=2))
@settings(max_examples=300, deadline=None)
def test_comparisons_that_are_known_hold(left, right):
    less_equal, less = (f(build(left), build(right)) for f in (expr.is_less_equal, expr.is_less))
    for point in POINTS_WITHOUT_E[::7]:
        assert not less_equal or value(left, point) <= value(right, point)
        assert not less or value(left, point) < value(right, point)


@given(trees(), st.sampled_from("NZijkm"), trees(names="ik", depth=1))
@settings(max_examples=200, deadline=None)
def test_substitution_then_evaluation(tree, name, new):
    inner = build(new)
    for point in POINTS_WITHOUT_E[::31]:
        if _in_range(name, value(new, point), point):      # ranges were used, so they must be kept
            wanted = value(tree, {**point, name: value(new, point)}) if name != "N" else None
            if wanted is not None:
                assert expr.evaluate(expr.substitute(build(tree), {name: inner}), point) == wanted


def _in_range(name, number, point):
    low, high = {"N": (1, 4), "Z": (0, 2), "i": (0, 7), "j": (0, point["N"] - 1), "k": (-3, 2),
                 "m": (1, 2 * point["N"])}[name]
    return low <= number <= high


@given(trees())
@settings(max_examples=200, deadline=None)
def test_python_source_and_text_give_the_same(tree):
    built = build(tree)
    sources = {expr.as_python(built), str(built), expr.as_python(built, lambda s: f"({s})")}
    for point in POINTS_WITHOUT_E[::97]:
        assert {eval(s, {}, point) for s in sources} == {value(tree, point)}


@given(trees(), st.sampled_from("NZijkm"))
@settings(max_examples=200, deadline=None)
def test_a_coefficient_is_the_growth_for_one_step(tree, name):
    built = build(tree)
    c = expr.coefficient(built, name)
    if c is None:
        return
    for point in POINTS_WITHOUT_E[::31]:
        further = {**point, name: point[name] + 1}
        assert expr.evaluate(built, further) - expr.evaluate(built, point) == expr.evaluate(c, point)


@given(trees(), trees())
@settings(max_examples=200, deadline=None)
def test_equal_expressions_have_equal_hashes(left, right):
    x, y = build(left), build(right)
    for a, b in ((x, build(left)), (x + y, y + x), (x * y, y * x), (x - y, -(y - x)), ((x + y) - y, x)):
        assert a == b and hash(a) == hash(b)


i, j, k, m = (SYMBOLS[s] for s in "ijkm")
BIG = symbol("i", 0, 1023)
ROW, COLUMN = symbol("r", 0), symbol("c", 0, N - 1)


@pytest.mark.parametrize(
    "built, wanted",
    [
        (i + 1 - i, 1),
        ((i * 8 + 3) // 8, i),
        ((i * 8 + j) // 8, i),                             # j < N <= 4
        ((i * 8 + j) % 8, j),
        ((ROW * N + COLUMN) // N, ROW),
        ((ROW * N + COLUMN) % N, COLUMN),
        (BIG // 4 // 8, BIG // 32),
        (BIG % 32 % 8, BIG % 8),
        (BIG // 4 * 4 + BIG % 4, BIG),
        (BIG - BIG // 4 * 4, BIG % 4),
        (BIG - BIG % 4, BIG // 4 * 4),
        (3 * BIG - 2 * N * (BIG // N), BIG + 2 * (BIG % N)),
        (1 % m + m * (N + 1 // m) - m * (N + 1 // m), 1 % m),
        (BIG - BIG // (N + m) * (N + m) + BIG // (N + m) * (N + m), BIG),
        (6 * BIG // 12, BIG // 2),
        ((BIG + 64) % 32, BIG % 32),
        ((BIG + 67) // 32, (BIG + 3) // 32 + 2),
        (i // 8, 0),
        (i % 8, i),
        (minimum(i, 7), i),
        (maximum(i, 7), 7),
        (minimum(COLUMN, N - 1), COLUMN),
        (minimum(i, 3) - minimum(i, 3), 0),
        (N * m // N, m),
        (N * 6 // (N * 2), 3),
        (k * 0, 0),
        (expr.product([2, N, 3]), 6 * N),
    ],
)
def test_simplifications(built, wanted):
    assert built == wanted


@pytest.mark.parametrize(
    "x, text",
    [
        (i - 1, "i - 1"),
        (N - 1 - i, "N - i - 1"),
        (2 * i * j, "2*i*j"),
        (-i, "-i"),
        (i // 3 * 3 + 1, "3*(i // 3) + 1"),
        ((i + k) % 5, "(i + k) % 5"),
        (minimum(i, m), "min(i, m)"),
    ],
)
def test_text(x, text):
    assert str(x) == text
    assert sorted(expr.as_python(x)) == sorted(text)


def test_the_truth_of_a_symbol_is_refused():
    with pytest.raises(TypeError, match="is not known"):
        bool(i)


def test_range_counts_in_equality():
    assert symbol("i", 0, 7) != symbol("i", 0, 8)
    assert symbol("i", 0, 7) % 8 != symbol("i", 0, 8) % 8


def test_quotients_and_remainders_of_three_levels_join():
    i = symbol("i", 0, 8 * 56 * 56 - 1)
    line, place = floordiv(mod(i, 3136), 56), mod(i, 56)
    assert floordiv(i, 3136) * 3136 + line * 56 + place == i
    assert line * 3584 + place * 64 + floordiv(i, 3136) * 200704 == i * 64
    assert line * 56 + place == mod(i, 3136)
    assert line * 57 + place != mod(i, 3136)
