"""Programs, kernels and schedules as data: JSON that reads back as equal objects, and runs nothing when it is read.

Kernels are kept as their IR text, sizes as text; an object is its class' name with its fields. What has Python
functions in it has no place in a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache as once
from typing import Any

from ..ir import reader
from ..ir.expr import Dim, Expr
from ..ir.gpu_contraction import GpuContraction, GpuLibrary
from ..ir.gpu_joined import Joined
from ..ir.gpu_tiled import Block
from ..ir.kernel import Buffer, Kernel
from ..ir.kernel_text import parse_kernel, print_kernel
from ..ir.product_rows import ProductRows
from ..ir.program import Branch, Carry, Copy, JoinedLaunch, Launch, Loop, Part, Program, Slot
from ..ir.schedule import Schedule, Tiles
from ..ir.sorted_rows import SortedRows
from ..ir.streamed import Streamed
from ..ir.types import DType, dtype

DAMAGES = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)      # of what makes no sense


class NotDataError(Exception):
    """Something that has no place in a file."""


def plain(x: Any, kernels: dict[int, Any]) -> Any:
    """x as JSON: objects as {class: fields}, sizes as {"size": text}."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, (tuple, list)):
        return [plain(y, kernels) for y in x]
    if isinstance(x, Mapping):
        return {"map": {name: plain(y, kernels) for name, y in x.items()}}
    if isinstance(x, Expr):
        return {"size": str(x)}
    if isinstance(x, DType):
        return {"dtype": x.name}
    if isinstance(x, Kernel):
        return {"kernel": _kernel_number(x, kernels)}
    if isinstance(x, Program):
        return {"Program": [plain(getattr(x, f.name), kernels) for f in fields(x) if f.name != "notes"]}
    if type(x).__name__ in classes():
        return {type(x).__name__: [plain(getattr(x, f.name), kernels) for f in fields(x)]}
    raise NotDataError(type(x).__name__)


def _kernel_number(kernel: Kernel, kernels: dict[int, Any]) -> int:
    """The number of a kernel; those that differ in their origin only are one, and share values and stores."""
    number = id(kernel.values)
    if number not in kernels:
        parts = [kernel.name, print_kernel(kernel), kernel.sizes, kernel.axes, kernel.buffers]
        kernels[number] = len(kernels), [plain(x, kernels) for x in parts]
    return kernels[number][0]


@once
def classes() -> dict[str, type]:
    """The classes that an entry may name."""
    found: list[type] = [Slot, Launch, JoinedLaunch, Part, Loop, Tiles, Carry, Branch, Copy, Buffer, Program, Block,
                         Schedule, Streamed, SortedRows, ProductRows, GpuContraction, GpuLibrary, Joined]
    for c in found:
        found += c.__subclasses__() if issubclass(c, Schedule) else []
    return {c.__name__: c for c in found}


def schedule_text(schedule: Schedule) -> str:
    """A schedule as a text that `read_schedule` reads."""
    return json.dumps(plain(schedule, {}))


def read_schedule(text: str) -> Schedule:
    """The schedule of a text; ValueError, KeyError or TypeError where it is none."""
    schedule = Reading([]).object(json.loads(text))
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{text} is no schedule")
    return schedule


class Reading:
    """JSON to objects; equal texts of sizes are read once."""

    def __init__(self, kernels: list[Any]):
        self.sizes: dict[str, Dim] = {}
        self.kernels: list[Kernel] = []
        for name, text, sizes, axes, buffers in kernels:
            self.kernels.append(_StoredKernel(name, text, self.object(sizes), self.object(axes), self.object(buffers)))

    def object(self, x: Any) -> Any:
        """What `plain` has written."""
        if isinstance(x, list):
            return tuple([self.object(y) for y in x])
        if not isinstance(x, dict):
            return x
        ((kind, content),) = x.items()
        if kind == "map":
            return {name: self.object(y) for name, y in content.items()}
        if kind == "size":
            if content not in self.sizes:
                self.sizes[content] = reader.Reader(content).dim()
            return self.sizes[content]
        if kind == "dtype":
            return dtype(content)
        if kind == "kernel":
            return self.kernels[content]
        return classes()[kind](*[self.object(y) for y in content])


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
