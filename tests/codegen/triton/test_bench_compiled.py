"""The kernels of the GPU's benchmark, as its own programs are planned, compiled without a GPU: nothing spills, products
run on tensor cores, and registers and shared memory stay within golden figures.

`bench_figures.txt` has, for compute capability 9.0, the most registers and KiB of shared memory of all kernels of a
name in a workload; `--update-golden` with `-m slow` writes it anew. By default the longest kernel of each name is
compiled; the slow tests compile all of them, for each device.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_contraction import GpuContraction, GpuStreamed
from braze.ir.kernel import Kernel
from braze.ir.schedule import Schedule, Source
from braze.runtime.triton_compiler import Compiled, Request, compile_sources

from .bench_programs import NAMES, kernels
from .products import TARGETS, UNITS

FIGURES = Path(__file__).parent / "bench_figures.txt"
REGISTERS_MORE = 24              # than the figure (of Triton 3.9): another release allocates a little otherwise
SHARED_MORE = 4 << 10            # than a program is planned with: what crosses threads, barriers
LEAST_ROWS = 64                  # of a tile that NVIDIA's newest unit multiplies; smaller ones do by an older one
LARGER = ("matmul_8192", "linear_gelu_8192")     # the same kernels as at 4096, but for their sizes

Part = tuple[Kernel, Schedule, Source]


def compiled(parts: list[Part], target: GpuTarget) -> list[tuple[Part, Compiled]]:
    """The machine code of kernels without open sizes."""
    return list(zip(parts, compile_sources([Request(source, target) for _, _, source in parts])))


def longest_of_each_name(parts: list[Part]) -> list[Part]:
    """One kernel of each name: the one with the most text, which has the dearest epilogue or the most parts."""
    found: dict[str, Part] = {}
    for part in sorted(parts, key=lambda part: -len(part[2].text)):
        found.setdefault(part[0].name, part)
    return list(found.values())


def check(made: list[tuple[Part, Compiled]], arch: str) -> None:
    """Nothing spills, and what is multiplied is so on tensor cores."""
    target = TARGETS[arch]
    for (kernel, s, _), c in made:
        assert c.spills == 0, f"{kernel.name} spills {c.spills} bytes a thread: {s}\n{kernel}"
        assert c.shared <= target.shared_bytes + SHARED_MORE, f"{kernel.name} takes {c.shared} bytes of shared memory"
        if isinstance(s, (GpuContraction, GpuStreamed)):
            unit = UNITS[arch] if s.tile[0] >= LEAST_ROWS or target.kind == "hip" else "mma"
            assert unit in c.assembly, f"{kernel.name} does not multiply by {unit}: {s}"


def figures() -> dict[tuple[str, str], tuple[int, int]]:
    """(workload, kernel): (registers, KiB of shared memory)."""
    rows = (line.split() for line in FIGURES.read_text().splitlines() if not line.startswith("#"))
    return {(workload, kernel): (int(registers), int(shared)) for workload, kernel, registers, shared in rows}


def most(name: str, made: list[tuple[Part, Compiled]]) -> dict[tuple[str, str], tuple[int, int]]:
    """The figures that these kernels would have."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for (kernel, _, _), c in made:
        registers, shared = found.get((name, kernel.name), (0, 0))
        found[name, kernel.name] = max(registers, c.registers), max(shared, -(-c.shared // 1024))
    return found


def write(changed: dict[tuple[str, str], tuple[int, int]], name: str) -> None:
    """Put the figures of a workload into the file."""
    kept = {key: row for key, row in figures().items() if key[0] != name}
    rows = [f"{w} {k} {r} {s}" for (w, k), (r, s) in sorted({**kept, **changed}.items())]
    FIGURES.write_text("\n".join(["# workload, kernel, most registers, most KiB of shared memory", *rows, ""]))


def hold_to_figures(name: str, made: list[tuple[Part, Compiled]]) -> None:
    """Registers and shared memory are bounded."""
    known = figures()
    for key, (registers, shared) in most(name, made).items():
        most_registers, most_shared = known[key]
        assert registers <= most_registers + REGISTERS_MORE, f"{key}: {registers} registers, not {most_registers}"
        assert shared <= most_shared, f"{key}: {shared} KiB of shared memory, not {most_shared}"


@pytest.mark.parametrize("name", [n for n in NAMES if n not in LARGER])
def test_hopper_runs_the_benchmarks_without_spills(name):
    made = compiled(longest_of_each_name(kernels(name, TARGETS["90"])), TARGETS["90"])
    check(made, "90")
    hold_to_figures(name, made)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arch", TARGETS)
def test_all_devices_run_the_benchmarks_without_spills(name, arch, request):
    made = compiled(kernels(name, TARGETS[arch]), TARGETS[arch])
    check(made, arch)
    if arch == "90" and request.config.getoption("--update-golden"):
        write(most(name, made), name)
    elif arch == "90":
        hold_to_figures(name, made)


def test_every_workload_is_planned_and_its_products_have_tiles():
    found = {name: [s for _, s, _ in kernels(name, TARGETS["90"])] for name in NAMES if name not in LARGER}
    tiled = GpuContraction, GpuStreamed
    products = {name for name, schedules in found.items() if any(isinstance(s, tiled) for s in schedules)}
    assert products == {"matmul_4096", "linear_gelu_4096", "attention", "gpt_train", "resnet50"}
    assert len(found["gpt_train"]) > 40 and len(found["resnet50"]) > 30
