"""From a kernel to launches: axes are collapsed, a long reduction or a patch is cut in two, a schedule is found.

Kernels that are equal but for their memory, such as those of a model's layers, are planned once: their launches share
values, stores and schedule, and so are emitted and compiled once too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..ir.gpu import GpuTarget
from ..ir.graph import Node
from ..ir.kernel import Buffer, Kernel, Value
from ..ir.program import Launch
from ..ir.schedule import Schedule
from ..ir.sorted_rows import sorts
from ..ir.target import Target
from . import contraction, gpu_schedule, gpu_sorted, streamed
from .collapse import collapse
from .grouping import split_groups, with_shared_rows
from .jam import jam
from .patch import split_patch
from .schedule import schedule
from .split import rows_of_product, split_product, split_reduction
from .unmerge import unmerge


class _Part(NamedTuple):
    """A kernel of a plan. `memory` says what each of its buffers is: one of the planned kernel's, or one between its
    parts.
    """

    kernel: Kernel
    schedule: Schedule
    memory: Mapping[str, str]
    zeroed: tuple[str, ...]


class Launcher:
    """Makes the launches of one program; `slot` enters memory between two kernels and gives its name."""

    def __init__(self, target: Target | GpuTarget, slot: Callable[[Buffer], str]):
        self.target, self.slot = target, slot
        self.plans: dict[Any, list[_Part]] = {}

    def may_run(self, n: Node) -> bool:
        """Is there a kernel on the target for what has one on some?"""
        is_gpu = isinstance(self.target, GpuTarget)
        return (not is_gpu or gpu_sorted.fits(n)) if n.op.kind == "sort" else is_gpu or "ranged" not in n.op.traits

    def launches(self, kernel: Kernel) -> list[Launch]:
        """Launches of a kernel whose buffers are named by slots."""
        parts, slots = self._parts(kernel)
        return [self._launch(part, slots, kernel.origin) for part in parts]

    def plan(self, kernel: Kernel) -> list[tuple[Kernel, Schedule]]:
        """The kernels that a kernel is launched as, and how they run."""
        return [(part.kernel, part.schedule) for part in self._parts(kernel)[0]]

    def _parts(self, kernel: Kernel) -> tuple[list[_Part], dict[str, str]]:
        local, slots = with_local_names(kernel)
        key = structure(local)
        if key not in self.plans:
            self.plans[key] = self._plan(local)
        return self.plans[key], slots

    def _plan(self, kernel: Kernel) -> list[_Part]:
        parts = []
        added: set[str] = set()                          # memory that sums are scattered into, zeroed once
        for k, chosen in self._scheduled(kernel):
            renamed, memory = with_local_names(k)
            zeroed = tuple(dict.fromkeys(s.buffer for s in k.stores if s.mode == "add" and s.buffer not in added))
            added |= set(zeroed)
            parts.append(_Part(renamed, chosen, memory, zeroed))
        return parts

    def _scheduled(self, kernel: Kernel) -> Iterable[tuple[Kernel, Schedule]]:
        """Kernels that do the same, with their schedules."""
        if isinstance(self.target, GpuTarget):
            return gpu_schedule.plan(kernel, self.target)
        simpler = (kernel,) if streamed.match(kernel) is not None else _simpler(kernel, self.target)
        return [(k, schedule(k, self.target)) for k in simpler]

    def _launch(self, part: _Part, slots: dict[str, str], origin: tuple[Any, ...]) -> Launch:
        for local, name in part.memory.items():
            if name not in slots:
                slots[name] = self.slot(part.kernel.buffers[local])
        kernel = part.kernel if part.kernel.origin == origin else replace(part.kernel, origin=origin)
        arguments = {local: slots[name] for local, name in part.memory.items()}
        return Launch(kernel, part.schedule, arguments, tuple(slots[z] for z in part.zeroed))


def _simpler(kernel: Kernel, target: Target) -> tuple[Kernel, ...]:
    """The kernel on as few axes as it needs, or two that do the same."""
    if sorts(kernel):
        return (collapse(kernel),)
    patch = split_patch(kernel)
    if patch is not None:
        return patch
    grouped = split_groups(kernel, contraction.fills_tiles)
    if grouped is not None:
        return (grouped,)
    of_product = rows_of_product(kernel, target)
    if of_product is not None:
        return of_product
    product = contraction.match(kernel)
    if product is not None:
        kernel = with_shared_rows(kernel, product, target.threads)
    product = contraction.find(kernel)
    kernel = collapse(unmerge(kernel, tuple(kernel.axes) if product is None else product.j))
    product = contraction.find(kernel)
    if product is not None:
        return split_product(kernel, product) or (kernel,)
    return split_reduction(kernel) or (jam(kernel),)


def structure(kernel: Kernel) -> Any:
    """What is equal for kernels that are the same text, which costs much more to make."""
    number = {v: n for n, v in enumerate(kernel.values)}

    def entries(index: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([("value", number[i]) if isinstance(i, Value) else i for i in index])

    values = [(v.op, tuple([number[a] for a in v.args]), v.axes, v.dtype, v.buffer, entries(v.index), repr(v.fill),
               repr(v.number), v.combine, v.over) for v in kernel.values]
    stores = [(s.buffer, entries(s.index), number[s.value], s.axes, s.mode) for s in kernel.stores]
    return kernel.name, tuple(kernel.axes.items()), tuple(kernel.buffers.values()), tuple(values), tuple(stores)


def with_local_names(kernel: Kernel) -> tuple[Kernel, dict[str, str]]:
    """The kernel with its buffers called x0, x1, … and y0, …; and what each of them was called."""
    local: dict[str, str] = {}
    for letter, buffers in (("x", kernel.inputs), ("y", kernel.outputs)):
        for n, b in enumerate(buffers):
            local[b.name] = f"{letter}{n}"
    return rename_buffers(kernel, local), {new: old for old, new in local.items()}


def rename_buffers(kernel: Kernel, names: Mapping[str, str]) -> Kernel:
    """The kernel with other buffer names."""
    new: dict[Value, Value] = {}

    def entries(index: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([new[i] if isinstance(i, Value) else i for i in index])

    for v in kernel.values:
        new[v] = Value(v.op, tuple([new[a] for a in v.args]), v.axes, v.dtype, names.get(v.buffer, v.buffer),
                       entries(v.index), v.fill, v.number, v.combine, v.over)
    stores = tuple([replace(s, buffer=names[s.buffer], index=entries(s.index), value=new[s.value])
                    for s in kernel.stores])
    buffers = {names[b.name]: replace(b, name=names[b.name]) for b in (*kernel.inputs, *kernel.outputs)}
    return Kernel(kernel.name, kernel.axes, buffers, tuple(new.values()), stores, kernel.origin)
