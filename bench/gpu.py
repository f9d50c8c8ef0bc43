"""The benchmark on a GPU: all workloads in all frameworks within one ten-minute command, a short table last.

`python bench/gpu.py [--budget SECONDS] [--only NAME ...] [--frameworks NAME ...]` (`make bench-gpu`) stores JSON and
Markdown under bench/results/gpu/, anew after each result, so that a run that is cut short has what it found. Each
workload runs in each framework in a process of its own. Several processes import and compile beside each other; while
one is timed, the others are stopped. `--tiny` tries the scripts: small sizes, and without a GPU, under
BRAZE_TRITON_INTERPRET=1, Braze alone.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from gpu_frameworks import FRAMEWORKS
from gpu_report import GpuCell, GpuRun, markdown
from gpu_workloads import GpuWorkload, workloads
from processes import HERE, interpreter, last_line
from results import FOLDER, current_commit
from tables import duration

BUDGET = 560.0  # seconds of the whole command
EACH = 170.0  # seconds of one process, without the time that it stood still
RESERVE = 12.0  # seconds before the end when the last processes are given up
TOGETHER = 5
ORDER = ("braze", "torch_compile", "libraries", "torch_eager", "jax", "braze_autotune", "torch_autotune")
"""What is started first: a run that is cut short lacks what matters least."""


@dataclass
class Worker:
    """A process that measures one workload in one framework."""

    framework: str
    workload: str
    process: subprocess.Popen[str]
    errors: TextIO
    started: float = field(default_factory=time.monotonic)
    stood_still: float = 0.0
    still_before_first: float = 0.0
    still_in_first: float = 0.0
    state: str = "importing"

    @property
    def age(self) -> float:
        """Seconds that it has run."""
        return time.monotonic() - self.started - self.stood_still


class Bench:
    """Starts workers, times one after the other, and keeps what they answer."""

    def __init__(self, run: GpuRun, made: dict[str, GpuWorkload], options: argparse.Namespace, paths: str) -> None:
        self.run, self.made, self.options, self.paths = run, made, options, paths
        self.end = time.monotonic() + options.budget - RESERVE
        self.waiting = list(jobs(made, options))
        self.working: list[Worker] = []
        self.timed: Worker | None = None
        self.selector = selectors.DefaultSelector()

    def go(self) -> None:
        """Until all is measured, or time is up."""
        while (self.waiting or self.working) and time.monotonic() < self.end:
            while self.waiting and len(self.working) < self.options.together and self.timed is None:
                self.start(*self.waiting.pop(0))
            for key, _ in self.selector.select(timeout=0.2):
                self.hear(key.data)
            self.give_up_old_ones()
            self.time_next()
        for worker in [*self.working]:
            self.fail(worker, "time was up")
        for framework, workload in self.waiting:
            self.run.rows[workload].cells[framework] = GpuCell(failure="time was up before it was begun")
        self.store()

    def start(self, framework: str, workload: str) -> None:
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed when the worker has ended)
        command = [interpreter(not framework.startswith("braze")), str(HERE / "gpu_worker.py"), framework, workload]
        process = subprocess.Popen(
            [*command, *(["--tiny"] if self.options.tiny else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, text=True, env=environment(self.paths), start_new_session=True)
        worker = Worker(framework, workload, process, errors)
        self.working.append(worker)
        assert process.stdout is not None
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)

    def hear(self, worker: Worker) -> None:
        """Read a line of a worker."""
        assert worker.process.stdout is not None
        line = worker.process.stdout.readline()
        if not line:
            worker.process.wait()
            worker.errors.seek(0)
            self.fail(worker, last_line(worker.errors.read()) or f"ended with {worker.process.returncode}")
            return
        try:
            message = json.loads(line)
        except ValueError:
            return  # something that a library prints
        if not isinstance(message, dict):
            return
        if message.get("event") == "first":
            worker.state, worker.still_before_first = "compiling", worker.stood_still
        elif message.get("event") == "ready":
            worker.state, worker.still_in_first = "ready", worker.stood_still - worker.still_before_first
        elif message.get("event") == "result":
            self.record(worker, message)

    def time_next(self) -> None:
        """Let the next one that is ready be timed, the others standing still."""
        ready = next((w for w in self.working if w.state == "ready"), None)
        if self.timed is not None or ready is None:
            return
        self.timed, ready.state = ready, "timed"
        for other in self.working:
            if other is not ready:
                signal_all(other, signal.SIGSTOP)
        self.stopped_at = time.monotonic()
        time.sleep(0.02)  # what the others have asked of the device is done
        assert ready.process.stdin is not None
        ready.process.stdin.write("go\n")
        ready.process.stdin.flush()

    def record(self, worker: Worker, answer: dict[str, Any]) -> None:
        """Keep a result, and whether it is right."""
        cell = GpuCell(
            seconds=answer["seconds"],
            first_seconds=answer["first_seconds"] - worker.still_in_first,
            import_seconds=answer["import_seconds"],
            memory_bytes=answer["memory_bytes"],
            sample=answer["sample"],
            version=answer["version"],
        )
        self.run.rows[worker.workload].cells[worker.framework] = cell
        if answer["reference"] is not None:
            judge(cell, answer["reference"], self.made[worker.workload].tolerance)
        self.finish(worker, cell)

    def fail(self, worker: Worker, why: str) -> None:
        cell = GpuCell(failure=why)
        self.run.rows[worker.workload].cells[worker.framework] = cell
        self.finish(worker, cell)

    def finish(self, worker: Worker, cell: GpuCell) -> None:
        """Close a worker, and let the others go on."""
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        self.working.remove(worker)
        signal_all(worker, signal.SIGKILL)
        worker.process.wait()
        worker.errors.close()
        if worker is self.timed:
            self.timed = None
            still = time.monotonic() - self.stopped_at
            for other in self.working:
                other.stood_still += still
                signal_all(other, signal.SIGCONT)
        shown = cell.failure or f"{duration(cell.seconds)}, first call {duration(cell.first_seconds)}"
        print(f"{worker.workload:16} {worker.framework:15} {shown}", file=sys.stderr, flush=True)
        self.store()

    def give_up_old_ones(self) -> None:
        for worker in [*self.working]:
            if worker.age > self.options.each and (self.timed is None or worker is self.timed):
                self.fail(worker, f"no answer in {self.options.each:.0f} s, while {worker.state}")

    def store(self) -> None:
        """Write what there is so far."""
        compare_samples(self.run, self.made)
        store(self.run, self.options.output)


def jobs(made: dict[str, GpuWorkload], options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(framework, workload) in the order in which they matter."""
    for framework in ORDER:
        for name, workload in made.items():
            if framework in options.frameworks and framework in workload.frameworks:
                yield framework, name


def signal_all(worker: Worker, number: signal.Signals) -> None:
    """To a worker and the processes that it has started, which are a group of their own."""
    try:
        os.killpg(worker.process.pid, number)
    except ProcessLookupError:
        return


def environment(paths: str) -> dict[str, str]:
    """Compilers start with empty caches, and take memory as they need it."""
    caches = Path(paths) / "cache"
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH", "")])),
        "BRAZE_CACHE_DIR": str(caches / "braze"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


# ---- right or wrong --------------------------------------------------------------------------------------------------


def judge(cell: GpuCell, reference: list[float], tolerance: float) -> None:
    """A sample that is off is a failure, not a time."""
    got, wanted = np.asarray(cell.sample), np.asarray(reference)
    if got.shape != wanted.shape:
        cell.failure = f"wrong: a sample of {got.size} elements, where there are {wanted.size}"
        return
    cell.error = float(np.abs(got - wanted).max() / (np.abs(wanted).max() or 1.0))
    if not cell.error <= tolerance:
        cell.failure = f"wrong: off by {cell.error:.1e} of the largest magnitude, where {tolerance:.0e} is allowed"


def compare_samples(run: GpuRun, made: dict[str, GpuWorkload]) -> None:
    """Where there is no reference, frameworks are held to torch eager's result, or to the first that there is."""
    for name, row in run.rows.items():
        whole = {f: c for f, c in row.cells.items() if c.failure is None and c.sample}
        if made[name].reference.__func__ is GpuWorkload.reference and whole:  # type: ignore[attr-defined]
            first = whole.get("torch_eager") or next(iter(whole.values()))
            for cell in whole.values():
                judge(cell, first.sample, made[name].tolerance)


# ---- the whole -------------------------------------------------------------------------------------------------------


def describe(made: dict[str, GpuWorkload], options: argparse.Namespace, paths: str) -> GpuRun:
    """A run without its measurements; the device is asked in a process of its own."""
    run = GpuRun(when=time.strftime("%Y-%m-%d %H:%M"), commit=current_commit(), tiny=options.tiny)
    for name, workload in made.items():
        run.add(name, workload.title, workload.bytes, workload.flops)
    command = [interpreter(is_peer=False), str(HERE / "gpu_worker.py"), "facts"]
    done = subprocess.run(command, env=environment(paths), capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        facts = json.loads(last_line(done.stdout))
        run.device, run.driver, run.l2_bytes = facts["device"], str(facts["driver"]), facts["l2_bytes"]
        run.copy_bandwidth = facts["copy_bandwidth"]
    elif not options.tiny:
        raise SystemExit(f"no GPU to measure: {last_line(done.stderr)}")
    return run


def store(run: GpuRun, folder: Path) -> Path:
    """Write the JSON and the Markdown; names begin with the time."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{run.when.replace('-', '').replace(':', '').replace(' ', '-')}-{run.commit.rstrip('+')}"
    (folder / f"{stem}.json").write_text(run.to_json() + "\n", encoding="utf-8")
    file = folder / f"{stem}.md"
    file.write_text(markdown(run), encoding="utf-8")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of the whole command")
    parser.add_argument("--each", type=float, default=EACH, help="seconds of one process")
    parser.add_argument("--together", type=int, default=min(TOGETHER, max(1, (os.cpu_count() or 1) // 2)),
                        help="processes that import and compile beside each other")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help=", ".join(workloads(tiny=False)))
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, metavar="NAME", help=", ".join(FRAMEWORKS))
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the scripts")
    parser.add_argument("--output", type=Path, default=FOLDER / "gpu", help="folder of the results")
    options = parser.parse_args()
    options.frameworks = options.frameworks or (["braze"] if options.tiny else list(FRAMEWORKS))
    made = {name: w for name, w in workloads(options.tiny).items() if not options.only or name in options.only}
    with tempfile.TemporaryDirectory() as paths:
        (Path(paths) / "braze").symlink_to(HERE.parent)  # the repository's root is the package
        run = describe(made, options, paths)
        Bench(run, made, options, paths).go()
    print(markdown(run))
    print(f"stored in {store(run, options.output)}", file=sys.stderr)


if __name__ == "__main__":
    main()
