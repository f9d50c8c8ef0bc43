"""Loops on skewed tiles against the definition of their step, applied turn by turn: not one bit may differ, not one
byte beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import stencils
from braze.codegen.llvm import emit
from braze.ir import expr
from braze.ir.expr import symbol
from braze.ir.program import Program
from braze.ir.schedule import Serial
from braze.ir.skewed import extents
from braze.ir.target import Target
from braze.passes.skew import on_tiles
from braze.runtime import threads
from braze.runtime.executable import Executable, load
from stencils import ALL, LINE, PERIODIC, SPACE, SYSTEMS, Fields, FieldStep, inputs, repeated, stepped

from .kernel_runner import Guarded, host

CPU = Target(vector_bytes=64, registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20, threads=2)
N, M, T = symbol("N", 0), symbol("M", 0), symbol("T", 0)
TRIPS = (0, 1, 2, 7, 50)
GRIDS = {2: ((64, 64), (37, 53), (1, 1), (2, 40), (70, 16), (9, 131), (100, 48)),
         1: ((1,), (15,), (16,), (100,), (700,)), 3: ((9, 7, 21), (20, 20, 50), (3, 1, 70))}
# levels, rows, columns, blocks
TILES = ((1, 1, 16, 1), (4, 4, 16, 2), (3, 2, 32, 8), (50, 4, 64, 3), (7, 3, 768, 4))


def tiled(fields, trips, levels, rows: int, columns: int, blocks: int) -> Program:
    """The program that repeats the steps, on such tiles."""
    program = repeated(fields, lambda k: Serial(), trips)
    (loop,) = program.steps
    made = on_tiles(loop, CPU)
    assert made is not None and made.tiles is not None
    if len(made.steps[0].kernel.axes) == 1:
        rows = -(-columns // 16)
    tiles = replace(made.tiles, levels=levels, rows=rows, columns=columns, blocks=blocks)
    tiles = replace(tiles, units=tiles.cut(extents(made)[0]))
    return replace(program, steps=(replace(made, tiles=tiles),))


def compiled(program: Program) -> Executable:
    return load(program, lambda k, s: emit(k, s, host()))


def run_guarded(executable: Executable, arrays: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The results, from memory with canaries on both sides; the spare arrays have them too, and the inputs stay."""
    held = {}
    program = executable.program
    for name in (*program.inputs, *executable.output_slots):
        slot = program.slots[name]
        shape = tuple(int(expr.evaluate(n, sizes)) for n in slot.shape)
        guarded = Guarded(int(np.prod(shape)) * slot.dtype.itemsize)
        held[name] = guarded, guarded.view(slot.dtype.numpy, shape)
        held[name][1][...] = arrays.get(name, 0)
    executable.bind()(*(g.address for g, _ in held.values()), *(sizes[s] for s in program.sizes))
    for name, (guarded, array) in held.items():
        guarded.check(name)
        if name in program.inputs:
            assert array.tobytes() == arrays[name].tobytes(), f"{name} was written"
    return {name: array.copy() for name, (_, array) in held.items()}


def assert_steps(fields, program: Program, trips: int, executable: Executable | None = None, **more) -> None:
    sizes = more.pop("sizes", {})
    arrays = {**inputs(program, sizes), **more}
    got = run_guarded(executable or compiled(program), arrays, sizes)
    for name, wanted in stepped(fields, arrays, trips, sizes).items():
        assert got[f"{name}_end"].tobytes() == wanted.tobytes(), (name, str(program), trips)


def cases(name: str) -> tuple[Callable, tuple]:
    """How to make the steps of a name, and the grids that they have axes for."""
    rank = 1 if name in LINE else 3 if name in SPACE else 2
    return ALL.get(name) or SYSTEMS[name], GRIDS[rank]


@pytest.mark.parametrize("name", [*ALL, *SYSTEMS])
def test_any_tile_gives_the_bits_of_single_steps(name):
    make, grids = cases(name)
    for n, grid in enumerate(grids):
        tile, trips = TILES[n % len(TILES)], TRIPS[(n + 2) % len(TRIPS)]
        assert_steps(make(grid), tiled(make(grid), trips, *tile), trips)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALL, *SYSTEMS])
def test_all_tiles_grids_and_turns(name):
    make, grids = cases(name)
    for grid, tile, trips in product(grids, TILES, TRIPS):
        assert_steps(make(grid), tiled(make(grid), trips, *tile), trips)


@pytest.mark.parametrize("name", PERIODIC)
def test_arrays_whose_ends_meet(name):
    make, grids = PERIODIC[name]
    for grid in grids:
        columns = -(-grid[-1] // 16) * 16
        for levels, rows, blocks, trips in ((1, 1, 2, 3), (3, 4, 2, 7), (2, 3, 3, 5), (5, 2, 1, 6)):
            fields = make(grid)
            program = tiled(fields, trips, levels, rows, columns if name != "ring" else 16 * rows, blocks)
            assert program.steps[0].tiles.wraps
            assert_steps(fields, program, trips)


@pytest.mark.parametrize("seed", range(12))
def test_random_fields_give_the_bits_of_single_steps(seed):
    """Fields that read each other at random distances, in one kernel or in several, in a random order."""
    random = np.random.default_rng(seed)
    shape = [(40, 70), (61, 33), (50,), (200,), (9, 8, 37)][seed % 5]
    fields = random_fields(random, shape)
    for tile in (TILES[seed % len(TILES)], TILES[(seed + 2) % len(TILES)]):
        trips = int(random.integers(2, 14))
        assert_steps(fields, tiled(fields, trips, *tile), trips)


def random_fields(random: np.random.Generator, shape: tuple[int, ...]) -> Fields:
    names = "uvw"[: random.integers(1, 4)]
    kernels, made = [], []
    for group in (names,) if random.integers(2) else tuple(names):
        step = FieldStep(shape)
        for n in group:
            total = step.here(n)
            for _ in range(random.integers(1, 5)):
                apart = [int(x) for x in random.integers(-2, 3, len(shape))]
                apart[-1] *= int(random.choice([1, 1, 9]))
                source = random.choice([*names, *made])
                total = step.k.add(step.k.mul(total, 0.5), step.at(str(source), *apart, fill=float(random.integers(3))))
            step.store(f"{n}_next", step.k.mul(total, step.here("rate")))
        made += [f"{n}_next" for n in group]
        kernels.append(step.k.build())
    return Fields(*kernels)


@pytest.mark.parametrize("name", ["plate", "leaning", "line", "cube", "wave", "reaction", "maxwell", "relayed"])
def test_sizes_and_turns_that_are_known_when_called(name):
    make, grids = cases(name)
    fields = make((N, M, N)[:len(grids[0])])
    levels = expr.maximum(1, expr.minimum(5, expr.floordiv(N, 8)))
    program = tiled(fields, T, levels, 4, 32, 4)
    executable = compiled(program)
    for n, m, turns in ((1, 1, 3), (100, 37, 7), (33, 64, 0), (64, 17, 12), (0, 5, 2), (70, 40, 1)):
        sizes = {"N": n, "M": m, "T": turns}
        turns_array = np.zeros(turns, np.float32)
        assert_steps(fields, program, turns, executable, sizes=sizes, turns=turns_array)


@pytest.mark.parametrize("name", ["five", "wave", "maxwell"])
def test_turns_read_from_memory(name):
    fields = cases(name)[0]((40, 50))
    program = tiled(fields, "turns", 8, 4, 32, 2)
    executable = compiled(program)
    for turns in TRIPS:
        assert_steps(fields, program, turns, executable, turns=np.array(turns))


@pytest.mark.parametrize("name", ["plate", "nine", "map_of_points", "wave", "maxwell", "staggered"])
def test_threads_do_not_change_bits(name):
    fields = cases(name)[0]((20000,) if name in LINE else (300, 200))
    before = threads.get_num_threads()
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            for blocks in (1, 5):
                assert_steps(fields, tiled(fields, 25, 11, 4, 64, blocks), 25)
    finally:
        threads.set_num_threads(before)


@pytest.mark.parametrize("name", ["cube", "wave", "maxwell", "line"])
def test_emitted_kernels_run_one_turn_by_themselves(name):
    """As the profiler does, which walks a program step by step."""
    from braze.runtime.profile import kernels_of

    fields = cases(name)[0]({"cube": (12, 13, 40), "line": (133,)}.get(name, (30, 41)))
    program = tiled(fields, 5, 4, 2, 32, 2)
    executable = compiled(program)
    arrays = inputs(program, {})
    results = dict(zip(program.outputs, executable.walk([*arrays.values()], kernels_of(executable))))
    for field, wanted in stepped(fields, arrays, 5, {}).items():
        assert results[f"{field}_end"].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("trips", TRIPS)
def test_the_result_may_take_the_memory_of_the_start(trips):
    kernel = stencils.wide((60, 45))
    program = tiled(kernel, trips, 3, 4, 16, 4)
    executable = compiled(program)
    arrays = inputs(program, {})
    x, spare = arrays["x"].copy(), np.empty_like(arrays["x"])
    executable.bind()(x, x, spare)
    assert x.tobytes() == stepped(kernel, arrays, trips, {})["x"].tobytes()
