"""Rows of a tile of scores become weights: by a softmax that runs along, rescaling what is summed, or in place.

Several rows are worked on side by side, in 16 lanes along the stream. Where all rows see all lanes, conditions on
positions are trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...ir.expr import coefficient
from . import scalar
from .body import Scope
from .writer import Index, X

if TYPE_CHECKING:
    from .streamed import Emitter

LANES = 16


def rounded_up(n: int, step: int) -> int:
    """n as a multiple of a step."""
    return -(-n // step) * step


class Rows:
    """The weights of some rows, side by side, so that their chains of operations overlap."""

    def __init__(self, e: Emitter, here: Scope, first: Index, r: X, j0: Index, low: X, high: Index):
        self.e, self.w, self.s, self.d = e, e.w, e.s, e.dtype
        self.r, self.j0, self.low, self.high = r, j0, low, high
        w, last = e.w, e.w.sub(e.height, 1)
        self.count = e.together
        # rows past the end are the last one
        self.at = [w.min(w.add(w.add(first, r), k), last) for k in range(self.count)]
        self.places = [here.enter({e.s.row: at}) for at in self.at]
        inside = e.interior(here, self.at[0], self.at[-1])
        self.trusted = frozenset(x.condition for x in e.roles.limits if x.condition is not None)
        has_low = any(coefficient(x.claim, e.s.stream) == 1 for x in e.roles.limits)
        top = w.min(w.sub(inside[1], j0), high)
        top = w.max(w.binary("and", w.lift(top), -LANES), low)
        bottom: Index = low
        if has_low:
            bottom = w.binary("and", w.add(w.sub(inside[0], j0), LANES - 1), -LANES)
            bottom = w.max(w.min(bottom, top), low)
        self.pieces = [(low, bottom, False)] * has_low + [(bottom, top, True), (top, high, False)]

    def write(self, softmax: bool) -> None:
        """Weights in place of scores."""
        if softmax:
            self.online()
        else:
            for place in self.places:
                place.prepare([p.left for p in self.e.roles.outer])
            self.sweep(self.plain)

    def sweep(self, body: Callable[..., list[X]], *carried: X) -> list[X]:
        """body(scopes, column, mask, *carried) over all columns: with conditions on positions trusted where all rows
        see all lanes.
        """
        state = list(carried)
        for start, stop, whole in self.pieces:

            def turn(c: X, *state: X, whole: bool = whole) -> list[X]:
                mask = None if whole else self.w.mask_below(c, self.high, LANES)
                point = {self.s.stream: self.w.add(self.j0, c)}
                trusted = self.trusted if whole else None
                scopes = [p.enter(point, lane=self.s.stream, lanes=LANES, mask=mask, trusted=trusted)
                          for p in self.places]
                return body(scopes, c, mask, *state)

            state = list(self.w.loop(start, stop, LANES, turn, *state))
        return state

    def spot(self, n: int, k: int, c: Index) -> X:
        """Where lanes of a tile are for the k-th of these rows."""
        return self.e.in_tile(n, self.w.add(self.r, k), c)

    def plain(self, scopes: list[Scope], c: X, mask: X | None) -> list[X]:
        """Weights that need nothing but what is known here."""
        w, made = self.w, []
        for k, scope in enumerate(scopes):
            for n, p in enumerate(self.e.roles.inner):
                scope.known[p.total] = w.load(self.d, self.spot(n, k, c), LANES)
            made += [(n, k, scope.vector(p.left)) for n, p in enumerate(self.e.roles.outer)]
        for n, k, x in made:
            self.e.keep_weights(n, w.add(self.r, k), c, x, mask)
        return []

    # ---- the online softmax -----------------------------------------------------------------------------------------

    def online(self) -> None:
        """The maximum of these columns, what it does to what is summed already, then the weights and their sum."""
        w, d, softmax = self.w, self.d, self.e.roles.softmax
        assert softmax is not None
        peaks = [w.at(self.e.area["peak"], w.add(self.r, k), d) for k in range(self.count)]
        norms = [w.at(self.e.area["norm"], w.mul(w.add(self.r, k), LANES), d) for k in range(self.count)]
        for place in self.places:
            place.prepare([softmax.scores])
        old = [w.load(d, p) for p in peaks]
        best = self.sweep(self.highest, *(w.splat(x, LANES) for x in old))
        sums = []
        for k, place in enumerate(self.places):
            peak = w.reduce_lanes(self.larger, best[k])
            w.store(peak, peaks[k])
            # a row that sees nothing yet weighs 0
            shift = w.select(w.compare("oeq", peak, -math.inf), w.number(0.0, d), peak)
            place.known[softmax.peak] = shift
            place.known["splat", softmax.peak] = w.splat(shift, LANES)
            if softmax.norm is not None:
                # results are divided at the end
                place.known[softmax.norm] = w.number(1.0, d)
            faded = w.splat(scalar.emit(w, "exp", (old[k] - shift,), d), LANES)
            sums.append(w.load(d, norms[k], LANES) * faded)
            self.fade(k, faded)
            place.prepare([p.left for p in self.e.roles.outer])
        for p, x in zip(norms, self.sweep(self.weights, *sums)):
            w.store(x, p)

    def larger(self, a: X, b: X) -> X:
        """The larger one; b if either is NaN. (A NaN is found again in the weights.)"""
        return self.w.select(self.w.compare("ogt", a, b), a, b)

    def highest(self, scopes: list[Scope], c: X, mask: X | None, *best: X) -> list[X]:
        """The maximum of the scores, which are written back as what they are at the end."""
        w, softmax, (inner,) = self.w, self.e.roles.softmax, self.e.roles.inner
        assert softmax is not None
        out = []
        for k, scope in enumerate(scopes):
            spot = self.spot(0, k, c)
            scope.known[inner.total] = w.load(self.d, spot, LANES)
            x = scope.vector(softmax.scores)
            if mask is not None:
                x = w.select(mask, x, -math.inf)
            if mask is not None or softmax.scores is not inner.total:
                w.store(x, spot)
            out.append(self.larger(best[k], x))
        return out

    def fade(self, k: int, factor: X) -> None:
        """Rescale what is summed already."""
        w, d = self.w, self.d
        for n, p in enumerate(self.e.roles.outer):
            step = self.e.sum_step(p)
            line = w.at(self.e.area[f"sum{n}"], w.mul(w.add(self.r, k), step), d)
            for c in range(0, rounded_up(self.e.extent(p.column), LANES), LANES):
                spot = w.at(line, c, d)
                w.store(w.load(d, spot, LANES) * factor, spot)

    def weights(self, scopes: list[Scope], c: X, mask: X | None, *sums: X) -> list[X]:
        """The weights, and their sum."""
        w, softmax = self.w, self.e.roles.softmax
        assert softmax is not None
        out = []
        for k, scope in enumerate(scopes):
            scope.known[softmax.scores] = w.load(self.d, self.spot(0, k, c), LANES)
            made = [scope.vector(p.left) for p in self.e.roles.outer]
            out.append(sums[k] + scope.vector(softmax.weights))
            for n, x in enumerate(made):
                self.e.keep_weights(n, w.add(self.r, k), c, x, mask)
        return out
