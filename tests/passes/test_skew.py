"""Which loops run on skewed tiles, how far their steps reach, and that tiles which would read too early are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import stencils
from braze.ir import expr
from braze.ir.claims import conditions, offsets
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import KernelBuilder
from braze.ir.program import Branch, Launch, Loop
from braze.ir.schedule import Skewed
from braze.ir.target import Target
from braze.passes.schedule import is_legal, schedule
from braze.passes.skew import axis_reach, skew
from stencils import repeated

N, M = symbol("N", 1), symbol("M", 1)
CPU = Target(vector_bytes=64, registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20, threads=2)
REACH = {
    "five": {"i": 1, "j": 1}, "plate": {"i": 1, "j": 1}, "wide": {"i": 2, "j": 2}, "leaning": {"i": 2, "j": 19},
    "rows_only": {"i": 1, "j": 0}, "columns_only": {"i": 0, "j": 1}, "driven": {"i": 1, "j": 1}, "line": {"i": 1},
    "far_line": {"i": 17}, "map_of_points": {"i": 0}, "cube": {"i": 1, "j": 1, "k": 1},
}  # fmt: skip


def large(name):
    """The step on a grid that leaves every cache."""
    rank = 2 if name in stencils.PLANE else 1 if name in stencils.LINE else 3
    return stencils.ALL[name]({1: (1 << 22,), 2: (2048, 2048), 3: (256, 128, 128)}[rank])


def after(kernel, trips=50, target=CPU):
    """The step of the loop that repeats a kernel, after the pass."""
    (loop,) = skew(repeated(kernel, schedule(kernel, target), trips).steps, target)
    return loop.steps[0]


@pytest.mark.parametrize("name", REACH)
def test_how_far_a_step_reaches(name):
    assert axis_reach(large(name), "x") == REACH[name]


@pytest.mark.parametrize("name", stencils.ALL)
def test_local_steps_run_on_skewed_tiles(name):
    launch = after(large(name))
    found = launch.schedule
    assert isinstance(found, Skewed)
    found.check(launch.kernel)
    assert found.levels >= 2 and found.units >= CPU.threads


def test_symbolic_sizes_are_skewed_with_levels_by_size():
    launch = after(stencils.plate((N, M)), symbol("T", 0))
    assert isinstance(launch.schedule, Skewed)
    levels = [int(expr.evaluate(launch.schedule.levels, {"N": n, "M": m}))
              for n, m in ((1, 1), (2048, 2048), (2048, 1 << 20))]
    assert levels[0] == 1 and levels[1] > 8 and levels[2] == 1


def test_passes_are_of_equal_length():
    launch = after(large("five"), trips=70)
    assert launch.schedule.levels == 35


def scattered(k):
    return k.load("x", (2048, 2048), "f32", (k.cast(k.load("p", (2048,), "i32", (k.axis("i"),)), stencils.dtype("i64")),
                                             k.axis("j")), 0)


def running_sum(k):
    return k.scan("sum", k.load("x", (2048, 2048), "f32", (k.axis("i"), k.axis("j"))), "j")


NOT_LOCAL = {
    "reversed": lambda k: k.load("x", (2048, 2048), "f32", (2047 - k.axis("i"), k.axis("j"))),
    "transposed": lambda k: k.load("x", (2048, 2048), "f32", (k.axis("j"), k.axis("i"))),
    "periodic": lambda k: k.load("x", (2048, 2048), "f32", (expr.mod(k.axis("i") + 1, 2048), k.axis("j"))),
    "one row for all": lambda k: k.load("x", (2048, 2048), "f32", (0, k.axis("j"))),
    "gathered": scattered,
    "summed": running_sum,
}


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_steps_that_are_not_local_stay_as_they_are(name):
    k = KernelBuilder("step", {"i": 2048, "j": 2048})
    k.store("y", (2048, 2048), (k.axis("i"), k.axis("j")), NOT_LOCAL[name](k))
    assert not isinstance(after(k.build()).schedule, Skewed)


def test_small_grids_and_short_loops_stay_as_they_are():
    assert not isinstance(after(stencils.five((128, 128))).schedule, Skewed)
    assert not isinstance(after(large("five"), trips=2).schedule, Skewed)


def test_loops_that_do_more_stay_as_they_are():
    program = repeated(large("five"), schedule(large("five"), CPU), 50)
    (loop,) = program.steps
    (launch,) = loop.steps
    twice = replace(loop, steps=(launch, launch))
    until = replace(loop, condition="flag", trips=None)
    aside = replace(loop, steps=(replace(launch, arguments={**launch.arguments, "y": "elsewhere"}),))
    for other in (twice, until, aside):
        (kept,) = skew((other,), CPU)
        assert not any(isinstance(s.schedule, Skewed) for s in kept.steps)


def test_loops_inside_of_loops_and_branches_are_found():
    (loop,) = repeated(large("five"), schedule(large("five"), CPU), 50).steps
    (branch,) = skew((Branch("flag", (Loop("outer", 3, (), (loop,)),), ()),), CPU)
    launch = branch.then[0].steps[0].steps[0]
    assert isinstance(launch, Launch) and isinstance(launch.schedule, Skewed)


def test_tiles_that_would_read_too_early_are_refused():
    kernel = large("leaning")
    good = after(kernel).schedule
    assert is_legal(good, kernel)
    changes = {"lag": 1, "skew": 16, "columns": 100, "units": 4096, "outer": "j", "vector": "i", "carried": "nothing",
               "rows": 0}
    for name, value in changes.items():
        with pytest.raises(VerifyError):
            replace(good, **{name: value}).check(kernel)


def test_offsets_and_conditions_of_a_step():
    kernel = large("plate")
    (store,) = kernel.stores
    assert set(offsets(kernel, "x", store).values()) == {(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)}
    (choice,) = [v for v in kernel.values if v.op == "select"]
    i, j = kernel.axis("i"), kernel.axis("j")
    assert [need for _, need in conditions(choice.args[0])] == [i - 1, 2046 - i, j - 1, 2046 - j]
