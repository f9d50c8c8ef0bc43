"""The change in Braze's speed as ratios: the working tree against the last stored run, or against a commit.

`python bench/compare.py [--quick] [--only NAME ...]` compares with the last run under bench/results/, or `--stored
FILE`. With `--commit REVISION` both are measured now, in turn: the sound way where the machine is shared or has
changed.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import ceilings
from frameworks import FRAMEWORKS
from processes import HERE
from results import Cell, Results, Row, from_json, latest
from run import empty_row, measure_turn, options_of_measuring, parsed, store_reference
from tables import NOTHING, duration, geometric_mean, table, times_faster

OURS = tuple(name for name, framework in FRAMEWORKS.items() if not framework.is_peer)
NOISE = 1.05

Rows = dict[str, Row]


def against_stored(file: Path, options: argparse.Namespace) -> tuple[Rows, Rows]:
    """The rows of a stored run, and those measured now."""
    stored = from_json(file.read_text(encoding="utf-8"))
    warn_of_another_machine(stored, options)
    options.only = [name for name in options.only if name in stored.rows]
    (now,) = measure([None], options)
    return stored.rows, now


def against_commit(revision: str, options: argparse.Namespace) -> tuple[Rows, Rows]:
    """The rows of a commit and of the working tree, both measured now, by the working tree's workloads."""
    with tempfile.TemporaryDirectory() as folder:
        before, now = measure([unpacked(revision, Path(folder) / "before"), None], options)
    return before, now


def measure(trees: list[Path | None], options: argparse.Namespace) -> list[Rows]:
    """Rows for each tree, their processes interleaved."""
    rows = [{name: empty_row(name) for name in options.only} for _ in trees]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            store_reference(Path(folder), name)
        for _ in range(options.processes):
            for name in options.only:
                for tree, of_tree in zip(trees, rows):
                    measure_turn(of_tree[name], name, list(OURS), Path(folder), options, tree)
    return rows


def unpacked(revision: str, folder: Path) -> Path:
    """A folder in which the package `braze` is as a commit has it. The repository's root is the package."""
    archive = subprocess.run(["git", "archive", revision], cwd=HERE.parent, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder / "braze", filter="data")
    return folder


def warn_of_another_machine(stored: Results, options: argparse.Namespace) -> None:
    """Times of another processor are no measure of a change."""
    if stored.processor != ceilings.processor() or stored.threads != options.threads:
        print(
            f"The stored run is of another machine ({stored.processor}, {stored.threads} threads): "
            "use --commit to measure both here",
            file=sys.stderr,
        )


def comparison(before: Rows, now: Rows) -> str:
    """A table of times then and now, with the speed-up and what it means."""
    body, ratios = [], []
    for name, row in now.items():
        for framework in OURS:
            was, is_now = before[name].cells.get(framework, Cell()), row.cells[framework]
            ratio = was.median / is_now.median if was.median and is_now.median else None
            ratios.append(ratio)
            cells = duration(was.median), duration(is_now.median), times_faster(ratio), verdict(was, is_now)
            body.append([f"{row.title}, {FRAMEWORKS[framework].title}", *cells])
    mean = geometric_mean(ratios)
    return table(
        ["Time a call", "before", "now", "faster by", ""], [*body, ["geometric mean", "", "", times_faster(mean), ""]]
    )


def verdict(was: Cell, is_now: Cell) -> str:
    """Whether a difference stands out from the spread of the processes."""
    if is_now.failure:
        return is_now.failure
    if was.median is None or is_now.median is None:
        return NOTHING
    if min(was.seconds) > NOISE * max(is_now.seconds):
        return "faster"
    if min(is_now.seconds) > NOISE * max(was.seconds):
        return "SLOWER"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options_of_measuring(parser, ["core"])
    parser.add_argument("--stored", type=Path, default=latest())
    parser.add_argument("--commit", metavar="REVISION", help="measure this commit and the working tree in turn")
    options = parsed(parser)
    if options.commit is None and options.stored is None:
        raise SystemExit("no stored run: `make bench` makes one, or give --commit")
    if options.commit is not None:
        before, now = against_commit(options.commit, options)
    else:
        before, now = against_stored(options.stored, options)
    print(comparison(before, now))


if __name__ == "__main__":
    main()
