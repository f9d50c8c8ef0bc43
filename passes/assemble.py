"""From a graph to a program: groups become kernels with schedules, values get slots, control flow becomes loops and
branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from ..ir import expr
from ..ir.errors import CompileError
from ..ir.evaluate import evaluate_node, read_sizes, symbol_name
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget
from ..ir.graph import Graph, Node, Value
from ..ir.kernel import Kernel, KernelBuilder
from ..ir.ops.parts import part_dtype
from ..ir.program import Branch, Carry, HostCall, Loop, Program, Slot, Step
from ..ir.scalar import converted
from ..ir.target import Target
from ..ir.types import TensorType
from .behind import followers, is_read_first
from .fuse import Fusion, Group, fuse
from .gates import MOST_PARTS
from .gpu_join import join_launches
from .join_products import Work, join_products
from .launches import Launcher
from .layout import storage_orders
from .lower import Place, lower_group, part_of
from .memory_plan import plan_arena, taken_inputs
from .ordering import ordered
from .recompute import recompute
from .skew import skew
from .spread import spread
from .streaming import stream
from .why_not import WhyNot


def assemble(graph: Graph, target: Target | GpuTarget, donated: Mapping[int, int] | None = None,
             hints: Mapping[str, int] | None = None) -> Program:
    """The program of a graph. `donated` says which input an output may be written into (position to position, where
    legal); `hints` are usual values of symbolic sizes."""
    a = _Assembler(target, {graph.outputs[o]: graph.inputs[i] for o, i in (donated or {}).items()})
    places: dict[Value, Place | Dim] = {}
    sizes: dict[str, tuple[str, int]] = {}
    for n, v in enumerate(graph.inputs):
        slot = a.slot(v.type, "input", v.name or f"in{n}")
        places[v] = _place(slot)
        for d, size in enumerate(v.shape):
            name = symbol_name(size)
            if name is not None:
                sizes.setdefault(name, (slot.name, d))
    for name in hints or ():                             # sizes that no input shows: the caller gives them
        sizes.setdefault(name, ("", 0))
    outputs: dict[Value, Slot] = {}
    names = []
    for n, v in enumerate(graph.outputs):
        if v not in outputs:
            outputs[v] = a.slot(v.type, "output", f"out{n}")
        names.append(outputs[v].name)
    steps = skew(a.steps(graph, places, {v: [_place(s)] for v, s in outputs.items()}), target)
    inputs = tuple(places[v].slot for v in graph.inputs)  # type: ignore[union-attr]
    wanted = {names[o]: inputs[i] for o, i in (donated or {}).items()}
    if isinstance(target, GpuTarget):
        steps = join_launches(steps, a.slots, wanted, target, hints or {})
    slots, arena = plan_arena(a.slots, steps, hints or {})
    slots = taken_inputs(slots, steps, wanted)
    return Program(graph.name, slots, steps, inputs, tuple(names), sizes, arena, tuple(a.notes))


def _place(slot: Slot, order: tuple[int, ...] = ()) -> Place:
    return Place(slot.name, slot.shape, slot.dtype, order=order)


class _Assembler:
    def __init__(self, target: Target | GpuTarget, donated: Mapping[Value, Value]):
        self.slots: dict[str, Slot] = {}
        self.target, self.donated = target, donated
        self.launcher = Launcher(target, lambda b: self.slot(TensorType(b.shape, b.dtype), "temporary").name)
        self.notes: list[WhyNot] = []
        self.loops = 0

    def slot(self, type: TensorType, role: str, name: str = "") -> Slot:
        """A new slot with a name of its own."""
        name = name or f"t{len(self.slots)}"
        while name in self.slots:
            name += "_"
        self.slots[name] = Slot(name, type.shape, type.dtype, role)
        return self.slots[name]

    def steps(self, graph: Graph, places: dict[Value, Place | Dim],
              targets: Mapping[Value, Sequence[Place]]) -> tuple[Step, ...]:
        """The steps of a graph (or region) whose inputs are at `places` and whose outputs go to `targets`."""
        most = 1 if isinstance(self.target, GpuTarget) else MOST_PARTS           # a GPU's tile holds one sum
        fused = fuse(graph, spread(graph), parts=most, may_run=self.launcher.may_run)
        fusion = stream(graph, fused, self.target)
        fusion = recompute(graph, fusion, self.donated.values())
        fusion = ordered(graph, fusion, self.donated)
        self.notes += fusion.notes
        needed = _stored(graph, fusion)
        all_targets: dict[Value, list[Place]] = {v: list(t) for v, t in targets.items()}
        orders = storage_orders(graph, fusion, [v for v in needed if v not in all_targets])
        overwritten = _overwritten(graph, fusion, needed)
        for v in (*(v for v in needed if v not in overwritten), *reversed(overwritten)):
            if v in overwritten and v not in all_targets and overwritten[v] in all_targets:
                all_targets[v] = all_targets[overwritten[v]][:1]     # in its memory: nothing is copied
            if v not in all_targets:
                order = orders.get(v, ())
                type_ = v.type.with_shape(v.shape[d] for d in order) if order else v.type
                all_targets[v] = [_place(self.slot(type_, "temporary"), order)]
        out: list[Work] = []
        for v in dict.fromkeys(graph.outputs):           # an input or a number that is an output too
            if v.node is None or v.literal is not None:
                out += self._copies(v, places, all_targets.get(v, ()))
        known, seen = dict(places), 0
        for group in fusion.groups:
            results = [r for n in group.nodes for r in n.results if r in all_targets and fusion.group_of[r] is group]
            if all(0 in r.shape for r in results):       # nothing to store
                continue
            for v, t in islice(all_targets.items(), seen, None):         # host calls enter further ones
                known.setdefault(v, t[0])
            seen = len(all_targets)
            if group.kind == "host":
                out += self._host(group.nodes[0], known, all_targets)
                continue
            for v in results:
                if v.node is not None and "overwrites" in v.node.op.traits:
                    base = v.node.operands[0]
                    out += self._copies(base, known, [t for t in all_targets[v] if t != known.get(base)])
            out.append(lower_group(group, fusion, known, results, all_targets, _kernel_name(group)))
        return tuple(self._launched(out, {t.slot for places in targets.values() for t in places}))

    def _launched(self, work: list[Work], wanted: set[str]) -> Iterator[Step]:
        """The steps of some work, of which these slots are wanted."""
        if isinstance(self.target, Target) and self.target.triple:
            temporary = {name for name, s in self.slots.items() if s.role == "temporary"}
            work = join_products(work, frozenset(temporary - wanted), self.launcher.plan)
        for x in work:
            yield from self.launcher.launches(x) if isinstance(x, Kernel) else (x,)

    def _copies(self, v: Value, places: Mapping[Value, Place | Dim], targets: Sequence[Place]) -> list[Step]:
        source = places.get(v)
        out: list[Step] = []
        for target in targets if 0 not in v.shape else ():
            k = KernelBuilder("copy", {})
            index = tuple(k.add_axis("ijklmnop"[d], n) for d, n in enumerate(v.shape))
            parts = range(2 if v.dtype.kind == "c" else 1)
            if v.literal is not None:
                values = [k.constant(part_of(v.literal, v.dtype, part), part_dtype(v.dtype)) for part in parts]
            elif isinstance(source, Place):
                values = [source.load(k, index, None, part) for part in parts]
            else:
                values = [k.cast(k.index(source), v.dtype)]  # type: ignore[arg-type]
            target.store(k, index, *values)
            out += self.launcher.launches(k.build())
        return out

    # ---- what is no kernel

    def _host(self, n: Node, places: Mapping[Value, Place | Dim], targets: dict[Value, list[Place]]) -> list[Step]:
        if n.op.name in _CONTROL:
            return _CONTROL[n.op.name](self, n, places, targets)
        before: list[Step] = []
        inputs = [self._whole(v, places, before).slot for v in n.operands if v.literal is None]
        outputs = []
        for r in n.results:
            if r not in targets:
                targets[r] = [_place(self.slot(r.type, "temporary"))]
            outputs.append(targets[r][0])
        direct = [t if t.is_plain else _place(self.slot(r.type, "temporary")) for r, t in zip(n.results, outputs)]
        after: list[Step] = []
        for r, made in zip(n.results, direct):
            rest = [t for t in targets[r] if t is not made]
            after += self._copies(r, {r: made}, rest)
        call = HostCall(n.op.name, _host_function(n), tuple(inputs), tuple(t.slot for t in direct),
                        "host" not in n.op.traits, () if n.loc is None else (n.loc,))
        return [*before, call, *after]

    def _whole(self, v: Value, places: Mapping[Value, Place | Dim], before: list[Step]) -> Place:
        """The value in a slot of its own."""
        place = places.get(v)
        if isinstance(place, Place) and place.is_plain:
            return place
        made = _place(self.slot(v.type, "temporary"))
        before += self._copies(v, places, [made])
        return made

    def _loop(self, n: Node, places: Mapping[Value, Place | Dim], targets: dict[Value, list[Place]]) -> list[Step]:
        body, c, s = n.attrs["body"], n.attrs["carried"], n.attrs["scanned"]
        before: list[Step] = []
        after: list[Step] = []
        turns = self._turns(n.operands[0], places, before)
        counter = f"turn{self.loops}"
        self.loops += 1
        high = turns - 1 if not isinstance(turns, str) else None
        at: Dim = expr.symbol(counter, 0, high)
        if n.attrs["reverse"]:
            if isinstance(turns, str):
                raise CompileError("a reversed loop needs a number of turns that is known from sizes")
            at = turns - 1 - at
        inner: dict[Value, Place | Dim] = {body.inputs[0]: at}
        ends: dict[Value, list[Place]] = {}
        carries = []
        behind = followers(body, c) if isinstance(self.target, Target) else {}
        for i in range(c):
            v, result = n.operands[1 + i], n.results[i]
            initial = self._whole(v, places, before)
            carry = self._carry(initial, result, targets, after)
            carries.append(carry)
            inner[body.inputs[1 + i]] = _place(self.slots[carry.current])
            if i not in behind:
                ends.setdefault(body.outputs[i], []).append(_place(self.slots[carry.following]))
        for i in range(s):
            place = self._whole(n.operands[1 + c + i], places, before)
            inner[body.inputs[1 + c + i]] = Place(place.slot, place.shape, place.dtype, (at,))
        for v, x in zip(n.operands[1 + c + s:], body.inputs[1 + c + s:]):
            inner[x] = self._outside(v, places, before)
        for v, r in zip(body.outputs[c:], n.results[c:]):
            for t in targets.get(r, ()):
                ends.setdefault(v, []).append(Place(t.slot, t.shape, t.dtype, (*t.prefix, at)))
        for v in body.outputs:
            if v.node is not None:
                ends.setdefault(v, [])
        steps = self.steps(body, inner, ends)
        for i, front in behind.items():
            old, new = carries[i], carries[front]
            if is_read_first(steps, old.current, new.following):
                carries[i] = replace(old, following=new.current, spare="")
                carries[front] = replace(new, spare=old.result)
            else:
                steps = (*self._copies(body.outputs[i], inner, [_place(self.slots[old.following])]), *steps)
        return [*before, Loop(counter, turns, tuple(carries), steps), *after]

    def _carry(self, initial: Place, result: Value, targets: dict[Value, list[Place]], after: list[Step]) -> Carry:
        wanted = targets.get(result, [])
        whole = [t for t in wanted if t.is_plain]
        final = whole[0] if whole else _place(self.slot(result.type, "temporary"))
        after += self._copies(result, {result: final}, [t for t in wanted if t is not final])
        spare = self.slot(result.type, "temporary")
        current, following = self.slot(result.type, "carried"), self.slot(result.type, "carried")
        return Carry(initial.slot, current.name, following.name, final.slot, spare.name)

    def _turns(self, v: Value, places: Mapping[Value, Place | Dim], before: list[Step]) -> Dim | str:
        if v.literal is not None:
            return int(v.literal)
        if v.node is not None and "dim" in v.node.attrs:
            return v.node.attrs["dim"]
        return self._whole(v, places, before).slot

    def _outside(self, v: Value, places: Mapping[Value, Place | Dim], before: list[Step]) -> Place | Dim:
        place = places.get(v)
        return place if place is not None else self._whole(v, places, before)

    def _cond(self, n: Node, places: Mapping[Value, Place | Dim], targets: dict[Value, list[Place]]) -> list[Step]:
        before: list[Step] = []
        condition = self._whole(n.operands[0], places, before).slot
        outer = [self._outside(v, places, before) for v in n.operands[1:]]
        for r in n.results:
            targets.setdefault(r, [_place(self.slot(r.type, "temporary"))])
        branches = []
        for region in (n.attrs["then"], n.attrs["otherwise"]):
            ends: dict[Value, list[Place]] = {}
            for v, r in zip(region.outputs, n.results):
                ends.setdefault(v, []).extend(targets[r])
            branches.append(self.steps(region, dict(zip(region.inputs, outer)), ends))
        return [*before, Branch(condition, *branches)]

    def _while(self, n: Node, places: Mapping[Value, Place | Dim], targets: dict[Value, list[Place]]) -> list[Step]:
        test, body, c = n.attrs["test"], n.attrs["body"], n.attrs["carried"]
        before: list[Step] = []
        after: list[Step] = []
        carries, current = [], []
        ends: dict[Value, list[Place]] = {}
        for i in range(c):
            initial = self._whole(n.operands[i], places, before)
            carry = self._carry(initial, n.results[i], targets, after)
            carries.append(carry)
            current.append(_place(self.slots[carry.current]))
            ends.setdefault(body.outputs[i], []).append(_place(self.slots[carry.following]))
        rest = [self._outside(v, places, before) for v in n.operands[c:]]
        flag = self.slot(test.outputs[0].type, "temporary")
        tests = self.steps(test, dict(zip(test.inputs, [*current, *rest])), {test.outputs[0]: [_place(flag)]})
        steps = self.steps(body, dict(zip(body.inputs, [*current, *rest])), ends)
        self.loops += 1
        return [*before, Loop(f"turn{self.loops - 1}", None, tuple(carries), steps, tests, flag.name), *after]


def _overwritten(graph: Graph, fusion: Fusion, needed: Iterable[Value]) -> dict[Value, Value]:
    """Values that nothing reads but what overwrites some of their elements, and the results of that."""
    uses, found = graph.uses(), {}
    for v in needed:
        readers = list(uses.get(v, ()))
        is_base = len(readers) == 1 and "overwrites" in readers[0].op.traits and readers[0].operands[0] is v
        if is_base and v not in fusion.inlined and sum(o is v for o in readers[0].operands) == 1:
            found[v] = readers[0].results[0]
    return {v: by for v, by in found.items() if v not in graph.outputs}


def _stored(graph: Graph, fusion: Fusion) -> list[Value]:
    """Values that one group writes and another one (or a host call) reads."""
    found: dict[Value, None] = {}
    for group in fusion.groups:
        mine = {r for n in group.nodes for r in n.results}
        for n in group.nodes:
            for v in n.operands:
                for base, _ in fusion.reach[v]:
                    if base.node is not None and base.literal is None and base not in mine:
                        found[base] = None
    return list(found)


def _kernel_name(group: Group) -> str:
    """A name from what it does: its dearest ops in order, so that equal kernels have equal names."""
    names = [n.op.name for n in group.nodes if n.op.kind != "view"
             and n.op.name not in ("cast", "stop_gradient", "constant")]
    special = [n.op.name for n in group.nodes if n.op.kind not in ("view", "pointwise")]
    chosen = list(dict.fromkeys(special if len(special) > 1 else [*special, *[x for x in names if x not in special]]))
    return "_".join(chosen[:4]) or "copy"


def _host_function(n: Node) -> Any:
    """The node's evaluation as a function of those operands that are no numbers."""
    region = Graph("host", tuple(v for v in n.operands if v.literal is None), (), (), {})

    def call(*arrays: Any, xp: Any = np) -> tuple[Any, ...]:
        given = iter(arrays)
        operands = [next(given) if v.literal is None else converted(xp.asarray(v.literal), v.dtype) for v in n.operands]
        return evaluate_node(n, operands, read_sizes(region, arrays), xp)

    return call


_CONTROL = {"loop": _Assembler._loop, "cond": _Assembler._cond, "while_loop": _Assembler._while}
