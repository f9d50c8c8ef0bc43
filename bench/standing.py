"""Where a run stands, in the figures that targets are set in: geometric means over the peers, the worst ratio, the
fraction of this machine's ceilings, and the memory of a training step.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from frameworks import COMPILED_PEERS, FRAMEWORKS
from results import Results, Row
from tables import NOTHING, duration, geometric_mean, table, times_faster
from workloads import GROUPS, WORKLOADS

OURS = "braze_compiled"
MEMORY_PEER = "torch_compile"
PEERS = {"compiled peers": COMPILED_PEERS, "all peers": ("torch_eager", *COMPILED_PEERS)}
SETS = {
    "core list": GROUPS["core"],
    "compute-bound (products and models)": (*GROUPS["products"], *GROUPS["models"]),
    "all": tuple(WORKLOADS),
}


def over_peers(row: Row) -> dict[str, float | None]:
    """How many times faster Braze is than the best of the compiled peers, and of all."""
    return {label: row.speedup(OURS, peers) for label, peers in PEERS.items()}


def standing(results: Results) -> str:
    """Means and worst ratios of each set of workloads, and training's memory; nothing where no peer was measured."""
    body = [line for label, names in SETS.items() if (line := line_of_set(results, label, names))]
    header = ["Braze compiled", *(f"{what} over {label}" for label in PEERS for what in ("mean", "worst"))]
    parts = [table(header, body)] if body else []
    return "\n\n".join([*parts, *filter(None, [training_memory(results)])])


def line_of_set(results: Results, label: str, names: Sequence[str]) -> list[str]:
    """The geometric mean and the worst ratio over each kind of peers."""
    ratios = [(name, over_peers(results.rows[name])) for name in names if name in results.rows]
    cells = []
    for peers in PEERS:
        known = [(ratio[peers], name) for name, ratio in ratios if ratio[peers] is not None]
        if not known:
            return []
        worst, where = min(known)
        cells += [f"{times_faster(geometric_mean(ratio for ratio, _ in known))} of {len(known)}",
                  f"{times_faster(worst)} ({where})"]
    return [label, *cells]


def fractions(results: Results, names: Sequence[str]) -> str:
    """The floor of each workload, and what part of its ceiling each framework reaches."""
    if not any(row.copies for row in results.rows.values()):
        return ""
    header = ["Fraction of the ceiling", "read + written", "arithmetic", "its copy", "its arithmetic", "bound by"]
    body = [line_of_floor(row, results.ceilings.flops, names) for row in results.rows.values()]
    note = (
        "A workload's ceiling is the longer of two times: that of a copy with the same compulsory reads and writes, "
        "measured in the same run, and that of its operations at this machine's rate of multiply-adds."
    )
    return table([*header, *(FRAMEWORKS[name].title for name in names)], body) + "\n\n" + note


def line_of_floor(row: Row, ceiling: float, names: Sequence[str]) -> list[str]:
    """Times of both ceilings, and each framework's fraction of the one that binds."""
    floor = row.floor(ceiling)
    reached = [NOTHING if (time := row.median(name)) is None else f"{floor / time:.0%}" for name in names]
    sizes = f"{(row.bytes - row.writes) / 1e6:.3g} + {row.writes / 1e6:.3g} MB", f"{row.flops / 1e6:.4g} MFLOP"
    bound = "arithmetic" if row.is_bound_by_arithmetic(ceiling) else "memory"
    return [row.title, *sizes, duration(row.copy), duration(row.flops / ceiling), bound, *reached]


def training_memory(results: Results) -> str:
    """Peak memory of training steps beside torch.compile's: resident at most, less that after import and inputs."""
    body = []
    for name, row in results.rows.items():
        if name in WORKLOADS and WORKLOADS[name].training:
            ours, peer = (median_memory(row, framework) for framework in (OURS, MEMORY_PEER))
            if ours and peer:
                body.append([row.title, f"{ours / 1e6:.0f} MB", f"{peer / 1e6:.0f} MB", f"{ours / peer:.2f}"])
    titles = [FRAMEWORKS[name].title for name in (OURS, MEMORY_PEER)]
    return table(["Peak memory of a training step", *titles, "part"], body) if body else ""


def median_memory(row: Row, framework: str) -> float | None:
    """The median over processes, where the framework gave a result."""
    return None if row.median(framework) is None else statistics.median(row.cells[framework].memory_bytes)
