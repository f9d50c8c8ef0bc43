"""Prints a run as Markdown: where it stands, times, ceilings, compilation, memory, start, overheads.

`python bench/report.py [FILE.json]` prints a stored run, by default the last.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from frameworks import FRAMEWORKS
from results import UNSTEADY, Cell, Results, from_json, latest
from standing import OURS, fractions, over_peers, standing
from tables import NOTHING, duration, table, times_faster


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [heading(results), standing(results), times(results), fractions(results, shown(results))]
    parts += [compilation(results), memory(results), starts(results), overheads(results), failures(results)]
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
    body = []
    for row in results.rows.values():
        cells = (call_time(row.cells.get(name, Cell())) for name in names)
        body.append([row.title, *cells, *map(times_faster, over_peers(row).values())])
    note = (
        f"The last columns say how many times faster {FRAMEWORKS[OURS].title} is than the best of the compiled peers, "
        f"and than the best of all. A tilde: the slowest process took over {UNSTEADY} times as long as the fastest, "
        "which a machine that does other work beside makes likely."
    )
    return table(["Time a call", *titles(names), "over compiled peers", "over all peers"], body) + "\n\n" + note


def call_time(cell: Cell) -> str:
    """Time a call, marked where processes disagree."""
    return ("~" if cell.median and cell.is_unsteady else "") + duration(cell.median)


def compilation(results: Results) -> str:
    """First call less a usual call: with an empty disk cache / with a warm one."""

    def both(cell: Cell) -> str:
        return f"{duration(cell.compile_empty)} / {duration(cell.compile_warm)}"

    return by_framework(results, "Compilation, disk cache empty / warm", both)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=latest())
    file = parser.parse_args().file
    if file is None:
        raise SystemExit("no stored run: `make bench` makes one")
    print(markdown(from_json(file.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
