"""Every rule keeps its promise for every dtype it names; rules that look right and are not are caught."""

import math

import pytest
from braze.ir.ops import F
from braze.ir.types import DTYPES, FLOATS
from braze.passes.rewrite import P, Rule, exact, integer, numbers, variables
from braze.passes.rules import TABLE
from rule_checker import broken_promise

x, y = variables("x y")
(c,) = numbers("c")


@pytest.mark.parametrize("rule", TABLE.rules, ids=lambda r: r.name)
def test_rule_keeps_its_promise(rule):
    outcomes = [broken_promise(rule, dict(case), d) for case in rule.examples for d in DTYPES]
    assert [o for o in outcomes if o is not True and o is not None] == []
    assert None in outcomes, "the rule applies to none of its examples"


def test_names_of_rules_are_unique():
    names = [r.name for r in TABLE.rules]
    assert len(set(names)) == len(names)


WRONG = [
    Rule("x + 0 for floats", P.add(x, 0.0), exact, lambda x: x, frozenset(FLOATS)),
    Rule("x * 0", P.mul(x, 0), exact, lambda x: 0, frozenset(FLOATS)),
    Rule("x - x", P.sub(x, x), exact, lambda: 0, frozenset(FLOATS)),
    Rule("x + y - y", P.sub(P.add(x, y), y), exact, lambda x, y: x, frozenset(FLOATS)),
    Rule("-(x - y)", P.neg(P.sub(x, y)), exact, lambda x, y: F.sub(y, x), frozenset(FLOATS)),
    Rule("0 - x", P.sub(0.0, x), exact, lambda x: F.neg(x), frozenset(FLOATS)),
    Rule("x / 3", P.div(x, c), exact, lambda x, c: F.mul(x, 1 / c), frozenset(FLOATS), ({"c": 3.0},)),
    Rule("not less", P.logical_not(P.less(x, y)), exact, lambda x, y: F.greater_equal(x, y), frozenset(DTYPES)),
    Rule("sqrt of square", P.sqrt(P.square(x)), exact, lambda x: F.abs(x), frozenset(FLOATS)),
    Rule("x == x", P.equal(x, x), exact, lambda: True, frozenset(FLOATS)),
    Rule("x * 2 // 2", P.floor_divide(P.mul(x, 2), 2), integer, lambda x: x, frozenset(DTYPES)),
    Rule("power of a half", P.pow(x, 0.5), exact, lambda x: F.sqrt(x), frozenset(FLOATS)),
    Rule("maximum that loses NaN", P.maximum(x, -math.inf), exact, lambda x: F.where(F.isnan(x), -math.inf, x),
         frozenset(FLOATS)),
    Rule("transposed twice", P.permute(P.permute(x, axes=variables("a")[0])), exact, lambda x: x, frozenset(DTYPES),
         ({"x": (3, 3, 3), "a": (1, 2, 0), "axes": (1, 2, 0)},)),
]


@pytest.mark.parametrize("rule", WRONG, ids=lambda r: r.name)
def test_a_wrong_rule_is_caught(rule):
    assert any(isinstance(broken_promise(rule, dict(case), d), str) for case in rule.examples for d in DTYPES)
