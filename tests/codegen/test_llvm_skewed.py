"""Loops on skewed tiles against the definition of their step, applied turn by turn: not one bit may differ, not one
byte beside them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import stencils
from braze.codegen.llvm import emit
from braze.ir import expr
from braze.ir.expr import symbol
from braze.ir.kernel import Kernel
from braze.ir.schedule import Skewed
from braze.passes.skew import axis_reach
from braze.runtime import threads
from braze.runtime.executable import Executable, load
from stencils import ALL, LINE, PLANE, SPACE, inputs, repeated, stepped

from .kernel_runner import Guarded, host

N, M, T = symbol("N", 0), symbol("M", 0), symbol("T", 0)
TRIPS = (0, 1, 2, 7, 50)
GRIDS = {2: ((64, 64), (37, 53), (1, 1), (2, 40), (70, 16), (9, 131), (100, 48)),
         1: ((1,), (15,), (16,), (100,), (700,)), 3: ((9, 7, 21), (20, 20, 50), (3, 1, 70))}
# levels, rows, columns, blocks
TILES = ((1, 1, 16, 1), (4, 4, 16, 2), (3, 2, 32, 8), (50, 4, 64, 3), (7, 3, 768, 4))


def skewed(kernel: Kernel, levels, rows: int, columns: int, blocks: int) -> Skewed:
    """A legal schedule with such tiles."""
    reach = axis_reach(kernel, "x")
    assert reach is not None
    *outside, vector = kernel.axes
    lag, skew = (max(1, reach[outside[0]]) if outside else 0), -(-reach[vector] // 16) * 16
    made = Skewed(1, 1, "x", outside[0] if outside else "", vector, lag, skew, levels, rows, columns, min(rows, 4), 16,
                  blocks, "turn")
    return replace(made, units=made.cut(kernel))


def compiled(kernel: Kernel, schedule: Skewed, trips) -> Executable:
    return load(repeated(kernel, schedule, trips), lambda k, s: emit(k, s, host()))


def run_guarded(executable: Executable, arrays: dict[str, np.ndarray], sizes: dict[str, int]) -> np.ndarray:
    """The result, from memory with canaries on both sides; the spare array has them too, and the inputs stay."""
    held = {}
    program = executable.program
    for name in (*program.inputs, *executable.output_slots):
        given = arrays["x"] if name in ("y", "spare") else arrays[name]
        guarded = Guarded(given.nbytes)
        held[name] = guarded, guarded.view(given.dtype, given.shape)
        held[name][1][...] = given
    executable.bind()(*(g.address for g, _ in held.values()), *(sizes[s] for s in program.sizes))
    for name, (guarded, array) in held.items():
        guarded.check(name)
        if name in program.inputs:
            assert array.tobytes() == arrays[name].tobytes(), f"{name} was written"
    return held["y"][1].copy()


def assert_steps(kernel: Kernel, schedule: Skewed, trips: int, executable: Executable | None = None, **more) -> None:
    sizes = more.pop("sizes", {})
    arrays = {**inputs(kernel, sizes), **more}
    got = run_guarded(executable or compiled(kernel, schedule, trips), arrays, sizes)
    assert got.tobytes() == stepped(kernel, arrays, trips, sizes).tobytes(), (kernel, schedule, trips)


@pytest.mark.parametrize("name", ALL)
def test_any_tile_gives_the_bits_of_single_steps(name):
    rank = 2 if name in PLANE else 1 if name in LINE else 3
    sizes = [(g, TILES[n % len(TILES)], TRIPS[(n + 2) % len(TRIPS)]) for n, g in enumerate(GRIDS[rank])]
    for grid, tile, trips in sizes:
        kernel = ALL[name](grid)
        assert_steps(kernel, skewed(kernel, *tile), trips)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_all_tiles_grids_and_turns(name):
    rank = 2 if name in PLANE else 1 if name in LINE else 3
    for grid, tile, trips in product(GRIDS[rank], TILES, TRIPS):
        kernel = ALL[name](grid)
        assert_steps(kernel, skewed(kernel, *tile), trips)


@pytest.mark.parametrize("name", ["plate", "leaning", "line", "cube"])
def test_sizes_and_turns_that_are_known_when_called(name):
    rank = 2 if name in PLANE else 1 if name in LINE else 3
    kernel = ALL[name]((N, M, N)[:rank])
    levels = expr.maximum(1, expr.minimum(5, expr.floordiv(N, 8)))
    schedule = skewed(kernel, levels, 4, 32, 4)
    executable = compiled(kernel, schedule, T)
    for n, m, turns in ((1, 1, 3), (100, 37, 7), (33, 64, 0), (64, 17, 12), (0, 5, 2)):
        sizes = {"N": n, "M": m, "T": turns}
        turns_array = np.zeros(turns, np.float32)
        assert_steps(kernel, schedule, turns, executable, sizes=sizes, turns=turns_array)


def test_turns_read_from_memory():
    kernel = stencils.five((40, 50))
    schedule = skewed(kernel, 8, 4, 32, 2)
    executable = compiled(kernel, schedule, "turns")
    for turns in TRIPS:
        assert_steps(kernel, schedule, turns, executable, turns=np.array(turns))


@pytest.mark.parametrize("name", ["plate", "nine", "map_of_points"])
def test_threads_do_not_change_bits(name):
    kernel = ALL[name]((300, 200) if name in PLANE else (20000,))
    before = threads.get_num_threads()
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            for blocks in (1, 5):
                assert_steps(kernel, skewed(kernel, 11, 4, 64, blocks), 25)
    finally:
        threads.set_num_threads(before)


def test_the_emitted_kernel_runs_one_turn_by_itself():
    """As the profiler does, which walks a program step by step."""
    from braze.runtime.profile import kernels_of

    kernel = SPACE["cube"]((12, 13, 40))
    executable = compiled(kernel, skewed(kernel, 4, 2, 32, 2), 5)
    arrays = inputs(kernel, {})
    result, _ = executable.walk([arrays["x"]], kernels_of(executable))
    assert result.tobytes() == stepped(kernel, arrays, 5, {}).tobytes()


@pytest.mark.parametrize("trips", TRIPS)
def test_the_result_may_take_the_memory_of_the_start(trips):
    kernel = stencils.wide((60, 45))
    executable = compiled(kernel, skewed(kernel, 3, 4, 16, 4), trips)
    arrays = inputs(kernel, {})
    x, spare = arrays["x"].copy(), np.empty_like(arrays["x"])
    executable.bind()(x, x, spare)
    assert x.tobytes() == stepped(kernel, arrays, trips, {}).tobytes()
