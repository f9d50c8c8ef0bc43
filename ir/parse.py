"""Reading the text of a graph. The grammar is shown in text.py.

A damaged file gives a ParseError with the line and a caret. Types are taken as written; `verify` compares them with
what the ops infer.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .graph import Graph, Node, Value
from .location import Location
from .ops import F
from .ops.declare import Op
from .reader import DTYPE_NAMES, WORDS, Reader, Token, quoted
from .types import DType, TensorType

VERSION = 1
_LOCATION = re.compile(r"#\s*(?P<file>[^\n]*?):(?P<line>\d+)(?: in (?P<scope>.*\S))?\s*$")


def parse_graph(text: str) -> Graph:
    """The graph that a text says; a first line `braze ir 1` may name the version.

    >>> print(parse_graph("graph @f(%x: f32[3]) -> f32[3] {\\n  %0 = exp %x : f32[3]\\n  return %0\\n}"))
    graph @f(%x: f32[3]) -> f32[3] {
      %0 = exp %x : f32[3]
      return %0
    }
    """
    parser = _GraphReader(text)
    parser.version()
    parser.read_ranges_ahead()
    graph = parser.graph(top=True)
    if parser.token.kind != "end":
        parser.fail("the end of the text")
    return graph


class _GraphReader(Reader):
    """Graphs, nodes and operands."""

    def version(self) -> None:
        if not self.accept("braze"):
            return
        self.expect("ir")
        t = self.take("int", "the version of the text form")
        if int(t.text) != VERSION:
            self.error(f"this is version {t.text} of the text form; this Braze reads version {VERSION}", t.start)

    def graph(self, top: bool = False) -> Graph:
        self.deeper()
        self.expect("graph")
        name = self.name("title", "the graph's name, such as @main")
        names: dict[str, Value] = {}
        notes: dict[str, Any] = {}
        inputs = self.inputs(names, notes)
        self.expect("->")
        results = self.result_types()
        if self.accept("with"):
            self.graph_notes(notes)
        if top and self.accept("where"):
            self.ranges()
        self.expect("{")
        body = _Body(names)
        while not self.accept("return"):
            self.node(body)
        outputs = self.outputs(body, results)
        self.expect("}")
        self.shallower()
        return Graph(name, inputs, tuple(body.nodes), outputs, notes)

    def inputs(self, names: dict[str, Value], notes: dict[str, Any]) -> tuple[Value, ...]:
        inputs: list[Value] = []
        self.expect("(")
        while not self.accept(")"):
            if inputs:
                self.expect(",")
            t = self.token
            name = self.name("value", "an input, such as %x")
            if _key(t) in names:
                self.error(f"the input %{name} is there twice", t.start)
            self.expect(":")
            inputs.append(Value(self.type(), None, len(inputs), name))
            names[_key(t)] = inputs[-1]
            note = self.note()
            if note:
                notes[name] = note
        return tuple(inputs)

    def note(self) -> str:
        """The free text between an input's type and what follows."""
        start, depth, end = self.token.start, 0, self.token.start
        while depth or self.token.text not in (",", ")"):
            if self.token.kind == "end":
                self.fail("')'")
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(self.token.text, 0)
            end = self.token.end
            self.at += 1
        return self.text[start:end]

    def graph_notes(self, notes: dict[str, Any]) -> None:
        while True:
            key = self.take("word", "a note's name").text
            self.expect("=")
            notes[key] = self.attribute()
            if not self.accept(","):
                return

    def result_types(self) -> tuple[TensorType, ...]:
        if not self.accept("("):
            return (self.type(),)
        types: list[TensorType] = []
        while not self.accept(")"):
            if types:
                self.expect(",")
            types.append(self.type())
        return tuple(types)

    def outputs(self, body: _Body, types: tuple[TensorType, ...]) -> tuple[Value, ...]:
        outputs = []
        for n, t in enumerate(types):
            if n:
                self.expect(",")
            start = self.token.start
            v = self.resolve(self.operand(), body, None)
            if v.type != t:
                self.error(f"the graph returns {t} here, not {v.type}", start)
            outputs.append(v)
        return tuple(outputs)

    # ---- nodes ----

    def node(self, body: _Body) -> None:
        left: list[Token] = []
        if self.accept("("):
            self.expect(")")
        else:
            left.append(self.take("value", "a node, such as %0 = …, or 'return'"))
            while self.accept(","):
                left.append(self.take("value", "a result, such as %1"))
        self.expect("=")
        op = self.op()
        operands = []
        if self.token.kind in ("value", "int", "float", "complex") or self.token.text in ("-", *WORDS):
            operands.append(self.operand())
            while self.accept(","):
                operands.append(self.operand())
        attrs = self.attributes() if self.accept("{") else {}
        self.expect(":")
        types = self.node_types(left)
        loc = self.location()
        common = types[0].dtype if types else None
        values = [self.resolve(o, body, common) for o in operands]
        while self.token.kind == "word" and self.tokens[self.at + 1].text == "=":
            key = self.take("word", "a region").text
            self.expect("=")
            attrs[key] = self.graph()
        node = Node(op, values, attrs, types, loc)
        body.nodes.append(node)
        for t, r in zip(left, node.results):
            name = _key(t)
            if name in body.names:
                self.error(f"%{name} is defined twice", t.start)
            body.names[name] = r

    def op(self) -> Op:
        t = self.take("word", "an op")
        found = F[t.text] if t.text in F else None
        if not isinstance(found, Op):
            import difflib  # it costs more than all else that this module imports

            near = difflib.get_close_matches(t.text, [o.name for o in F if isinstance(o, Op)], 1)
            self.error(f"there is no op {t.text!r}" + (f"; is it {near[0]!r}?" if near else ""), t.start)
        return found

    def node_types(self, left: list[Token]) -> tuple[TensorType, ...]:
        start = self.token.start
        if self.accept("("):
            self.expect(")")
            types: tuple[TensorType, ...] = ()
        else:
            out = [self.type()]
            while self.accept(","):
                out.append(self.type())
            types = tuple(out)
        if len(types) != len(left):
            self.error(f"{len(left)} results have {len(types)} types", start)
        return types

    def location(self) -> Location | None:
        found = _LOCATION.match(self.comments.get(self.tokens[self.at - 1].end, ""))
        if found is None:
            return None
        return Location(None, 0, found["scope"] or "", found["file"], int(found["line"]))

    def operand(self) -> tuple[Token, Any, DType | None]:
        """A value's token, or a number with the dtype written behind it."""
        t = self.token
        if t.kind == "value":
            self.at += 1
            return t, None, None
        number = self.unary()
        following = self.tokens[self.at + 1: self.at + 3]
        if self.token.text == ":" and following[0].text in DTYPE_NAMES and following[1].text != "[":
            self.at += 2
            return t, number, DTYPE_NAMES[following[0].text]
        return t, number, None

    def resolve(self, operand: tuple[Token, Any, DType | None], body: _Body, common: DType | None) -> Value:
        token, number, dtype = operand
        if token.kind == "value":
            name = _key(token)
            if name not in body.names:
                self.error(f"%{name} is not defined before it is used", token.start)
            return body.names[name]
        d = dtype or common
        if d is None:
            self.error(f"the number {token.text} needs a dtype, such as {token.text}:f32", token.start)
        if not isinstance(number, (bool, int, float, complex)):
            self.error("expected a value or a number", token.start)
        return body.constant(number, d)

    def attributes(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        while not self.accept("}"):
            if attrs:
                self.expect(",")
            key = self.take("word", "an attribute's name").text
            self.expect("=")
            attrs[key] = self.attribute()
        return attrs


def _key(t: Token) -> str:
    """What a value is known by: its name, in quotes unless it is a plain word (%0 is a node, %"0" an input)."""
    text = t.text[1:]
    return quoted("", json.loads(text)) if text.startswith('"') else text


class _Body:
    """The nodes of one graph while it is read; equal constants are one node."""

    def __init__(self, names: dict[str, Value]):
        self.names = names
        self.nodes: list[Node] = []
        self.constants: dict[tuple[str, DType], Value] = {}

    def constant(self, number: Any, d: DType) -> Value:
        known = self.constants.get((repr(number), d))
        if known is None:
            node = Node(F.constant, (), {"value": number, "dtype": d}, (TensorType((), d),))
            self.nodes.append(node)
            known = self.constants[repr(number), d] = node.results[0]
        return known
