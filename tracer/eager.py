"""Eager execution: each operation runs at once, by its NumPy evaluation rule; what requires gradients is recorded on the tape."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..ir.build import agree, check_arity
from ..ir.errors import DTypeError
from ..ir.expr import Dim
from ..ir.interpreter import install_default
from ..ir.ops.declare import Op
from ..ir.types import DType, TensorType
from .autograd import record
from .modes import _grad_enabled
from .tensor import Tensor, dtype_of_array, mark_view

# Like PyTorch, no warning where NaN or an infinity arises; the filter is for our own modules alone.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"braze\.(ir|tracer)\b")

_ndarray = np.ndarray


class Eager:
    """The default interpreter; its operands are tensors with arrays."""

    def __init__(self) -> None:
        self._direct: dict[Any, bool] = {}    # (op, dtype, dtype or scalar type) -> may NumPy promote by itself?

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on tensors, arrays and numbers."""
        if op.kind != "pointwise" or op.parameters:
            check_arity(op, args)
            return self.bind(op, tuple(a if type(a) is Tensor else self.lift(a) for a in args), attrs)
        if len(args) == 2:
            x, y = args
            a = x._array if isinstance(x, Tensor) else x
            b = y._array if isinstance(y, Tensor) else y
            kind = (op, getattr(a, "dtype", None) or type(a), getattr(b, "dtype", None) or type(b))
            direct = self._direct.get(kind)
            if direct is None:
                direct = self._direct[kind] = _needs_no_cast(op, a, b)
            if direct:
                array = op.evaluate(np, a, b)
                result = Tensor(array if type(array) is _ndarray else np.asarray(array))
                if (isinstance(x, Tensor) and (x._node is not None or x._requires_grad)) or (
                        isinstance(y, Tensor) and (y._node is not None or y._requires_grad)):
                    if _grad_enabled.get():
                        operands = tuple(v if isinstance(v, Tensor) else self.constant(v, dtype_of_array(result._array)
                                         if op.result == "same" else operand.dtype)
                                         for v, operand in ((x, y), (y, x)))
                        record(op, operands, attrs, (result,))
                return result
        else:
            check_arity(op, args)
        return self.bind(op, agree(self, op, args), attrs)

    def bind(self, op: Op, operands: tuple[Tensor, ...], attrs: dict[str, Any]) -> Any:
        """The op on tensors of agreed dtypes."""
        if op.kind == "control":
            from .control import run_eagerly

            return run_eagerly(op, operands, attrs)
        arrays = []
        for t in operands:
            arrays.append(t._array if t._array is not None else t._concrete("an operation", "keep it inside the function that made it"))
        if op.kind not in ("pointwise", "random") and operands:
            op.infer([t.type for t in operands], attrs)      # the type rule's errors are better than NumPy's
        out = op.evaluate(np, *arrays, **attrs)
        many = type(out) is tuple
        results = tuple(Tensor(a if type(a) is _ndarray else np.asarray(a)) for a in (out if many else (out,)))
        for t in operands:
            if t._requires_grad or t._node is not None:
                if _grad_enabled.get():
                    record(op, operands, attrs, results)
                break
        if op.kind == "view" and operands:
            mark_view(results[0], operands[0])
        return results if many else results[0]

    def constant(self, number: Any, dtype: DType) -> Tensor:
        """A 0-d tensor."""
        return Tensor(np.asarray(number).astype(dtype.numpy))

    def size(self, dim: Dim) -> Tensor:
        """A size as a 0-d int64 tensor."""
        return Tensor(np.asarray(dim, np.int64))

    def lift(self, x: Any) -> Tensor:
        """A tensor from a tensor, an array or a NumPy scalar."""
        if isinstance(x, Tensor):
            return x
        if isinstance(x, (np.ndarray, np.generic)):
            return Tensor(np.array(x))
        if isinstance(x, (bool, int, float, complex)):
            return Tensor(np.asarray(x, _PLAIN[type(x)]))
        raise DTypeError(f"expected a tensor, an array or a number, not {type(x).__name__}")


_PLAIN = {bool: np.bool_, int: np.int64, float: np.float32, complex: np.complex64}


def _needs_no_cast(op: Op, a: Any, b: Any) -> bool:
    """May the arrays (or array and Python number) go to NumPy as they are, with the result that Braze's promotion gives?"""
    arrays = [x for x in (a, b) if isinstance(x, np.ndarray)]
    scalars = [x for x in (a, b) if type(x) in (int, float)]
    if not arrays or len(arrays) + len(scalars) != 2:
        return False
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) != 1:
        return False
    d = dtype_of_array(arrays[0])
    if d not in op.dtypes or d.bits == 16:
        return False
    if not scalars:
        return True
    return d.is_float and op.name not in ("floor_divide", "remainder")


eager = Eager()
install_default(eager)


def type_of(x: Any) -> TensorType:
    """The type of a tensor or of what becomes one."""
    return eager.lift(x).type
