"""The text of a graph reads back as the same graph; damaged text gives one clear error."""

import numpy as np
import pytest
from braze.ir import expr
from braze.ir.build import GraphBuilder
from braze.ir.errors import ParseError
from braze.ir.expr import Symbol
from braze.ir.graph import Graph
from braze.ir.interpreter import interpreting
from braze.ir.location import Location
from braze.ir.ops import F
from braze.ir.text import parse_graph, print_graph
from braze.ir.types import TensorType, bool_, complex64, dtype, float32, float64, int64
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import random_graph


def round_trip(graph: Graph) -> Graph:
    text = str(graph)
    read = parse_graph(text)
    assert str(read) == text
    assert read == graph
    assert hash(read) == hash(graph)
    return read


def build(make, *types, name="f", notes=()):
    b = GraphBuilder(name)
    inputs = [b.input(t, f"x{n}") for n, t in enumerate(types)]
    with interpreting(b):
        out = make(*inputs)
    return b.build(out if isinstance(out, tuple) else (out,))


@settings(deadline=None)
@given(random_graph())
def test_random_graphs_read_back_and_compute_the_same(drawn):
    graph, arrays = drawn
    read = round_trip(graph)
    for a, b in zip(graph.eval(*arrays), read.eval(*arrays)):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


ATTRIBUTES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([dtype("f32"), dtype("c128")])
    | st.complex_numbers().filter(lambda c: c.imag == c.imag), lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8)


@given(ATTRIBUTES)
def test_attributes_read_back(value):
    b = GraphBuilder("f")
    x = b.input(TensorType((2,), float32), "x")
    node = b.append(F.pad, (x,), {"low": (1,), "high": (0,), "value": value}, (TensorType((3,), float32),))
    read = round_trip(b.build(node.results))
    assert repr(read.nodes[0].attrs["value"]) == repr(value)


SYMBOLS = [expr.symbol("B", 1), expr.symbol("N", 2, 64), expr.symbol("k", 0, expr.symbol("N", 2, 64) - 1)]
SIZES = st.recursive(st.integers(0, 9) | st.sampled_from(SYMBOLS), lambda x: st.one_of(
    st.tuples(x, x).map(lambda p: p[0] + p[1]), st.tuples(x, x).map(lambda p: p[0] * p[1]),
    st.tuples(x, x).map(lambda p: p[0] - p[1]),
    st.tuples(x, st.integers(1, 8)).map(lambda p: expr.floordiv(*p)),
    st.tuples(x, st.integers(1, 8)).map(lambda p: expr.mod(*p)),
    st.tuples(x, x).map(lambda p: expr.minimum(*p)), st.tuples(x, x).map(lambda p: expr.maximum(*p))), max_leaves=6)


@given(st.lists(SIZES, min_size=1, max_size=3))
def test_symbolic_sizes_read_back(shape):
    b = GraphBuilder("f")
    x = b.input(TensorType(tuple(shape), float32), "x")
    read = round_trip(b.build((x,)))
    point = {"B": 7, "N": 11, "k": 3}
    for mine, theirs in zip(shape, read.inputs[0].shape):
        assert expr.evaluate(mine, point) == expr.evaluate(theirs, point)


def test_ranges_of_sizes_are_kept():
    n = expr.symbol("n", 2, 128)
    read = round_trip(build(lambda x: F.exp(x), TensorType((n, expr.symbol("m")), float32)))
    assert "where 2 <= n <= 128" in str(read)
    assert read.inputs[0].shape == (n, expr.symbol("m"))
    ((monomial, _),) = read.inputs[0].shape[0].terms.items()
    assert monomial == (Symbol("n", 2, 128),)


@pytest.mark.parametrize("number", [0.0, -0.0, 1e-45, float("inf"), -float("inf"), float("nan"), 0.1, -3.5e30, 2**40])
def test_constants_are_exact(number):
    graph = build(lambda x: x * number, TensorType((), float64))
    got = round_trip(graph).nodes[0].attrs["value"]
    assert repr(got) == repr(float(number))


def test_constants_of_other_dtypes_say_so():
    graph = build(lambda x: (F.equal(x, 1.0), F.where(F.constant(value=True, dtype=bool_), x, 2.0),
                             F.constant(value=1j, dtype=complex64)),
                  TensorType((3,), float32))
    text = str(graph)
    assert "1.0:f32" in text and "true:b1" in text and "1j:c64" in text
    round_trip(graph)


def test_names_that_are_no_words_are_quoted():
    b = GraphBuilder("my graph")
    x = b.input(TensorType((), float32), 'a "b"\n')
    y = b.input(TensorType((), float32), "0")
    with interpreting(b):
        z = x + y
    round_trip(b.build((z,)))


def test_notes_are_kept():
    b = GraphBuilder("f")
    x = b.input(TensorType((), float32), "x", 'capture "model.(0).weight, bias"')
    b.notes["length"] = "12"
    read = round_trip(b.build((x,)))
    assert read.notes == {"x": 'capture "model.(0).weight, bias"', "length": "12"}


def test_locations_are_read_and_do_not_count_for_equality():
    b = GraphBuilder("f")
    x = b.input(TensorType((), float32), "x")
    b.loc = Location(None, 0, "block.3", "/home/me/model.py", 14)
    with interpreting(b):
        y = F.exp(x)
    graph = b.build((y,))
    read = parse_graph(str(graph))
    assert str(read.nodes[0].loc) == "model.py:14 in block.3"
    assert parse_graph(print_graph(graph, locations=False)) == graph


def loop_graph() -> Graph:
    scalar, counter = TensorType((), float32), TensorType((), int64)
    body = GraphBuilder("body")
    turn, total, element, rate = (body.input(t, n) for t, n in ((counter, "turn"), (scalar, "total"),
                                                                (scalar, "element"), (scalar, "rate")))
    with interpreting(body):
        inner = build(lambda a: F.sin(a), scalar, name="then"), build(lambda a: a * 2.0, scalar, name="otherwise")
        picked = body.append(F.cond, (F.greater(element, 0.0), element), {"then": inner[0], "otherwise": inner[1]},
                             (scalar,)).result
        new = total + picked * rate
        squared = new * new
    region = body.build((new, squared))
    b = GraphBuilder("main")
    xs, rate = b.input(TensorType((4,), float32), "xs"), b.input(scalar, "rate")
    with interpreting(b):
        turns, start = F.constant(value=4, dtype=int64), F.constant(value=0.0, dtype=float32)
        node = b.append(F.loop, (turns, start, xs, rate), {"body": region, "carried": 1, "scanned": 1,
                                                           "reverse": False},
                        (scalar, TensorType((4,), float32)))
    return b.build(node.results)


def test_regions_read_back_and_run():
    read = round_trip(loop_graph())
    xs = np.array([1, -2, 3, -4], np.float32)
    total, squares = read.eval(xs, np.float32(0.5))
    want = np.cumsum(np.where(xs > 0, np.sin(xs), xs * 2) * 0.5)
    np.testing.assert_allclose(total, want[-1], rtol=1e-6)
    np.testing.assert_allclose(squares, want**2, rtol=1e-5)


GOOD = """graph @f(%x: f32[3]) -> f32[3] {
  %0 = exp %x : f32[3]
  return %0
}"""


def test_a_version_line_is_allowed():
    assert parse_graph("braze ir 1\n" + GOOD) == parse_graph(GOOD)


@pytest.mark.parametrize("old, new, message", [
    ("exp", "exq", "is it 'exp'"),
    ("%x :", "%y :", "%y is not defined"),
    ("f32[3] {", "f33[3] {", "no dtype 'f33'"),
    ("return %0", "%0 = exp %x : f32[3]\n  return %0", "defined twice"),
    ("return %0", "return 1.0", "needs a dtype"),
    ("-> f32[3]", "-> f32[4]", "returns f32[4] here, not f32[3]"),
    ("}", "", "found the end"),
    ("}", "} }", "expected the end of the text"),
    ("%x : f32[3]", "%x {axes=(1, : f32[3]", "expected a value"),
    ("%x : f32[3]", "%x : f32[3], f32[3]", "1 results have 2 types"),
    ("%x : f32[3]", "%x ; f32[3]", "no meaning"),
    ("%x: f32[3]", "%x: f32[3], %x: f32[3]", "twice"),
    ("f32[3])", "f32[true])", "expected a size"),
    ("f32[3])", "f32[B // 0])", "divisor must be positive"),
    ("f32[3])", f"f32[{'(' * 5000}3])", "nested too deeply"),
    ("graph @f", "braze ir 9 graph @f", "version 9"),
])
def test_damaged_text_gives_one_clear_error(old, new, message):
    text = GOOD.replace(old, new)
    with pytest.raises(ParseError) as caught:
        parse_graph(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("line ") and str(caught.value).rstrip().endswith("^")


@given(st.text(alphabet="graph@%f()->{}:=,[]x3 \n\"#+-*0.1e", max_size=60), st.integers(0, 60))
def test_any_damage_gives_a_parse_error_or_a_graph(noise, place):
    text = GOOD[:place] + noise + GOOD[place + len(noise):]
    try:
        parse_graph(text)
    except ParseError:
        pass
