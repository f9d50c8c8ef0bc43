"""Reading IR text: tokens, errors with a caret, types, attributes and sizes. What a graph is made of is parse.py's. No
`eval`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from . import expr
from .errors import ParseError
from .expr import Dim, Expr
from .types import DTYPES, TensorType

DTYPE_NAMES = {d.name: d for d in DTYPES}
WORDS = {"true": True, "false": False, "None": None, "inf": math.inf, "nan": math.nan}
_REAL = r"(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf|nan)"
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_TOKEN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in {
    "space": r"\s+",
    "comment": r"\#[^\n]*",
    "string": _STRING,
    "value": rf"%(?:{_STRING}|\w[\w.]*)",
    "title": rf"@(?:{_STRING}|\w[\w.]*)",
    "complex": rf"\(-?{_REAL}[-+]{_REAL}j\)|-?{_REAL}j\b",
    "float": r"\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+",
    "int": r"\d+",
    "word": r"[A-Za-z_]\w*",
    "mark": r"->|//|<=|[(){}\[\],:=+\-*%]",
}.items()))
_MAXIMAL_DEPTH = 60
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def quoted(sign: str, name: str) -> str:
    """A name after its sign, in quotes where it is not a plain word: %x, @"my graph"."""
    return sign + (name if _PLAIN_NAME.fullmatch(name) else json.dumps(name))


@dataclass(frozen=True)
class Token:
    """A piece of the text: what it is, how it is written, where it stands."""

    kind: str
    text: str
    start: int
    end: int


class Reader:
    """One pass over the tokens of a text, with the symbolic sizes that are known so far."""

    def __init__(self, text: str):
        self.text = text
        self.tokens: list[Token] = []
        self.comments: dict[int, str] = {}            # by the end of the token before
        self.at = 0
        self._depth = 0
        self.symbols: dict[str, Expr] = {}
        self.tokenize()

    def tokenize(self) -> None:
        """The text as tokens; comments are kept by the token that they follow on its line."""
        position = 0
        while position < len(self.text):
            found = _TOKEN.match(self.text, position)
            if found is None:
                self.error("this character has no meaning here", position)
            if found.lastgroup == "comment" and self.tokens:
                last = self.tokens[-1].end
                if "\n" not in self.text[last:position]:
                    self.comments[last] = found.group()
            elif found.lastgroup not in ("space", "comment"):
                self.tokens.append(Token(str(found.lastgroup), found.group(), position, found.end()))
            position = found.end()
        self.tokens.append(Token("end", "the end", len(self.text), len(self.text)))

    # ---- errors and tokens ----

    def error(self, message: str, position: int) -> NoReturn:
        """A ParseError with the line and a caret."""
        line = self.text.count("\n", 0, position) + 1
        start = self.text.rfind("\n", 0, position) + 1
        shown = self.text[start:].split("\n", 1)[0]
        raise ParseError(f"line {line}: {message}\n  {shown}\n  {' ' * (position - start)}^")

    def fail(self, wanted: str) -> NoReturn:
        """The error that something else was expected here."""
        found = "the end" if self.token.kind == "end" else repr(self.token.text)
        self.error(f"expected {wanted}, found {found}", self.token.start)

    @property
    def token(self) -> Token:
        """The token that comes next."""
        return self.tokens[self.at]

    def take(self, kind: str, wanted: str) -> Token:
        """The next token, which must be of this kind."""
        t = self.token
        if t.kind != kind:
            self.fail(wanted)
        self.at += 1
        return t

    def accept(self, text: str) -> bool:
        """Go past this mark or word, if it comes next."""
        t = self.tokens[self.at]
        if t.text != text or t.kind not in ("mark", "word"):
            return False
        self.at += 1
        return True

    def expect(self, text: str) -> None:
        """Go past this mark or word."""
        if not self.accept(text):
            self.fail(f"'{text}'")

    def name(self, kind: str, wanted: str) -> str:
        """A name behind its sign, unquoted."""
        text = self.take(kind, wanted).text[1:]
        return str(json.loads(text)) if text.startswith('"') else text

    def deeper(self) -> None:
        """One level further in; a text nested without end is refused."""
        self._depth += 1
        if self._depth > _MAXIMAL_DEPTH:
            self.error("this is nested too deeply", self.token.start)

    def shallower(self) -> None:
        """Out again."""
        self._depth -= 1

    # ---- types, attributes, expressions ----

    def type(self) -> TensorType:
        """A type: f32[2, B] on cuda:0."""
        t = self.take("word", "a type, such as f32[2, 3]")
        if t.text not in DTYPE_NAMES:
            self.error(f"there is no dtype {t.text!r}; dtypes are {', '.join(DTYPE_NAMES)}", t.start)
        self.expect("[")
        shape: list[Dim] = []
        while not self.accept("]"):
            if shape:
                self.expect(",")
            shape.append(self.dim())
        return TensorType(tuple(shape), DTYPE_NAMES[t.text], self.device() if self.accept("on") else "cpu")

    def device(self) -> str:
        """A device's name."""
        name = self.take("word", "a device").text
        if self.token.text == ":" and self.tokens[self.at + 1].kind == "int":
            self.at += 2
            name += f":{self.tokens[self.at - 1].text}"
        return name

    def dim(self) -> Dim:
        """A size: a number or an expression."""
        start = self.token.start
        x = self.attribute()
        if isinstance(x, bool) or not isinstance(x, (int, Expr)):
            self.error("expected a size", start)
        return x

    def read_ranges_ahead(self) -> None:
        """The `where` clause of the outermost header says which ranges the sizes have that the header itself names."""
        start = self.at
        for n in range(start, len(self.tokens)):
            if self.tokens[n].text == "{":
                break
            if self.tokens[n].kind == "word" and self.tokens[n].text == "where":
                self.at = n + 1
                self.ranges()
                break
        self.at = start

    def ranges(self) -> None:
        """Sizes with their ranges: 1 <= B <= 512, 0 <= N."""
        while True:
            low = self.number("the least value")
            self.expect("<=")
            name = self.take("word", "a size's name").text
            high = self.dim() if self.accept("<=") else None
            self.symbols[name] = expr.symbol(name, low, high)
            if not self.accept(","):
                return

    def number(self, wanted: str) -> int:
        """An integer."""
        sign = -1 if self.accept("-") else 1
        return sign * int(self.take("int", wanted).text)

    def attribute(self) -> Any:
        """A sum; anything else than sizes stands alone in one."""
        self.deeper()
        x = self.product()
        while self.token.text in ("+", "-"):
            sign = self.token
            self.at += 1
            y = self.product()
            x = self.arithmetic(sign, x, y)
        self.shallower()
        return x

    def product(self) -> Any:
        """Factors."""
        x = self.unary()
        while self.token.text in ("*", "//", "%"):
            sign = self.token
            self.at += 1
            y = self.unary()
            x = self.arithmetic(sign, x, y)
        return x

    def arithmetic(self, sign: Token, x: Any, y: Any) -> Dim:
        """An operation between sizes."""
        for z in (x, y):
            if isinstance(z, bool) or not isinstance(z, (int, Expr)):
                self.error(f"'{sign.text}' stands between sizes only", sign.start)
        if sign.text in ("//", "%") and isinstance(y, int) and y <= 0:
            self.error("a divisor must be positive", sign.start)
        return {"+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y,
                "//": lambda: expr.floordiv(x, y), "%": lambda: expr.mod(x, y)}[sign.text]()

    def unary(self) -> Any:
        """A value with or without a sign."""
        if self.token.text != "-":
            return self.primary()
        start = self.token.start
        self.at += 1
        x = self.primary()
        if isinstance(x, bool) or not isinstance(x, (int, float, Expr)):
            self.error("a sign stands before a number only", start)
        return -x

    def primary(self) -> Any:
        """A literal, a word, or something in parentheses."""
        t = self.token
        self.at += 1
        if t.kind == "string":
            return json.loads(t.text)
        if t.kind in ("int", "float", "complex"):
            return {"int": int, "float": float, "complex": complex}[t.kind](t.text)
        if t.kind == "word":
            return self.word(t)
        if t.text == "(":
            return self.parenthesis()
        self.at -= 1
        self.fail("a value")

    def word(self, t: Token) -> Any:
        """A number, a dtype, a size, or a minimum or maximum of sizes."""
        if t.text in ("min", "max") and self.accept("("):
            left = self.dim()
            self.expect(",")
            right = self.dim()
            self.expect(")")
            return (expr.minimum if t.text == "min" else expr.maximum)(left, right)
        if t.text in WORDS:
            return WORDS[t.text]
        return DTYPE_NAMES.get(t.text) or self.symbols.setdefault(t.text, expr.symbol(t.text))

    def parenthesis(self) -> Any:
        """A tuple, or a sum in parentheses."""
        items: list[Any] = []
        while not self.accept(")"):
            items.append(self.attribute())
            if not items[1:] and self.accept(")"):
                return items[0]
            if self.token.text != ")":
                self.expect(",")
        return tuple(items)
