"""`verify` accepts what the builders make and names the node that breaks a rule."""

import pytest
from braze.ir import expr
from braze.ir.errors import VerifyError
from braze.ir.graph import Graph, Node, Value
from braze.ir.ops import F
from braze.ir.text import parse_graph
from braze.ir.types import TensorType, float32
from braze.ir.verify import verify
from hypothesis import given
from random_graphs import random_graph

F32 = TensorType((3,), float32)


@given(random_graph())
def test_random_graphs_are_well_formed(drawn):
    verify(drawn[0])


def text(body: str, inputs: str = "%x: f32[3], %i: i64[], %b: b1[]", results: str = "f32[3]") -> str:
    return f"graph @f({inputs}) -> {results} {{\n{body}\n}}"


REGION = "graph @r(%a: f32[3]) -> f32[3] {{\n {} \n return {} \n}}"
SAME, WIDER = REGION.format("", "%a"), REGION.format("", "%a").replace("f32[3]", "f32[4]")
TEST = "graph @t(%a: f32[3]) -> b1[] {\n return true:b1 \n}"
STEP = "graph @s(%n: i64[], %a: f32[3]) -> (f32[3], f32[3]) {\n return %a, %a \n}"

GOOD = [
    "%0 = add %x, 1.0 : f32[3]\n return %0",
    f"%0 = cond %b, %x : f32[3]\n then = {SAME}\n otherwise = {SAME}\n return %0",
    f"%0 = while_loop %x {{carried=1}} : f32[3]\n test = {TEST}\n body = {SAME}\n return %0",
    f"%0, %1 = loop 5:i64, %x {{carried=1, scanned=0, reverse=false}} : f32[3], f32[5, 3]\n body = "
    f"{STEP.replace('{', 'with length = 5 {', 1)}\n return %0",
    f"%0 = custom_vjp %x, %x {{count=1}} : f32[3]\n backward = {SAME}\n return %0",
]

BAD = [
    ("%0 = add %x, %i : f32[3]\n return %0", "one dtype"),
    ("%0 = add %x : f32[3]\n return %0", "takes 2 operands, not 1"),
    ("%0 = add %x, 1.0 : f32[4]\n return %x", "has the types (f32[4]), but its op infers (f32[3])"),
    ("%0 = sum %x {axis=(0,)} : f32[]\n return %x", "axis is unknown; axes is missing"),
    ("%0 = logical_not %x : f32[3]\n return %0", "does not take float32"),
    ("%0 = where %x, %x, %x : f32[3]\n return %0", "not a bool"),
    ("%0 = reshape %x {shape=(4,)} : f32[4]\n return %x", "3 elements"),
    (f"%0 = cond %x, %x : f32[3]\n then = {SAME}\n otherwise = {SAME}\n return %0", "0-d bool"),
    (f"%0 = cond %b, %x : f32[3]\n then = {SAME}\n otherwise = {WIDER}\n return %0",
     "the region otherwise takes the types (f32[4])"),
    (f"%0 = cond %b, %x : f32[3]\n then = {SAME}\n return %0", "otherwise is missing"),
    (f"%0 = while_loop %x {{carried=1}} : f32[3]\n test = {SAME}\n body = {SAME}\n return %0", "the region test gives"),
    (f"%0 = loop %x, %x {{carried=1, scanned=0, reverse=false}} : f32[3]\n body = {SAME}\n return %0",
     "number of turns"),
    (f"%0 = cond %b, %x : f32[3]\n then = {REGION.format('%0 = add %a : f32[3]', '%0')}\n otherwise = {SAME}\n return "
     "%0", "takes 2"),
]


@pytest.mark.parametrize("body", GOOD)
def test_good_graphs_pass(body):
    verify(parse_graph(text(body)))


@pytest.mark.parametrize("body, message", BAD)
def test_broken_nodes_are_named(body, message):
    with pytest.raises(VerifyError) as caught:
        verify(parse_graph(text(body)))
    assert message in str(caught.value)
    assert "in %0 = " in str(caught.value)


def test_the_error_names_the_users_line():
    broken = "%0 = add %x : f32[3]   # model.py:14 in block.0\n return %0"
    with pytest.raises(VerifyError, match="model.py:14 in block.0"):
        verify(parse_graph(text(broken)))


def test_use_before_definition():
    x = Value(F32, None, 0, "x")
    first = Node(F.exp, (x,), {}, (F32,))
    second = Node(F.exp, first.results, {}, (F32,))
    with pytest.raises(VerifyError, match="not defined before"):
        verify(Graph("f", (x,), (second, first), second.results))


def test_foreign_outputs_and_inputs():
    x, y = Value(F32, None, 0, "x"), Value(F32, None, 1, "x")
    with pytest.raises(VerifyError, match="output 0"):
        verify(Graph("f", (x,), (), (y,)))
    with pytest.raises(VerifyError, match="two inputs are called x"):
        verify(Graph("f", (x, y), (), (x,)))


def test_symbolic_sizes_that_the_trace_guarded_pass():
    b, c = expr.symbol("B", 1), expr.symbol("C", 1)
    x, y = Value(TensorType((b,), float32), None, 0, "x"), Value(TensorType((c,), float32), None, 1, "y")
    node = Node(F.add, (x, y), {}, (TensorType((b,), float32),))
    verify(Graph("f", (x, y), (node,), node.results))


def test_a_size_with_two_ranges():
    x, y = (Value(TensorType((expr.symbol("B", low),), float32), None, low, f"x{low}") for low in (1, 2))
    with pytest.raises(VerifyError, match="two ranges"):
        verify(Graph("f", (x, y), (), (x,)))
