"""What a kernel's value is where an index lies outside of the memory that it is loaded from: known where loads fill in
what computes to the same number everywhere, so that no choice by position has to follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.expr import Dim
from ..ir.kernel import Buffer, Value
from ..ir.scalar import CORE, converted

MOST = 16                        # values that are looked through


def is_outside(x: Value, number: Any, inside: Sequence[tuple[Dim, Dim]], buffers: Mapping[str, Buffer]) -> bool:
    """Is it this number wherever one of the index expressions is not within its size?"""
    want = converted(number, x.dtype)
    found = [_outside(x, pair, buffers) for pair in inside]
    return all(n is not None and n.tobytes() == want.tobytes() for n in found)


def _outside(x: Value, pair: tuple[Dim, Dim], buffers: Mapping[str, Buffer]) -> np.ndarray | None:
    """What x is where this index is not within this size; None where that depends on more."""
    known: dict[Value, np.ndarray | None] = {}
    todo = [x]
    while todo:
        v = todo[-1]
        missing = [a for a in v.inputs if a not in known] if v.op in CORE else []
        if len(known) + len(missing) > MOST:
            return None
        todo += missing
        if not missing:
            known[todo.pop()] = _of(v, [known[a] for a in v.inputs] if v.op in CORE else [], pair, buffers)
    return known[x]


def _of(v: Value, args: list[np.ndarray | None], pair: tuple[Dim, Dim],
        buffers: Mapping[str, Buffer]) -> np.ndarray | None:
    if v.op == "const":
        return converted(v.number, v.dtype)
    if v.op == "load" and v.fill is not None and pair in zip(v.index, buffers[v.buffer].shape):
        return converted(v.fill, v.dtype)
    if v.op not in CORE or any(a is None for a in args):
        return None
    with np.errstate(all="ignore"):
        to = (v.dtype,) if CORE[v.op].result == "attribute" else ()
        return converted(CORE[v.op].evaluate(*args, *to), v.dtype)
