"""Prints a run as Markdown: times, ratios, compilation, distance to the ceilings, memory, start, overheads.

`python bench/report.py [FILE.json]` prints a stored run, by default the last.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from frameworks import COMPILED_PEERS, FRAMEWORKS
from results import UNSTEADY, Cell, Results, Row, from_json, latest

OURS = "braze_compiled"
PEERS = ("torch_eager", *COMPILED_PEERS)
NOTHING = "–"


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [heading(results), times(results), compilation(results), ceilings(results), memory(results)]
    parts += [starts(results), overheads(results), failures(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(results: Results) -> str:
    versions = ", ".join(f"{FRAMEWORKS[name].title} {version}" for name, version in results.versions().items())
    return (
        f"# Benchmarks, {results.when}\n\n"
        f"Commit {results.commit}; {results.processor}, {results.system}, Python {results.python}; {versions}.\n\n"
        f"Medians of {results.processes} processes each, interleaved, {results.threads} threads; every result checked "
        f"against float64. Ceilings of this machine, measured: {results.ceilings.bandwidth / 1e9:.0f} GB/s, "
        f"{results.ceilings.flops / 1e9:.0f} GFLOP/s (float32)."
    )


def times(results: Results) -> str:
    """Time a call, and how many times faster the compiled program is than its peers."""
    names = shown(results)
    groups = {"compiled / compiled peers": COMPILED_PEERS, "compiled / all peers": PEERS}
    body, speedups = [], []
    for row in results.rows.values():
        speedups.append([row.speedup(OURS, over) for over in groups.values()])
        body.append(
            [row.title, *(call_time(row.cells.get(name, Cell())) for name in names), *map(times_faster, speedups[-1])]
        )
    means = [geometric_mean(column) for column in zip(*speedups)]
    if any(mean is not None for mean in means):
        body.append(["geometric mean", *[""] * len(names), *map(times_faster, means)])
    note = (
        "The last columns say how many times faster Braze compiled is than the better of torch.compile and JAX, "
        f"and than the best of all peers. A tilde: the slowest process took over {UNSTEADY} times as long as the "
        "fastest, which a machine that does other work beside makes likely."
    )
    return table(["Time a call", *titles(names), *groups], body) + "\n\n" + note


def call_time(cell: Cell) -> str:
    """Time a call, marked where processes disagree."""
    return ("~" if cell.median and cell.is_unsteady else "") + duration(cell.median)


def compilation(results: Results) -> str:
    """First call less a usual call: with an empty disk cache / with a warm one."""

    def both(cell: Cell) -> str:
        return f"{duration(cell.compile_empty)} / {duration(cell.compile_warm)}"

    return by_framework(results, "Compilation, disk cache empty / warm", both)


def ceilings(results: Results) -> str:
    """Fraction of bandwidth and of the multiply-add rate that each framework reaches."""
    names = shown(results)

    def fractions(row: Row, name: str) -> str:
        seconds = row.median(name)
        if seconds is None:
            return NOTHING
        bandwidth = row.bytes / seconds / results.ceilings.bandwidth
        return f"{bandwidth:.0%} / {row.flops / seconds / results.ceilings.flops:.0%}"

    body = [
        [
            row.title,
            f"{row.bytes / 1e6:.4g} MB",
            f"{row.flops / 1e6:.4g} MFLOP",
            *(fractions(row, name) for name in names),
        ]
        for row in results.rows.values()
    ]
    return table(["Fraction of bandwidth / FLOP ceiling", "compulsory", "arithmetic", *titles(names)], body)


def memory(results: Results) -> str:
    """Highest resident memory beyond inputs, and the largest error against float64."""

    def both(cell: Cell) -> str:
        return f"{statistics.median(cell.memory_bytes) / 1e6:.0f} MB, {cell.error:.0e}"

    return by_framework(results, "Peak memory beyond inputs (compilation included), largest relative error", both)


def starts(results: Results) -> str:
    if not results.starts:
        return ""
    body = [
        [name, duration(start.empty_cache), duration(statistics.median(start.warm_cache))]
        for name, start in results.starts.items()
        if start.failure is None
    ]
    return table(["Process start to the first result of one kernel", "disk cache empty", "warm"], body)


def overheads(results: Results) -> str:
    measured = {name: overhead.seconds for name, overhead in results.overheads.items() if overhead.failure is None}
    if not measured:
        return ""
    labels = list(dict.fromkeys(label for seconds in measured.values() for label in seconds))
    body = [[label, *(duration(seconds.get(label)) for seconds in measured.values())] for label in labels]
    return table(["Eager overhead, 64 elements", *measured], body)


def failures(results: Results) -> str:
    lines = [
        f"- {row.title}, {FRAMEWORKS[name].title}: {cell.failure}"
        for row in results.rows.values()
        for name, cell in row.cells.items()
        if cell.failure
    ]
    lines += [f"- cold start, {name}: {start.failure}" for name, start in results.starts.items() if start.failure]
    lines += [
        f"- overhead, {name}: {overhead.failure}" for name, overhead in results.overheads.items() if overhead.failure
    ]
    return "## Failures\n\n" + "\n".join(lines) if lines else ""


def by_framework(results: Results, label: str, show: Callable[[Cell], str]) -> str:
    """A table with a cell for each workload and framework that gave a result."""
    names = shown(results)
    body = [
        [row.title, *(NOTHING if row.median(name) is None else show(row.cells[name]) for name in names)]
        for row in results.rows.values()
    ]
    return table([label, *titles(names)], body)


def shown(results: Results) -> list[str]:
    """The frameworks that were run, in their usual order."""
    return [name for name in FRAMEWORKS if any(name in row.cells for row in results.rows.values())]


def titles(names: Iterable[str]) -> list[str]:
    return [FRAMEWORKS[name].title for name in names]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=latest())
    file = parser.parse_args().file
    if file is None:
        raise SystemExit("no stored run: `make bench` makes one")
    print(markdown(from_json(file.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
