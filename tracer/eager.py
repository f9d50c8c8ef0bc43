"""Eager execution: each operation runs at once, by its NumPy evaluation rule; what requires gradients is recorded on
the tape.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import Any

import numpy as np

from ..ir.build import agree, check_arity
from ..ir.errors import BrazeError, DTypeError, ShapeError
from ..ir.expr import Dim
from ..ir.interpreter import install_default
from ..ir.ops.declare import Op, broadcast_shapes, show_shape
from ..ir.types import DType
from .autograd import record
from .devices import unplaced
from .modes import _grad_enabled
from .tensor import Tensor

# Like PyTorch, no warning where NaN or an infinity arises; the filter is for our own modules alone.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"braze\.(ir|tracer)\b")

_ndarray = np.ndarray
_MOST_REMEMBERED = 10_000
_HAS_WEAK_SCALARS = int(np.__version__.partition(".")[0]) >= 2


class Eager:
    """The default interpreter; its operands are tensors with arrays.

    What a call has found out about its operands' types is remembered, so that the next one like it goes to NumPy at
    once.
    """

    def __init__(self) -> None:
        self._direct: dict[Any, bool] = {}    # (op, dtypes or scalar types) -> may NumPy promote by itself?
        self._sound: set[Any] = set()         # (op, shapes, dtypes, attributes) that the type rule has accepted

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on tensors, arrays and numbers."""
        if op.kind != "pointwise" or op.parameters:
            return self.bind(op, tuple([a if isinstance(a, Tensor) else self.lift(a) for a in args]), attrs)
        needed = False
        # the comprehensions below, written out: they would cost a third of the call
        if len(args) == 2:
            x, y = args
            if isinstance(x, Tensor):
                needed = x._node is not None or x._requires_grad
                x = x._array
            if isinstance(y, Tensor):
                needed = needed or y._node is not None or y._requires_grad
                y = y._array
            arrays: Any = (x, y)
            kind: Any = (op, x.dtype if type(x) is _ndarray else type(x), y.dtype if type(y) is _ndarray else type(y))
        else:
            arrays = [a._array if isinstance(a, Tensor) else a for a in args]
            kind = (op, *[a.dtype if type(a) is _ndarray else type(a) for a in arrays])
            for a in args:
                if isinstance(a, Tensor) and (a._node is not None or a._requires_grad):
                    needed = True
        direct = self._direct.get(kind)
        if direct is None:
            check_arity(op, args)
            direct = self._direct[kind] = _needs_no_cast(op, args)
        if not direct:
            return self.bind(op, agree(self, op, args), attrs)
        try:
            array = op.evaluate(np, *arrays)
        except ValueError as error:
            raise _explained(op, arrays, error) from None
        result = Tensor(array if type(array) is _ndarray else np.asarray(array))
        if needed and _grad_enabled.get():
            record(op, args, arrays, attrs, (result,))
        return result

    def bind(self, op: Op, operands: tuple[Tensor, ...], attrs: dict[str, Any]) -> Any:
        """The op on tensors of agreed dtypes."""
        kind = op.kind
        if kind == "control":
            from .control import run_eagerly

            return run_eagerly(op, operands, attrs)
        arrays = []
        needed = False
        for t in operands:
            a = t._array
            if type(a) is not _ndarray:
                return _elsewhere().bind(self, op, operands, attrs)
            arrays.append(a)
            if t._requires_grad or t._node is not None:
                needed = True
        if not operands:
            return Tensor(unplaced(np.asarray(op.evaluate(np, **attrs))))
        try:
            types = (op, *[(a.shape, a.dtype) for a in arrays], *attrs.items())
            if types not in self._sound:
                self.check(op, operands, attrs)
                self._sound.add(types)
        except TypeError:                     # an attribute without a hash
            self.check(op, operands, attrs)
        try:
            out = op.evaluate(np, *arrays, **attrs)
        except ValueError as error:
            raise _explained(op, arrays, error) from None
        if type(out) is tuple:
            results = tuple([Tensor(a if type(a) is _ndarray else np.asarray(a)) for a in out])
            if needed and _grad_enabled.get():
                record(op, operands, arrays, attrs, results)
            return results
        result = Tensor(out if type(out) is _ndarray else np.asarray(out))
        if needed and _grad_enabled.get():
            record(op, operands, arrays, attrs, (result,))
        if kind == "view":
            result._base = weakref.ref(operands[0])
        return result

    def check(self, op: Op, operands: tuple[Tensor, ...], attrs: dict[str, Any]) -> None:
        """Raise the type rule's error, which is better than NumPy's; asked once for operands of the same types."""
        if len(self._sound) >= _MOST_REMEMBERED:
            self._sound.clear()
        check_arity(op, operands)
        if op.kind != "pointwise" and op.kind != "random":
            op.infer([t.type for t in operands], attrs)

    def constant(self, number: Any, dtype: DType) -> Tensor:
        """A 0-d tensor."""
        return Tensor(unplaced(np.asarray(number).astype(dtype.numpy)))

    def size(self, dim: Dim) -> Tensor:
        """A size as a 0-d int64 tensor."""
        return Tensor(unplaced(np.asarray(dim, np.int64)))

    def lift(self, x: Any) -> Tensor:
        """A tensor from a tensor, an array or a NumPy scalar."""
        if isinstance(x, Tensor):
            return x
        if isinstance(x, (np.ndarray, np.generic)):
            return Tensor(np.array(x))
        if isinstance(x, (bool, int, float, complex)):
            return Tensor(np.asarray(x, _PLAIN[type(x)]))
        raise DTypeError(f"expected a tensor, an array or a number, not {type(x).__name__}")


@functools.cache
def _elsewhere() -> Any:
    from . import elsewhere

    return elsewhere


_PLAIN = {bool: np.bool_, int: np.int64, float: np.float32, complex: np.complex64}


def _needs_no_cast(op: Op, args: tuple[Any, ...]) -> bool:
    """May the arrays (and Python numbers) go to NumPy as they are, with the result that Braze's promotion gives?"""
    arrays = [x for x in args if isinstance(x, Tensor) and type(x._array) is _ndarray]
    scalars = [x for x in args if type(x) in (int, float)]
    if not arrays or len(arrays) + len(scalars) != len(args):
        return False
    agreed = agree(eager, op, args)
    if any(a is not b for a, b in zip(args, agreed) if isinstance(a, Tensor)):
        return False
    if not scalars:
        return True
    common = next(b.dtype for a, b in zip(args, agreed) if not isinstance(a, Tensor))
    return (_HAS_WEAK_SCALARS and common.is_float and common.bits > 16 and any(t.dtype is common for t in arrays)
            and op.name not in ("floor_divide", "remainder"))


def _explained(op: Op, arrays: Any, error: ValueError) -> BrazeError:
    """NumPy's complaint in our words: mostly shapes that do not broadcast."""
    if isinstance(error, BrazeError):
        return error
    try:
        broadcast_shapes(op.name, [np.shape(a) for a in arrays])
    except ShapeError as better:
        return better
    return ShapeError(f"{op.name} of shapes {', '.join(show_shape(np.shape(a)) for a in arrays)}: {error}")


eager = Eager()
install_default(eager)
