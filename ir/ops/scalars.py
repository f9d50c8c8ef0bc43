"""Expansions in the scalar core carried out at once on arrays: what evaluates an op whose formula is its expansion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import scalar as core
from ..types import DType, dtype


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

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """By Horner's rule with two roundings a step: emulated, one rounding takes twenty times as long."""
        result = x * coefficients[-1]
        for c in coefficients[-2:0:-1]:
            result = (result + c) * x
        return result + coefficients[0]


def on_arrays(expansion: Callable[..., Any]) -> Callable[..., Any]:
    """An evaluation rule: the expansion in float64, rounded once."""

    def run(xp: Any, x: Any) -> Any:
        line = x.astype(xp.float64).reshape(-1)              # operations on arrays of no dimensions give numbers
        return expansion(ArrayScalars(), line).reshape(x.shape).astype(x.dtype)

    return run
