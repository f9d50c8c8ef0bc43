"""The public namespace, derived: elementwise ops under their array API names, functions, and the methods of
`Tensor`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..ir.ops import F
from ..ir.types import DTYPES
from . import creation, interchange, manipulation, products, reductions, scatters, transfer
from .arguments import lift
from .tensor import Tensor

# The array API's (and PyTorch's) names for ops that are called shortly inside.
ALIASES = {
    "sub": ("subtract",), "mul": ("multiply",), "div": ("divide", "true_divide"), "neg": ("negative",),
    "pow": ("power",),
    "asin": ("arcsin",), "acos": ("arccos",), "atan": ("arctan",), "atan2": ("arctan2",), "asinh": ("arcsinh",),
    "acosh": ("arccosh",),
    "atanh": ("arctanh",), "bitwise_not": ("bitwise_invert",), "shift_left": ("bitwise_left_shift",),
    "shift_right": ("bitwise_right_shift",), "equal": ("eq",), "not_equal": ("ne",), "less": ("lt",),
    "less_equal": ("le",), "greater": ("gt",), "greater_equal": ("ge",), "abs": ("absolute",),
}  # fmt: skip
HIDDEN = {"stop_gradient", "conj", "cast", "bitcast", "mulhi", "where"}
# Composite functions that are public as they are declared.
COMPOSITES = (
    "gelu", "silu", "softplus", "angle", "polar", "view_as_complex", "count_nonzero", "ptp", "nansum", "nanmean",
    "nanmax", "nanmin", "norm", "unstack", "tile", "repeat", "flipud", "rot90", "diagonal", "diag_embed", "trace",
    "isin", "diff", "meshgrid", "vecdot", "matvec", "inner", "kron", "cross", "einsum", "vander", "topk", "quantile",
    "median", "ragged_dot", "nan_to_num", "lerp", "xlogy", "sinc", "logit", "heaviside", "isclose",
)  # fmt: skip


def _elementwise(op: Any) -> Any:
    def function(*args: Any) -> Tensor:
        for a in args:
            if isinstance(a, Tensor):
                return op(*args)
        return op(*[lift(a) for a in args])

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc + (f"\n\n    Source: {op.source}." if op.source else "")
    return function


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) or (isinstance(x, list) and bool(x) and isinstance(x[0], (bool, int, float)))


def _composite(composed: Any) -> Any:
    """The function for users: arrays and lists become tensors, `axis` and `dim` mean what it calls its axes."""
    own = composed.__code__.co_varnames[:composed.__code__.co_argcount]
    spelled = "axes" if "axes" in own else "axis"

    @functools.wraps(composed)
    def function(*args: Any, **named: Any) -> Any:
        for alias in ("axis", "dim"):
            if alias in named and alias not in own:
                named[spelled] = named.pop(alias)
        return composed(*[lift(a) if _is_array(a) else a for a in args], **named)

    return function


def namespace() -> dict[str, Any]:
    """All public functions by name."""
    out: dict[str, Any] = {}
    for op in F:
        if getattr(op, "kind", "") in ("pointwise", "library") and not op.parameters and op.name not in HIDDEN:
            f = _elementwise(op)
            for name in (op.name, *ALIASES.get(op.name, ())):
                out[name] = f
    out.update((op.name, _elementwise(op)) for op in (F.conj, F.view_as_real))
    for name in COMPOSITES:
        out[name] = _composite(F[name])
    for module in (creation, reductions, manipulation, products, scatters):
        for name, f in vars(module).items():
            if getattr(f, "__module__", "") == module.__name__ and not name.startswith("_"):
                out[name] = f
    return out


NO_METHODS = {"tensor", "asarray", "from_numpy", "full", "zeros", "ones", "empty", "zeros_like", "ones_like",
              "full_like", "empty_like",
              "arange", "linspace", "eye", "where", "stack", "concat", "cat", "concatenate", "broadcast_arrays",
              "tensordot", "pad", "einsum", "meshgrid", "polar", "searchsorted"}


def install_methods() -> dict[str, Any]:
    """Give `Tensor` a method for each function whose first argument is a tensor; returns the namespace."""
    names = namespace()
    for name, f in names.items():
        if name not in NO_METHODS and not hasattr(Tensor, name):
            setattr(Tensor, name, f)
    matmul = names["matmul"]
    setattr(Tensor, "__matmul__", lambda a, b: matmul(a, b))    # noqa: B010
    setattr(Tensor, "__rmatmul__", lambda a, b: matmul(b, a))   # noqa: B010
    for d in DTYPES:
        if not hasattr(Tensor, d.long_name):
            setattr(Tensor, d.long_name, _converter(d))
    for name, long in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("long", "int64"),
                       ("int", "int32"), ("bool", "bool")):
        setattr(Tensor, name, getattr(Tensor, long))
    for method in (transfer.to, transfer.cpu, transfer.cuda):
        setattr(Tensor, method.__name__, method)
    setattr(Tensor, "is_cuda", property(transfer.is_cuda))      # noqa: B010
    for name, protocol in interchange.METHODS.items():
        setattr(Tensor, name, protocol)
    names["from_dlpack"] = interchange.from_dlpack
    return names


def _converter(d: Any) -> Any:
    def convert(x: Tensor) -> Tensor:
        return F.astype(x, d)

    convert.__name__, convert.__doc__ = d.long_name, f"This tensor as {d.long_name}."
    return convert
