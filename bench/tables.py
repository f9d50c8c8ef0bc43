"""How figures are shown: Markdown tables, durations, ratios and their geometric mean."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

NOTHING = "–"


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column aligned left and the others right."""
    rows = [list(header), *map(list, body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]

    def line(first: str, *rest: str) -> str:
        return (
            "| "
            + " | ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:]))])
            + " |"
        )

    rule = line("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:]))
    return "\n".join([line(*rows[0]), rule, *(line(*row) for row in rows[1:])])


def duration(seconds: float | None) -> str:
    """Seconds in a unit that suits, to three digits."""
    if seconds is None:
        return NOTHING
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:#.3g} {unit}".replace(". ", " ")
    return f"{seconds / 1e-6:#.3g} µs".replace(". ", " ")


def times_faster(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}×"


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """The geometric mean of what was measured."""
    logarithms = [math.log(ratio) for ratio in ratios if ratio is not None]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None
