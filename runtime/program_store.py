"""Compiled programs on disk: an entry per traced graph holds program, plan and machine code, so that a warm process
runs no pass.

An entry is data: a line of JSON (steps and slots, kernels as their IR text, sizes as text) and the machine code of the
kernels behind it. It is found by the graph's text, the files of the compiler, the target, and what else decided
(donated inputs, usual sizes). A program with host calls has Python functions in it and is not kept; an entry that does
not read is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import cache as once
from typing import Any

from ..ir.errors import BrazeError
from ..ir.expr import Dim, Expr
from ..ir.kernel import Buffer, Kernel
from ..ir.kernel_text import parse_kernel, print_kernel
from ..ir.program import Branch, Carry, Copy, Launch, Loop, Program, Slot, walk
from ..ir.reader import Reader
from ..ir.schedule import Schedule, Source
from ..ir.streamed import Streamed
from ..ir.types import DType, dtype
from . import cache, jit, machine
from .executable import Executable

_FORMAT = "1"
_ROOMS = ("ir", "passes", "codegen", "runtime")


def key(graph: str, *flags: str) -> str:
    """The key of a graph's text under these flags, for this compiler and this machine."""
    return cache.key("program", _FORMAT, graph, _compiler(), *machine.llvm_facts(), *flags)


@once
def _compiler() -> str:
    """The names, sizes and times of the compiler's files: what a change of any of them changes."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [os.path.join(root, room) for room in _ROOMS]
    found = []
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    facts = entry.stat()
                    found.append(f"{entry.path[len(root):]} {facts.st_size} {facts.st_mtime_ns}")
                elif entry.is_dir() and not entry.name.startswith("_"):
                    folders.append(entry.path)
    return "\n".join(sorted(found))


# ---- keeping ---------------------------------------------------------------------------------------------------------


class _NotDataError(Exception):
    """Something that has no place in a file."""


def save(entry: str, executable: Executable) -> bool:
    """Keep an executable under a key; False where it cannot be kept."""
    launches = [s for s in walk(executable.program.steps) if isinstance(s, Launch)]
    sources = {id(executable.sources[s]): executable.sources[s] for s in launches}
    code = [jit.kept(s) for s in sources.values() if s.language == "llvm"]
    if not executable.is_native or len(code) < len(sources) or any(c is None for c in code):
        return False
    places = {number: n for n, number in enumerate(sources)}
    kernels: dict[int, Any] = {}
    try:
        program = _plain(executable.program, kernels)
        header = {
            "program": program, "kernels": [k for _, k in kernels.values()],
            "sources": [[s.entry, *(_plain(x, kernels) for x in (s.units, s.grain, s.scratch, s.facts))]
                        for s in sources.values()],
            "launches": [places[id(executable.sources[s])] for s in launches],
            "code": [[jit.key_of(s), len(c or b"")] for s, c in zip(sources.values(), code)],
        }  # fmt: skip
    except _NotDataError:
        return False
    text = json.dumps(header, separators=(",", ":"))
    return cache.put(entry, b"".join([text.encode(), b"\n", *(c or b"" for c in code)]))


def _plain(x: Any, kernels: dict[int, Any]) -> Any:
    """x as JSON: objects as {class: fields}, sizes as {"size": text}."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, (tuple, list)):
        return [_plain(y, kernels) for y in x]
    if isinstance(x, Mapping):
        return {"map": {name: _plain(y, kernels) for name, y in x.items()}}
    if isinstance(x, Expr):
        return {"size": str(x)}
    if isinstance(x, DType):
        return {"dtype": x.name}
    if isinstance(x, Kernel):
        return {"kernel": _kernel_number(x, kernels)}
    if isinstance(x, Program):
        return {"Program": [_plain(getattr(x, f.name), kernels) for f in fields(x) if f.name != "notes"]}
    if type(x).__name__ in _classes():
        return {type(x).__name__: [_plain(getattr(x, f.name), kernels) for f in fields(x)]}
    raise _NotDataError(type(x).__name__)


def _kernel_number(kernel: Kernel, kernels: dict[int, Any]) -> int:
    """The number of a kernel; those that differ in their origin only are one, and share values and stores."""
    number = id(kernel.values)
    if number not in kernels:
        parts = [kernel.name, print_kernel(kernel), kernel.sizes, kernel.axes, kernel.buffers]
        kernels[number] = len(kernels), [_plain(x, kernels) for x in parts]
    return kernels[number][0]


@once
def _classes() -> dict[str, type]:
    """The classes that an entry may name."""
    found: list[type] = [Slot, Launch, Loop, Carry, Branch, Copy, Buffer, Program, Schedule, Streamed]
    for c in found:
        found += c.__subclasses__() if issubclass(c, Schedule) else []
    return {c.__name__: c for c in found}


def schedule_text(schedule: Schedule) -> str:
    """A schedule as a text that `read_schedule` reads."""
    return json.dumps(_plain(schedule, {}))


# ---- finding ---------------------------------------------------------------------------------------------------------


def restore(entry: str) -> Executable | None:
    """The executable that was kept under a key, ready to run; None where there is none."""
    payload = cache.get(entry)
    if payload is None:
        return None
    text, _, code = payload.partition(b"\n")
    try:
        header = json.loads(text)
        reading = _Reading(header["kernels"])
        program = reading.object(header["program"])
        sources = [Source("", name, "llvm", *map(reading.object, rest)) for name, *rest in header["sources"]]
        launches = [s for s in walk(program.steps) if isinstance(s, Launch)]
        used = [sources[n] for n in header["launches"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, BrazeError):
        return None
    start, images = 0, {}
    for name, size in header["code"]:
        images[name] = code[start:start + size]
        start += size
    functions = jit.adopt(images)
    addresses = {id(s): functions[name][s.entry] for s, (name, _) in zip(sources, header["code"])}
    return Executable(program, dict(zip(launches, used)), [addresses[id(s)] for s in used])


def read_schedule(text: str) -> Schedule:
    """The schedule of a text; ValueError, KeyError or TypeError where it is none."""
    schedule = _Reading([]).object(json.loads(text))
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{text} is no schedule")
    return schedule


class _Reading:
    """JSON to objects; equal texts of sizes are read once."""

    def __init__(self, kernels: list[Any]):
        self.sizes: dict[str, Dim] = {}
        self.kernels: list[Kernel] = []
        for name, text, sizes, axes, buffers in kernels:
            self.kernels.append(_StoredKernel(name, text, self.object(sizes), self.object(axes), self.object(buffers)))

    def object(self, x: Any) -> Any:
        """What `_plain` has written."""
        if isinstance(x, list):
            return tuple([self.object(y) for y in x])
        if not isinstance(x, dict):
            return x
        ((kind, content),) = x.items()
        if kind == "map":
            return {name: self.object(y) for name, y in content.items()}
        if kind == "size":
            if content not in self.sizes:
                self.sizes[content] = Reader(content).dim()
            return self.sizes[content]
        if kind == "dtype":
            return dtype(content)
        if kind == "kernel":
            return self.kernels[content]
        return _classes()[kind](*[self.object(y) for y in content])


class _StoredKernel(Kernel):
    """A kernel whose values are read from its text when somebody asks for them; to run it needs none."""

    def __init__(self, name: str, text: str, sizes: tuple[str, ...], axes: Mapping[str, Dim],
                 buffers: Mapping[str, Buffer]):
        self.__dict__.update(name=name, text=text, needed=sizes, axes=axes, buffers=buffers, origin=())

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the symbolic sizes that it needs at run time, sorted."""
        return self.__dict__["needed"]

    def __getattr__(self, name: str) -> Any:
        if name not in ("values", "stores"):
            raise AttributeError(name)
        read = parse_kernel(self.__dict__["text"])
        self.__dict__.update(values=read.values, stores=read.stores)
        return self.__dict__[name]
