"""A program becomes step records and a frame for the native abi.

A frame is an array of 64-bit words: a header, the call's arguments (pointers of inputs and outputs, sizes, the arena
and the scratch memory), the pointers of temporaries, constants, and what is computed from sizes. Records name words, so
that the same code serves all sizes: what depends on the program's sizes is computed once at the start, what depends on
a loop's turn where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..ir import expr
from ..ir.errors import CompileError
from ..ir.expr import Dim, Expr
from ..ir.program import Branch, Carry, Copy, HostCall, Launch, Loop, Program, Slot, Step
from ..ir.schedule import Source, Tiles
from ..ir.skewed import extents
from . import abi, native
from .together import together

_KINDS = {"floordiv": abi.FLOOR_DIVIDE, "mod": abi.REMAINDER, "min": abi.MINIMUM, "max": abi.MAXIMUM}


_TABLE = 1                               # where the table of parts begins in the area of regions


class Native(NamedTuple):
    """A kernel's source, and the address of its machine code (0 for a NumPy kernel, which Python runs)."""

    source: Source
    address: int


@dataclass(frozen=True)
class HostStep:
    """A step that Python performs: the words of the pointers of its arrays, and of the loops' counters around it."""

    step: HostCall | Launch
    arrays: tuple[tuple[str, Slot, int], ...]        # name, type, word
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Lowered:
    """Code and frame of a program. A call sets `arguments` words of the frame, the last two being memory if
    `needs_memory`.
    """

    code: np.ndarray
    frame: np.ndarray
    arguments: int
    needs_memory: bool
    host_steps: tuple[HostStep, ...]


def outputs_of(program: Program) -> tuple[str, ...]:
    """The slots that a call allocates: each output slot once, in the order of the results."""
    written = [n for n in program.outputs if program.slots[n].role == "output"]
    return tuple(dict.fromkeys([*written, *(n for n, s in program.slots.items() if s.role == "output")]))


def lower(program: Program, kernels: Mapping[Launch, Native]) -> Lowered:
    """The step records of a program."""
    return _Lowering(program, kernels).finish()


class _Lowering:
    def __init__(self, program: Program, kernels: Mapping[Launch, Native]):
        self.program, self.kernels = program, kernels
        self.prologue: list[int] = []
        self.code: list[int] = []
        self.frame: list[int] = [0] * abi.HEADER_WORDS
        self.constants: dict[int, int] = {}
        self.known: dict[Dim, int] = {}              # sizes that the prologue computes
        self.host_steps: list[HostStep] = []
        self.counters: dict[str, int] = {}
        self.types: dict[str, Slot] = dict(program.slots)
        self.labels: dict[int, int] = {}             # label (negative) to place
        self.label_uses: list[int] = []
        self.area_uses: list[int] = []
        self.area_words = _TABLE                     # 0 before a table of parts; the table; arguments
        self.pointers = {n: self._word() for n in (*program.inputs, *outputs_of(program))}
        self.sizes = {n: self._word() for n in program.sizes}
        self.arena, self.scratch = self._word(), self._word()
        self.needs_memory = not _is_zero(program.arena) or any(not _is_zero(k.source.scratch) for k in kernels.values())
        self.arguments = len(self.frame) - abi.HEADER_WORDS - (0 if self.needs_memory else 2)
        for name, slot in program.slots.items():
            if slot.role == "temporary":
                self.pointers[name] = self._sum(self.arena, slot.offset)

    def finish(self) -> Lowered:
        """Lower all steps."""
        self._steps(self.program.steps)
        self.code.append(abi.DONE)
        area = len(self.frame)                       # one for all regions: each ends before the next begins
        self.frame += [0] * self.area_words
        code = self._resolved(area)
        return Lowered(np.array(code, np.int64), np.array(self.frame, np.int64), self.arguments, self.needs_memory,
                       tuple(self.host_steps))

    def _resolved(self, area: int) -> list[int]:
        """The prologue and the code, with labels as places, and words of the regions' area as words of the frame."""
        shift = len(self.prologue)
        places = {label: place + shift for label, place in self.labels.items()}
        code = self.prologue + self.code
        for place in self.label_uses:
            code[place + shift] = places[code[place + shift]]
        for place in self.area_uses:
            code[place + shift] += area
        return code

    # ---- words ----


    def _word(self, value: int = 0) -> int:
        self.frame.append(value)
        return len(self.frame) - 1

    def _constant(self, value: int) -> int:
        if value not in self.constants:
            self.constants[value] = self._word(int(value))
        return self.constants[value]

    def _sum(self, word: int, x: Dim) -> int:
        if _is_zero(x):
            return word
        target = self._word()
        self.prologue += [abi.COMPUTE, abi.ADD, target, word, self._size(x)]
        return target

    def _size(self, x: Dim) -> int:
        """The word of a size; computed in the prologue, or here if it depends on a loop's turn."""
        if not isinstance(x, Expr):
            return self._constant(x)
        if expr.symbols(x) & self.counters.keys():
            return self._compute(x, self.code)
        if x not in self.known:
            self.known[x] = self._compute(x, self.prologue)
        return self.known[x]

    def _compute(self, x: Expr, code: list[int]) -> int:
        total: int | None = None
        for atoms, factor in x.terms.items():
            term = None if factor == 1 and atoms else self._constant(factor)
            for atom in atoms:
                value = self._atom(atom, code)
                term = value if term is None else self._operation(code, abi.MULTIPLY, term, value)
            assert term is not None
            total = term if total is None else self._operation(code, abi.ADD, total, term)
        return self._constant(0) if total is None else total

    def _atom(self, atom: expr.Atom, code: list[int]) -> int:
        if isinstance(atom, expr.Symbol):
            return self._symbol(atom.name)
        left, right = (self._compute(s, code) if isinstance(s, Expr) else self._constant(s)
                       for s in (atom.left, atom.right))
        return self._operation(code, _KINDS[atom.kind], left, right)

    def _operation(self, code: list[int], kind: int, left: int, right: int) -> int:
        target = self._word()
        code += [abi.COMPUTE, kind, target, left, right]
        return target

    def _symbol(self, name: str) -> int:
        word = self.counters.get(name, self.sizes.get(name))
        if word is None:
            raise CompileError(f"program {self.program.name} needs the size {name}, which none of its inputs has")
        return word

    def _pointer(self, name: str, pointers: Mapping[str, int] | None = None) -> int:
        pointers = self.pointers if pointers is None else pointers
        if name not in pointers:
            raise CompileError(f"program {self.program.name} uses {name}, which has no memory")
        return pointers[name]

    # ---- steps ----

    def _emit(self, *words: int) -> None:
        self.code += words

    def _label(self) -> int:
        label = -1 - len(self.labels)
        self.labels[label] = -1
        return label

    def _here(self, label: int) -> None:
        self.labels[label] = len(self.code)

    def _emit_to(self, label: int, *words: int) -> None:
        """A record whose last word is a place."""
        self.code += words
        self.label_uses.append(len(self.code))
        self.code.append(label)

    def _steps(self, steps: Sequence[Step]) -> None:
        lowerings: dict[type, Callable] = {
            Launch: self._launch, HostCall: self._host_call, Loop: self._loop, Branch: self._branch, Copy: self._copy}
        for group in together(steps, self.program.slots, self._is_native):
            if len(group) > 1:
                self._together([step for step in group if isinstance(step, Launch)])
            else:
                lowerings[type(group[0])](group[0])

    def _is_native(self, step: Launch) -> bool:
        return self.kernels[step].address != 0

    def _launch(self, step: Launch) -> None:
        self._zero(step)
        if self._is_native(step):
            self._region(step)
        else:
            self._host(step, [step.arguments[b] for b in step.kernel.buffers], step.kernel.sizes)

    def _zero(self, step: Launch) -> None:
        for name in step.zeroed:
            self._emit(abi.ZERO, self._pointer(name), self._size(self.types[name].bytes))

    def _together(self, steps: Sequence[Launch]) -> None:
        """Launches of native code as one region."""
        for step in steps:
            self._zero(step)
        place = end = _TABLE + len(steps) * abi.PART_WORDS
        for n, step in enumerate(steps):
            place += self._region(step, place, _TABLE + n * abi.PART_WORDS)
        start = len(self.code)
        self._emit(abi.TOGETHER, _TABLE, end - abi.PART_WORDS + abi.PART_END, self.scratch)
        self.area_uses += [start + 1, start + 2]

    def _region(self, step: Launch, place: int = _TABLE, row: int = 0) -> int:
        """A launch of native code."""
        source, address = self.kernels[step]
        box = map(self._constant, source.facts.get("box", ()))
        words = [*self._arguments(step, self.pointers), *box]
        return self._call(address, self._size(source.units), source.grain, words, place, row)

    def _arguments(self, step: Launch, pointers: Mapping[str, int]) -> list[int]:
        """The words of a kernel's buffers and sizes."""
        return [self._pointer(step.arguments[b], pointers) for b in step.kernel.buffers] + [
            self._symbol(name) for name in step.kernel.sizes]

    def _call(self, address: int, units: int, grain: int, words: Sequence[int], place: int = _TABLE,
              row: int = 0) -> int:
        """A region of a function, with these words as its arguments; how many they are.

        They are put into the `place` of the area. With a `row` of a table of parts it is only entered there.
        """
        start, end = len(self.code), self._label()
        self._emit(abi.LAUNCH, address, units, grain, self.scratch, place, len(words))
        self._emit_to(end)
        self._emit(row, *words)
        self._here(end)
        self.area_uses += [start + 5, start + 8] if row else [start + 5]
        self.area_words = max(self.area_words, place + len(words))
        return len(words)

    def _copy(self, step: Copy) -> None:
        self._emit(abi.COPY, self._pointer(step.source), self._pointer(step.target),
                   self._size(self.types[step.target].bytes))

    def _host_call(self, step: HostCall) -> None:
        self._host(step, (*step.inputs, *step.outputs), ())

    def _host(self, step: HostCall | Launch, names: Sequence[str], sizes: Sequence[str]) -> None:
        for name in sizes:
            self._symbol(name)
        arrays = tuple((n, self.types[n], self._pointer(n)) for n in names)
        self._emit(abi.HOST, len(self.host_steps))
        self.host_steps.append(HostStep(step, arrays, dict(self.counters)))

    def _branch(self, step: Branch) -> None:
        otherwise, end = self._label(), self._label()
        self._emit_to(otherwise, abi.UNLESS, self._pointer(step.condition))
        self._steps(step.then)
        self._emit_to(end, abi.JUMP)
        self._here(otherwise)
        self._steps(step.otherwise)
        self._here(end)

    def _loop(self, step: Loop) -> None:
        turns = self._turns(step)
        one = self._constant(1)
        counter = self._word()
        self._emit(abi.MOVE, counter, self._constant(0))
        outer_counters, outer_types, outer_pointers = self.counters, self.types, self.pointers
        self._enter(step, one if step.condition or turns is None else turns)
        self.counters = {**outer_counters, step.counter: counter}
        head, end = self._label(), self._label()
        self._here(head)
        if turns is not None:
            self._emit_to(end, abi.NOT_LESS, counter, turns)
        if step.condition:
            self._steps(step.test)
            self._emit_to(end, abi.UNLESS, self._pointer(step.condition))
        self._emit(abi.POLL)
        if step.tiles is not None and all(self.kernels[s].address for s in step.steps):    # type: ignore[index]
            assert turns is not None
            done = self._pass(step, step.tiles, counter, turns)
        else:
            self._steps(step.steps)
            self._turn(step)
            done = one
        self._emit(abi.COMPUTE, abi.ADD, counter, counter, done)
        self._emit_to(head, abi.JUMP)
        self._here(end)
        for c in step.carries:
            self._emit(abi.LEAVE, self._pointer(c.current), self._pointer(c.result),
                       self._size(self.types[c.result].bytes))
        self.counters, self.types, self.pointers = outer_counters, outer_types, outer_pointers

    def _turn(self, step: Loop) -> None:
        for c in sorted(step.carries, key=lambda c: not c.is_behind):
            if c.is_behind:
                self._emit(abi.MOVE, self._pointer(c.current), self._pointer(c.following))
            else:
                self._emit(abi.TURN, *(self._pointer(n) for n in (c.current, c.following, c.result, c.spare)))

    def _pass(self, step: Loop, tiles: Tiles, counter: int, turns_left: int) -> int:
        """As many turns as one pass of skewed tiles makes: two regions. Where that number will be."""
        minus, two = self._constant(-1), self._constant(2)
        left = self._operation(self.code, abi.ADD, turns_left, self._operation(self.code, abi.MULTIPLY, counter, minus))
        count = self._operation(self.code, abi.MINIMUM, left, self._size(tiles.levels))
        for phase in range(2):
            self._call(native.load().turns, self._size(tiles.units), 1, self._pass_words(step, tiles, count, phase))
        # the arrays are where so many turns leave them: after one, or two, or after one more than two
        end = self._label()
        self._turn(step)
        self._emit_to(end, abi.NOT_LESS, self._constant(1), count)
        self._turn(step)
        self._emit_to(end, abi.NOT_LESS, self._constant(0), self._operation(self.code, abi.REMAINDER, count, two))
        self._turn(step)
        self._here(end)
        return count

    def _pass_words(self, step: Loop, tiles: Tiles, count: int, phase: int) -> list[int]:
        """The arguments of `turns_text.py`."""
        rows, columns = map(self._size, extents(step))
        facts = {
            "steps": len(step.steps), "phase": phase, "rows": tiles.rows, "columns": tiles.columns, "lag": tiles.lag,
            "slope": tiles.slope, "skew": tiles.skew, "right": max(tiles.right), "left": max(tiles.left),
            "aside": max(tiles.aside), "wraps": int(tiles.wraps),
        }  # fmt: skip
        places = self._places(step)
        first = len(abi.TURNS_HEADER) + len(abi.TURNS_STEP) * len(step.steps)
        records: list[int] = []
        tables: list[int] = []
        for launch, *behind in zip(step.steps, tiles.right, tiles.left, tiles.aside):
            assert isinstance(launch, Launch)
            kernel = self.kernels[launch]
            box = [*map(self._constant, kernel.source.facts["box"])]
            arguments = [[*self._arguments(launch, {**self.pointers, **p}), *box] for p in places]
            records += map(self._constant, (kernel.address, *behind, first + len(tables), len(arguments[0])))
            tables += [word for words in arguments for word in words]
        given = {name: self._constant(n) for name, n in facts.items()}
        given |= {"turns": count, "blocks": self._size(tiles.units), "row_extent": rows, "column_extent": columns,
                  "words": self._constant(first + len(tables))}
        return [*(given[name] for name in abi.TURNS_HEADER), *records, *tables]

    def _places(self, step: Loop) -> list[dict[str, int]]:
        """Where the carried arrays are in turn 0 of a pass, in turn 1, and in all even and all odd turns after it."""
        places: list[dict[str, int]] = [{} for _ in range(abi.TURNS_TABLES)]
        minus = self._constant(-1)
        for c in step.carries:
            if c.is_behind:
                continue
            given, first = self._pointer(c.current), self._pointer(c.following)
            both = self._operation(self.code, abi.ADD, self._pointer(c.result), self._pointer(c.spare))
            other = self._operation(self.code, abi.ADD, both, self._operation(self.code, abi.MULTIPLY, first, minus))
            for place, read, written in zip(places, (given, first, other, first), (first, other, first, other)):
                place |= {c.current: read, c.following: written}
        for c in step.carries:
            if c.is_behind:
                for place, before in zip(places[1:], places):
                    place[c.current] = before[c.following]
        return places

    def _turns(self, step: Loop) -> int | None:
        if isinstance(step.trips, str):
            word = self._word()
            self._emit(abi.READ, word, self._pointer(step.trips))
            return word
        return None if step.trips is None else self._size(step.trips)

    def _enter(self, step: Loop, parity: int) -> None:
        self.types, self.pointers = dict(self.types), dict(self.pointers)
        entered: list[tuple[Carry, int, int]] = []
        for c in step.carries:
            entered.append((c, self._word(), self._word()))
            if c.is_behind:
                self._emit(abi.MOVE, entered[-1][1], self._pointer(c.initial))
            else:
                self._emit(abi.ENTER, self._pointer(c.initial), *entered[-1][1:], self._pointer(c.result),
                           self._pointer(c.spare), parity, self._size(self.types[c.result].bytes))
        for c, current, following in entered:
            self.pointers |= {c.current: current} if c.is_behind else {c.current: current, c.following: following}
            self.types |= {name: self.types[c.result] for name in (c.current, c.following)}


def _is_zero(x: Dim) -> bool:
    return not isinstance(x, Expr) and x == 0
