"""Products that a machine has an instruction for: dot products of several narrow numbers, summed in a wide one.

A kernel says them as a product of casts, `sum(mul(cast(a), cast(b)))`. An operand is then packed as the narrow numbers
it is cast from, `DEPTHS` neighbours along K in one word of 32 bits.
"""

from __future__ import annotations

from ..ir.kernel import Value
from ..ir.target import Target
from ..ir.types import DType, bfloat16, float32, int8, int32, uint8

# (dtypes of the operands, of the sum, what it is called, (bytes of a register, the features that it needs))
_DOTS: tuple[tuple[tuple[DType, ...], DType, str, tuple[tuple[int, tuple[str, ...]], ...]], ...] = (
    ((bfloat16,), float32, "bf16", ((64, ("+avx512bf16",)), (32, ("+avx512bf16", "+avx512vl")))),
    ((int8, uint8), int32, "i8", ((64, ("+avx512vnni",)), (32, ("+avx512vnni", "+avx512vl")), (32, ("+avxvnni",)))),
)


def dot(total: Value, left: Value, right: Value, target: Target) -> str:
    """The dot product that a sum of products can be made by on a machine, "" for none."""
    if left.op != "cast" or right.op != "cast":
        return ""
    present = set(target.features.split(","))
    for operands, summed, name, machines in _DOTS:
        fits = total.dtype is summed and left.args[0].dtype in operands and right.args[0].dtype in operands
        if fits and any(target.vector_bytes == n and present.issuperset(needs) for n, needs in machines):
            return name
    return ""


def is_flipped(left: Value, right: Value) -> bool:
    """Must the left operand change its sign, since the instruction multiplies unsigned by signed numbers?"""
    return left.dtype is right.dtype and left.dtype.kind in "iu"
