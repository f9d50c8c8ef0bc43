"""Guards on plain Python values: what the traced code read from outside (reads.py says where to look) must be the same
at each call.

As each user function starts in a trace (and, for local names, returns; events.py tells when), its chains are followed
to values, and each step becomes a guard: objects by identity, numbers and strings by value (floats by bits), containers
by their elements. All guards become one printed expression.
"""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import is_
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from .events import watching
from .reads import Step, is_foreign
from .sizes import Size
from .tensor import Tensor
from .world import Watched

PLAIN = (bool, int, float, complex, str, bytes, type(None))
CONTAINERS = (list, dict, set, deque)
MOST_ELEMENTS = 1000                       # longer containers are guarded by their length
MISSING = type("Missing", (), {"__repr__": lambda self: "not there", "__slots__": ()})()


# ---- is it the same? -------------------------------------------------------------------------------------------------


def same(now: Any, then: Any) -> bool:
    """The same object, or plain values that no program could tell apart."""
    if now is then:
        return True
    kind = type(then)
    if type(now) is not kind:
        return False
    if kind is float:
        return (now == then and math.copysign(1, now) == math.copysign(1, then)) or (now != now and then != then)
    if kind is tuple:
        return len(now) == len(then) and all(map(same, now, then))
    if kind is MethodType:
        return now.__self__ is then.__self__ and now.__func__ is then.__func__
    return kind in PLAIN and now == then


def content(container: Any) -> tuple[Any, ...]:
    """What a container holds, to be compared later; only the length if that is much."""
    if len(container) > MOST_ELEMENTS:
        return (len(container),)
    if isinstance(container, dict):
        return (*container, *container.values())
    return (frozenset(container),) if isinstance(container, set) else tuple(container)


def holds(container: Any, then: tuple[Any, ...]) -> bool:
    """Does the container hold what it held?"""
    now = content(container)
    if isinstance(container, set):
        return now == then
    return len(now) == len(then) and (all(map(is_, now, then)) or all(map(same, now, then)))


@dataclass
class Guard:
    """One value that was read: `holder.key`, `holder[key]`, or the content of `holder`. `lasting`: it was there before
    the trace.
    """

    holder: Any
    kind: str                              # "attribute", "item", "content"
    key: Any
    value: Any
    label: str
    lasting: bool

    def now(self) -> Any:
        """What it leads to now."""
        try:
            if self.kind == "attribute":
                return getattr(self.holder, self.key)
            if self.kind == "content":
                return content(self.holder)
            return self.holder.get(self.key, MISSING) if isinstance(self.holder, dict) else self.holder[self.key]
        except (AttributeError, LookupError, TypeError):
            return MISSING

    def holds(self) -> bool:
        """Is it what it was?"""
        return holds(self.holder, self.value) if self.kind == "content" else same(self.now(), self.value)

    def restore(self) -> None:
        """Put back what was there."""
        if self.kind == "item" and self.value is not MISSING:
            self.holder[self.key] = self.value
        elif self.kind == "attribute" and self.value is not MISSING:
            setattr(self.holder, self.key, self.value)
        elif self.kind == "content" and isinstance(self.holder, list) and len(self.value) != 1:
            self.holder[:] = self.value

    def __str__(self) -> str:
        if self.kind == "content":
            return f"the elements of {self.label} have changed"
        before, now = _brief(self.value), _brief(self.now())
        return f"{self.label} was {before}, is {now}" if before != now else f"{self.label} is another one: {now}"


def _brief(x: Any) -> str:
    if isinstance(x, PLAIN) or isinstance(x, tuple) and all(isinstance(v, PLAIN) for v in x) or x is MISSING:
        text = repr(x)
        return text if len(text) < 60 else text[:56] + " ..."
    if isinstance(x, Tensor):
        return f"a tensor {x.type}"
    return f"a {type(x).__name__}" if not isinstance(x, (FunctionType, type)) else x.__qualname__


# ---- while the trace runs --------------------------------------------------------------------------------------------


class Watch:
    """Collects guards while a function is traced."""

    def __init__(self, trace: Any, function: Any, leaves: Sequence[Any]):
        self.trace = trace
        self.guards: dict[tuple[int, str, Any], Guard] = {}
        # what was there before the trace: id -> object, which keeps the id its own
        self.lasting: dict[int, Any] = {}
        self.followed: dict[tuple[Any, ...], Any] = {}
        self.functions: dict[CodeType, FunctionType] = {}
        for x in (function, *leaves):
            self.last(x)
            self.meet(x, True, "the function")

    def watching(self) -> AbstractContextManager[None]:
        """Watch this thread."""
        return watching(self.trace, self.look)

    def look(self, frame: FrameType, late: bool, reads: Sequence[Any]) -> None:
        local, outside, file = frame.f_locals, frame.f_globals, os.path.basename(frame.f_code.co_filename)
        if not late:
            self.entered(frame.f_code, local, file)
        for r in reads:
            if r.late is not late:
                continue
            if r.root in local:
                x = local[r.root]
                self.follow(x, r.steps, r.whole, id(x) in self.lasting, f"`{r.root}", f" in {file}")
            elif not late and r.root in outside:
                x = outside[r.root]
                self.note(outside, "item", r.root, x, f"global `{r.root}` in {file}", True)
                self.follow(x, r.steps, r.whole, self.last(x), f"global `{r.root}", f" in {file}")

    def entered(self, code: CodeType, local: dict[str, Any], file: str) -> None:
        """The cells of a function's closure, and the class attribute that a method is."""
        function = self.functions.get(code)
        if function is not None and function.__closure__:
            for name, cell in zip(code.co_freevars, function.__closure__):
                if name in local and cell.cell_contents is local[name]:
                    self.note(cell, "attribute", "cell_contents", local[name], f"the closure's `{name}` in {file}",
                              True)
                    self.last(local[name])
        first = local.get(code.co_varnames[0]) if code.co_argcount else None
        if first is not None and not isinstance(first, (Tensor, *PLAIN)):
            owner = first if isinstance(first, type) else type(first)
            found = _static(owner, code.co_name)
            if isinstance(found, FunctionType) and found.__code__ is code:
                self.note(owner, "attribute", code.co_name, found, f"`{owner.__name__}.{code.co_name}`", True)
                self.meet(found, True, f"`{owner.__name__}.{code.co_name}`")

    # ---- following chains

    def follow(self, x: Any, steps: tuple[Step, ...], whole: bool, lasting: bool, text: str, place: str) -> None:
        """Guard each step from x on."""
        if isinstance(x, (Tensor, Size, BuiltinFunctionType)) or (id(x), steps, whole) in self.followed:
            return
        self.followed[id(x), steps, whole] = x
        self.meet(x, lasting, f"{text}`{place}")
        if not steps:
            if whole and isinstance(x, CONTAINERS):
                self.elements(x, lasting, f"{text}`{place}", 0)
            return
        kind, key = steps[0]
        if isinstance(x, CONTAINERS) and kind != "item":
            self.elements(x, lasting, f"{text}`{place}", 0)
        spelled = f"{text}.{key}" if kind == "attribute" else f"{text}[{key!r}]" if kind == "item" else f"{text}[…]"
        for value in getattr(self, kind)(x, key, lasting, f"{spelled}`{place}"):
            if lasting:
                self.last(value)
            self.follow(value, steps[1:], whole, lasting, spelled, place)

    def attribute(self, x: Any, name: str, lasting: bool, label: str) -> Sequence[Any]:
        """The step `x.name`."""
        if isinstance(x, CONTAINERS):
            return ()                              # a method; the elements are guarded
        if isinstance(x, ModuleType):
            if x.__name__.split(".")[0] in ("braze", "numpy") or not hasattr(x, "__file__"):
                return ()
            value = x.__dict__.get(name, MISSING)
            if value is not MISSING:
                self.note(x, "attribute", name, value, label, True)
            return (value,)
        if isinstance(x, Watched):
            self.trace.watch(x)
        owner = x if isinstance(x, type) else type(x)
        if isinstance(owner.__getattribute__, FunctionType) or isinstance(x, PLAIN):
            return ()
        found = _static(owner, name)
        if isinstance(found, FunctionType) and name not in getattr(x, "__dict__", ()):
            self.note(owner, "attribute", name, found, f"`{owner.__name__}.{name}`", True)
            if hasattr(x, "__dict__") and not isinstance(x, (Watched, type)):
                self.note(x.__dict__, "item", name, MISSING, label, lasting)
            return (found,)
        if isinstance(found, (property, classmethod, staticmethod)) or hasattr(found,
                                                                               "__get__") and not _is_slot(found):
            return ()                              # a function of the user's runs, and is watched itself
        if hasattr(owner, "__getattr__") and name not in getattr(x, "__dict__",
                                                                 ()) and found is MISSING and not isinstance(x,
                                                                                                             Watched):
            return ()
        value = getattr(x, name, MISSING)
        if not isinstance(x, Watched):
            self.note(x, "attribute", name, value, label, lasting)
        return (value,)

    def item(self, x: Any, key: Any, lasting: bool, label: str) -> Sequence[Any]:
        """The step `x[key]`."""
        if type(x) is dict or type(x) is list or isinstance(x, dict) and type(x).__getitem__ is dict.__getitem__:
            try:
                value = x[key] if not isinstance(x, dict) or key in x else MISSING
            except (IndexError, TypeError):
                return ()
            self.note(x, "item", key, value, label, lasting)
            return (value,)
        if isinstance(x, tuple) and isinstance(key, int) and -len(x) <= key < len(x):
            return (x[key],)
        return ()

    def each(self, x: Any, key: Any, lasting: bool, label: str) -> Sequence[Any]:
        """The step to all elements."""
        if not isinstance(x, (tuple, *CONTAINERS)) or len(x) > MOST_ELEMENTS:
            return ()
        return tuple(x.values() if isinstance(x, dict) else x)

    def elements(self, x: Any, lasting: bool, label: str, depth: int) -> None:
        """What a container holds, containers in it too."""
        self.note(x, "content", None, content(x), label, lasting)
        if depth < 3 and len(x) <= MOST_ELEMENTS:
            for inner in x.values() if isinstance(x, dict) else x:
                if isinstance(inner, CONTAINERS):
                    self.elements(inner, lasting, label, depth + 1)

    # ---- notes

    def note(self, holder: Any, kind: str, key: Any, value: Any, label: str, lasting: bool) -> None:
        if isinstance(value, Size) or isinstance(value, Tensor) and value._trace is not None:
            return                                 # made by this trace
        self.guards.setdefault((id(holder), kind, key), Guard(holder, kind, key, value, label, lasting))

    def last(self, x: Any) -> bool:
        """This object was there before the trace."""
        if not isinstance(x, (Tensor, *PLAIN)):
            self.lasting[id(x)] = x
        return True

    def meet(self, x: Any, lasting: bool, label: str) -> None:
        """Functions are guarded by code and defaults; what wraps a function leads to it."""
        if isinstance(x, MethodType):
            self.last(x.__self__)
            x = x.__func__
        if hasattr(type(x), "_specialise"):            # a compiled function
            self.meet(x.function, True, label)
        if not isinstance(x, FunctionType) or is_foreign(x.__code__) or x.__code__ in self.functions:
            return
        self.functions[x.__code__] = x
        self.note(x, "attribute", "__code__", x.__code__, f"the code of {label}", True)
        for name, values in (("__defaults__", x.__defaults__ or ()),
                             ("__kwdefaults__", tuple((x.__kwdefaults__ or {}).values()))):
            if values:
                self.note(x, "attribute", name, getattr(x, name), f"defaults of {label}", True)
                for v in values:
                    self.last(v)

    def finish(self) -> Guards:
        """The guards, without those on objects that nobody else holds any more."""
        self.followed.clear()
        self.lasting.clear()
        kept = list(self.guards.values())
        self.guards.clear()
        return Guards([g for g in kept if g.lasting or g.holds() and sys.getrefcount(g.holder) > 2])


def _static(owner: type, name: str) -> Any:
    for base in owner.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def _is_slot(found: Any) -> bool:
    return type(found).__name__ in ("member_descriptor", "_tuplegetter")


# ---- afterwards ------------------------------------------------------------------------------------------------------


class Guards:
    """The guards of one specialisation; `check()` is their printed conjunction."""

    def __init__(self, guards: Sequence[Guard]):
        self.guards = tuple(guards)
        self.check = _print(self.guards)

    def failure(self) -> str:
        """The first guard that fails, in words."""
        return next((str(g) for g in self.guards if not g.holds()), "")

    def failures(self) -> int:
        """How many guards fail."""
        return sum(not g.holds() for g in self.guards)

    def changed(self) -> list[Guard]:
        """What is not what it was when the trace read it."""
        return [g for g in self.guards if g.lasting and not g.holds()]

    def __len__(self) -> int:
        return len(self.guards)


def _key(key: Any, name: Callable[[Any], str]) -> str:
    return repr(key) if type(key) in (str, int, bool) else name(key)


def _print(guards: Sequence[Guard]) -> Callable[[], bool]:
    if not guards:
        return lambda: True
    space: dict[str, Any] = {"same": same, "holds": holds, "missing": MISSING,
                             "errors": (AttributeError, LookupError, TypeError)}
    names: dict[int, str] = {}

    def name(x: Any) -> str:
        known = names.setdefault(id(x), f"x{len(names)}")
        space[known] = x
        return known

    terms = []
    for g in guards:
        h, v = name(g.holder), name(g.value)
        if g.kind == "content":
            terms.append(f"holds({h}, {v})")
        elif g.value is MISSING and g.kind == "item":
            terms.append(f"{_key(g.key, name)} not in {h}")
        elif g.value is MISSING:
            space[f"g{len(terms)}"] = g.now
            terms.append(f"g{len(terms)}() is missing")
        else:
            place = f"{h}.{g.key}" if g.kind == "attribute" else f"{h}[{_key(g.key, name)}]"
            if hasattr(type(g.holder), "__missing__"):         # asking must not add anything
                place = f"{h}.get({_key(g.key, name)}, missing)"
            terms.append(f"({place} is {v} or same({place}, {v}))" if isinstance(g.value, (*PLAIN, tuple, MethodType))
                         else f"{place} is {v}")
    body = "\n            and ".join(terms)
    exec(f"def check():\n    try:\n        return ({body})\n    except errors:\n        return False\n", space)
    return space["check"]
