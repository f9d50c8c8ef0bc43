"""What a GPU run found, as values stored as JSON, and as the short table that it prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_frameworks import FRAMEWORKS
from results import FOLDER, latest
from tables import NOTHING, duration, geometric_mean, table, times_faster

OURS = ("braze", "braze_autotune")
COMPILED = ("torch_compile", "torch_autotune", "jax", "libraries", "torch_eager")
BOUND_BY_MEMORY = ("chain", "softmax", "layer_norm", "variance")


@dataclass
class GpuCell:
    """One workload in one framework."""

    seconds: float | None = None
    first_seconds: float | None = None
    import_seconds: float | None = None
    memory_bytes: int = 0
    sample: list[float] = field(default_factory=list)
    error: float = 0.0
    version: str = ""
    failure: str | None = None

    @property
    def time(self) -> float | None:
        """Seconds a call, where the result is right."""
        return None if self.failure else self.seconds


@dataclass
class GpuRow:
    """One workload in all frameworks."""

    title: str
    bytes: int
    flops: int
    cells: dict[str, GpuCell] = field(default_factory=dict)

    def time(self, framework: str) -> float | None:
        """Seconds a call in one framework."""
        return self.cells[framework].time if framework in self.cells else None

    def fastest(self, frameworks: Iterable[str]) -> float | None:
        """Seconds a call in the fastest of some."""
        return min((t for name in frameworks if (t := self.time(name)) is not None), default=None)

    def speedup(self) -> float | None:
        """How many times faster Braze is than the best of the others."""
        own, other = self.fastest(OURS), self.fastest(COMPILED)
        return None if own is None or other is None else other / own


@dataclass
class GpuRun:
    """A whole run, with where and on what it was measured."""

    when: str
    commit: str
    device: str = "simulated"
    driver: str = ""
    l2_bytes: int = 0
    copy_bandwidth: float = 0.0
    tiny: bool = False
    rows: dict[str, GpuRow] = field(default_factory=dict)

    def add(self, name: str, title: str, traffic: int, flops: int) -> None:
        """An empty row."""
        self.rows[name] = GpuRow(title, traffic, flops)

    def versions(self) -> dict[str, str]:
        """Version of each framework that answered."""
        return {name: cell.version for row in self.rows.values() for name, cell in row.cells.items() if cell.version}

    def to_json(self) -> str:
        """The run as text; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> GpuRun:
    """Read what `GpuRun.to_json` wrote."""
    data: dict[str, Any] = json.loads(text)
    rows = data.pop("rows")
    made = {name: GpuRow(**{**row, "cells": {f: GpuCell(**c) for f, c in row["cells"].items()}})
            for name, row in rows.items()}
    return GpuRun(**data, rows=made)


def markdown(run: GpuRun) -> str:
    """Failures and first calls, then the short table last."""
    parts = [heading(run), failures(run), first_calls(run), times(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(run: GpuRun) -> str:
    versions = ", ".join(f"{FRAMEWORKS[name].title} {version}" for name, version in run.versions().items())
    size = " (tiny sizes: the times mean nothing)" if run.tiny else ""
    return (
        f"# GPU benchmarks, {run.when}{size}\n\n"
        f"Commit {run.commit}; {run.device}, driver {run.driver or NOTHING}, second-level cache "
        f"{run.l2_bytes / 2**20:.0f} MiB, copy {run.copy_bandwidth / 1e9:.0f} GB/s; {versions}.\n\n"
        "Medians by the device's events (JAX: by the clock around calls in a row), inputs rotated past the cache; "
        "samples of results checked against float64, training and ResNet-50 against torch eager. First calls ran "
        "beside those of other processes."
    )


def failures(run: GpuRun) -> str:
    lines = [f"- {row.title}, {FRAMEWORKS[name].title}: {cell.failure}"
             for row in run.rows.values() for name, cell in row.cells.items() if cell.failure]
    return "## Failures\n\n" + "\n".join(lines) if lines else ""


def first_calls(run: GpuRun) -> str:
    """Seconds of the first call, and Braze's part of torch.compile's."""
    names = shown(run)

    def part(row: GpuRow) -> str:
        ours, theirs = (first_of(row, name) for name in ("braze", "torch_compile"))
        return f"{ours / theirs:.2f}" if ours and theirs else NOTHING

    body = [[row.title, *(duration(first_of(row, name)) for name in names), part(row)] for row in run.rows.values()]
    return table(["First call", *titles(names), "part of torch.compile's"], body)


def first_of(row: GpuRow, name: str) -> float | None:
    return row.cells[name].first_seconds if row.time(name) is not None else None


def times(run: GpuRun) -> str:
    """Time a call, the ratio to the best peer, and what part of a ceiling that is."""
    names = shown(run)
    body = []
    for name, row in run.rows.items():
        body.append([row.title, *(duration(row.time(each)) for each in names), times_faster(row.speedup()),
                     ceiling(run, name, row)])
    mean = geometric_mean(row.speedup() for row in run.rows.values())
    body.append(["geometric mean", *[""] * len(names), times_faster(mean), ""])
    return table(["Time a call", *titles(names), "over the best peer", "Braze reaches"], body)


def ceiling(run: GpuRun, name: str, row: GpuRow) -> str:
    """Part of a copy's bandwidth, or operations a second and the part of the libraries' rate."""
    seconds = row.fastest(OURS)
    if seconds is None:
        return NOTHING
    if name in BOUND_BY_MEMORY:
        return f"{row.bytes / seconds / run.copy_bandwidth:.0%} of a copy" if run.copy_bandwidth else NOTHING
    rate = f"{row.flops / seconds / 1e12:.0f} TFLOP/s"
    library = row.time("libraries")
    return rate if library is None else f"{rate}, {library / seconds:.0%} of the libraries"


def shown(run: GpuRun) -> list[str]:
    """The frameworks that were run, in their usual order."""
    return [name for name in FRAMEWORKS if any(name in row.cells for row in run.rows.values())]


def titles(names: Iterable[str]) -> list[str]:
    return [FRAMEWORKS[name].title for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=latest(FOLDER / "gpu"))
    file = parser.parse_args().file
    if file is None:
        raise SystemExit("no stored run: `make bench-gpu` makes one")
    print(markdown(from_json(file.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
