"""`@braze.compile`: a function that is traced, differentiated, fused and run as native kernels, one specialisation a
signature.
"""

from __future__ import annotations

import functools
import gc
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..ir import locks
from ..ir.errors import BrazeError, CompileError, TraceError, shorten
from ..ir.interpreter import _current
from . import dispatch
from .retrace import checks_always
from .signature import Call, describe, show

if TYPE_CHECKING:
    from .specialise import CompilationRecord, Specialisation

MODES = ("default", "reduce-overhead", "max-autotune")
STAGES = ("graph", "joint", "optimized", "fused", "tuned")
MANY_COMPILATIONS = 32              # of one function: a warning says why


class CompiledFunction:
    """What `braze.compile` returns: called like the function; `ir`, `explain`, `compilations`, `freeze` show and steer
    the compiler.
    """

    def __init__(self, function: Callable[..., Any], static_argnames: Sequence[str], backend: str,
                 dynamic: bool | None, mode: str = "default", constant_weights: bool = False):
        functools.update_wrapper(self, function, updated=())
        self.function, self.backend, self.dynamic, self.mode = function, backend, dynamic, mode
        self.constant_weights = constant_weights
        self.name = getattr(function, "__name__", type(function).__name__)
        self.static = tuple(static_argnames)
        self.parameters = _parameter_names(getattr(function, "forward", function) if hasattr(function, "_compiled")
                                           else function)
        self.specialisations: list[Specialisation] = []
        self.compilations: list[CompilationRecord] = []
        self.frozen = False
        self._by_key: dict[Any, list[Specialisation]] = {}
        self._lock = locks.lock()
        self._chain = dispatch.Chain(self._general)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._chain.first(*args, **kwargs)

    def _general(self, *args: Any, **kwargs: Any) -> Any:
        """Any call: describe the arguments, find a specialisation or make one, and prepare the fast path for the next
        call.
        """
        if _current.get() is not None:
            return self.function(*args, **kwargs)         # nested: part of the outer trace
        try:
            return self._run(args, kwargs)
        except BrazeError as error:
            raise shorten(error) from error.__cause__

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = describe(args, kwargs, self.static, self.parameters)
        spec = self._known(call)
        if spec is None:
            spec = self._specialise(call)
        elif checks_always() or not spec.is_checked and not self.frozen:
            spec = self._check(spec, call)
        result = spec(call)
        if spec.is_checked and not checks_always():
            self._chain.extend(spec, call)
        return result

    def _check(self, spec: Specialisation, call: Call) -> Specialisation:
        """Trace again: is it the same graph?"""
        differs = spec.difference(self.function, call)
        if not differs:
            return spec
        if checks_always():
            raise TraceError(f"BRAZE_CHECK: traced again, {self.name} gives another graph: {differs}. Something that "
                             f"it reads has changed and is not guarded; pass it as an argument")
        with self._lock:
            self._by_key[call.key] = [s for s in self._by_key.get(call.key, ()) if s is not spec]
            self._chain.drop(spec)
            return self._specialise(call, f"traced again, the graph differs: {differs}")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    # ---- compiling

    def specialise(self, *args: Any, **kwargs: Any) -> Specialisation:
        """The specialisation for these arguments, compiled if it is new; the function does not run."""
        call = describe(args, kwargs, self.static, self.parameters)
        return self._known(call) or self._specialise(call)

    def _known(self, call: Call) -> Specialisation | None:
        """The specialisation that there is for a call."""
        return next((s for s in self._by_key.get(call.key, ()) if s.accepts(call)), None)

    def _specialise(self, call: Call, reason: str = "") -> Specialisation:
        # with the whole compiler, which eager code does not need
        from .specialise import CompilationRecord, Specialisation

        with self._lock:
            known = self._by_key.get(call.key, [])
            for spec in known:                            # another thread may have been faster
                if spec.accepts(call):
                    return spec
            reason = reason or self._reason(call, known)
            if self.frozen:
                raise CompileError(f"{self.name} is frozen, and this call needs a compilation: {reason}")
            pattern = self._pattern(call, known)
            with _uncollected():
                spec = Specialisation(self.function, self.name, call, pattern, self.backend, self.mode,
                                      self.constant_weights)
            self.specialisations.append(spec)
            self.compilations.append(CompilationRecord(spec, reason))
            self._by_key[call.key] = [spec, *known]
            if len(self.compilations) == MANY_COMPILATIONS:
                warnings.warn(f"{self.name} has been compiled {MANY_COMPILATIONS} times, the last time because "
                              f"{reason}. Pass what varies as an argument (a float or a tensor), or see docs/guards.md",
                              stacklevel=5)
            return spec

    def _pattern(self, call: Call, known: Sequence[Specialisation]) -> list[int | None]:
        """The numbers that the new specialisation is for; None where it is for any: sizes that have differed."""
        if self.dynamic is False:
            return list(call.numbers)
        if self.dynamic:
            return [None if d >= 0 and n >= 2 else n for n, (_, d) in zip(call.numbers, call.owners)]
        pattern: list[int | None] = list(call.numbers)
        for spec in known:
            for n, (p, v) in enumerate(zip(spec.pattern, call.numbers)):
                if (p is None or p != v) and (call.owners[n][1] < 0 or (v >= 2 and (p is None or p >= 2))):
                    pattern[n] = None
        return pattern

    def _reason(self, call: Call, known: Sequence[Specialisation]) -> str:
        if not self.specialisations:
            return "first call"
        if known:
            nearest = min(known, key=lambda s: (s.distance(call), s.traced.outside.failures()))
            differ = [(n, p, v) for n, (p, v) in enumerate(zip(nearest.pattern, call.numbers)) if p is not None
                      and p != v]
            if not differ:
                return nearest.failure(call)
            parts = []
            for n, p, v in differ:
                leaf, d = call.owners[n]
                parts.append(f"argument {leaf} is {v}, was {p}" if d < 0
                             else f"dimension {d} of argument {leaf} is {v}, was {p}")
            return "; ".join(parts) + ("; dynamic=None makes it symbolic from now on" if self.dynamic is None
                                       else "; pass dynamic=True")
        nearest = self.specialisations[-1]
        return f"the kinds of arguments differ: ({show(call)}) against ({nearest.signature})"

    # ---- looking inside

    def _chosen(self, index: int) -> Specialisation:
        if not self.specialisations:
            raise CompileError(f"{self.name} has not been compiled yet; call it once")
        return self.specialisations[index]

    def ir(self, stage: str = "graph", index: int = -1) -> Any:
        """A stage of the last (or another) compilation: "graph", "joint", "optimized", "fused" or "source"; "tuned"
        where `mode="max-autotune"` measured schedules.
        """
        stages = self._chosen(index).stages
        if stage == "source":
            return stages.sources
        made = [name for name, _, _ in stages.shown.history if name in STAGES]
        if stage not in made:
            raise CompileError(f"there is no stage {stage!r}; use {', '.join(made)} or source")
        return stages.named(stage)

    def history(self, index: int = -1) -> list[tuple[str, float, Any]]:
        """[(pass, milliseconds, object after it)] of a compilation."""
        return self._chosen(index).stages.shown.history

    def explain(self) -> Any:
        """Specialisations and why each was made; kernels, their traffic, and why neighbours were not fused; the memory
        plan.
        """
        from .explain import explain

        return explain(self)

    def freeze(self) -> CompiledFunction:
        """Make any further compilation an error; returns the function."""
        self.frozen = True
        return self

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self.specialisations)} specialisations>"


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nearly all that a compilation makes lives on: to look for garbage among it would take a quarter of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def compile(function: Callable[..., Any] | None = None, *, static_argnames: str | Sequence[str] = (),
            backend: str = "auto", dynamic: bool | None = None, mode: str = "default",
            constant_weights: bool = False) -> Any:
    """Compile a function, method or module; also a decorator.

    `static_argnames`: arguments whose values are part of the signature. `backend`: "auto", or "llvm" (native kernels)
    or "numpy" for tensors on the CPU, or "triton" for those on a GPU. `dynamic`: None makes sizes symbolic once they
    have varied, True from the start, False never. `mode`: "default"; "reduce-overhead" replays a program of fixed
    sizes as one graph of the device; "max-autotune" measures how kernels run best on
    this machine, once, and keeps it on disk; the results do not change. `constant_weights`: what the function captures
    (a module's parameters and buffers), and does not change itself, is taken for constant when it is compiled: weights
    are laid out once, norms folded into convolutions, and no gradient reaches them; what changes later is not seen.

    >>> @braze.compile
    ... def f(x):
    ...     return (x * 2).sum()
    >>> f(braze.ones(3))
    tensor(6.)
    """
    if mode not in MODES:
        raise CompileError(f"there is no mode {mode!r}; use one of {', '.join(MODES)}")
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)

    def wrap(f: Any) -> Any:
        compiled = CompiledFunction(f, names, backend, dynamic, mode, constant_weights)
        return f._compiled(compiled) if hasattr(f, "_compiled") else compiled       # a module stays a module

    return wrap if function is None else wrap(function)
