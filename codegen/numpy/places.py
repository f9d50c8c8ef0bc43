"""Where a load reads and a store writes, as NumPy source: slices where each dimension follows one axis, else a strided
view, else arrays of places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import expr
from ...ir.expr import Dim
from ...ir.kernel import Index, Value, is_affine
from .spelling import number


@dataclass(frozen=True)
class Range:
    """The part of an axis that is computed now: start <= position < stop."""

    start: Dim
    stop: Dim

    @property
    def length(self) -> Dim:
        """How many positions there are."""
        return self.stop - self.start


Ranges = Mapping[str, Range]


def is_inside(index: Sequence[Index], shape: Sequence[Dim]) -> bool:
    """Is it known that no place is outside?"""
    return all(not isinstance(i, Value) and expr.is_less_equal(0, i) and expr.is_less(i, n)
               for i, n in zip(index, shape))


def source(x: Dim) -> str:
    """A size as Python."""
    return expr.as_python(x)


def axes_of(x: Dim, ranges: Ranges) -> list[str]:
    """The axes in an index expression, in the kernel's order."""
    found = expr.symbols(x)
    return [a for a in ranges if a in found]


def steps_of(x: Index, ranges: Ranges) -> dict[str, Dim] | None:
    """How far each axis moves the place; None where the place is not affine."""
    if isinstance(x, Value):
        return None
    steps = {a: expr.coefficient(x, a) for a in axes_of(x, ranges)}
    if any(c is None or set(axes_of(c, ranges)) for c in steps.values()):
        return None
    return {a: c for a, c in steps.items() if c is not None}


def _numbers(steps: Mapping[str, Dim] | None) -> dict[str, int] | None:
    """The steps, if all of them are numbers."""
    known = {a: c for a, c in (steps or {}).items() if isinstance(c, int)}
    return known if steps is not None and len(known) == len(steps) else None


def _ends(x: Dim, steps: Mapping[str, int], ranges: Ranges) -> tuple[Dim, Dim]:
    """The least and the greatest place, for steps of a known sign."""
    low = expr.substitute(x, {a: ranges[a].start if c > 0 else ranges[a].stop - 1 for a, c in steps.items()})
    high = expr.substitute(x, {a: ranges[a].stop - 1 if c > 0 else ranges[a].start for a, c in steps.items()})
    return low, high


@dataclass(frozen=True)
class Padded:
    """The box around all places of a load, with the fill outside the buffer: its source, and the load's index in it."""

    text: str
    shape: tuple[Dim, ...]
    index: tuple[Index, ...]


def padded(buffer: str, index: Sequence[Index], ranges: Ranges, fill: object) -> Padded | None:
    """The box, for an affine index with steps of a known sign."""
    steps = [s for s in (_numbers(steps_of(i, ranges)) for i in index) if s is not None]
    if len(steps) < len(index) or not is_affine(index):
        return None
    ends = [_ends(i, s, ranges) for i, s in zip(index, steps)]
    spans = "".join(f", ({source(low)}, {source(high + 1)})" for low, high in ends)
    return Padded(f"bz.padded({buffer}{spans}, fill={number(fill)})", tuple(high + 1 - low for low, high in ends),
                  tuple(i - low for i, (low, _) in zip(index, ends)))


def view(buffer: str, shape: Sequence[Dim], index: Sequence[Index], axes: Sequence[str], ranges: Ranges) -> str | None:
    """An array over `axes` that shows the places of an affine index; None where there is no such view."""
    steps = [steps_of(i, ranges) for i in index]
    known = [s for s in steps if s is not None]
    if len(known) < len(steps) or not is_affine(index):
        return None
    moving = [a for s in known for a in s]
    single = [n for s in known if len(s) < 2 and (n := _numbers(s)) is not None]
    if len(moving) == len(set(moving)) and len(single) == len(known):
        return _sliced(buffer, shape, index, single, ranges) + _transposed(moving, axes)
    return _strided(buffer, index, known, axes, ranges)


def _sliced(buffer: str, shape: Sequence[Dim], index: Sequence[Dim], steps: Sequence[Mapping[str, int]],
            ranges: Ranges) -> str:
    entries, turned = [], []
    for n, i, step in zip(shape, index, steps):
        if not step:
            entries.append(source(i))
            continue
        ((_, c),) = step.items()
        low, high = _ends(i, step, ranges)
        whole = low == 0 and high + 1 == n and c in (1, -1)
        start, stop = ("", "") if whole else (source(low) if low != 0 else "",
                                              source(high + 1) if high + 1 != n else "")
        entries.append(f"{start}:{stop}" + (f":{abs(c)}" if c not in (1, -1) else ""))
        turned.append("::-1" if c < 0 else ":")
    out = buffer + _brackets(entries, keep=not entries)
    return out + (_brackets(turned, keep=False) if "::-1" in turned else "")


def _brackets(entries: list[str], keep: bool) -> str:
    while entries and entries[-1] == ":":
        entries = entries[:-1]
    return f"[{', '.join(entries)}]" if entries else "[()]" if keep else ""


def _transposed(have: Sequence[str], want: Sequence[str]) -> str:
    if list(have) == list(want):
        return ""
    return ".T" if list(have) == list(reversed(want)) else f".transpose({', '.join(str(have.index(a)) for a in want)})"


def tuple_of(parts: Sequence[str]) -> str:
    """A tuple's source."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _strided(buffer: str, index: Sequence[Dim], steps: Sequence[Mapping[str, Dim]], axes: Sequence[str],
             ranges: Ranges) -> str:
    start = [source(expr.substitute(i, {a: ranges[a].start for a in s})) for i, s in zip(index, steps)]
    lengths = [source(ranges[a].length) for a in axes]
    vectors = [tuple_of([source(s.get(a, 0)) for s in steps]) for a in axes]
    return f"bz.strided({buffer}, {tuple_of(start)}, {tuple_of(lengths)}, {tuple_of(vectors)})"


def aligned(name: str, have: Sequence[str], want: Sequence[str]) -> str:
    """An array over the axes `have` so that it broadcasts against others over `want`, which has them all in the same
    order.
    """
    present = [a in have for a in want]
    if all(present) or not any(present):
        return name
    entries = [":" if here else "None" for here in present]
    while entries[0] == "None":
        entries = entries[1:]
    return name if all(e == ":" for e in entries) else f"{name}[{', '.join(entries)}]"
