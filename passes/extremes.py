"""Where an extreme stands: the fold of `argmax`, the least position of an element that equals the greatest one.

It reads the axis of the fold that it depends on again, and yet pieces of the axis can be done apart: an element that
equals the whole's extreme equals its piece's, so the piece's place is the whole's wherever the two extremes are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.kernel import Kernel, Value


@dataclass(frozen=True)
class Place:
    """A fold `of` numbers at the elements that equal an `extreme` of the same axes; `between` is what asks that."""

    fold: Value
    extreme: Value
    of: Value
    between: tuple[Value, ...]


def places(kernel: Kernel) -> dict[Value, Place]:
    """The folds of a kernel that are places of an extreme, where nothing else is made of what stands between."""
    found = {v: p for v in kernel.values if v.op == "reduce" and (p := _place(v)) is not None}
    return {v: p for v, p in found.items() if not any(_is_used_otherwise(kernel, x, p) for x in p.between)}


def _place(fold: Value) -> Place | None:
    """The fold as `min over i of select(hit, of, constant)`, or max."""
    chosen = fold.args[0]
    if fold.combine not in ("min", "max") or chosen.op != "select" or chosen.args[2].op != "const":
        return None
    hit, of, _ = chosen.args
    for equal in (hit, *hit.args):
        extreme = _extreme(equal, fold)
        if extreme is not None and (equal is hit or _is_hit(hit, equal, extreme)):
            return Place(fold, extreme, of, tuple(dict.fromkeys((equal, hit, chosen))))
    return None


def _extreme(equal: Value, fold: Value) -> Value | None:
    """The extreme m of `x == m`."""
    if equal.op != "eq":
        return None
    for x, m in (equal.args, equal.args[::-1]):
        if m.op == "reduce" and m.combine in ("min", "max") and m.args[0] is x and m.over == fold.over:
            return m
    return None


def _is_hit(hit: Value, equal: Value, extreme: Value) -> bool:
    """Is it `x == m`, or x not a number where m is none? A NaN is greater, and smaller, than all else."""
    x = extreme.args[0]
    if hit.op == "select":
        asked, nan, other = hit.args
        return _is_nan(asked, extreme) and _is_nan(nan, x) and other is equal
    return hit.op == "or" and any(_is_nan(a, x) for a in hit.args)


def _is_nan(v: Value, of: Value) -> bool:
    return v.op == "ne" and all(a is of for a in v.args)


def _is_used_otherwise(kernel: Kernel, x: Value, place: Place) -> bool:
    users = [v for v in kernel.values if x in v.inputs and v is not place.fold and v not in place.between]
    return bool(users) or any(x in s.inputs for s in kernel.stores)
