"""The function of a kernel: a line for each value, in a loop over blocks of rows where the kernel has independent rows,
so that what lies between the loads and the stores stays in cache.

A value is an array over its own axes, in the kernel's order; operands are brought in line by `[:, None]`. Its name says
its number in the kernel's text. A function of NumPy writes into an operand that is not needed any more, or into the
output.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence

from ...ir import expr
from ...ir.errors import CompileError
from ...ir.expr import Dim
from ...ir.kernel import Index, Kernel, Store, Value, is_affine
from ...ir.scalar import COMBINE
from ...ir.schedule import Source
from . import places, spelling
from .places import Range, aligned, axes_of, source

_TEMPORARIES = 3                    # rows of this many intermediates are in use at a time
_ROWS_OF_MATMUL = 256                # fewer would starve a matrix product
_PRELUDE = "import numpy as np\n\nfrom braze.codegen.numpy import helpers as bz\n"


def emit_function(kernel: Kernel, cache_bytes: int) -> Source:
    """The source of the kernel; blocks of rows take about `cache_bytes`."""
    writer = _Function(kernel, cache_bytes)
    return Source("\n".join([_PRELUDE, "", *writer.lines(), ""]), writer.entry, "numpy")


def _parenthesised(text: str) -> str:
    return text if text.isdigit() or text.startswith("max(") else f"({text})"


class _Names:
    """Python names that are not taken yet."""

    def __init__(self, taken: Sequence[str]):
        self.taken = set(taken)

    def fresh(self, wish: str) -> str:
        name = wish if wish.isidentifier() else "".join(c if c.isalnum() else "_" for c in f"b_{wish}")
        while name in self.taken or keyword.iskeyword(name):
            name += "_"
        self.taken.add(name)
        return name


class _Function:
    """The lines of one function."""

    def __init__(self, kernel: Kernel, cache_bytes: int):
        self.kernel, self.cache_bytes = kernel, cache_bytes
        names = _Names(["np", "bz", "min", "max", "range", "step", *kernel.sizes])
        computed = [v for v in kernel.values if v.op != "const"]
        self.entry = names.fresh(kernel.name)
        self.names = {v: names.fresh(f"v{n}") for n, v in enumerate(computed)}
        self.buffers = {b: names.fresh(b) for b in kernel.buffers}
        self.positions = {a: names.fresh(a) for a in kernel.axes}
        self.bounds = {a: (names.fresh(f"{a}0"), names.fresh(f"{a}1")) for a in kernel.axes}
        self.ranges = {a: Range(0, e) for a, e in kernel.axes.items()}
        self.fused = {v.args[0] for v in computed if self._is_contraction(v)}
        self.computed = [v for v in computed if v not in self.fused]
        self.last_use = self._last_uses()
        self.rows = self._row_axis()
        self.body: list[str] = []
        self.known_positions: set[str] = set()
        self.fresh: set[Value] = set()           # arrays of this block that may be written over

    # ---- the whole ----

    def lines(self) -> Iterator[str]:
        """The definition."""
        sizes = ", ".join(["*", *self.kernel.sizes]) if self.kernel.sizes else ""
        yield f"def {self.entry}({', '.join([*self.buffers.values(), *([sizes] if sizes else [])])}):"
        yield '    """'
        yield from (f"    {line}" for line in str(self.kernel).replace("\\", "\\\\").splitlines())
        yield '    """'
        stores = self.kernel.stores
        if self.rows is None:
            yield from self._section(self.computed, stores, "    ")
            return
        inside = self._inside()
        yield from self._section([v for v in self.computed if v not in inside],
                                 [s for s in stores if self.rows not in s.axes], "    ")
        start, stop = self.bounds[self.rows]
        extent = source(self.kernel.axes[self.rows])
        step, line = self._step()
        yield from line
        yield f"    for {start} in range(0, {extent}, {step}):"
        yield f"        {stop} = min({start} + {step}, {extent})"
        length = expr.symbol(start)
        self.ranges[self.rows] = Range(length, expr.symbol(stop, 1))
        self.fresh.clear()
        yield from self._section([v for v in self.computed if v in inside], [s for s in stores if self.rows in s.axes],
                                 "        ")

    def _inside(self) -> set[Value]:
        return {v for v in self.computed if self.rows in v.axes}

    def _section(self, values: Sequence[Value], stores: Sequence[Store], indent: str) -> Iterator[str]:
        self.body = []
        last = next((v for v in reversed(values) if v.op != "load"), None)
        direct = self._direct_store(last, stores, values)
        for v in values:
            self._value(v, direct.value if direct and v is last else None, direct)
        for s in stores:
            if s is not direct:
                self._store(s)
        yield from (indent + line for line in self.body)

    # ---- decisions ----

    def _is_contraction(self, v: Value) -> bool:
        """A sum of products that are needed nowhere else: no product is made, but a matmul or einsum."""
        if v.op != "reduce" or v.combine != "sum" or v.args[0].op != "mul" or v.dtype.bits < 32:
            return False
        product = v.args[0]
        read = (*(v.inputs for v in self.kernel.values), *(s.inputs for s in self.kernel.stores))
        users = sum(inputs.count(product) for inputs in read)
        if users != 1 or not set(v.over) <= set(product.axes):
            return False
        return all(x.axes for x in product.args) and len(self.kernel.axes) < 26

    def _last_uses(self) -> dict[Value, Value | None]:
        last: dict[Value, Value | None] = {}
        for v in self.computed:
            for x in self._operands(v):
                last[x] = v
        for s in self.kernel.stores:
            last.update(dict.fromkeys(s.inputs))
        return last

    def _operands(self, v: Value) -> tuple[Value, ...]:
        return tuple(x for a in v.inputs for x in (a.args if a in self.fused else (a,)))

    def _row_axis(self) -> str | None:
        """The first axis that nothing runs over, if the kernel does not fit in cache as a whole."""
        over = {a for v in self.kernel.values for a in v.over}
        over |= {a for v in self.kernel.values if v.op == "argsort" and is_affine(v.index)
                 for a in axes_of(v.index[0], self.ranges)}
        free = [a for a in self.kernel.axes if a not in over and any(a in v.axes for v in self.computed)]
        if not free:
            return None
        largest = self._row_bytes(free[0])
        extent, (row, *others) = self.kernel.axes[free[0]], largest
        fits = not others and isinstance(row, int) and isinstance(extent, int) and row * extent <= self.cache_bytes
        return None if fits else free[0]

    def _row_bytes(self, axis: str) -> list[Dim]:
        """What rows of the intermediates take: the largest, or those of which it is not known which is."""
        inside = [v for v in self.computed if axis in v.axes]
        made = [v for v in inside if v.op != "load"] or inside
        sizes: list[Dim] = [1]
        for v in made:
            new = _TEMPORARIES * v.dtype.itemsize * expr.product(self.kernel.axes[a] for a in v.axes if a != axis)
            if not any(expr.is_less_equal(new, old) for old in sizes):
                sizes = [old for old in sizes if not expr.is_less_equal(old, new)] + [new]
        return sizes

    def _step(self) -> tuple[str, list[str]]:
        products = [v.args for v in self.fused]
        least = _ROWS_OF_MATMUL if any((self.rows in a.axes) != (self.rows in b.axes) for a, b in products) else 1
        row = self._row_bytes(str(self.rows))
        if len(row) == 1 and isinstance(row[0], int):
            return str(max(least, self.cache_bytes // row[0])), []
        largest = source(row[0]) if len(row) == 1 else f"max({', '.join(map(source, row))})"
        return "step", [f"    step = max({least}, {self.cache_bytes} // {_parenthesised(largest)})"]

    def _direct_store(self, last: Value | None, stores: Sequence[Store], values: Sequence[Value]) -> Store | None:
        """The store whose memory the last value can be computed in: nothing is read after it."""
        if last is None or values[-1] is not last or last.op not in spelling.UFUNC or not last.axes:
            return None
        mine = [s for s in stores if s.value is last and s.mode == "set" and s.axes == last.axes]
        if len(mine) != 1 or any(s.value is last for s in stores if s is not mine[0]) or len(stores) > 1:
            return None
        return mine[0] if self._target(mine[0]) else None

    # ---- values ----

    def _value(self, v: Value, stored: Value | None, direct: Store | None) -> None:
        name = self.names[v]
        if stored is not None and direct is not None:
            self.body.append(f"{spelling.UFUNC[v.op]}({', '.join(self._spelled(v))}, out={self._target(direct)})")
            return
        text = {"load": self._load, "index": self._index, "reduce": self._reduce, "scan": self._scan,
                "argsort": self._argsort}.get(v.op, self._core)(v)
        self.body.append(f"{name} = {text}")

    def _spelled(self, v: Value) -> list[str]:
        return [self._operand(a, v.args, v.axes, v.op) for a in v.args]

    def _operand(self, a: Value, others: Sequence[Value], axes: Sequence[str], op: str = "") -> str:
        if a.op != "const":
            return aligned(self.names[a], a.axes, axes)
        meets = op not in spelling.HELPER and any(o.op != "const" and o.dtype is a.dtype and o.axes for o in others)
        return spelling.number(a.number) if meets and spelling.is_known(a.dtype) else spelling.typed(a.number, a.dtype)

    def _core(self, v: Value) -> str:
        operands = self._spelled(v)
        home = self._home(v)
        if v.axes:
            self.fresh.add(v)
        if home is None:
            return spelling.call(v, operands)
        self.fresh.discard(home)
        return f"{spelling.UFUNC[v.op]}({', '.join(operands)}, out={self.names[home]})"

    def _home(self, v: Value) -> Value | None:
        """An operand whose memory the result can take."""
        if v.op not in spelling.UFUNC:
            return None
        fits = (a for a in v.args if a in self.fresh and a.axes == v.axes and a.dtype is v.dtype
                and self.last_use[a] is v)
        return next(fits, None)

    def _load(self, v: Value) -> str:
        b = self.kernel.buffers[v.buffer]
        if 0 in b.shape:                                             # there is nothing to read, at no place
            lengths = places.tuple_of([source(self.ranges[a].length) for a in v.axes])
            return f"np.full({lengths}, {spelling.number(v.fill or 0)}, {spelling.dtype_name(v.dtype)})"
        name = self.buffers[v.buffer]
        is_inside = v.fill is None or places.is_inside(v.index, b.shape)
        if is_inside:
            shown = places.view(name, b.shape, v.index, v.axes, self.ranges)
            is_stored = any(s.value is v for s in self.kernel.stores) and len(self.kernel.stores) > 1
            if shown is not None:
                return f"{shown}.copy()" if is_stored else shown  # an output may lie where this input does
        else:
            box = places.padded(name, v.index, self.ranges, v.fill)
            if box is not None:
                return self._load_from_box(v, box)
        where = self._places(v.index, v.axes)
        if is_inside:
            return f"{name}[{', '.join(where)}]"
        return f"bz.take({name}, {places.tuple_of(where)}, {spelling.number(v.fill)})"

    def _load_from_box(self, v: Value, box: places.Padded) -> str:
        name = self.names[v]
        shown = places.view(name, box.shape, box.index, v.axes, self.ranges)
        if shown == name or shown is None:
            return box.text
        self.body.append(f"{name} = {box.text}")
        return shown

    def _places(self, index: Sequence[Index], axes: Sequence[str]) -> list[str]:
        return [aligned(self.names[i], i.axes, axes) if isinstance(i, Value) and i.op != "const" else
                str(i.number) if isinstance(i, Value) else self._positions(i, axes) for i in index]

    def _positions(self, i: Dim, axes: Sequence[str]) -> str:
        """An index expression on arrays of positions."""
        used = axes_of(i, self.ranges)
        for a in used:
            key = f"{a} {self.ranges[a]}"
            if key not in self.known_positions:
                self.known_positions.add(key)
                r = self.ranges[a]
                self.body.append(f"{self.positions[a]} = "
                                 f"np.arange({source(r.start) + ', ' if r.start != 0 else ''}{source(r.stop)})")
        return expr.as_python(i, lambda s: aligned(self.positions[s], (s,), axes) if s in self.positions else s,
                              "np.minimum", "np.maximum")

    def _index(self, v: Value) -> str:
        place = v.index[0]
        assert not isinstance(place, Value)
        text = self._positions(place, v.axes)
        if not v.axes:
            return f"np.int64({text})"
        if text in self.positions.values():
            return text
        self.fresh.add(v)
        return text

    def _spread(self, v: Value) -> tuple[str, tuple[str, ...]]:
        """The operand of a reduction or scan, made to vary over the axes that it runs over."""
        (a,) = v.args
        axes = tuple(x for x in self.kernel.axes if x in a.axes or x in v.over)
        if axes == a.axes:
            return self.names[a], axes
        lengths = places.tuple_of([source(self.ranges[x].length) for x in axes])
        return f"np.broadcast_to({self._operand(a, (), axes)}, {lengths})", axes

    def _reduce(self, v: Value) -> str:
        if v.axes:
            self.fresh.add(v)
        if v.args[0] in self.fused:
            return self._contraction(v)
        operand, axes = self._spread(v)
        over = [axes.index(a) for a in v.over]
        options = f", axis={over[0] if len(over) == 1 else tuple(over)}" if len(axes) > 1 or len(over) != 1 else ""
        if v.dtype.is_integer and v.dtype.bits < 64 and v.combine in ("sum", "prod"):
            options += f", dtype={spelling.dtype_name(v.dtype)}"
        if v.combine in ("max", "min") and not all(expr.is_less_equal(1, self.kernel.axes[a]) for a in v.over):
            options += f", initial={spelling.number(COMBINE[v.combine][1](v.dtype))}"
        return f"{spelling.REDUCE[v.combine]}.reduce({operand}{options})"

    def _scan(self, v: Value) -> str:
        self.fresh.add(v)
        operand, axes = self._spread(v)
        options = f", axis={axes.index(v.over[0])}" if len(axes) > 1 else ""
        if v.dtype.is_integer and v.dtype.bits < 64:
            options += f", dtype={spelling.dtype_name(v.dtype)}"
        return f"{spelling.REDUCE[v.combine]}.accumulate({operand}{options})"

    def _argsort(self, v: Value) -> str:
        """The order of each row along a last axis, of which the places that are asked for are taken."""
        operand, axes = self._spread(v)
        place = v.index[0]
        assert not isinstance(place, Value)
        rows = [a for a in axes if a not in v.over]
        places = axes_of(place, self.ranges)
        if set(rows) & set(places):
            raise CompileError(f"kernel {self.kernel.name}: the place {place} varies with the row that is sorted")
        text = f"bz.argsort({operand}, {axes.index(v.over[0])}, {v.combine == 'descending'})"
        text += f"[..., {self._positions(place, places)}]"
        made = [*rows, *places]
        order = [made.index(a) for a in v.axes]
        return text if order == sorted(order) else f"{text}.transpose({', '.join(map(str, order))})"

    def _contraction(self, v: Value) -> str:
        a, b = v.args[0].args
        rows, columns = [x for x in a.axes if x not in b.axes], [x for x in b.axes if x not in a.axes]
        batch = [x for x in v.axes if x in a.axes and x in b.axes]
        summed = [x for x in v.over if x in a.axes and x in b.axes]
        left, right = self.names[a], self.names[b]
        one_each = len(rows) == len(columns) == len(summed) == 1 and v.dtype.is_float
        if one_each and set(v.over) == set(summed) and v.axes == (*batch, *rows, *columns):
            if a.axes == (*batch, *rows, *summed) and b.axes == (*batch, *columns, *summed):
                return f"{left} @ {right}{'.swapaxes(-1, -2)' if batch else '.T'}"
        letters = {x: x if len(x) == 1 and x.isascii() else "" for x in self.kernel.axes}
        spare = iter(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in letters.values())
        spell = {x: c or next(spare) for x, c in letters.items()}
        subscripts = ",".join("".join(spell[x] for x in y.axes) for y in (a, b)) + "->" + "".join(spell[x]
                                                                                                  for x in v.axes)
        is_matmul = rows and columns and set(v.over) == set(summed) and v.dtype.is_float
        return f'{"bz.contract" if is_matmul else "np.einsum"}("{subscripts}", {left}, {right})'

    # ---- stores ----

    def _target(self, s: Store) -> str | None:
        """The output as a view over the store's axes; None where there is none, or a place may be dropped."""
        shape = self.kernel.buffers[s.buffer].shape
        if s.is_scatter or not places.is_inside(s.index, shape):
            return None
        shown = places.view(self.buffers[s.buffer], shape, s.index, s.axes, self.ranges)
        return None if shown is None or "bz." in shown else shown

    def _store(self, s: Store) -> None:
        target = self._target(s) if s.mode == "set" else None
        value = aligned(self.names[s.value], s.value.axes, s.axes) if s.value.op != "const" else (
            spelling.typed(s.value.number, s.value.dtype))
        if target is not None:
            target += "" if target.endswith("]") else "[...]"
            self.body.append(f"{target} = {value}")
            return
        where = places.tuple_of(self._places(s.index, s.axes))
        covered = set(s.value.axes).union(*(i.axes if isinstance(i, Value) else expr.symbols(i) for i in s.index))
        if not set(s.axes) <= covered:
            value = f"np.broadcast_to({value}, {places.tuple_of([source(self.ranges[a].length) for a in s.axes])})"
        function = "bz.put" if s.mode == "set" else "bz.add_at"
        self.body.append(f"{function}({self.buffers[s.buffer]}, {where}, {value})")
