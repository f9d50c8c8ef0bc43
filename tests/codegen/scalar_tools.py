"""A core operation as a native function on arrays: `native(op, dtypes, to, lanes)(*arrays)`."""

from __future__ import annotations

from functools import cache

import numpy as np
from braze.codegen.llvm.scalar import emit
from braze.codegen.llvm.types import INDEX, POINTER
from braze.codegen.llvm.writer import Module
from braze.ir.scalar import CORE, result_dtype
from braze.ir.types import DType

from .jit import Compiled


def write(op: str, dtypes: tuple[DType, ...], to: DType | None, lanes: int) -> tuple[Module, DType]:
    """A module whose `run(x, …, out, n)` applies the operation to n elements, in whole vectors."""
    module = Module()
    names = [f"x{i}" for i in range(len(dtypes))]
    w = module.function("run", {**dict.fromkeys(names, POINTER), "out": POINTER, "n": INDEX}, linkage="external")
    *sources, out, n = w.parameters
    result = result_dtype(op, dtypes, to)

    def turn(i):
        loaded = [w.load(d, w.at(p, i, d), lanes) for p, d in zip(sources, dtypes)]
        w.store(emit(w, op, loaded, dtypes[-1], to), w.at(out, i, result))

    w.loop(0, n, lanes, turn)
    return module, result


@cache
def native(op: str, dtypes: tuple[DType, ...], to: DType | None = None, lanes: int = 16):
    """The operation compiled; the number of elements may be any."""
    module, result = write(op, dtypes, to, lanes)
    compiled = Compiled(module)

    def call(*arrays):
        n = len(arrays[0])
        padded = -(-n // lanes) * lanes
        whole = [np.pad(np.ascontiguousarray(a), (0, padded - n)) if padded != n else np.ascontiguousarray(a)
                 for a in arrays]
        out = np.empty(padded, result.numpy)
        compiled.run(*whole, out, padded)
        return out[:n]

    call.compiled = compiled
    return call


def operand_dtypes(op: str, d: DType) -> tuple[DType, ...]:
    """The dtypes of the operands when the operation is on d."""
    from braze.ir.types import bool_

    return (bool_, d, d) if op == "select" else (d,) * CORE[op].arity
