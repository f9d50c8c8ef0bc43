"""How an op is declared: once, by a kind. The kind supplies type rule, promotion, un-broadcasting, forward derivative
and lowering.

Kinds: pointwise, reduction, scan, sort, view, contraction, gather, scatter, random, library, control, effect,
composite. A rule that a kind supplies is a function of the declaration; an op overrides only what is special.
Everything else in Braze (tensor methods, tests, tables of the docs) is derived from these objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from .. import expr
from ..errors import BrazeError, DTypeError, GradientError, ShapeError, shorten
from ..expr import Dim, Expr
from ..interpreter import _current, _default
from ..types import COMPLEX, DTYPES, FLOAT8, FLOATS, INTEGERS, DType, TensorType, bool_, float32
from . import dims
from .dims import Map
from .namespace import F

INEXACT = (*FLOATS, *COMPLEX)
NUMBERS = (*INTEGERS, *INEXACT)
REAL = (*INTEGERS, *FLOATS)
BITS = (bool_, *INTEGERS)

TRAITS = {
    "commutative": "op(x, y) is op(y, x)",
    "idempotent": "op(op(x)) is op(x)",
    "linear": "its tangent is the op itself on the tangents",
    "bilinear": "linear in each of the first two operands",
    "choice": "the first operand is a bool that chooses, and takes no part in promotion",
    "free": "a kernel need compute nothing for it",
    "repeats": "a view that shows an element more than once",
    "host": "its evaluation rule takes arrays of NumPy alone; on another device it goes by the host",
    "narrow": "automatic mixed precision computes it in the low dtype",
    "wide": "automatic mixed precision computes it in float32",
    "picks": "operand 0 is read at places that are computed, as by a gather",
    "ranged": "a contraction that sums parts of an axis: a kernel where loops run to computed ends, else the host's",
    "overwrites": "a scatter into a copy of operand 0; the updates are operand 1 and replace what is there",
}


class Op:
    """One operation, with everything that is known about it. Called like a function, it runs in the current
    interpreter.
    """

    __slots__ = ("name", "kind", "arity", "dtypes", "evaluate", "infer", "vjp", "jvp", "scalar", "result", "traits",
                 "dims", "pull", "lower", "parts", "domain", "samples", "source", "doc", "parameters", "results",
                 "_defaults")

    name: str
    kind: str
    arity: int | None                          # None: any number of operands
    dtypes: tuple[DType, ...]                  # of the main operands
    evaluate: Callable[..., Any]               # (numpy, *arrays, **attrs)
    infer: Callable[..., Any]                  # (types, attrs) -> types of the results
    # (cotangent, result, *operands, **attrs) -> one cotangent per operand, None allowed
    vjp: Callable[..., Any] | None
    # (tangents, result, *operands, **attrs) -> tangent; only where it does not follow
    jvp: Callable[..., Any] | None
    scalar: Any                                # pointwise: expansion in the scalar core; scan: what combines
    result: str                                # pointwise: "same" or "bool"
    traits: frozenset[str]                     # facts that passes ask for: see TRAITS
    # how operands' dimensions show in the result (ir/ops/dims.py); None: they do not
    dims: Callable[..., Map] | None
    pull: Any                                  # views: where elements come from
    lower: Any                                 # kernel IR of reductions, contractions, gathers, scatters and sorts
    # the op on complex operands, written with real ops on their parts (ir/ops/parts.py); None where that is not known
    parts: Callable[..., Any] | None
    domain: tuple[float, float] | None         # where a function is real
    samples: Any                               # operands (shapes, or lists of indices) with attributes, for tests
    source: str
    doc: str
    parameters: tuple[str, ...]                # names of attributes
    results: int                               # 1, or -1 for a tuple

    def __init__(self, name: str, kind: str, **fields: Any):
        self.name, self.kind = name, kind
        for slot in self.__slots__[2:]:
            setattr(self, slot, fields.pop(slot, None))
        self.traits = frozenset(self.traits or ())
        if self.traits - TRAITS.keys():
            raise TypeError(f"op {name}: unknown traits {sorted(self.traits - TRAITS.keys())}")
        self.parameters = self.parameters or ()
        if self.kind != "pointwise" and not set(self.dtypes or FLOAT8) & set(FLOAT8):
            self.infer = _computing(self, self.infer)           # promotion asks for those that work element by element
        self._defaults: frozenset[str] | None
        if fields:
            raise TypeError(f"op {name}: unknown fields {sorted(fields)}")

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        try:
            return (_current.get() or _default[0]).call(self, args, attrs)
        except BrazeError as error:
            raise shorten(error) from error.__cause__

    def pullback(self, g: Any, y: Any, operands: Sequence[Any], attrs: dict[str, Any],
                 wanted: Sequence[bool] | None = None) -> tuple[Any, ...]:
        """Cotangents of the operands (None: none flows, or it is not wanted) from the cotangent g of the result y."""
        if self.vjp is None:
            raise GradientError(f"{self.name} has no derivative")
        out = self.vjp(g, y, *operands, **attrs)
        if self.kind != "pointwise":
            return out
        if wanted is not None:
            out = [c if w else None for c, w in zip(out, wanted)]
        return tuple([None if c is None else sum_to(c, x.shape) for c, x in zip(out, operands)])

    def pushforward(self, tangents: Sequence[Any], y: Any, operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The tangent of the result y from the operands' tangents (None: zero); None where none flows."""
        if all(t is None for t in tangents) or not y.dtype.is_inexact:
            return None
        if self.jvp is not None:
            return self.jvp(tangents, y, *operands, **attrs)
        if self.kind == "pointwise":
            return _push_elementwise(self, tangents, y, operands, attrs)
        if "linear" in self.traits:
            return _push_linear(self, tangents, operands, attrs)
        if "bilinear" in self.traits:
            return _push_bilinear(self, tangents, operands, attrs)
        raise GradientError(f"{self.name} has no forward derivative")

    @property
    def defaults(self) -> frozenset[str]:
        """The parameters that may be left out."""
        if self._defaults is None:
            given = inspect.signature(self.evaluate).parameters
            self._defaults = frozenset(p for p in self.parameters if p in given
                                       and given[p].default is not inspect.Parameter.empty)
        return self._defaults

    @property
    def is_differentiable(self) -> bool:
        """Has it a derivative (a constant zero one counts as none)?"""
        return self.vjp is not None

    def __repr__(self) -> str:
        return f"<op {self.name}>"


# ---- promotion: what every interpreter does with arguments as the user wrote them ---------------------------------


def operand_dtype(op: Op, common: DType) -> DType:
    """The dtype that an op computes in, for arguments of a common dtype: float32 where it takes no integers."""
    if common in op.dtypes:
        return common
    if common.is_storage:
        raise only_stored(op, common)
    if common.kind in "bui":
        for wider in (float32, *INTEGERS[3:]):
            if wider in op.dtypes and (wider is float32) == (float32 in op.dtypes
                                                             and not any(d.is_integer for d in op.dtypes)):
                return wider
    if common.kind == "b" and any(d.is_integer for d in op.dtypes):
        return INTEGERS[3]
    raise DTypeError(f"{op.name} does not take {common.long_name}; it takes "
                     f"{', '.join(d.long_name for d in op.dtypes)}")


def only_stored(op: Op, d: DType) -> DTypeError:
    """The error of computing with a dtype that only stores numbers."""
    further = "; a product takes dtype=braze.float32 too: braze.matmul(a, b, dtype=...)" if op.name == "matmul" else ""
    return DTypeError(f"{op.name} does not compute with {d.long_name}, which stores numbers: cast them first, "
                      f"x.astype(braze.float32){further}")


def _computing(op: Op, infer: Callable[..., Any]) -> Callable[..., Any]:
    """The type rule of an op that does not take 8-bit floats."""

    def run(types: Sequence[TensorType], attrs: dict[str, Any]) -> Any:
        for t in types:
            if t.dtype.is_storage:
                raise only_stored(op, t.dtype)
        return infer(types, attrs)

    return run


def broadcast_shapes(name: str, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """NumPy's broadcasting of shapes, with symbolic sizes."""
    if len(shapes) == 1 or all(s == shapes[0] for s in shapes[1:]):
        return shapes[0]
    rank = max(map(len, shapes))
    out: list[Dim] = []
    for position in range(-rank, 0):
        size: Dim = 1
        for s in shapes:
            d = s[position] if len(s) >= -position else 1
            if d == size or (isinstance(d, int) and d == 1):
                continue
            if isinstance(size, int) and size == 1:
                size = d
            elif not same_size(size, d):
                raise ShapeError(f"{name}: shapes {' and '.join(map(show_shape, shapes))} do not broadcast: {size} "
                                 f"against {d}; sizes must be equal or 1, counted from the right")
        out.append(size)
    return tuple(out)


def same_size(a: Dim, b: Dim) -> bool:
    """Are two sizes equal? Symbolic ones that are not the same expression are decided by the trace's guards."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if a == b:
        return True
    interpreter = _current.get()
    decide = getattr(interpreter, "decide_equal", None)
    return False if decide is None else decide(a, b)


def show_shape(shape: Sequence[Dim]) -> str:
    """A shape for messages: [2, 3]."""
    return f"[{', '.join(map(str, shape))}]"


def sum_to(x: Any, shape: tuple[Dim, ...]) -> Any:
    """x summed over the dimensions that broadcasting from `shape` gave it."""
    if x.shape == shape:
        return x
    extra = len(x.shape) - len(shape)
    axes = tuple(i for i in range(len(x.shape))
                 if i < extra or (isinstance(shape[i - extra], int) and shape[i - extra] == 1 and x.shape[i] != 1))
    if axes:
        x = F.sum(x, axes=axes)
    return x if x.shape == shape else F.reshape(x, shape=shape)


# ---- forward derivatives that follow from the declaration ------------------------------------------------------------


def _push_elementwise(op: Op, tangents: Sequence[Any], y: Any, operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """The reverse rule applied element by element; for complex numbers it multiplies by the conjugate of the
    derivative.
    """
    total = None
    if op.vjp is None:
        raise GradientError(f"{op.name} has no derivative")
    for n, t in enumerate(tangents):
        if t is None:
            continue
        part = op.vjp(conjugate(t), y, *operands, **attrs)[n]
        if part is not None:
            total = conjugate(part) if total is None else total + conjugate(part)
    return total if total is None or total.shape == y.shape else F.broadcast_to(total, shape=y.shape)


def conjugate(x: Any) -> Any:
    """The complex conjugate; a real operand itself, without a node. Gradients of complex numbers follow PyTorch's
    convention.
    """
    return F.conj(x) if x.dtype.kind == "c" else x


def _push_linear(op: Op, tangents: Sequence[Any], operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """The op itself on the tangents; what is no number of ours (an index) stays."""
    moved = [x if not x.dtype.is_inexact else F.zeros_like(x) if t is None else t for t, x in zip(tangents, operands)]
    return op(*moved, **attrs)


def _push_bilinear(op: Op, tangents: Sequence[Any], operands: Sequence[Any], attrs: dict[str, Any]) -> Any:
    (s, t, *_), (x, y, *others) = tangents, operands
    if s is None or t is None:
        return op(x, t, *others, **attrs) if s is None else op(s, y, *others, **attrs)
    return op(s, y, *others, **attrs) + op(x, t, *others, **attrs)


# ---- kinds -----------------------------------------------------------------------------------------------------------


def _arity(evaluate: Callable[..., Any]) -> int:
    return len(inspect.signature(evaluate).parameters) - 1


def pointwise(name: str, evaluate: Callable[..., Any], *, dtypes: Sequence[DType] = DTYPES,
              vjp: Callable[..., Any] | None = None,
              scalar: Callable[..., Any] | None = None, result: str = "same", traits: Sequence[str] = (),
              domain: Any = None, source: str = "", doc: str = "", arity: int | None = None, samples: Any = None,
              infer: Callable[..., Any] | None = None, parameters: tuple[str, ...] = (),
              jvp: Callable[..., Any] | None = None, parts: Callable[..., Any] | None = None) -> Op:
    """Element by element with broadcasting. `scalar(s, *x)` expands it in the scalar core (default: the member of its
    name); `parts(*x)` writes it with real ops where operands are complex.
    """
    arity = _arity(evaluate) if arity is None else arity

    def infer_pointwise(types: Sequence[TensorType], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        shape = broadcast_shapes(name, [t.shape for t in types])
        return (TensorType(shape, bool_ if result == "bool" else types[-1].dtype, types[-1].device),)

    return F.declare(name, Op(
        name, "pointwise", arity=arity, dtypes=tuple(dtypes), evaluate=evaluate, infer=infer or infer_pointwise,
        vjp=vjp,
        scalar=scalar or (lambda s, *x: getattr(s, name)(*x)), result=result, traits=traits, dims=dims.broadcast,
        domain=domain, jvp=jvp, parts=parts, source=source, doc=doc, parameters=parameters, samples=samples, results=1))


def widened(expansion: Callable[..., Any]) -> Callable[..., Any]:
    """An expansion of several steps, for narrow floats carried out in float32 and rounded once."""

    def expand(s: Any, *xs: Any) -> Any:
        d = s.dtype_of(xs[0])
        if not d.is_float or d.bits > 16:
            return expansion(s, *xs)
        result = expansion(s, *(s.cast(x, float32) for x in xs))
        return s.cast(result, d) if s.dtype_of(result) is float32 else result

    return expand


def reduction(name: str, evaluate: Callable[..., Any], *, dtypes: Sequence[DType] = DTYPES,
              vjp: Callable[..., Any] | None = None,
              lower: Callable[..., Any] | None = None, result: Callable[[DType], DType] | None = None,
              traits: Sequence[str] = (), source: str = "", doc: str = "", jvp: Callable[..., Any] | None = None,
              parts: Callable[..., Any] | None = None) -> Op:
    """Removes `axes`. `lower(k, x, over, positions)` says it in kernel IR (default: `k.reduce(name, x, over)`)."""

    def infer(types: Sequence[TensorType], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        (x,) = types
        axes = attrs["axes"]
        shape = tuple(d for i, d in enumerate(x.shape) if i not in axes)
        return (TensorType(shape, result(x.dtype) if result else x.dtype, x.device),)

    return F.declare(name, Op(name, "reduction", arity=1, dtypes=tuple(dtypes), evaluate=evaluate, infer=infer, vjp=vjp,
                              jvp=jvp, parts=parts,
                              lower=lower or (lambda k, x, over, positions: k.reduce(name, x, over)), dims=dims.reduced,
                              traits=traits, source=source, doc=doc, parameters=("axes",), results=1))


def scan(name: str, combine: str, evaluate: Callable[..., Any], *, dtypes: Sequence[DType] = NUMBERS,
         vjp: Callable[..., Any] | None = None, traits: Sequence[str] = (), doc: str = "",
         jvp: Callable[..., Any] | None = None) -> Op:
    """Cumulative along `axis`, inclusive; from the end when `reverse`."""
    return F.declare(name, Op(name, "scan", arity=1, dtypes=tuple(dtypes), evaluate=evaluate,
                              infer=lambda types, attrs: (types[0],), vjp=vjp, jvp=jvp, scalar=combine, traits=traits,
                              dims=dims.same, doc=doc, parameters=("axis", "reverse"), results=1))


def view(name: str, evaluate: Callable[..., Any], *, infer: Callable[..., TensorType], pull: Callable[..., Any],
         vjp: Callable[..., Any], parameters: tuple[str, ...], arity: int | None = 1,
         traits: Sequence[str] = ("linear",), doc: str = "", jvp: Callable[..., Any] | None = None, samples: Any = None,
         dims: Callable[..., Map] | None = None, parts: Callable[..., Any] | None = None) -> Op:
    """Elements of the operands at other places. `pull(read, index, types, **attrs)` says where, `dims` which dimensions
    stay whole.

    `read(n, index, inside=None, fill=0)` is operand n at an index of expressions, or `fill` where one of the conditions
    `inside`, [(e, high)] for 0 <= e < high, fails.
    """
    return F.declare(name, Op(name, "view", arity=arity, dtypes=DTYPES, evaluate=evaluate,
                              infer=lambda types, attrs: (infer(types, **attrs),), pull=pull, vjp=vjp, jvp=jvp,
                              parts=parts, traits=traits, dims=dims, doc=doc, parameters=parameters,
                              samples=samples, results=1))


def general(name: str, kind: str, evaluate: Callable[..., Any], *, infer: Callable[..., Any], arity: int | None,
            dtypes: Sequence[DType] = DTYPES, parameters: tuple[str, ...] = (), results: int = 1, **fields: Any) -> Op:
    """An op of any other kind: contraction, gather, scatter, sort, random, library, control, effect."""

    def types_of(types: Sequence[TensorType], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        out = infer(types, **attrs)
        return (out,) if isinstance(out, TensorType) else tuple(out)

    return F.declare(name, Op(name, kind, arity=arity, dtypes=tuple(dtypes), evaluate=evaluate, infer=types_of,
                              parameters=parameters, results=results, **fields))


def composite(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function written with other ops, found as `F.name`. It stands in dumps as its parts, under its name as
    scope.
    """
    F.declare(function.__name__, function)
    return function


def normalize_axes(axes: Any, rank: int, name: str = "axis") -> tuple[int, ...]:
    """Axes as the user gives them (None, one or several, negative too), sorted and checked."""
    return _normalized_axes(axes if axes is None or isinstance(axes, int) else tuple(axes), rank, name)


@lru_cache(maxsize=4096)
def _normalized_axes(axes: int | tuple[int, ...] | None, rank: int, name: str) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))
    axes = (axes,) if isinstance(axes, int) else axes
    out = []
    for a in axes:
        if not -rank <= a < rank:
            raise ShapeError(f"{name} {a} is outside a tensor of {rank} dimensions; it must be in [{-rank}, {rank})")
        out.append(a % rank)
    if len(set(out)) != len(out):
        raise ShapeError(f"{name} {axes} names a dimension twice")
    return tuple(sorted(out))


def as_dim(x: Any) -> Dim:
    """A size from what the user gives: an int, a symbolic size, anything with __index__."""
    if isinstance(x, (int, Expr)) and not isinstance(x, bool):
        return x
    inner = getattr(x, "expression", None)
    if inner is not None:
        return inner
    try:
        return x.__index__()
    except AttributeError:
        raise DTypeError(f"a size must be an integer, not {type(x).__name__}") from None


def element_count(shape: Sequence[Dim]) -> Dim:
    """The number of elements of a shape."""
    return expr.product(shape)
