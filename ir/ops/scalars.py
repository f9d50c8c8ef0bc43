"""Expansions in the scalar core carried out at once on arrays: what evaluates an op whose formula is its expansion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import scalar as core
from ..types import DType, dtype

_IN_CACHE = 1 << 13                      # elements: the many arrays between the operations stay in the cache


class ArrayScalars(core.ScalarBuilder):
    """Values are arrays of one namespace."""

    def dtype_of(self, x: Any) -> DType:
        """The dtype of an array."""
        return dtype(x.dtype)

    def constant(self, number: Any, d: DType) -> Any:
        """A number of NumPy's."""
        return np.asarray(number).astype(d.numpy)[()]

    def apply(self, op: str, args: tuple[Any, ...], to: DType | None = None) -> Any:
        """The core operation's definition."""
        return core.evaluate(op, args, to)

    def muladd(self, x: Any, y: Any, z: Any) -> Any:
        """Rounded twice: one rounding is emulated, which takes twenty times as long."""
        return x * y + z


def on_arrays(expansion: Callable[..., Any]) -> Callable[..., Any]:
    """An evaluation rule: the expansion in float64, rounded once."""

    def run(xp: Any, x: Any) -> Any:
        line = x.astype(xp.float64).reshape(-1)              # operations on arrays of no dimensions give numbers
        step = _IN_CACHE if xp is np else max(line.size, 1)
        with np.errstate(all="ignore"):
            for start in range(0, line.size, step):
                line[start:start + step] = expansion(ArrayScalars(), line[start:start + step])
        return line.reshape(x.shape).astype(x.dtype)

    return run
