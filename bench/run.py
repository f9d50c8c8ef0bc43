"""The benchmark: each workload in each framework, each in a process of its own, interleaved; then start and overheads.

`python bench/run.py [--quick] [--group NAME ...] [--only NAME ...] [--frameworks NAME ...]` prints the report and
stores it as Markdown and JSON under bench/results/. Set PEERS_PYTHON to the interpreter that has torch and JAX, if not
this one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ceilings
import numpy as np
import overhead
import start
from frameworks import FRAMEWORKS
from pace import Pace, takes_part
from processes import Answer, ask, environment, interpreter, is_installed, pin
from report import markdown
from results import FOLDER, Cell, Results, Row, current_commit
from tables import duration
from traffic import copy_seconds
from workload import compute_reference
from workloads import GROUPS, USUAL_GROUPS, WORKLOADS

PROCESSES, SECONDS = 5, 0.4
QUICK_PROCESSES, QUICK_SECONDS = 2, 0.2


def run(options: argparse.Namespace) -> Results:
    """Everything that the options ask for."""
    frameworks = installed(options.frameworks)
    results = describe(options)
    pace = Pace(options.only, frameworks, options.processes)
    print(f"this takes {pace.forecast()}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            results.rows[name] = empty_row(name)
            store_reference(Path(folder), name)
        for turn in range(options.processes):
            results.ceilings = results.ceilings.raised_to(ceilings.measure(options.threads))
            for name in options.only:
                row, workload = results.rows[name], WORKLOADS[name]
                row.copies.append(copy_seconds(workload.bytes - workload.writes, workload.writes, options.threads))
                taking_part = [each for each in rotated(frameworks, turn) if takes_part(each, workload, turn)]
                measure_turn(row, name, taking_part, Path(folder), options)
            print(pace.after(turn), file=sys.stderr)
    if options.workloads_only:
        return results
    names = [name for name in start.PROGRAMS if name in frameworks or name == "numpy"]
    results.starts = start.measure(names, options.processes, options.threads)
    packages = {"numpy", *(FRAMEWORKS[name].package for name in frameworks)}
    libraries = [name for name in overhead.LIBRARIES if name in packages]
    results.overheads = overhead.measure(libraries, options.processes, options.seconds / 3, options.threads)
    return results


def installed(names: list[str]) -> list[str]:
    """The frameworks that can be imported; says which can't."""
    found = [name for name in names if is_installed(FRAMEWORKS[name].package, interpreter(FRAMEWORKS[name].is_peer))]
    for name in names:
        if name not in found:
            print(f"{name} left out: not installed (PEERS_PYTHON may name an interpreter that has it)", file=sys.stderr)
    return found


def describe(options: argparse.Namespace) -> Results:
    """A run without its measurements: when and where it takes place."""
    pin(options.threads)
    return Results(
        when=time.strftime("%Y-%m-%d %H:%M"),
        commit=current_commit(),
        processor=ceilings.processor(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        threads=options.threads,
        processes=options.processes,
        ceilings=ceilings.Ceilings(0.0, 0.0),
    )


def empty_row(name: str) -> Row:
    """The row of a workload before anything is measured."""
    workload = WORKLOADS[name]
    return Row(workload.title, workload.bytes, workload.flops, workload.writes)


def measure_turn(
    row: Row, name: str, frameworks: list[str], folder: Path, options: argparse.Namespace, tree: Path | None = None
) -> None:
    """One process for each framework that hasn't failed on this workload yet; `tree` holds another braze to import."""
    for framework in frameworks:
        cell = row.cells.setdefault(framework, Cell())
        if cell.failure is not None:
            continue
        env = environment(options.threads, folder / "cache" / (tree.name if tree else "here") / framework / name)
        if tree is not None:
            env["PYTHONPATH"] = str(tree)
        limits = "--seconds", str(options.seconds), "--threads", str(options.threads)
        python = interpreter(FRAMEWORKS[framework].is_peer)
        begin = time.monotonic()
        answer = ask(
            python, "worker.py", framework, name, "--reference", str(reference_file(folder, name)), *limits, env=env
        )
        record(cell, answer, WORKLOADS[name].tolerance)
        cell.process_seconds.append(time.monotonic() - begin)
        print(f"{name:14} {framework:15} {cell.failure or duration(cell.seconds[-1])}", file=sys.stderr)


def record(cell: Cell, answer: Answer, tolerance: float) -> None:
    """Add what a process answered; a wrong result is a failure."""
    if "error" in answer and "seconds" not in answer:
        cell.failure = answer["error"]
        return
    cell.seconds.append(answer["seconds"])
    cell.first_seconds.append(answer["first_seconds"])
    cell.import_seconds.append(answer["import_seconds"])
    cell.memory_bytes.append(answer["memory_bytes"])
    cell.error = max(cell.error, answer["error"])
    cell.version = answer["version"]
    if not cell.error <= tolerance:
        cell.failure = f"wrong: off by {cell.error:.1e} of the largest magnitude, where {tolerance:.0e} is allowed"


def store_reference(folder: Path, name: str) -> None:
    """Compute a workload's float64 result once, for all processes."""
    np.savez(reference_file(folder, name), *compute_reference(WORKLOADS[name]))


def reference_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npz"


def rotated(names: list[str], turn: int) -> list[str]:
    """Another order each turn, so that none always follows the same neighbour."""
    shift = turn % max(1, len(names))
    return names[shift:] + names[:shift]


def store(results: Results, folder: Path) -> Path:
    """Write the JSON and the Markdown; their names begin with the time, so that the last is the latest."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{results.when.replace('-', '').replace(':', '').replace(' ', '-')}-{results.commit.rstrip('+')}"
    (folder / f"{stem}.json").write_text(results.to_json() + "\n", encoding="utf-8")
    file = folder / f"{stem}.md"
    file.write_text(markdown(results), encoding="utf-8")
    return file


def options_of_measuring(parser: argparse.ArgumentParser, groups: Sequence[str]) -> None:
    """Options shared with compare.py, and the groups that are run by default; `--quick` is fewer processes and shorter
    measurements of the same sizes.
    """
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PROCESSES} processes of {QUICK_SECONDS} s each")
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=groups, help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="these workloads, of any group")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given, with what `--quick` decides filled in."""
    options = parser.parse_args()
    options.only = options.only or [name for group in options.group for name in GROUPS[group]]
    options.processes = options.processes or (QUICK_PROCESSES if options.quick else PROCESSES)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options_of_measuring(parser, list(USUAL_GROUPS))
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS), metavar="NAME")
    parser.add_argument("--workloads-only", action="store_true", help="leave out cold start and overheads")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    options = parsed(parser)
    results = run(options)
    print(markdown(results))
    print(f"stored in {store(results, options.output)}", file=sys.stderr)


if __name__ == "__main__":
    main()
