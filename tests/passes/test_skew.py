"""Which loops run on skewed tiles, how far their steps reach, and that tiles which would read too early are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stencils
from braze.ir import expr
from braze.ir.claims import conditions, offsets
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Branch, Loop
from braze.ir.schedule import Skewed
from braze.ir.skewed import Dependence, check_tiles, dependences
from braze.ir.target import Target
from braze.passes.schedule import schedule
from braze.passes.skew import skew
from stencils import Fields, FieldStep, repeated

N, M = symbol("N", 1), symbol("M", 1)
CPU = Target(vector_bytes=64, registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20, threads=2)
REACH = {
    "five": (1, 1), "plate": (1, 1), "wide": (2, 2), "leaning": (2, 19), "rows_only": (1, 0), "columns_only": (0, 1),
    "driven": (1, 1), "line": (1,), "far_line": (17,), "map_of_points": (0,), "cube": (1, 1, 1),
}  # fmt: skip


def large(name):
    """The step on a grid that leaves every cache."""
    shape = (1 << 22,) if name in stencils.LINE else (256, 128, 128) if name in stencils.SPACE else (2048, 2048)
    return (stencils.ALL.get(name) or stencils.SYSTEMS[name])(shape)


def looped(fields, trips=50, target=CPU):
    """The loop that repeats the steps."""
    (loop,) = repeated(fields, lambda k: schedule(k, target), trips).steps
    return loop


def after(fields, trips=50, target=CPU):
    """The same, after the pass."""
    (loop,) = skew((looped(fields, trips, target),), target)
    return loop


@pytest.mark.parametrize("name", REACH)
def test_how_far_a_step_reaches(name):
    (found,) = dependences(looped(large(name)))
    assert tuple(max(-low, high) for low, high in zip(found.low, found.high)) == REACH[name]


def test_what_steps_of_a_turn_wait_for():
    """Of maxwell: each component and the field read the other of the turn before, or of this one."""
    found = dependences(looped(large("maxwell")))
    hx, hy, e = range(3)
    assert {d for d in found if d.earlier != d.later} == {
        Dependence(e, hx, 1, (0, 0), (0, 1)), Dependence(hx, e, 1, (0, -1), (0, 0)),
        Dependence(e, hy, 1, (0, 0), (1, 0)), Dependence(hy, e, 1, (-1, 0), (0, 0)),
        Dependence(hy, e, 0, (-1, 0), (0, 0)), Dependence(e, hy, 2, (0, 0), (1, 0)),
        Dependence(hx, e, 0, (0, -1), (0, 0)), Dependence(e, hx, 2, (0, 0), (0, 1)),
    }


@pytest.mark.parametrize("name", [*stencils.ALL, *stencils.SYSTEMS])
def test_local_steps_run_on_skewed_tiles(name):
    loop = after(large(name))
    assert loop.tiles is not None and all(isinstance(s.schedule, Skewed) for s in loop.steps)
    check_tiles(loop)
    assert loop.tiles.levels >= 2 and loop.tiles.units >= CPU.threads


def test_fields_that_lean_on_each_other_to_one_side_lose_a_row_a_turn():
    tiles = after(large("maxwell")).tiles
    assert (tiles.lag, tiles.slope, tiles.skew, tiles.right, tiles.left, tiles.aside) == (
        1, 1, 16, (0, 0, 0), (0, 0, 1), (0, 0, 0))


@pytest.mark.parametrize("name", stencils.PERIODIC)
def test_arrays_whose_ends_meet_wrap(name):
    make, _ = stencils.PERIODIC[name]
    shape = {"ring": (1 << 22,), "ring_of_planes": (256, 128, 128)}.get(name, (2048, 2048))
    loop = after(make(shape))
    assert loop.tiles.wraps and loop.tiles.levels >= 2
    if name != "tube" and name != "ring":
        assert loop.tiles.skew == 0 and loop.tiles.columns >= shape[-1]
        with pytest.raises(VerifyError, match="all columns"):
            check_tiles(replace(loop, tiles=replace(loop.tiles, columns=64)))
    with pytest.raises(VerifyError, match="after the last"):
        check_tiles(replace(loop, tiles=replace(loop.tiles, wraps=False)))


def test_one_end_for_all_is_no_neighbour():
    """Row 0 is read by all rows, or by more than the last one."""
    for border in (None, 2000):
        s = FieldStep((2048, 2048))
        k = s.k
        first = k.load("u", s.shape, "f32", (0, k.axis("j")), 0.0)
        below = first if border is None else k.select(k.lt(k.index(k.axis("i")), border), s.at("u", 1, 0), first)
        s.store("u_next", k.add(s.here("u"), below))
        assert stays_as_it_is(after(Fields(k.build())))


@pytest.mark.parametrize("seed", range(30))
def test_tiles_in_the_order_in_which_they_run_keep_all_dependences(seed):
    """Each step of each turn at each row, by brute force: what it waits for was made before, by whom runs before."""
    random = np.random.default_rng(seed)
    names = "uvw"[: random.integers(1, 4)]
    kernels = []
    for n in names:
        step = FieldStep((4096, 512))
        reads = [step.at(str(random.choice(list(names))), int(random.integers(-3, 4)), 0) for _ in range(3)]
        step.store(f"{n}_next", step.k.add(step.k.add(*reads[:2]), reads[2]))
        kernels.append(step.k.build())
    loop = after(Fields(*kernels))
    tiles, turns, extent, blocks = replace(loop.tiles, rows=4), 5, 120, 2
    length = extent // blocks
    when = {}
    for phase in range(2):
        for block in range(blocks):
            begin, end, is_last = block * length, (block + 1) * length, block == blocks - 1
            for turn in range(turns):
                for n in range(len(kernels)):
                    right = 0 if is_last else turn * tiles.lag + tiles.right[n]
                    left = turn * tiles.slope + tiles.left[n]
                    rows = range(begin + (left if block else 0), end - right) if phase == 0 else (
                        range(0) if is_last else range(end - right, end + left))
                    for row in rows:
                        front = (row + turn * tiles.lag + tiles.right[n] - (begin if phase == 0 else end)) // tiles.rows
                        assert (turn, n, row) not in when
                        when[turn, n, row] = phase, block, front, turn, n
    assert len(when) == turns * len(kernels) * extent
    for d in dependences(loop):
        for turn in range(d.turns, turns):
            for row in range(extent):
                mine = when[turn, d.later, row]
                for there in range(max(0, row + d.low[0]), min(extent, row + d.high[0] + 1)):
                    theirs = when[turn - d.turns, d.earlier, there]
                    assert theirs[0] < mine[0] or theirs[:2] == mine[:2] and theirs[2:] <= mine[2:]


def test_symbolic_sizes_are_skewed_with_levels_by_size():
    tiles = after(stencils.plate((N, M)), symbol("T", 0)).tiles
    levels = [int(expr.evaluate(tiles.levels, {"N": n, "M": m}))
              for n, m in ((1, 1), (2048, 2048), (2048, 1 << 20))]
    assert levels[0] == 1 and levels[1] > 8 and levels[2] == 1


def test_passes_are_of_equal_length():
    assert after(large("five"), trips=70).tiles.levels == 35


def test_more_fields_leave_room_for_fewer_turns():
    assert [after(large(name), trips=500).tiles.levels for name in ("five", "wave", "reaction")] == [50, 50, 20]


def scattered(k):
    return k.load("x", (2048, 2048), "f32", (k.cast(k.load("p", (2048,), "i32", (k.axis("i"),)), stencils.dtype("i64")),
                                             k.axis("j")), 0)


def running_sum(k):
    return k.scan("sum", k.load("x", (2048, 2048), "f32", (k.axis("i"), k.axis("j"))), "j")


NOT_LOCAL = {
    "reversed": lambda k: k.load("x", (2048, 2048), "f32", (2047 - k.axis("i"), k.axis("j"))),
    "transposed": lambda k: k.load("x", (2048, 2048), "f32", (k.axis("j"), k.axis("i"))),
    "by a remainder": lambda k: k.load("x", (2048, 2048), "f32", (expr.mod(k.axis("i") + 1, 2048), k.axis("j"))),
    "one row for all": lambda k: k.load("x", (2048, 2048), "f32", (0, k.axis("j"))),
    "gathered": scattered,
    "summed": running_sum,
}


def stays_as_it_is(loop):
    return loop.tiles is None and not any(isinstance(s.schedule, Skewed) for s in loop.steps)


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_steps_that_are_not_local_stay_as_they_are(name):
    k = KernelBuilder("step", {"i": 2048, "j": 2048})
    k.store("y", (2048, 2048), (k.axis("i"), k.axis("j")), NOT_LOCAL[name](k))
    assert stays_as_it_is(after(k.build()))


def test_small_grids_and_short_loops_stay_as_they_are():
    assert stays_as_it_is(after(stencils.five((128, 128))))
    assert stays_as_it_is(after(large("five"), trips=2))


def test_loops_that_do_more_stay_as_they_are():
    loop = looped(large("five"))
    (launch,) = loop.steps
    twice = replace(loop, steps=(launch, launch))
    until = replace(loop, condition="flag", trips=None)
    aside = replace(loop, steps=(replace(launch, arguments={**launch.arguments, "x_next": "elsewhere"}),))
    for other in (twice, until, aside):
        (kept,) = skew((other,), CPU)
        assert stays_as_it_is(kept)


def test_a_field_behind_another_is_read_where_that_one_is_written():
    """Elsewhere it is overwritten before it is read; a step before the one that writes may read it anywhere."""
    shape = (2048, 2048)
    sideways, before = FieldStep(shape), FieldStep(shape)
    sideways.store("u_next", sideways.k.add(sideways.here("u"), sideways.at("old", 0, 1)))
    assert stays_as_it_is(after(Fields(sideways.k.build(), behind={"old": "u"})))
    before.store("v_next", before.at("old", 1, 1))
    writes = FieldStep(shape)
    writes.store("u_next", writes.k.add(writes.around("u"), writes.here("v_next")))
    assert after(Fields(before.k.build(), writes.k.build(), behind={"old": "u"})).tiles is not None
    assert stays_as_it_is(after(Fields(writes.k.build(), before.k.build(), behind={"old": "u"})))


def test_loops_inside_of_loops_and_branches_are_found():
    (branch,) = skew((Branch("flag", (Loop("outer", 3, (), (looped(large("five")),)),), ()),), CPU)
    assert branch.then[0].steps[0].tiles is not None


def test_tiles_that_would_read_too_early_are_refused():
    good = after(large("leaning"))
    check_tiles(good)
    changes = {"lag": 1, "slope": 1, "skew": 16, "columns": 100, "units": 4096, "rows": 0, "right": (-1,),
               "left": (0, 0)}
    for name, value in changes.items():
        with pytest.raises(VerifyError):
            check_tiles(replace(good, tiles=replace(good.tiles, **{name: value})))
    (launch,) = good.steps
    for name, value in {"outer": "j", "vector": "i", "units": 7, "together": 0, "turn": "other"}.items():
        worse = replace(launch, schedule=replace(launch.schedule, **{name: value}))
        with pytest.raises(VerifyError):
            check_tiles(replace(good, steps=(worse,)))
    late = after(large("maxwell"))
    for name in ("left", "lag", "skew"):
        with pytest.raises(VerifyError):
            check_tiles(replace(late, tiles=replace(late.tiles, **{name: (0, 0, 0) if name == "left" else 0})))


def test_offsets_and_conditions_of_a_step():
    kernel = large("plate")
    (store,) = kernel.stores
    assert set(offsets(kernel, "x", store).values()) == {(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)}
    (choice,) = [v for v in kernel.values if v.op == "select"]
    i, j = kernel.axis("i"), kernel.axis("j")
    assert [need for _, need in conditions(choice.args[0])] == [i - 1, 2046 - i, j - 1, 2046 - j]
