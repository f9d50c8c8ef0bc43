"""The change of every figure between stored runs, as ratios: each workload's last run against the one before it.

`python bench/changes.py [--folder FOLDER]` (`make bench-compare`) measures nothing: the runs under bench/results/ keep
each figure with its commit. compare.py measures now.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from frameworks import FRAMEWORKS
from results import FOLDER, Cell, Results, from_json
from tables import NOTHING, duration, geometric_mean, table, times_faster

OURS = "braze_compiled"
NOISE = 1.05

Show = Callable[[float], str]
Figure = tuple[str, Callable[[Cell], float | None], Show]

FIGURES: list[Figure] = [
    ("time a call", lambda cell: cell.median, duration),
    ("compilation, cache empty", lambda cell: cell.compile_empty, duration),
    ("compilation, cache warm", lambda cell: cell.compile_warm, duration),
    ("peak memory", lambda cell: statistics.median(cell.memory_bytes) if cell.memory_bytes else None,
     lambda size: f"{size / 1e6:.0f} MB"),
]
"""What is compared of Braze compiled; less is better for all of them."""


def pairs(runs: Iterable[Results]) -> dict[str, tuple[Results, Results]]:
    """For each workload the last run that has it, and the one before."""
    found: dict[str, list[Results]] = {}
    for run in runs:
        for name, row in run.rows.items():
            if OURS in row.cells:
                found.setdefault(name, []).append(run)
    return {name: (having[-2], having[-1]) for name, having in found.items() if len(having) > 1}


def changes(runs: list[Results]) -> str:
    """A table for each kind of figure, and one of starts and overheads."""
    paired = pairs(runs)
    if not paired:
        return "No workload is in two stored runs: `make bench` makes one.\n"
    parts = [heading(paired.values())]
    for label, figure, show in FIGURES:
        parts.append(changes_of(label, figure, show, paired))
    parts.append(changes_over_peers(paired))
    with_starts = [run for run in runs if run.starts]
    if len(with_starts) > 1:
        parts.append(changes_of_run(*with_starts[-2:]))
    return "\n\n".join(parts) + "\n"


def heading(paired: Iterable[tuple[Results, Results]]) -> str:
    """Which runs are compared; another machine's times are no measure of a change."""
    lines = dict.fromkeys(f"{run_name(before)} -> {run_name(after)}"
                          + ("" if machine(before) == machine(after) else f" (another machine: {machine(before)})")
                          for before, after in paired)
    return "Braze compiled, " + "; ".join(lines)


def run_name(run: Results) -> str:
    return f"{run.commit} ({run.when})"


def machine(run: Results) -> str:
    return f"{run.processor}, {run.threads} threads"


def changes_of(label: str, figure: Callable[[Cell], float | None], show: Show,
               paired: dict[str, tuple[Results, Results]]) -> str:
    """One figure of all workloads: before, after, how many times less, and whether that stands out from the noise."""
    body, ratios = [], []
    for name, (before, after) in paired.items():
        rows = before.rows[name], after.rows[name]
        was, now = (figure(row.cells[OURS]) for row in rows)
        ratio = was / now if was and now else None
        ratios.append(ratio)
        verdict = stands_out(*(row.cells[OURS] for row in rows)) if label == FIGURES[0][0] else ""
        body.append([rows[1].title, *(NOTHING if x is None else show(x) for x in (was, now)), times_faster(ratio),
                     verdict])
    body.append(["geometric mean", "", "", times_faster(geometric_mean(ratios)), ""])
    return table([label, "before", "after", "before / after", ""], body)


def stands_out(was: Cell, now: Cell) -> str:
    """Whether a difference is larger than the spread of the processes, or why there is none."""
    if now.failure:
        return now.failure
    if was.median is None or now.median is None:
        return ""
    if min(was.seconds) > NOISE * max(now.seconds):
        return "faster"
    return "SLOWER" if min(now.seconds) > NOISE * max(was.seconds) else ""


def changes_over_peers(paired: dict[str, tuple[Results, Results]]) -> str:
    """The speed-up over the best compiled peer, then and now: what remains where machines differ."""
    body, columns = [], []
    for name, runs in paired.items():
        ratios = [run.rows[name].speedup(OURS) for run in runs]
        columns.append(ratios)
        body.append([runs[1].rows[name].title, *map(times_faster, ratios)])
    body.append(["geometric mean", *(times_faster(geometric_mean(column)) for column in zip(*columns))])
    return table(["over the best compiled peer", "before", "after"], body)


def changes_of_run(before: Results, after: Results) -> str:
    """Process starts and eager overheads."""
    body = []
    for name in after.starts.keys() & before.starts.keys() & {*FRAMEWORKS}:
        was, now = (statistics.median(run.starts[name].warm_cache or [0.0]) for run in (before, after))
        body.append((f"start, {FRAMEWORKS[name].title}, cache warm", was, now))
    for library in after.overheads.keys() & before.overheads.keys() & {"braze"}:
        were = before.overheads[library].seconds
        body += [(f"eager {what}", were[what], now)
                 for what, now in after.overheads[library].seconds.items() if what in were]
    lines = [[label, duration(was), duration(now), times_faster(was / now if was and now else None)]
             for label, was, now in sorted(body)]
    return table(["start and overheads", "before", "after", "before / after"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of stored runs")
    files = sorted(parser.parse_args().folder.glob("*.json"))
    print(changes([from_json(file.read_text(encoding="utf-8")) for file in files]), end="")


if __name__ == "__main__":
    main()
