"""How long a run takes: who takes part in which turn, and the time that is to be expected."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from frameworks import FRAMEWORKS
from results import FOLDER, Cell, from_json
from workload import Workload
from workloads import WORKLOADS

FEWEST = {"braze_eager": 2}
"""Frameworks that are no peer and that nothing is compared with: so many processes do."""

USUAL = {"torch_compile": (15.0, 5.5), "torch_eager": (2.6, 2.2), "jax": (2.2, 2.0)}
"""Seconds of a first process, and of a later one, where no stored run says them."""
OTHERS = 1.6, 1.3
CEILINGS = 0.8  # seconds a workload and turn: its copy, its share of the ceilings


def takes_part(framework: str, workload: Workload, turn: int) -> bool:
    """Whether a framework has a process in this turn."""
    return turn < FEWEST.get(framework, sys.maxsize) and FRAMEWORKS[framework].runs(workload)


class Pace:
    """What is expected of a run, and what is left of it."""

    def __init__(self, names: Sequence[str], frameworks: Sequence[str], turns: int, folder: Path = FOLDER) -> None:
        self.known = known_cells(folder)
        self.turns = [sum(self.expected(names, frameworks, turn)) for turn in range(turns)]
        self.start = time.monotonic()

    def expected(self, names: Sequence[str], frameworks: Sequence[str], turn: int) -> Iterable[float]:
        """Seconds of each process of a turn."""
        for name in names:
            yield CEILINGS
            for framework in frameworks:
                if takes_part(framework, WORKLOADS[name], turn):
                    yield self.seconds(name, framework, turn)

    def seconds(self, name: str, framework: str, turn: int) -> float:
        """Of one process: as in a stored run, or the usual."""
        cell = self.known.get((name, framework))
        if cell is None:
            return USUAL.get(framework, OTHERS)[min(turn, 1)]
        return cell.process_seconds[min(turn, len(cell.process_seconds) - 1)]

    def forecast(self) -> str:
        """A line for the start."""
        return f"about {minutes(sum(self.turns))} ({len(self.turns)} turns, the first of them {minutes(self.turns[0])})"

    def after(self, turn: int) -> str:
        """A line for the end of a turn: what is left, at the pace so far."""
        spent, expected = time.monotonic() - self.start, sum(self.turns[: turn + 1])
        left = sum(self.turns[turn + 1 :]) * spent / expected
        return f"turn {turn + 1} of {len(self.turns)} done in {minutes(spent)} all told, about {minutes(left)} to go"


def known_cells(folder: Path) -> dict[tuple[str, str], Cell]:
    """The last stored cell of each workload and framework that says how long its processes took."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        for name, row in from_json(file.read_text(encoding="utf-8")).rows.items():
            found |= {(name, framework): cell for framework, cell in row.cells.items() if cell.process_seconds}
    return found


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
