"""Packing B where windows lie between the channels that K ends with, such as weights [outputs, channels, 3, 3] that are
read channels last.

Along one column B is a run of memory, in another order than that of K: it is read in this order, transposed in squares
in registers, and each row of a square is written to its place in K. All of K is packed at once.
"""

from __future__ import annotations

from ...ir.expr import product, static
from ...ir.kernel import Kernel, step_along
from ...ir.schedule import Contraction
from .contraction_packing import LANES, Operand, transpose
from .parts import Part, extent_of, unsigned
from .types import INDEX, POINTER, type_of
from .writer import Index, Module, X


def windows_inside(kernel: Kernel, operand: Operand, s: Contraction) -> list[str]:
    """The axes of K between neighbours along its last one, as they lie in memory, outermost first."""
    steps = {a: step_along(kernel, operand.value, a) for a in s.k[:-1] if kernel.axes[a] != 1}
    return sorted(steps, key=lambda a: -static(steps[a]))


def pack_windows(module: Module, operand: Operand, s: Contraction, name: str = "pack_b") -> Part:
    """Panel `panel` of B for all depths of K, packed below `to`, from column `first` on."""
    kernel, d = operand.kernel, operand.dtype
    part = Part(module, kernel, name, {"to": POINTER, "first": INDEX, "panel": INDEX}, [*s.g, *s.j[:-1]])
    w, own, width, channel = part.w, part.named, s.vectors * s.lanes, s.k[-1]
    inner = windows_inside(kernel, operand, s)
    places = [_place(kernel, inner, n) for n in range(_extent(kernel, inner))]
    last = w.sub(extent_of(part.scope, s.j[-1:]), 1)
    span = LANES * len(places)
    squares = w.alloca(type_of(d, LANES), LANES * span)

    def block(strip: X, c: X) -> None:
        def read(r: X) -> None:
            point = {**dict.fromkeys(s.k, 0), channel: c, s.j[-1]: w.min(own["first"] + strip + r, last)}
            here = part.scope.enter(point)
            start = here.place(kernel.buffers[operand.value.buffer], operand.value.index).start
            begin = w.at(here.pointers[operand.value.buffer], start, operand.value.dtype)
            for n in range(len(places)):
                w.prefetch(w.at(begin, span + n * LANES, d))
                x = w.load(d, w.at(begin, n * LANES, d), LANES)
                w.store(x, w.at(squares, w.add(w.mul(r, span), n * LANES), d))

        w.loop(0, LANES, 1, read)
        rows = [_row(part, s, {**place, channel: c}, own["panel"]) for place in places]
        lines = [w.at(own["to"], w.add(w.mul(row, width), strip), d) for row in rows]
        for n in range(len(places)):
            turned = transpose(w, [w.load(d, w.at(squares, r * span + n * LANES, d), LANES) for r in range(LANES)])
            for m, x in enumerate(turned):
                ahead, place = divmod(n * LANES + m, len(places))
                w.store(x, w.at(lines[place], ahead * width, d))

    channels = extent_of(part.scope, (channel,))
    w.loop(0, width, LANES, lambda strip: w.loop(0, channels, LANES, lambda c: block(strip, c)))
    return part


def _extent(kernel: Kernel, axes: list[str]) -> int:
    extent = product(kernel.axes[a] for a in axes)
    assert isinstance(extent, int)
    return extent


def _place(kernel: Kernel, axes: list[str], flat: int) -> dict[str, int]:
    """A place in a window by its number."""
    point = {}
    for a in reversed(axes):
        flat, point[a] = divmod(flat, _extent(kernel, [a]))
    return point


def _row(part: Part, s: Contraction, point: dict[str, Index], panel: Index) -> Index:
    """The row among all packed ones that a place of K is in, for this panel: depth by depth, panel by panel."""
    w, scope = part.w, part.scope

    def number(axes: tuple[str, ...]) -> Index:
        flat: Index = 0
        for a in axes:
            flat = w.add(w.mul(flat, extent_of(scope, (a,))), point.get(a, 0))
        return flat

    outer, inside = number(s.k[: -s.k_flat]), number(s.k[-s.k_flat :])
    run = extent_of(scope, s.k[-s.k_flat :])
    k0 = w.mul(unsigned(w, "udiv", inside, s.depth), s.depth)
    depth = w.min(w.sub(run, k0), s.depth)
    before = w.mul(w.add(w.mul(outer, run), k0), s.panels)
    return w.add(w.add(before, w.mul(panel, depth)), w.sub(inside, k0))
