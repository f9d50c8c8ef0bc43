"""Types of values: dtypes with their promotion, and `TensorType(shape, dtype, device)`.

Promotion follows the Python array API standard (2024.12, "Type promotion rules"); where the standard leaves a mix
undefined (integer with float), the float wins, as in PyTorch. 8-bit floats store numbers for others to compute with:
they are moved, cast and compared, and promoted to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from .errors import DTypeError
from .expr import Dim, Expr


class DType:
    """A dtype: `name` ("f32"), `numpy` dtype, `kind` ("b", "u", "i", "f" or "c") and width in `bits`. One object
    each.
    """

    __slots__ = ("name", "long_name", "numpy", "kind", "bits")

    def __init__(self, name: str, long_name: str, numpy: Any, kind: str, bits: int):
        self.name, self.long_name, self.numpy, self.kind, self.bits = name, long_name, np.dtype(numpy), kind, bits

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """Is it a real floating-point dtype?"""
        return self.kind == "f"

    @property
    def is_storage(self) -> bool:
        """Is it a float that only stores numbers, which are cast to be computed with?"""
        return self.kind == "f" and self.bits == 8

    @property
    def is_inexact(self) -> bool:
        """Is it real or complex floating point (what gradients flow through)?"""
        return self.kind in "fc"

    @property
    def is_integer(self) -> bool:
        """Is it a signed or unsigned integer?"""
        return self.kind in "ui"

    def __repr__(self) -> str:
        return f"braze.{self.long_name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        return dtype, (self.name,)


bool_ = DType("b1", "bool", np.bool_, "b", 1)
int8 = DType("i8", "int8", np.int8, "i", 8)
int16 = DType("i16", "int16", np.int16, "i", 16)
int32 = DType("i32", "int32", np.int32, "i", 32)
int64 = DType("i64", "int64", np.int64, "i", 64)
uint8 = DType("u8", "uint8", np.uint8, "u", 8)
uint16 = DType("u16", "uint16", np.uint16, "u", 16)
uint32 = DType("u32", "uint32", np.uint32, "u", 32)
uint64 = DType("u64", "uint64", np.uint64, "u", 64)
float16 = DType("f16", "float16", np.float16, "f", 16)
bfloat16 = DType("bf16", "bfloat16", ml_dtypes.bfloat16, "f", 16)
float32 = DType("f32", "float32", np.float32, "f", 32)
float64 = DType("f64", "float64", np.float64, "f", 64)
complex64 = DType("c64", "complex64", np.complex64, "c", 64)
complex128 = DType("c128", "complex128", np.complex128, "c", 128)
float8_e4m3fn = DType("f8e4m3fn", "float8_e4m3fn", ml_dtypes.float8_e4m3fn, "f", 8)       # no infinities
float8_e5m2 = DType("f8e5m2", "float8_e5m2", ml_dtypes.float8_e5m2, "f", 8)

DTYPES = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64, complex64, complex128, float8_e4m3fn, float8_e5m2,
)  # fmt: skip
INTEGERS = tuple(d for d in DTYPES if d.kind in "ui")
FLOAT8 = (float8_e4m3fn, float8_e5m2)
FLOATS = tuple(d for d in DTYPES if d.kind == "f" and d not in FLOAT8)       # what is computed with
COMPLEX = (complex64, complex128)
REALS = (*INTEGERS, *FLOATS)

_BY_NAME = {n: d for d in DTYPES for n in (d.name, d.long_name)}
_BY_NUMPY = {d.numpy: d for d in DTYPES}
_BY_PYTHON: dict[Any, DType] = {bool: bool_, int: int64, float: float32, complex: complex64}


def dtype(x: Any) -> DType:
    """The dtype that a DType, its name, a NumPy dtype or a Python scalar type means.

    >>> dtype("float32")
    braze.float32
    """
    if type(x) is DType:
        return x
    found = _BY_NUMPY.get(x) if isinstance(x, np.dtype) else _BY_NAME.get(x) if isinstance(x,
                                                                                           str) else _BY_PYTHON.get(x)
    if found is None:
        try:
            found = _BY_NUMPY.get(np.dtype(x))
        except TypeError:
            found = None
    if found is None:
        raise DTypeError(f"{x!r} is not a dtype of Braze; use one of {', '.join(d.long_name for d in DTYPES)}")
    return found


@cache
def holds(wide: DType, narrow: DType) -> bool:
    """Has the dtype every value of the narrow one?"""
    if wide is narrow or narrow.kind == "b":
        return True
    if wide.kind == "b" or (narrow.kind, wide.kind) in (("i", "u"), ("f", "u"), ("f", "i"), ("c", "u"), ("c", "i"),
                                                        ("c", "f")):
        return False
    if narrow.is_integer:
        digits = narrow.bits - (narrow.kind == "i")
        return digits <= (wide.bits - (wide.kind == "i") if wide.is_integer else _format(wide)[0])
    (digits, exponent), (more, larger) = _format(narrow), _format(wide)
    return digits <= more and exponent <= larger


def _format(d: DType) -> tuple[int, int]:
    """Binary digits of an inexact dtype's significand, and bits of its exponent."""
    facts = ml_dtypes.finfo(d.numpy)
    return int(facts.nmant) + 1, int(facts.nexp)


_INT_OF = {8: int8, 16: int16, 32: int32, 64: int64}


@cache
def promote(a: DType, b: DType) -> DType:
    """The dtype of an operation between two tensors."""
    if a is b:
        return a
    if a.is_storage or b.is_storage:
        raise DTypeError(f"{a.long_name} and {b.long_name} have no common dtype: 8-bit floats are not promoted; cast "
                         "one of them")
    if a.kind == "b" or b.kind == "b":
        return b if a.kind == "b" else a
    if a.kind == b.kind:
        if a.bits == b.bits:                                   # float16 and bfloat16
            return float32
        return a if a.bits > b.bits else b
    kinds = {a.kind, b.kind}
    if kinds == {"u", "i"}:
        unsigned, signed = (a, b) if a.kind == "u" else (b, a)
        if signed.bits > unsigned.bits:
            return signed
        if unsigned.bits == 64:
            raise DTypeError(f"{a.long_name} and {b.long_name} have no common dtype; cast one of them")
        return _INT_OF[unsigned.bits * 2]
    if "c" in kinds:
        other, cplx = (a, b) if b.kind == "c" else (b, a)
        return complex128 if other is float64 else cplx
    return a if a.kind == "f" else b


def weak(scalar: Any, other: DType) -> DType:
    """The dtype of an operation between a tensor of dtype `other` and a Python scalar, which is weak."""
    if isinstance(scalar, bool) or other.kind == "c":
        return other
    if isinstance(scalar, int):
        return int64 if other.kind == "b" else other
    if isinstance(scalar, float):
        return other if other.kind == "f" else float32
    if isinstance(scalar, complex):
        return complex128 if other is float64 else complex64
    raise DTypeError(f"a {type(scalar).__name__} is not a number")


def inexact(d: DType) -> DType:
    """The dtype of `exp`, `mean`, `/` on this dtype: itself if inexact, else float32."""
    return d if d.is_inexact else float32


def accumulator(d: DType) -> DType:
    """What sums of this dtype are kept in while they run: float32 for narrower floats, int64 for integers."""
    if d.kind == "f" and d.bits < 32:
        return float32
    if d.kind in "bi":
        return int64
    return uint64 if d.kind == "u" else d


def compute_dtype(d: DType) -> DType:
    """What products are summed in: float32 for 16-bit floats."""
    return float32 if d in (float16, bfloat16) else d


@dataclass(frozen=True)
class TensorType:
    """The type of a value: `shape` (sizes, known or symbolic), `dtype` and `device`.

    >>> str(TensorType((2, 3), float32))
    'f32[2, 3]'
    """

    shape: tuple[Dim, ...]
    dtype: DType
    device: str = "cpu"

    def __str__(self) -> str:
        where = "" if self.device == "cpu" else f" on {self.device}"
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]{where}"

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """Are all sizes numbers?"""
        return not any(isinstance(d, Expr) for d in self.shape)

    def with_shape(self, shape) -> TensorType:
        """The same dtype and device with another shape."""
        return TensorType(tuple(shape), self.dtype, self.device)

    def with_dtype(self, new: DType) -> TensorType:
        """The same shape and device with another dtype."""
        return TensorType(self.shape, new, self.device)
