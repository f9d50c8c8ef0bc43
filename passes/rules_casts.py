"""Rewrite rules of casts: to the own dtype, through a wider one, back again."""

from __future__ import annotations

from ..ir.ops.namespace import F
from ..ir.types import DTYPES, FLOATS, holds
from .rewrite import P, exact, integer, rule, variables

(x,) = variables("x")
to, via = variables("to via")


@rule(P.cast(x, dtype=to), exact, to=DTYPES)
def cast_to_own_dtype(x, to):
    return x if x.dtype is to else None


@rule(P.cast(P.cast(x, dtype=via), dtype=to), exact, via=DTYPES, to=DTYPES)
def cast_through_wider(x, via, to):
    """What the dtype between holds exactly is converted at once, except that integers saturate from floats and wrap
    from integers.
    """
    saturates = via.is_inexact and x.dtype.is_integer and to.is_integer and not holds(to, x.dtype)
    return F.astype(x, to) if holds(via, x.dtype) and not saturates else None


@rule(P.bitcast(x, dtype=to), exact, to=DTYPES[1:13])
def bitcast_to_own_dtype(x, to):
    return x if x.dtype is to else None


def _same_test(name: str) -> None:
    test = F[name]
    rule(P[test](P.cast(x, dtype=via)), exact, via=FLOATS, name=f"{name}_of_widened")(
        lambda x, via: test(x) if x.dtype.is_float and holds(via, x.dtype) else None)


for _name in ("isnan", "isinf", "isfinite"):
    _same_test(_name)


@rule(P.isnan(x), integer, on=[d for d in DTYPES if not d.is_inexact])
def integer_is_not_nan(x):
    return False


@rule(P.isinf(x), integer, on=[d for d in DTYPES if not d.is_inexact])
def integer_is_not_infinite(x):
    return False


@rule(P.isfinite(x), integer, on=[d for d in DTYPES if not d.is_inexact])
def integer_is_finite(x):
    return True
