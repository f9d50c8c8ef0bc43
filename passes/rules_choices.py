"""Rewrite rules of choices and logic: where, comparisons, boolean algebra."""

from __future__ import annotations

from ..ir.ops.declare import Op
from ..ir.ops.namespace import F
from ..ir.types import DTYPES, INTEGERS, bool_
from .rewrite import P, exact, integer, rule, variables

x, y, z = variables("x y z")
p, q = variables("p q", bool_)
BOOL, WHOLE = (bool_,), (bool_, *INTEGERS)

# ---- where -----------------------------------------------------------------------------------------------------------


@rule(P.where(p, x, x), exact)
def where_of_equals(x):
    return x


@rule(P.where(True, x, y), exact)
def where_true(x):
    return x


@rule(P.where(False, x, y), exact)
def where_false(y):
    return y


@rule(P.where(P.logical_not(p), x, y), exact)
def where_not(p, x, y):
    return F.where(p, y, x)


@rule(P.where(p, P.where(p, x, y), z), exact)
def where_in_its_first_branch(p, x, z):
    return F.where(p, x, z)


@rule(P.where(p, x, P.where(p, y, z)), exact)
def where_in_its_second_branch(p, x, z):
    return F.where(p, x, z)


@rule(P.where(p, True, False), exact, on=BOOL)
def where_of_true_and_false(p):
    return p


@rule(P.where(p, False, True), exact, on=BOOL)
def where_of_false_and_true(p):
    return F.logical_not(p)


# ---- boolean algebra -------------------------------------------------------------------------------------------------


@rule(P.logical_not(P.logical_not(p)), exact)
def logical_not_twice(p):
    return p


@rule(P.logical_and(p, True), exact)
def logical_and_true(p):
    return p


@rule(P.logical_and(p, False), exact)
def logical_and_false(p):
    return False


@rule(P.logical_or(p, True), exact)
def logical_or_true(p):
    return True


@rule(P.logical_or(p, False), exact)
def logical_or_false(p):
    return p


@rule(P.logical_xor(p, False), exact)
def logical_xor_false(p):
    return p


@rule(P.logical_xor(p, True), exact)
def logical_xor_true(p):
    return F.logical_not(p)


@rule(P.logical_xor(p, p), exact)
def logical_xor_itself():
    return False


@rule(P.logical_and(p, p), exact)
def logical_and_itself(p):
    return p


@rule(P.logical_or(p, p), exact)
def logical_or_itself(p):
    return p


@rule(P.logical_and(p, P.logical_or(p, q)), exact)
def absorbed_or(p):
    return p


@rule(P.logical_or(p, P.logical_and(p, q)), exact)
def absorbed_and(p):
    return p


@rule(P.not_equal(p, False), exact, on=BOOL)
def differs_from_false(p):
    return p


@rule(P.equal(p, True), exact, on=BOOL)
def equals_true(p):
    return p


# ---- comparisons -----------------------------------------------------------------------------------------------------


def _negation(test: Op, other: Op) -> None:
    rule(P.logical_not(P[test](x, y)), exact, name=f"not_{test.name}")(lambda x, y: other(x, y))


def _integer_negation(test: Op, other: Op) -> None:
    """not (x < y) is x >= y, where there is no NaN."""
    rule(P.logical_not(P[test](x, y)), integer, name=f"not_integer_{test.name}")(
        lambda x, y: None if x.dtype.is_inexact else other(x, y))


for _test, _other in ((F.equal, F.not_equal), (F.not_equal, F.equal)):
    _negation(_test, _other)
for _test, _other in ((F.less, F.greater_equal), (F.less_equal, F.greater), (F.greater, F.less_equal),
                      (F.greater_equal, F.less)):
    _integer_negation(_test, _other)


def _with_itself(test: Op, answer: bool) -> None:
    """What compares a number with itself; an equality fails for NaN."""
    strict = test in (F.less, F.greater)
    rule(P[test](x, x), exact if strict else integer, on=DTYPES if strict else WHOLE,
         name=f"{test.name}_itself")(lambda: answer)


for _test, _answer in ((F.less, False), (F.greater, False), (F.not_equal, False), (F.less_equal, True),
                       (F.greater_equal, True), (F.equal, True)):
    _with_itself(_test, _answer)
