"""A tile: where a program stands. It knows the positions of the kernel's axes as tensors, and which values have names
there; what else is asked for it writes, one statement an operation.

Emitters make one for each place in their loops (`inside` gives the tile of a loop's body). `value`, `store`,
`address` and `mask` are what prologues and epilogues of any schedule are written with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...ir import expr
from ...ir.claims import open_ends
from ...ir.expr import Dim
from ...ir.kernel import Index, Store, Value, flat_index
from ...ir.types import float32
from . import scalar
from .groups import Group
from .indices import factor
from .module import Function
from .names import TYPES, is_minus_zero, is_narrow, number, rounded
from .names import scalar as typed


class Tile:
    """See above. `groups` hold each axis that anything here varies over; `known` are the values that have names."""

    def __init__(self, f: Function, groups: Iterable[Group], rank: int, outer: Tile | None = None):
        self.f, self.rank = f, rank
        self.groups: tuple[Group, ...] = (*(outer.groups if outer else ()), *groups)
        self.known: dict[Value, str] = dict(outer.known) if outer else {}
        self.carries: dict[Value, str] = dict(outer.carries) if outer else {}      # scans: what came before
        self.group_of = {a: g for g in self.groups for a in g.axes}
        self.names = {f"<{g.name}>": g.name for g in self.groups}
        self.positions: dict[str, Dim] = {}
        for g in self.groups:
            rest: Dim = g.symbol
            for n, a in enumerate(g.axes):
                inner = expr.product(f.kernel.axes[b] for b in g.axes[n + 1:])
                is_fixed = f.kernel.axes[a] == 1 or inner == 0
                self.positions[a] = 0 if is_fixed else expr.floordiv(rest, inner)
                rest = rest if inner == 0 else expr.mod(rest, inner)

    def inside(self, *groups: Group) -> Tile:
        """The tile of a loop's body: further positions, and what is known outside is known."""
        return Tile(self.f, groups, self.rank, self)

    # ---- positions

    def groups_of(self, axes: Iterable[str]) -> list[Group]:
        """The groups that these axes are in, in the order of dimensions. Along an axis of one position nothing
        varies.
        """
        wanted = {a for a in axes if self.f.kernel.axes[a] != 1}
        return [g for g in self.groups if wanted & set(g.axes)]

    def shape(self, axes: Iterable[str]) -> list[int]:
        """The shape of a tensor that varies over these axes; empty for a plain number."""
        sizes = {g.dim: g.size for g in self.groups_of(axes) if g.dim is not None}
        return [sizes.get(d, 1) for d in range(self.rank)] if sizes else []

    def spell(self, x: Dim) -> str:
        """An expression of positions and sizes."""
        return self.f.spell(expr.substitute(x, self.positions), self.names)

    def mask(self, axes: Iterable[str]) -> list[str]:
        """Conditions for the positions of these axes to exist."""
        return [g.mask for g in self.groups_of(axes) if g.mask]

    # ---- memory

    def address(self, buffer: str, index: Sequence[Index]) -> str:
        """The pointer to an element."""
        flat, gathered = flat_index(self.f.kernel.buffers[buffer], index)
        terms = []
        for i, stride in gathered:
            place = self.value(i)
            if i.dtype.name not in ("i64", "u64"):
                place = f"{place}.to(tl.int64)"
            terms.append(place if stride == 1 else f"{place} * {factor(self.f.spell(stride))}")
        offset = self.spell(flat)
        still = [f"{g.name} * 0" for g in self._lost(index, flat)]
        text = " + ".join([*terms, *([offset] if offset != "0" else []), *still]).replace("+ -", "- ")
        pointer = self.f.buffers[buffer]
        if not text:
            return pointer
        return f"{pointer} - {text[1:]}" if text.startswith("-") else f"{pointer} + {text}"

    def _lost(self, index: Sequence[Index], flat: Dim) -> list[Group]:
        """Dimensions of an index that do not show in the offset (of x[i, 1 - i], or of no memory); masks have them."""
        by_values = {a for i in index if isinstance(i, Value) for a in i.axes}
        named = by_values.union(*(expr.symbols(i) & set(self.group_of) for i in index if not isinstance(i, Value)))
        shown = expr.symbols(expr.substitute(flat, self.positions))
        return [g for g in self.groups_of(named) if g.dim is not None and f"<{g.name}>" not in shown
                and not by_values & set(g.axes)]

    def inside_buffer(self, buffer: str, index: Sequence[Index]) -> list[str]:
        """Conditions for an index to lie inside the buffer."""
        tests = []
        for i, size in zip(index, self.f.kernel.buffers[buffer].shape):
            below, above = open_ends(i, size)
            text = self.value(i) if isinstance(i, Value) else self.spell(i)
            if below:
                tests.append(f"({text} >= 0)")
            if above:
                tests.append(f"({text} < {self.f.spell(size)})")
        return tests

    def store(self, s: Store) -> None:
        """Writes a store; what lies outside is dropped, and sums are added to what is there."""
        x = self.value(s.value)
        if s.value.op == "const":
            x = typed(s.value.number, s.value.dtype)
        tests = [*self.mask(s.axes), *self.inside_buffer(s.buffer, s.index)]
        self.write(s, x, tests)

    def write(self, s: Store, x: str, tests: Sequence[str]) -> None:
        """Stores a named value where all tests hold."""
        mask = f", mask={' & '.join(tests)}" if tests else ""
        place = self.address(s.buffer, s.index)
        if s.mode == "add":
            at = self.f.let("place", place)
            d, old = s.value.dtype, self.f.let("old", f"tl.load({at}{mask})")
            x, place = scalar.spell(self.f.use, "add", d, d, (old, x)), at
        self.f.do(f"tl.store({place}, {x}{mask})")

    # ---- values

    def value(self, v: Value) -> str:
        """The name of a value (of a constant, its number); what it needs is written before."""
        todo = [v]
        while todo:
            x = todo[-1]
            missing = [] if x in self.known else [a for a in reversed(x.inputs) if a not in self.known]
            todo += missing
            if not missing:
                todo.pop()
                if x not in self.known:
                    self.known[x] = self._write(x)
        return self.known[v]

    def typed(self, v: Value) -> str:
        """As `value`, with the dtype even of a constant."""
        return typed(v.number, v.dtype) if v.op == "const" else self.value(v)

    def name(self, v: Value, text: str) -> str:
        """A line that makes a value; its name says its number in the kernel."""
        return self.f.let(f"v{self.f.numbers[v]}", text)

    def _write(self, v: Value) -> str:
        if v.op == "const":
            return number(v.number, v.dtype)
        if v.op == "load":
            return self.name(v, self._load(v))
        if v.op == "index":
            position = self.spell(v.index[0])                       # type: ignore[arg-type]
            return self.name(v, f"{factor(position)}.to(tl.int64)" if self.shape(v.axes)
                             else f"tl.cast({position}, tl.int64)")
        if v.op in ("reduce", "scan"):
            from .folds import fold_in_tile

            return self.name(v, fold_in_tile(self, v))
        if v.op == "argsort":
            from .sorting import sort_in_tile

            return self.name(v, sort_in_tile(self, v))
        return self.name(v, self._apply(v))

    def _load(self, v: Value) -> str:
        if 0 in self.f.kernel.buffers[v.buffer].shape:
            return f"tl.full({self.shape(v.axes) or '()'}, {number(v.fill or 0, v.dtype)}, {TYPES[v.dtype.name]})"
        tests = self.mask(v.axes)
        other = ""
        if v.fill is not None:
            inside = self.inside_buffer(v.buffer, v.index)
            tests += inside
            fill = number(v.fill, v.dtype)
            if v.dtype.is_storage and fill == "0":
                fill = "0.0"                         # the byte 0, and 0 where bytes are read as 8-bit floats
            other = f", other={fill}" if inside else ""
        mask = f", mask={' & '.join(tests)}{other}" if tests else ""
        return f"tl.load({self.address(v.buffer, v.index)}{mask})"

    def _apply(self, v: Value) -> str:
        operands = v.args[1:] if v.op == "select" else v.args
        d = operands[0].dtype
        bare = scalar.takes_literals(v.op, d) and d.kind != "b" and any(a.op != "const" for a in operands)
        bare = bare and not (is_narrow(d) and v.op == "select")
        bare = bare and not any(a.op == "const" and is_minus_zero(a.number, a.dtype) for a in operands)
        is_widened = is_narrow(d) and v.op not in ("select", "cast", "bitcast")
        args = []
        for a in v.args:
            if a.op == "const" and is_widened:
                text = (number if bare else typed)(rounded(a.number, d), float32)
            elif bare or a.op != "const":
                text = self.value(a)
            else:
                text = typed(a.number, a.dtype)
            args.append(f"({text})" if text.startswith("-") else text)
        return scalar.spell(self.f.use, v.op, d, v.dtype, args)

    def spread(self, v: Value, axes: Iterable[str]) -> str:
        """A value as a tensor that varies over all these axes."""
        shape = self.shape(axes)
        text = self.typed(v)
        if not shape or self.shape(v.axes) == shape:
            return text
        if text.startswith("tl.full"):
            return f"tl.full({shape}, {number(v.number, v.dtype)}, {TYPES[v.dtype.name]})"
        if self.shape(v.axes):
            return f"tl.broadcast_to({text}, {shape})"
        return f"tl.full({shape}, {text}, {TYPES[v.dtype.name]})"
