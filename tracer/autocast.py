"""`braze.autocast`: automatic mixed precision. Products run in a 16-bit dtype; what sums, or spans many magnitudes, in
float32.

Which is which stands with the operations (traits "narrow" and "wide", ir/precision.py), after PyTorch's lists for CUDA
("Automatic Mixed Precision package", section "CUDA Op-Specific Behavior"); all else promotes as usual. Gradients run in
the dtypes of the operations that they belong to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..ir import interpreter, locks
from ..ir.errors import DTypeError
from ..ir.ops import F
from ..ir.ops.declare import Op
from ..ir.precision import _casting, casting
from ..ir.types import DType, bfloat16, dtype, float32
from .devices import device, is_name
from .modes import _grad_enabled
from .tensor import Tensor
from .world import enter_region, leave_region

_lock = locks.lock()
_active = [0]


class Casts:
    """The casts of one region: operands go to the low dtype or to float32; those of parameters are made once."""

    def __init__(self, low: DType, device_type: str | None, remembers: bool):
        self.low, self.device_type, self.remembers = low, device_type, remembers
        self._made: dict[Any, tuple[Any, ...]] = {}

    @property
    def key(self) -> tuple[Any, ...]:
        """What of the region a program depends on."""
        return self.low.name, self.device_type

    def cast(self, wanted: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of something that wants "narrow" or "wide" operands."""
        to = self.low if wanted == "narrow" else float32
        return tuple([self._to(a, to) if isinstance(a, Tensor) and self._applies(a) else a for a in args])

    def for_op(self, op: Op, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of an op."""
        if "narrow" in op.traits:
            return self.cast("narrow", args)
        return self.cast("wide", args) if "wide" in op.traits else args

    def _applies(self, t: Tensor) -> bool:
        d = t.dtype
        return d.is_float and d.bits <= 32 and (self.device_type is None or t.device.type == self.device_type)

    def _to(self, t: Tensor, to: DType) -> Tensor:
        if t.dtype is to:
            return t
        if not self.remembers or not t._requires_grad or t._node is not None or t.dtype is not float32:
            return F.cast(t, dtype=to)
        trace = interpreter._current.get()
        value = t._array if trace is None else trace.value_of(t)
        key = id(t), id(trace), to, _grad_enabled.get()
        found = self._made.get(key)
        if found is not None and found[2] is value and not _is_freed(found[3]):
            return found[3]
        made = F.cast(t, dtype=to)
        self._made[key] = t, trace, value, made          # held, so that their ids stay theirs
        return made


def _is_freed(t: Tensor) -> bool:
    """Has a backward pass gone through this cast, and let go of what it had kept?"""
    node = t._node
    return t._trace is None and node is not None and node.operands is None


class _CastingEager:
    """The default interpreter while there are regions: casts before the eager one works, for threads in a region."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.bind, self.constant, self.size, self.lift = inner.bind, inner.constant, inner.size, inner.lift

    def call(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The op on cast arguments."""
        casts = _casting.get()
        return self.inner.call(op, args if casts is None else casts.for_op(op, args), attrs)


def _begin() -> None:
    with _lock:
        _active[0] += 1
        if _active[0] == 1:
            interpreter.install_default(_CastingEager(interpreter._default[0]))
    enter_region()


def _end() -> None:
    with _lock:
        _active[0] -= 1
        if _active[0] == 0:
            interpreter.install_default(interpreter._default[0].inner)
    leave_region()


@contextmanager
def resumed(casts: Casts | None) -> Iterator[None]:
    """The casts of another time (None: none), for what is computed again."""
    if casts is not None:
        _begin()
    try:
        with casting(casts):
            yield
    finally:
        if casts is not None:
            _end()


class autocast:
    """Automatic mixed precision in a block, or as a decorator; eager and compiled.

    Products, convolutions and attention run in `dtype`, norms, softmax, losses, exponentials, logarithms and sums in
    float32, the rest by promotion; float64 and integers stay. Parameters are cast once a region. `device_type` "cuda"
    or "cpu" limits it to tensors there; `enabled=False` switches it off inside another region. By position dtype and
    device type come in any order: `autocast("cuda", braze.float16)`.

    >>> with braze.autocast(braze.bfloat16):
    ...     (braze.ones(2, 3) @ braze.ones(3, 2)).dtype
    braze.bfloat16
    """

    def __init__(self, *names: Any, dtype: Any = bfloat16, device_type: Any = None, enabled: bool = True,
                 cache_enabled: bool = True):
        for name in names:
            if is_name(name):
                device_type = name
            else:
                dtype = name
        self.dtype, self.enabled, self.cache_enabled = _low(dtype), enabled, cache_enabled
        self.device_type = None if device_type is None else device(device_type).type
        self._tokens: list[Any] = []

    def __enter__(self) -> autocast:
        _begin()
        casts = Casts(self.dtype, self.device_type, self.cache_enabled) if self.enabled else None
        self._tokens.append(_casting.set(casts))
        return self

    def __exit__(self, *exc: Any) -> None:
        _casting.reset(self._tokens.pop())
        _end()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            with autocast(dtype=self.dtype, device_type=self.device_type, enabled=self.enabled,
                          cache_enabled=self.cache_enabled):
                return function(*args, **named)

        return run


def _low(d: Any) -> DType:
    found = dtype(d)
    if not found.is_float or found.bits != 16:
        raise DTypeError(f"autocast is to bfloat16 or float16, not {found.long_name}")
    return found


def is_autocast_enabled() -> bool:
    """Are operations of this thread cast?"""
    return _casting.get() is not None
