"""What a benchmark run found, as values that are stored as JSON, read back, compared and printed."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ceilings import Ceilings
from frameworks import COMPILED_PEERS

UNSTEADY = 1.5
FOLDER = Path(__file__).resolve().parent / "results"


@dataclass
class Cell:
    """One workload in one framework; a list has an entry for each process."""

    seconds: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    import_seconds: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    process_seconds: list[float] = field(default_factory=list)
    error: float = 0.0
    version: str = ""
    failure: str | None = None

    @property
    def median(self) -> float | None:
        """Seconds a call, the median over processes; nothing where it failed."""
        return statistics.median(self.seconds) if self.seconds and self.failure is None else None

    @property
    def is_unsteady(self) -> bool:
        """Whether processes differ so much that something else must have run beside some of them."""
        return len(self.seconds) > 1 and max(self.seconds) > UNSTEADY * min(self.seconds)

    @property
    def compile_empty(self) -> float | None:
        """Seconds of the first call beyond a usual one, in the process that found an empty disk cache."""
        return None if self.median is None else max(0.0, self.first_seconds[0] - self.median)

    @property
    def compile_warm(self) -> float | None:
        """The same in the processes that found a warm disk cache."""
        if self.median is None or len(self.first_seconds) < 2:
            return None
        return max(0.0, statistics.median(self.first_seconds[1:]) - self.median)


@dataclass
class Row:
    """One workload in all frameworks."""

    title: str
    bytes: int
    flops: int
    writes: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)
    copies: list[float] = field(default_factory=list)
    """Seconds of a copy with the same reads and writes, an entry for each turn."""

    def median(self, framework: str) -> float | None:
        """Seconds a call in one framework, where it was measured."""
        return self.cells[framework].median if framework in self.cells else None

    def fastest(self, frameworks: tuple[str, ...]) -> float | None:
        """Seconds a call in the fastest of some frameworks."""
        return min((time for name in frameworks if (time := self.median(name)) is not None), default=None)

    @property
    def copy(self) -> float | None:
        """Seconds of a copy with the same reads and writes, the median over turns as the cells' are."""
        return statistics.median(self.copies) if self.copies else None

    def is_bound_by_arithmetic(self, ceiling: float) -> bool:
        """Whether its operations take longer at so many a second than its compulsory traffic as a copy."""
        return self.flops / ceiling > (self.copy or 0.0)

    def floor(self, ceiling: float) -> float:
        """Seconds below which no program can be: those of the copy, or of the operations at so many a second."""
        return max(self.copy or 0.0, self.flops / ceiling)

    def speedup(self, framework: str, over: tuple[str, ...] = COMPILED_PEERS) -> float | None:
        """How many times faster a framework is than the better of others."""
        own, other = self.median(framework), self.fastest(over)
        return None if own is None or other is None else other / own


@dataclass
class Start:
    """Seconds from process start to a first result."""

    empty_cache: float = 0.0
    warm_cache: list[float] = field(default_factory=list)
    failure: str | None = None


@dataclass
class Overhead:
    """Seconds by the label of what was done."""

    seconds: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass
class Results:
    """A whole run, with where and on what it was measured."""

    when: str
    commit: str
    processor: str
    system: str
    python: str
    threads: int
    processes: int
    ceilings: Ceilings
    rows: dict[str, Row] = field(default_factory=dict)
    starts: dict[str, Start] = field(default_factory=dict)
    overheads: dict[str, Overhead] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Version of each framework that answered."""
        return {name: cell.version for row in self.rows.values() for name, cell in row.cells.items() if cell.version}

    def to_json(self) -> str:
        """The run as text; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> Results:
    """Read what `Results.to_json` wrote."""
    data: dict[str, Any] = json.loads(text)
    data["ceilings"] = Ceilings(**data["ceilings"])
    data["rows"] = {name: row_from(row) for name, row in data["rows"].items()}
    data["starts"] = {name: Start(**start) for name, start in data["starts"].items()}
    data["overheads"] = {name: Overhead(**overhead) for name, overhead in data["overheads"].items()}
    return Results(**data)


def row_from(data: dict[str, Any]) -> Row:
    cells = {name: Cell(**cell) for name, cell in data.pop("cells").items()}
    return Row(**data, cells=cells)


def latest(folder: Path = FOLDER) -> Path | None:
    """The stored run that was measured last; names begin with the time."""
    return max(folder.glob("*.json"), default=None)


def current_commit() -> str:
    """The commit of the working tree, with a plus sign where tracked files differ from it."""
    commit = git("rev-parse", "--short=10", "HEAD")
    return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "") or "unknown"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=FOLDER.parent, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
