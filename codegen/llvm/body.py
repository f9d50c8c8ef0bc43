"""The values of a kernel at a point of its iteration space, and its stores: what is inside the loops of every
schedule.

A `Scope` is a place in the text where some axes have positions, one of them perhaps in vector lanes (`lane`: its
position is that of lane 0). `scope.value(v)` writes what computes a value there, once; `scope.known` may be seeded,
with what a loop has reduced. A loop's body gets a scope of its own by `scope.enter`, and finds there what is known
outside; `scope.prepare` computes outside of a loop what the loop needs and what does not vary in it. A load is a
splat, a contiguous or reversed vector, a strided or any gather, as its index asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...ir import expr
from ...ir.claims import Claim, need, open_ends
from ...ir.expr import Dim, Expr
from ...ir.kernel import Buffer, Kernel, Store, Value, flat_index, pair_part
from ...ir.types import int64
from . import scalar
from .lines import Line, in_lanes, line, uniform
from .pairs import load_part
from .types import INDEX, POINTER, type_of
from .writer import Function, Index, Module, X

LANES = 16


def open_entry(module: Module, kernel: Kernel, name: str) -> tuple[Function, Scope, X, X, X]:
    """The function that a kernel is called by: its writer, the scope of its buffers and sizes, start, stop and
    scratch.
    """
    w = module.function(name, {"args": POINTER, "start": INDEX, "stop": INDEX, "scratch": POINTER}, linkage="external")
    args, start, stop, scratch = w.parameters
    pointers, point = {}, {}
    for n, b in enumerate(kernel.buffers):
        pointers[b] = w.let(POINTER, f"load ptr, {w.at(args, n, int64)}, align 8")
    for n, size in enumerate(kernel.sizes, len(pointers)):
        point[size] = w.load(int64, w.at(args, n, int64))
    return w, Scope(w, kernel, pointers, point), start, stop, scratch


class Scope:
    """A place in the text: `point` has the position of each axis and size that is known, `known` what was computed
    here.

    `mask` says which lanes are on (None: all). `aligned`: the lane axis' position is a multiple of the number of lanes.
    """

    def __init__(self, w: Function, kernel: Kernel, pointers: Mapping[str, X], point: Mapping[str, Index], *,
                 parent: Scope | None = None,
                 lane: str = "", lanes: int = LANES, mask: X | None = None, aligned: bool = False,
                 trusted: frozenset[Claim] = frozenset()):
        self.w, self.kernel, self.pointers, self.point = w, kernel, pointers, dict(point)
        self.parent, self.lane, self.lanes, self.mask, self.aligned = parent, lane, lanes, mask, aligned
        self.trusted = trusted                       # what needs no check
        self.known: dict[Any, Any] = {}

    def enter(self, point: Mapping[str, Index], *, lane: str | None = None, lanes: int | None = None,
              mask: X | None = None, aligned: bool | None = None, trusted: frozenset[Claim] | None = None) -> Scope:
        """A scope inside this one, with positions of further axes; what is not given is as it is outside."""
        return Scope(self.w, self.kernel, self.pointers, {**self.point, **point}, parent=self,
                     lane=self.lane if lane is None else lane, lanes=self.lanes if lanes is None else lanes,
                     mask=mask or self.mask, aligned=self.aligned if aligned is None else aligned,
                     trusted=self.trusted if trusted is None else trusted)

    def find(self, key: Any) -> Any:
        """What was computed for a key here or outside, or None."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.known.get(key)
            if found is not None:
                return found
            scope = scope.parent
        return None

    def index(self, x: Dim) -> Index:
        """An index expression that does not vary over the lanes."""
        return uniform(self, x)

    # ---- values ---------------------------------------------------------------------------------------------------

    def varies(self, v: Value | Store) -> bool:
        """Is it one number a lane?"""
        return bool(self.lane) and self.lane in v.axes

    def value(self, v: Value) -> X:
        """A value here: lanes if it varies over the lane axis, else a scalar."""
        found = self.find(v)
        if found is not None:
            return found
        todo = [v]
        while todo:                                  # not by recursion: a chain of operations may be long
            x = todo[-1]
            missing = [a for a in self._inputs(x) if self.find(a) is None]
            if missing:
                todo += missing
                continue
            todo.pop()
            if x not in self.known:
                self.known[x] = self._compute(x)
        return self.known[v]

    def _inputs(self, v: Value) -> tuple[Value, ...]:
        """What must be computed for a value: nothing for what is trusted or compares positions, one arm of a choice
        that is trusted.
        """
        if v in self.trusted or self._compares_positions(v):
            return ()
        if v.op == "select" and v.args[0] in self.trusted:
            return v.args[1:2]
        return v.inputs

    def _compares_positions(self, v: Value) -> bool:
        asked = need(v) if self.varies(v) else None
        return asked is not None and expr.coefficient(asked, self.lane) in (-1, 1)

    def vector(self, v: Value) -> X:
        """A value here, in each lane if it is the same in all."""
        lanes = self.lanes if self.lane else 1
        if v.op == "const":
            return self.w.number(v.number, v.dtype, lanes)
        x = self.value(v)
        if x.lanes == lanes:
            return x
        found = self.find(("splat", v))
        if found is None:
            found = self.known["splat", v] = self.w.splat(x, lanes)
        return found

    def _compute(self, v: Value) -> X:
        if v.op == "const":
            return self.w.number(v.number, v.dtype)
        if v.op == "load":
            return self._load(v)
        if v.op == "index":
            where = line(self, v.index[0])          # type: ignore[arg-type]
            return self.w.lift(where.start) if where.is_uniform else in_lanes(self, where)
        if v.op in ("reduce", "scan"):
            raise LookupError(f"kernel {self.kernel.name}: the {v.combine} over {v.over} is not known at "
                              f"{sorted(self.point)}")
        if v in self.trusted:
            return self.w.number(True, v.dtype, self.lanes if self.varies(v) else 1)
        if self._compares_positions(v):
            where = line(self, need(v))                 # type: ignore[arg-type]
            return self.w.mask_nonnegative(where.start, where.step, self.lanes)   # type: ignore[arg-type]
        if v.op == "select" and v.args[0] in self.trusted:
            return self.vector(v.args[1]) if self.varies(v) else self.value(v.args[1])
        args = tuple(self.vector(a) if self.varies(v) else self.value(a) for a in v.args)
        return scalar.emit(self.w, v.op, args, v.args[-1].dtype, v.dtype)

    # ---- places in memory -----------------------------------------------------------------------------------------

    def place(self, buffer: Buffer, index: tuple[Any, ...]) -> Line:
        """The element's number in a buffer."""
        flat, gathered = flat_index(buffer, index)
        where = line(self, flat)
        for i, stride in gathered:
            where = self._add(where, self._line_of(i), uniform(self, stride))
        return where

    def _line_of(self, i: Value) -> Line:
        x = self.value(i)
        x = x if x.type.element == "i64" else self.w.convert("zext" if i.dtype.kind in "ub" else "sext", x, "i64")
        return Line(x) if x.lanes == 1 else Line(0, 0, x)

    def _add(self, a: Line, b: Line, stride: Index) -> Line:
        w = self.w
        if b.lanes is None:
            start = w.mul(b.start, stride)
            return Line(w.add(a.start, start), a.step) if a.lanes is None else Line(
                0, 0, w.add(a.lanes, w.splat(w.lift(start), self.lanes)))
        scaled = w.mul(b.lanes, stride if isinstance(stride, int) else w.splat(stride, self.lanes))
        return Line(0, 0, scaled if a == Line(0) else w.add(in_lanes(self, a), scaled))

    def inside(self, buffer: Buffer, index: tuple[Any, ...]) -> tuple[X | bool, X | None]:
        """Whether the index lies in the buffer: what is so for all lanes at once, and (None: nothing more) for each
        lane.
        """
        w = self.w
        for_all: X | bool = True
        for_each: X | None = None
        for i, size in zip(index, buffer.shape):
            low_open, high_open = open_ends(i, size)
            if not low_open and not high_open or (i, size) in self.trusted:
                continue
            where, bound = self._line_of(i) if isinstance(i, Value) else line(self, i), uniform(self, size)
            if where.is_uniform:
                for_all = w.both(for_all, True if not low_open else w.less_equal(0, where.start))
                for_all = w.both(for_all, True if not high_open else w.less(where.start, bound))
                continue
            if where.lanes is None and isinstance(where.step, int) and where.step == 1:
                ok = self._run_inside(where.start, bound, low_open, high_open)
            else:
                at = in_lanes(self, where)
                ok = w.compare("ult", at, w.splat(w.lift(bound), self.lanes))
            for_each = ok if for_each is None else w.binary("and", for_each, ok)
        return for_all, for_each

    def _run_inside(self, start: Index, bound: Index, low_open: bool, high_open: bool) -> X:
        w, ok = self.w, None
        if high_open:
            ok = w.mask_below(w.max(start, -self.lanes), bound, self.lanes) if low_open else w.mask_below(start, bound,
                                                                                                          self.lanes)
        if low_open:
            above = w.mask_nonnegative(start, 1, self.lanes)
            ok = above if ok is None else w.binary("and", ok, above)
        assert ok is not None
        return ok

    def _masked(self, for_all: X | bool, for_each: X | None, also: X | None) -> X | None:
        """The lanes that are on, of all; None for all of them."""
        w = self.w
        parts = [x for x in (for_each, also) if x is not None]
        if for_all is not True:
            parts.append(w.splat(w.lift(for_all, like=w.constant(True, INDEX.of("i1")).type), self.lanes))
        mask = None
        for x in parts:
            mask = x if mask is None else w.binary("and", mask, x)
        return mask

    def _load(self, v: Value) -> X:
        w, buffer = self.w, self.kernel.buffers[v.buffer]
        for_all, for_each = (True, None) if v.fill is None else self.inside(buffer, v.index)
        where = self.place(buffer, v.index)
        pointer, d = self.pointers[v.buffer], v.dtype
        fill = 0 if v.fill is None else v.fill
        if not self.varies(v):
            if for_all is True:
                return w.load(d, w.at(pointer, where.start, d))
            if for_all is False:
                return w.number(fill, d)
            return w.when(for_all, lambda: w.load(d, w.at(pointer, where.start, d)), lambda: w.number(fill, d))[0]
        outside = self._outside(v, where) if isinstance(for_all, X) else None
        mask = self._masked(True if outside is not None else for_all, for_each, self.mask)
        if where.lanes is not None:
            return w.gather(d, pointer, where.lanes, mask, fill)
        base = w.at(pointer, where.start, d)
        # a masked load from a page that is not there takes hundreds of cycles
        if for_all is not True:
            base = w.select(for_all, base, pointer if outside is None else outside)
        if where.is_uniform:                         # varies by its bounds only
            x = w.gather(d, base, w.iota(self.lanes, step=0), mask, fill)
        elif not isinstance(where.step, int):
            x = w.gather(d, base, w.offsets(0, self.lanes, where.step), mask, fill)
        elif where.step == 1:
            x = w.load(d, base, self.lanes) if mask is None else w.masked_load(d, base, mask, fill)
        elif where.step == 2 and pair_part(self.kernel, v) is not None:
            x = load_part(self, v, base, mask, fill)
        elif where.step == -1 and mask is None:
            x = w.load(d, w.at(base, 1 - self.lanes, d), self.lanes)
            x = w.shuffle(x, x, range(self.lanes - 1, -1, -1))
        else:
            x = w.strided(d, base, self.lanes, where.step, mask, fill)
        return x

    def _outside(self, v: Value, where: Line) -> X | None:
        """Memory that holds what a run outside of its buffer reads, which is cheaper than another mask for each run."""
        if v.dtype.kind != "f" or v.dtype.itemsize < 4 or where.lanes is not None or where.step != 1:
            return None
        return self.w.table(type_of(v.dtype).element, [v.fill] * self.lanes)

    # ---- stores ---------------------------------------------------------------------------------------------------

    def store(self, s: Store, x: X | None = None) -> None:
        """Write what a store writes here (`x`: its value, where that is known better); an index outside is dropped."""
        w, buffer = self.w, self.kernel.buffers[s.buffer]
        varies = self.varies(s)
        stored: X = x if x is not None else self.vector(s.value) if varies else self.value(s.value)
        for_all, for_each = self.inside(buffer, s.index)
        where = self.place(buffer, s.index)
        if not varies:
            w.when(for_all, lambda: self._write_one(s, stored, where.start))
            return
        mask = self._masked(for_all, for_each, self.mask)
        pointer, d = self.pointers[s.buffer], buffer.dtype
        if where.lanes is not None:
            lanes, base, contiguous = where.lanes, pointer, False
        else:
            base = w.at(pointer, where.start, d)
            contiguous = isinstance(where.step, int) and where.step == 1
            lanes = w.iota(self.lanes, step=where.step) if isinstance(where.step, int) else w.offsets(0, self.lanes,
                                                                                                      where.step)
        if s.mode == "add":
            old = (w.load(d, base, self.lanes) if mask is None else w.masked_load(d, base, mask)) if contiguous else (
                w.gather(d, base, lanes, mask))
            stored = scalar.emit(w, "add", (old, stored), d, d)
        if not contiguous:
            w.scatter(stored, d, base, lanes, mask)
        elif mask is None:
            w.store(stored, base)
        else:
            w.masked_store(stored, base, mask)

    def writing_mask(self, s: Store) -> X | None:
        """The lanes in which a store writes; None for all of them."""
        return self._masked(*self.inside(self.kernel.buffers[s.buffer], s.index), self.mask)

    def _write_one(self, s: Store, x: X, where: Index) -> None:
        d = self.kernel.buffers[s.buffer].dtype
        base = self.w.at(self.pointers[s.buffer], where, d)
        if s.mode == "add":
            x = scalar.emit(self.w, "add", (self.w.load(d, base), x), d, d)
        self.w.store(x, base)

    # ---- hoisting -------------------------------------------------------------------------------------------------

    def prepare(self, wanted: Iterable[Value | Store], splats: int = 0) -> None:
        """Compute here what a loop inside will need for these and what does not vary in it: values, and parts of
        indices.

        `splats` is the number of lanes if the loop is the one that runs in lanes, else 0.
        """
        seen: set[Value | Store] = set()
        todo = list(wanted)
        while todo:
            x = todo.pop()
            if x not in seen and (isinstance(x, Store) or self.find(x) is None):
                seen.add(x)
                todo += x.inputs
        ready: set[Value] = set()
        for v in self.kernel.values:
            if v not in seen:
                continue
            if v.op not in ("reduce", "scan") and all(a in self.point for a in v.axes) and all(
                    x in ready or x not in seen for x in v.inputs):
                ready.add(v)
                if v.op != "const":
                    self.value(v)
            elif v.op == "load":
                self._prepare_index(v)
        for s in seen:
            if isinstance(s, Store):
                self._prepare_index(s)
        if splats:
            self._prepare_splats(seen, splats)

    def _prepare_splats(self, users: Iterable[Value | Store], lanes: int) -> None:
        """What is the same in all lanes, and used in lanes inside."""
        for user in users:
            for v in (user.value,) if isinstance(user, Store) else user.args:
                if v.op != "const" and not self.lane and any(a not in self.point for a in user.axes):
                    x = self.find(v)
                    if x is not None and x.lanes == 1 and self.find(("splat", v)) is None:
                        self.known["splat", v] = self.w.splat(x, lanes)

    def _prepare_index(self, x: Value | Store) -> None:
        flat, _ = flat_index(self.kernel.buffers[x.buffer], x.index)
        if not isinstance(flat, Expr):
            return
        here = {m: c for m, c in flat.terms.items() if m and all(
            s in self.point and s != self.lane for a in m for s in expr.symbols(Expr({(a,): 1})))}
        if here and len(here) < len(flat.terms):
            if () in flat.terms:
                here[()] = flat.terms[()]
            uniform(self, Expr(here))
