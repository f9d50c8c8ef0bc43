"""`Tensor`: what a person holds. A handle on a value: a NumPy array (eager), or a value of the graph that is being
traced.

In-place methods rebind the handle, so values themselves never change: what autograd or a view has kept stays right.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import DeviceError, DTypeError, GradientError, ShapeError, TraceError
from ..ir.interpreter import _current
from ..ir.operators import Operators
from ..ir.ops import F
from ..ir.scalar import converted
from ..ir.types import DType, TensorType
from ..ir.types import dtype as as_dtype
from .aliasing import REFERENCES_OF_PASSING
from .devices import CPU, device, moved, of, on_host
from .devices import copied as copy_of
from .modes import _grad_enabled

_DTYPES: dict[Any, DType] = {}


def dtype_of_array(array: Any) -> DType:
    """The dtype of a NumPy array."""
    d = _DTYPES.get(array.dtype)
    if d is None:
        d = _DTYPES[array.dtype] = as_dtype(array.dtype)
    return d


class Tensor(Operators):
    """An n-dimensional array of one dtype, with automatic differentiation.

    Made by `braze.tensor`, `braze.zeros`, … and by operations. `shape`, `dtype`, `ndim`, `device` say what it is;
    `requires_grad` asks for gradients, which `backward()` leaves in `grad`. A slice is a value of its own, not an
    alias: write `x[i] = v`.
    """

    __slots__ = ("_array", "_value", "_trace", "_node", "_slot", "_grad", "_requires_grad", "_meta", "_base", "_weak",
                 "__weakref__")

    _array: Any
    _value: Any
    _trace: Any
    _node: Any
    _slot: int
    _grad: Any
    _requires_grad: bool
    _meta: Any
    _base: Any
    _weak: bool

    if TYPE_CHECKING:                         # most methods are derived from the ops (tracer/public.py)
        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, array: Any):
        self._array = array
        self._value = self._trace = self._node = self._grad = self._meta = self._base = None
        self._slot = 0
        self._requires_grad = self._weak = False

    # ---- what it is

    @property
    def shape(self) -> tuple[Any, ...]:
        """Its sizes. While tracing with dynamic sizes an entry may be symbolic."""
        if self._array is not None:
            return self._array.shape
        return self._trace.sizes_of(self._value.type.shape)

    @property
    def dtype(self) -> DType:
        """Its dtype."""
        return dtype_of_array(self._array) if self._array is not None else self._value.type.dtype

    @property
    def type(self) -> TensorType:
        """Shape, dtype and device together."""
        if self._array is None:
            return self._value.type
        return TensorType(self._array.shape, self.dtype, self.device)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim if self._array is not None else len(self._value.type.shape)

    @property
    def size(self) -> Any:
        """The number of elements."""
        n: Any = 1
        for d in self.shape:
            n = n * d
        return n

    def numel(self) -> Any:
        """The number of elements."""
        return self.size

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    @property
    def device(self) -> device:
        """Where it lives: `braze.device("cpu")`, `braze.device("cuda:0")`, …"""
        if self._array is None:
            return self._trace.root.device
        return CPU if type(self._array) is np.ndarray else of(self._array)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        """Bytes of all elements."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        if not self.ndim:
            raise DTypeError("a 0-d tensor has no length")
        return self.shape[0]

    # ---- its value

    def numpy(self) -> Any:
        """A read-only NumPy array on the same memory; of a tensor on the CPU."""
        return np.asarray(self)

    def _concrete(self, what: str, instead: str) -> Any:
        """The array, or an error saying why there is none."""
        if self._array is None:
            self._trace.refuse_value(self, what, instead)
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self._concrete("np.asarray(t)", "return the tensor from the compiled function and convert it outside")
        if type(array) is not np.ndarray:
            array = self._of_cpu(array)
        if dtype is not None and np.dtype(dtype) != array.dtype:
            return array.astype(dtype)
        if copy:
            return array.copy()
        view = array.view()
        view.flags.writeable = False
        return view

    def _of_cpu(self, array: Any) -> np.ndarray:
        if of(array) != CPU:
            raise DeviceError(f"np.asarray of a tensor ({self.type}): NumPy reads the CPU's memory alone; copy it "
                              "there first: t.cpu()")
        return array.view(np.ndarray)

    def item(self) -> Any:
        """The only element as a Python number."""
        array = self._concrete("t.item()", "return the tensor from the compiled function and read it outside")
        if array.size != 1:
            raise ShapeError(f"item() needs exactly one element; this tensor has shape {list(array.shape)}")
        return on_host(array).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return on_host(self._concrete("t.tolist()", "return the tensor and convert it outside")).tolist()

    def __float__(self) -> float:
        self._concrete("float(t)", "keep it a tensor: arithmetic with tensors of one element works the same")
        return float(self.item())

    def __int__(self) -> int:
        self._concrete("int(t)", "keep it a tensor, or compute the number outside and pass it as an argument")
        return int(self.item())

    def __complex__(self) -> complex:
        self._concrete("complex(t)", "keep it a tensor")
        return complex(self.item())

    def __index__(self) -> int:
        array = self._concrete("an index", "index with the tensor itself: x[t], or braze.take(x, t)")
        if array.dtype.kind not in "iu" or array.size != 1:
            raise DTypeError(f"only an integer tensor with one element can be an index; this one is {self.type}")
        return int(on_host(array).item())

    def __bool__(self) -> bool:
        array = self._concrete("if t / while t / bool(t)",
                               "use braze.where(t, a, b), or braze.cond(t, f, g) to run only one branch")
        if array.size != 1:
            raise ShapeError(f"a tensor of shape {list(array.shape)} is neither true nor false; use t.any() or t.all()")
        return bool(on_host(array).item())

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise DTypeError("a 0-d tensor cannot be iterated over")
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        if self._array is None and spec:
            self._concrete("formatting", "return the tensor and print it outside")
        return format(self.item(), spec) if spec and self.size == 1 else str(self)

    def __repr__(self) -> str:
        if self._array is None:
            return f"<traced tensor: {self._value.type}>"
        body = np.array2string(on_host(self._array), separator=", ", prefix="tensor(", precision=4, threshold=100)
        extra = "" if self.dtype.name in ("f32", "i64", "b1") else f", dtype={self.dtype.long_name}"
        extra += "" if type(self._array) is np.ndarray or self.device == CPU else f", device={str(self.device)!r}"
        extra += ", requires_grad=True" if self.requires_grad and self._node is None else ""
        extra += f", grad_fn={self._node.name}" if self._node is not None else ""
        return f"tensor({body}{extra})"

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        return F.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return F.not_equal(self, other)

    def __lt__(self, other: Any) -> Any:
        return F.less(self, other)

    def __le__(self, other: Any) -> Any:
        return F.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return F.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return F.greater_equal(self, other)

    # ---- gradients

    @property
    def requires_grad(self) -> bool:
        """Do gradients flow to it?"""
        return self._requires_grad or self._node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, wanted: bool = True) -> Tensor:
        """Ask for gradients of this leaf (or stop asking); returns it."""
        if wanted and not self.dtype.is_inexact:
            raise GradientError(f"only floating-point and complex tensors have gradients; this one is {self.type}")
        if self._node is not None and not wanted:
            raise GradientError("only a leaf can stop requiring gradients; use detach()")
        if wanted and self._trace is not None and not self.requires_grad:
            self._trace.make_leaf(self)
        self._requires_grad = bool(wanted)
        self._meta = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Was it made by the user, not by a recorded operation?"""
        return self._node is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward()` has accumulated; None before."""
        trace = _current.get()
        return self._grad if trace is None else trace.grad_of(self)

    @grad.setter
    def grad(self, g: Tensor | None) -> None:
        if g is not None and (not isinstance(g, Tensor) or g.shape != self.shape):
            raise GradientError(f"grad must be None or a tensor of shape {list(self.shape)}")
        trace = _current.get()
        if trace is None:
            self._grad = g
        else:
            trace.set_grad(self, g)

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradients of this tensor to the `grad` of all leaves that it was computed from.

        A tensor of more than one element needs `gradient`, the cotangent, of its own shape. `create_graph` records the
        backward pass itself, for higher derivatives; `retain_graph` allows a second `backward()` through the same
        operations.

        >>> x = braze.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        from .autograd import backward

        backward(self, gradient, retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same value, with no gradient through it."""
        trace = _current.get()
        if trace is not None:
            return F.stop_gradient(self)
        return Tensor(self._array)

    def clone(self) -> Tensor:
        """A new handle with the same value; gradients flow through."""
        trace = _current.get()
        if hasattr(trace, "value_of"):                  # the value that it has in the trace, which may be another one
            return F.broadcast_to(self, shape=trace.value_of(self).shape)
        if self._array is None:
            return F.broadcast_to(self, shape=self.shape)
        return F.mul(self, 1) if self.requires_grad else Tensor(self._array)

    # ---- in place: the handle gets another value

    def _assign(self, new: Tensor) -> Tensor:
        """Rebind this handle to another tensor's value (of the same shape and dtype)."""
        if new.shape != self.shape:
            raise ShapeError(f"in place: the result has shape {list(new.shape)}, the tensor {list(self.shape)}")
        if new.dtype is not self.dtype:
            new = F.cast(new, dtype=self.dtype)
        if self._requires_grad and self._node is None and _grad_enabled.get():
            raise GradientError(f"a leaf that requires gradients ({self.type}) is changed in place: its gradient would "
                                f"be of another value. Do it under braze.no_grad(), as optimisers do, or on a copy: x "
                                "= x.clone()")
        trace = _current.get()
        if trace is not None:
            trace.rebind(self, new)
            return self
        if type(new._array) is not np.ndarray or type(self._array) is not np.ndarray:
            new = new.to(self.device)
        self._array, self._node, self._slot = new._array, new._node, new._slot
        self._meta = self._base = None
        return self

    def _assign_traced(self, new: Tensor) -> None:
        """Take over a result that a compiled program has written for this tensor."""
        self._array, self._node, self._slot = new._array, None, 0
        self._meta = self._base = None

    def copy_(self, source: Any) -> Tensor:
        """Take over the values of another tensor or array, broadcast to this shape; returns self."""
        source = source if isinstance(source, Tensor) else Tensor(converted(np.array(source), self.dtype))
        return self._assign(source if source.shape == self.shape else F.broadcast_to(source, shape=self.shape))

    def fill_(self, value: float) -> Tensor:
        """Fill with one number; returns self."""
        return self._assign(F.full(self.shape, value, self.dtype))

    def zero_(self) -> Tensor:
        """Fill with zeros; returns self."""
        return self.fill_(0)

    def _refuse_lost_write(self, references: int) -> None:
        """`y = x[0]; y += 1` would not change x. In `x[0] += 1` the view is a passing value, and is assigned to x
        next.
        """
        base = self._base
        if base is not None and base() is not None and references > REFERENCES_OF_PASSING:
            raise TraceError("in place on a view while its base lives: a view is a value of its own, so the base would "
                             "not change. Write `base[index] += …` on the base itself, or `view = view + …`")

    def __iadd__(self, other: Any) -> Tensor:
        self._refuse_lost_write(sys.getrefcount(self))
        return self._assign(F.add(self, other))

    def __isub__(self, other: Any) -> Tensor:
        self._refuse_lost_write(sys.getrefcount(self))
        return self._assign(F.sub(self, other))

    def __imul__(self, other: Any) -> Tensor:
        self._refuse_lost_write(sys.getrefcount(self))
        return self._assign(F.mul(self, other))

    def __itruediv__(self, other: Any) -> Tensor:
        self._refuse_lost_write(sys.getrefcount(self))
        return self._assign(F.div(self, other))

    def __ipow__(self, other: Any) -> Tensor:
        self._refuse_lost_write(sys.getrefcount(self))
        return self._assign(F.pow(self, other))

    add_ = __iadd__
    sub_ = __isub__
    mul_ = __imul__
    div_ = __itruediv__

    # ---- indexing

    def __getitem__(self, key: Any) -> Tensor:
        return _indexing().get(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _indexing().put(self, key, value)

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"T is for matrices; this tensor has shape {list(self.shape)}; use mT or permute")
        return F.permute(self, axes=(1, 0))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        n = self.ndim
        if n < 2:
            raise ShapeError(f"mT needs two dimensions; this tensor has shape {list(self.shape)}")
        return F.permute(self, axes=(*range(n - 2), n - 1, n - 2))

    def __reduce__(self) -> Any:
        array = self._concrete("pickling", "return it from the compiled function first")
        return _rebuild, (moved(array, CPU), self._requires_grad)       # it comes back on the CPU

    def __deepcopy__(self, memo: Any) -> Tensor:
        copied = Tensor.__new__(type(self))
        Tensor.__init__(copied, copy_of(self._concrete("copying", "use clone()")))
        copied._requires_grad = self._requires_grad
        memo[id(self)] = copied
        return copied


@functools.cache
def _indexing() -> Any:
    from . import indexing

    return indexing


def _rebuild(array: Any, requires_grad: bool) -> Tensor:
    t = Tensor(array)
    t._requires_grad = requires_grad
    return t
