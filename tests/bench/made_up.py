"""Small made-up results: what the report and the comparison are tested on."""

from ceilings import Ceilings
from results import Cell, Overhead, Results, Row, Start

FLOPS, MEGABYTE = 100e9, 1_000_000


def cell(milliseconds: float, first: float = 100.0, memory: int = 10) -> Cell:
    """Three processes around a time a call."""
    seconds = [1e-3 * milliseconds * part for part in (0.99, 1.0, 1.01)]
    firsts = [1e-3 * first, 5e-4 * first, 5e-4 * first]
    return Cell(seconds, firsts, [0.1] * 3, [memory * MEGABYTE] * 3, [2.0, 1.0, 1.0], 1e-7, "1.0")


def run(when: str, softmax: float, training: float = 20.0) -> Results:
    """A run of a workload bound by memory (its copy takes 1 ms) and of a training step of 1 GFLOP (10 ms)."""
    rows = {
        "softmax": Row("softmax", 2 * MEGABYTE, 1000, MEGABYTE, copies=[1e-3, 2e-3, 1e-3],
                       cells={"braze_compiled": cell(softmax), "torch_eager": cell(3.0), "torch_compile": cell(8.0),
                              "jax": cell(4.0)}),
        "gpt_train": Row("training", MEGABYTE, 10**9, copies=[1e-4],
                         cells={"braze_compiled": cell(training, memory=30), "torch_compile": cell(40.0, memory=60)}),
    }
    starts = {"braze_compiled": Start(0.2, [0.1, 0.11, 0.1]), "jax": Start(failure="not there")}
    overheads = {"braze": Overhead({"x + y": 1e-6}), "torch": Overhead({"x + y": 2e-6})}
    return Results(when, "abc", "Made up", "Linux", "3.11", 2, 3, Ceilings(50e9, FLOPS), rows, starts, overheads)
