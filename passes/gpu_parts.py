"""A kernel as several, where a GPU cannot run it as one, or not well: stores that share no loops, and reductions whose
loops do not fit into one another. What stands between the parts is stored in memory named by the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir.expr import Dim
from ..ir.kernel import FOLDS, Kernel, KernelBuilder, Store, Value
from ..ir.schedule import are_disjoint, independent_axes
from .split import Copy


def by_stores(kernel: Kernel) -> list[Kernel]:
    """A kernel for each set of stores that run through the same axes, in order. Reduced axes do not count, nor do
    stores to no memory.
    """
    folded = {a for v in kernel.values for a in v.over}
    real = [s for s in kernel.stores if 0 not in kernel.buffers[s.buffer].shape]
    if not real:
        return []
    if len(real) < len(kernel.stores):
        return by_stores(part(kernel, kernel.name, {}, {}, real))
    kinds: dict[tuple[frozenset[str], int], list[Store]] = {}
    for n, s in enumerate(kernel.stores):
        alone = s.is_scatter or bool(set(s.axes) - independent_axes(kernel, s)) or not all(
            are_disjoint(kernel, s, t) for t in kernel.stores if t is not s)
        kinds.setdefault((frozenset(s.axes) - folded, n if alone else -1), []).append(s)
    if len(kinds) <= 1:
        return [kernel]
    return [part(kernel, f"{kernel.name}_{n}", {}, {}, stores) for n, stores in enumerate(kinds.values())]


def by_reductions(kernel: Kernel) -> list[Kernel]:
    """A kernel for the reductions that need no other one, over the same axes, and so on; at last one for the rest, if
    there is any. The kernel alone where that takes nothing apart.
    """
    folds = [v for v in kernel.values if v.op in FOLDS]
    names = {v: f"{kernel.name}_fold{n}" for n, v in enumerate(folds)}
    depth: dict[Value, int] = {}
    for v in kernel.values:
        depth[v] = max([depth[x] for x in v.inputs], default=0) + (v in names)
    stages: dict[tuple[int, tuple[str, ...], frozenset[str]], list[Value]] = {}
    for v in folds:
        stages.setdefault((depth[v], v.over, frozenset(v.axes) - set(v.over)), []).append(v)
    direct = [s for s in kernel.stores if s.value in names and not s.is_scatter]
    rest = [s for s in kernel.stores if s not in direct]
    if len(stages) == 1 and not rest:
        return [kernel]
    used = {x for v in kernel.values for x in v.inputs} | {x for s in rest for x in s.inputs}
    parts = []
    for n, ((level, *_), made) in enumerate(sorted(stages.items(), key=lambda item: item[0][0])):
        known = {v: name for v, name in names.items() if depth[v] < level}
        stores = [s for s in direct if s.value in made]
        parts.append(part(kernel, f"{kernel.name}_{n}", known, {v: names[v] for v in made if v in used}, stores))
    return [*parts, part(kernel, f"{kernel.name}_{len(parts)}", names, {}, rest)] if rest else parts


def part(kernel: Kernel, name: str, known: dict[Value, str], made: dict[Value, str],
         stores: Sequence[Store]) -> Kernel:
    """A kernel that loads the known values, and stores those that it makes and what the stores say."""
    k = KernelBuilder(name, kernel.axes)
    copy = Copy(kernel, k, {}, False)
    needed = _made_of([*made, *(x for s in stores for x in s.inputs)], known)
    for v in kernel.values:
        if v in known and v in needed:
            copy.made[v] = k.load(known[v], _shape(kernel, v), v.dtype, [k.axis(a) for a in v.axes])
    for v, buffer in made.items():
        k.store(buffer, _shape(kernel, v), [k.axis(a) for a in v.axes], copy.value(v))
    for s in stores:
        copy.store(s)
    return with_used_axes(k.build(kernel.origin))


def with_used_axes(kernel: Kernel) -> Kernel:
    """The kernel without axes that nothing runs through."""
    named = {a for v in kernel.values for a in (*v.axes, *v.over)} | {a for s in kernel.stores for a in s.axes}
    axes: dict[str, Dim] = {a: n for a, n in kernel.axes.items() if a in named}
    return Kernel(kernel.name, axes, kernel.buffers, kernel.values, kernel.stores, kernel.origin)


def _shape(kernel: Kernel, v: Value) -> tuple[Dim, ...]:
    return tuple(kernel.axes[a] for a in v.axes)


def _made_of(wanted: Iterable[Value], known: dict[Value, str]) -> set[Value]:
    found: set[Value] = set()
    todo = list(wanted)
    while todo:
        v = todo.pop()
        if v not in found:
            found.add(v)
            todo += [] if v in known else v.inputs
    return found
