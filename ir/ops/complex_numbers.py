"""Complex numbers and their parts. Kernels compute with the parts (`parts.py`); gradients follow PyTorch's convention.

For a real loss L and z = x + i y the gradient is dL/dx + i dL/dy, the direction of steepest ascent.
"""

from __future__ import annotations

from ..errors import DTypeError, ShapeError
from ..types import COMPLEX, FLOATS, TensorType, complex64, complex128, float32
from . import dims
from .declare import broadcast_shapes, composite, general, pointwise, show_shape
from .namespace import F
from .parts import Parts, part_dtype


def _infer_part(types, attrs):
    (x,) = types
    return (TensorType(x.shape, part_dtype(x.dtype), x.device),)


def complex_dtype(d):
    """The complex dtype with parts of (at least) this dtype."""
    return d if d.kind == "c" else complex64 if d.bits <= 32 else complex128


def _infer_complex(types, attrs):
    return (TensorType(broadcast_shapes("complex", [t.shape for t in types]), complex_dtype(types[0].dtype),
                       types[0].device),)


def _join(xp, x, y):
    """Written part by part: x + 1j * y makes NaN of an infinite y."""
    out = xp.empty(xp.broadcast_shapes(xp.shape(x), xp.shape(y)), xp.result_type(x, y, xp.complex64))
    out.real, out.imag = x, y
    return out


def _complex_vjp(g, z, x, y):
    return F.cast(F.real(g), dtype=x.dtype), F.cast(F.imag(g), dtype=y.dtype)


def _complex_jvp(tangents, z, x, y):
    s, t = (F.broadcast_to(F.zeros_like(v) if t is None else t, shape=z.shape) for t, v in zip(tangents, (x, y)))
    return F.complex(s, t)


def _no_scalar(s, *x):
    raise AssertionError("kernels have the parts of complex numbers, and no values of them")


real = pointwise("real", lambda xp, x: xp.real(x) if x.dtype.kind == "c" else x, infer=_infer_part,
                 scalar=lambda s, x: x, traits=("free",), parts=lambda x: x.re,
                 vjp=lambda g, y, x: (F.astype(g, x.dtype),), jvp=lambda tangents, y, x: F.real(tangents[0]),
                 doc="The real part; a real number itself.")
imag = pointwise("imag", lambda xp, x: xp.imag(x) if x.dtype.kind == "c" else xp.zeros_like(x), infer=_infer_part,
                 scalar=lambda s, x: s.constant(0, s.dtype_of(x)), traits=("free",), parts=lambda x: x.im,
                 vjp=lambda g, y, x: (F.astype(g, x.dtype) * 1j if x.dtype.kind == "c" else None,),
                 jvp=lambda tangents, y, x: F.imag(tangents[0]), doc="The imaginary part; 0 of a real number.")
complex_ = pointwise("complex", _join, dtypes=FLOATS[2:], infer=_infer_complex, scalar=_no_scalar, vjp=_complex_vjp,
                     jvp=_complex_jvp, parts=Parts, doc="x + i y, from real parts.")


def _infer_pairs(types):
    (x,) = types
    if x.dtype.kind != "c":
        raise DTypeError(f"view_as_real takes complex numbers, not {x.dtype.long_name}")
    return TensorType((*x.shape, 2), part_dtype(x.dtype), x.device)


view_as_real = general("view_as_real", "view", lambda xp, x: xp.stack([xp.real(x), xp.imag(x)], axis=-1), arity=1,
                       dtypes=COMPLEX, infer=_infer_pairs, dims=dims.same, traits=("linear",),
                       vjp=lambda g, y, x: (F.view_as_complex(g),),
                       samples=tuple(((shape,), {}) for shape in ((), (3,), (2, 0), (2, 3))),
                       doc="The parts of complex numbers along a new last dimension of 2; where the numbers are in "
                           "memory nothing is copied.")


@composite
def view_as_complex(x):
    """The complex numbers whose parts lie along the last dimension, of 2."""
    if not x.shape or x.shape[-1] != 2:
        raise ShapeError(f"view_as_complex: the last dimension of {show_shape(x.shape)} is not 2")
    zeros, ones, shape = (0,) * (len(x.shape) - 1), (1,) * len(x.shape), (*x.shape[:-1], 1)
    re, im = (F.reshape(F.slice(x, start=(*zeros, part), shape=shape, step=ones), shape=x.shape[:-1])
              for part in range(2))
    return F.complex(re, im)


@composite
def angle(x):
    """The argument of a complex number; 0 or pi for a real one."""
    if x.dtype.kind == "c":
        return F.atan2(F.imag(x), F.real(x))
    x = x if x.dtype.is_float else F.cast(x, dtype=float32)
    return F.where(F.less(x, 0), 3.141592653589793, F.where(F.isnan(x), x, 0.0))


@composite
def polar(size, phase):
    """size * exp(i phase)."""
    return F.complex(size * F.cos(phase), size * F.sin(phase))
