"""Triton's interpreter as a device's processor: the same sources run on NumPy memory, program after program, for tests
and for teaching. Needs no GPU and no torch.

The interpreter must be chosen before Triton is imported (BRAZE_TRITON_INTERPRET=1 does it). Where it computes otherwise
than a GPU, or falls over, it is mended here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache as once
from typing import Any

import ml_dtypes
import numpy as np

from ..ir import expr
from ..ir.errors import DeviceError
from ..ir.scalar import CORE
from ..ir.schedule import Source
from .triton_compiler import load_function, version

_running = threading.Lock()              # the interpreter patches Triton's language, and counts programs, in one place


class Interpreted:
    """A source that the interpreter runs: `kernel(grid, words)`, the words being addresses and sizes in the order of
    its arguments. Threads take turns.
    """

    def __init__(self, source: Source):
        _interpreter()
        self._function = load_function(source)
        self._kinds = [kind for _, kind in source.facts["arguments"]]

    def __call__(self, grid: tuple[int, int, int], words: Sequence[int]) -> None:
        if 0 in grid:
            return
        arguments = [_argument(kind, int(word)) for kind, word in zip(self._kinds, words)]
        with _running, np.errstate(all="ignore"):
            self._function[grid](*arguments)


def interpret(source: Source, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> None:
    """Run a source on NumPy arrays, in the order of its kernel's buffers, in place."""
    for array in arrays:
        if not array.flags.c_contiguous:
            raise DeviceError(f"kernel {source.entry} runs on contiguous arrays")
    names = [name for name, kind in source.facts["arguments"] if kind[0] != "*"]
    words = [*(a.__array_interface__["data"][0] for a in arrays), *(sizes[name] for name in names)]
    Interpreted(source)(grid_of(source, sizes), words)


def grid_of(source: Source, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """How many programs a source runs in three dimensions, for these sizes."""
    first, second, third = (int(expr.evaluate(d, sizes)) for d in source.facts["grid"])
    return first, second, third


def _argument(kind: str, word: int) -> Any:
    """An argument as the interpreter has it inside: of exactly this type, where a number would be given one."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    ty = tl.str_to_ty(kind, None)
    width = np.uint64 if kind[0] == "*" else np.dtype(_NUMBERS[kind])
    return tl.tensor(TensorHandle(np.array([word], width), ty), ty)


_NUMBERS = {"i1": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u32": "uint32",
            "u64": "uint64"}


@once
def _interpreter() -> Any:
    """Triton's interpreter, mended."""
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise DeviceError("Triton was imported before its interpreter was chosen; set TRITON_INTERPRET=1 when the "
                          "process starts")
    os.environ["TRITON_INTERPRET"] = "1"
    version()                            # an error that says so where Triton is missing
    from triton.runtime import interpreter

    _mend_narrow_floats(interpreter)
    _mend_folds(interpreter)
    _mend_bounds(interpreter)
    _mend_splats(interpreter)
    if tuple(map(int, version().split(".")[:2])) < (3, 9):
        _mend_fma(interpreter)
        _mend_numbers(interpreter)
    return interpreter


# ---- mends -----------------------------------------------------------------------------------------------------------


def _mend_narrow_floats(interpreter: Any) -> None:
    """The interpreter keeps bfloat16 as its bits, multiplies those in `tl.dot`, and casts to it by truncation. It knows
    no NaN of 8-bit floats in `tl.dot`.
    """
    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    given = builder.cast_impl
    stored = {"bf16": ml_dtypes.bfloat16, "fp8e4nv": ml_dtypes.float8_e4m3fn, "fp8e5": ml_dtypes.float8_e5m2}

    def numbers(x: Any) -> np.ndarray:
        kind = stored.get(x.dtype.scalar.name)
        return x.data if kind is None else x.data.view(kind).astype(np.float32)

    def cast(self: Any, x: Any, to: Any) -> Any:
        source, target = x.dtype.scalar, to.scalar
        if target.is_bf16() and not source.is_bf16() and source.primitive_bitwidth > 8:
            return handle(x.data.astype(ml_dtypes.bfloat16).view(np.uint16), target)
        if source.is_bf16() and not target.is_bf16() and target.primitive_bitwidth > 8:
            return given(self, handle(numbers(x), interpreter.tl.float32), to)
        return given(self, x, to)

    given_dot = builder.create_dot

    def dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        if not {a.dtype.scalar.name, b.dtype.scalar.name} & stored.keys():
            return given_dot(self, a, b, d, *rest)
        return handle(np.matmul(numbers(a), numbers(b), dtype=d.data.dtype) + d.data, d.dtype.scalar)

    builder.cast_impl, builder.create_fp_trunc, builder.create_dot = cast, cast, dot


def _mend_folds(interpreter: Any) -> None:
    """Reductions and scans by a function of one's own go element by element: here by halves, all else at once."""

    def combined(self: Any, left: list[np.ndarray], right: list[np.ndarray], kinds: list[Any]) -> list[np.ndarray]:
        given = [self.to_tensor(x, kind) for x, kind in zip([*left, *right], kinds * 2)]
        made = self.combine_fn.fn(*given)
        made = made if isinstance(made, tuple) else (made,)
        return [np.broadcast_to(x.handle.data, part.shape).astype(part.dtype) for x, part in zip(made, left)]

    def reduced(self: Any, given: Any) -> list[Any]:
        flat, axis = self.unravel(given, self.axis)
        kinds, parts = [x.dtype for x in flat], [x.handle.data for x in flat]
        while parts[0].shape[axis] > 1:
            even, odd = ([_strided(p, axis, start) for p in parts] for start in (0, 1))
            parts = combined(self, even, odd, kinds)
        if not self.keep_dims:
            parts = [p.item() if self.axis is None else p.squeeze(axis) for p in parts]
        return [self.to_tensor(p, kind) for p, kind in zip(parts, kinds)]

    def scanned(self: Any, given: Any) -> list[Any]:
        kinds, parts = [x.dtype for x in given], [x.handle.data for x in given]
        place = np.arange(parts[0].shape[self.axis])
        place = place.reshape([-1 if n == self.axis % parts[0].ndim else 1 for n in range(parts[0].ndim)])
        distance = 1
        while distance < place.size:
            before = [np.roll(p, distance, self.axis) for p in parts]
            made = combined(self, before, parts, kinds)
            parts = [np.where(place >= distance, new, old) for new, old in zip(made, parts)]
            distance *= 2
        return [self.to_tensor(p, kind) for p, kind in zip(parts, kinds)]

    interpreter.ReduceOps.generic_reduce = reduced
    interpreter.ScanOps.generic_scan = scanned


def _strided(x: np.ndarray, axis: int, start: int) -> np.ndarray:
    return np.ascontiguousarray(x[(slice(None),) * (axis % x.ndim) + (slice(start, None, 2),)])


def _mend_bounds(interpreter: Any) -> None:
    """Triton 3.6 takes the bound of a loop by `int()` of an array of one element, which NumPy 2.4 refuses."""
    given: Callable[..., None] = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        given(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


def _mend_splats(interpreter: Any) -> None:
    """A single comparison that is spread over a tile becomes an integer of its operands' type."""
    handle = interpreter.TensorHandle

    def splat(self: Any, kind: Any, x: Any) -> Any:
        return handle(np.full(kind.shape, x.data.reshape(-1)[0], x.data.dtype), x.dtype.scalar)

    interpreter.InterpreterBuilder.create_splat = splat


def _mend_fma(interpreter: Any) -> None:
    """It rounds a product before it adds to it."""
    handle, fused = interpreter.TensorHandle, CORE["fma"].evaluate

    def fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        return handle(fused(x.data, y.data, z.data).astype(z.data.dtype), z.dtype.scalar)

    interpreter.InterpreterBuilder.create_fma = fma


def _mend_numbers(interpreter: Any) -> None:
    """-1 is no unsigned number to NumPy 2, and there are no constants of bfloat16."""
    builder, handle, tl = interpreter.InterpreterBuilder, interpreter.TensorHandle, interpreter.tl

    def ones(self: Any, kind: Any) -> Any:
        return handle(np.invert(np.zeros(1, interpreter._get_np_dtype(kind))), kind.scalar)

    def bfloat16(self: Any, number: Any) -> Any:
        return handle(np.array([number], ml_dtypes.bfloat16).view(np.uint16), tl.bfloat16)

    builder.get_all_ones_value, builder.get_bf16 = ones, bfloat16
