"""Equal elementwise launches become one: which do, which may not, where they go, and that nothing is computed
otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.gpu_joined import Joined
from braze.ir.kernel_text import parse_kernel
from braze.ir.program import Branch, Carry, HostCall, JoinedLaunch, Loop, Part
from braze.passes import gpu_join
from braze.passes.dependences import Dependences
from braze.passes.gpu_join import flattened
from braze.passes.memory_plan import plan_arena
from braze.runtime.program_data import Reading, plain
from elementwise_programs import (
    Elementwise,
    difference,
    doubled,
    evaluated,
    filled,
    joined,
    launches,
    narrowed,
    random_program,
    scaled,
)

SHAPES = [(7,), (3, 4), (2, 3, 5), (64,), (1000,)]


def many(formula=doubled, shapes=SHAPES, role="output", d="f32"):
    """The formula on an array of each shape, from inputs to slots of a role."""
    e = Elementwise()
    for n, shape in enumerate(shapes):
        e.run(formula, e.slot(f"y{n}", shape, role, d), e.slot(f"x{n}", shape, "input"))
    return e


def same(e, donated=None):
    """The joined program, which gives what the other one gives."""
    before, after = e.program(donated, is_joined=False), e.program(donated)
    inputs = filled(before)
    for a, b in zip(evaluated(before, inputs), evaluated(after, inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    return after


# ---- what is joined --------------------------------------------------------------------------------------------------


def test_arrays_of_all_shapes_meet():
    (launch,) = launches(same(many()))
    assert isinstance(launch, JoinedLaunch) and [p.extent for p in launch.parts] == [7, 12, 30, 64, 1000]
    assert str(launch.kernel).splitlines()[0] == (
        "kernel doubled(x0: f32[n]) -> (y0: f32[n]) axes i: n where 0 <= n <= 1073741824 {")
    assert launch.schedule.is_aligned is False


def test_whole_rows_of_memory_are_aligned():
    (launch,) = launches(many(shapes=[(16,), (4, 8), (48,), (160,)]).program())
    assert launch.schedule.is_aligned


def test_few_launches_stay():
    p = many(shapes=SHAPES[:gpu_join.LEAST - 1]).program()
    assert len(launches(p)) == gpu_join.LEAST - 1 and not joined(p)


def test_numbers_that_all_read_are_arguments_and_others_stand_in_the_table():
    for shared in (True, False):
        e = Elementwise()
        names = [e.slot(f"s{n}", (), "input") for n in range(len(SHAPES))]
        for n, shape in enumerate(SHAPES):
            e.run(scaled, e.slot(f"y{n}", shape, "output"), e.slot(f"x{n}", shape, "input"), names[0 if shared else n])
        (launch,) = launches(same(e))
        assert [*launch.arguments.values()] == (["s0"] if shared else [])
        assert len(launch.schedule.listed(launch.kernel)) == (2 if shared else 3)


def test_numbers_by_themselves_are_joined():
    p = same(many(shapes=[()] * 5))
    assert [len(s.parts) for s in joined(p)] == [5] and len(launches(p)) == 1


def test_dtypes_tell_kernels_apart():
    e = many(narrowed, d="bf16")
    for n, shape in enumerate(SHAPES):
        e.run(doubled, e.slot(f"z{n}", shape, "output"), f"x{n}")
    assert [(s.kernel.name, len(s.parts)) for s in joined(same(e))] == [("narrowed", 5), ("doubled", 5)]


def test_symbolic_sizes_are_extents_too():
    n = symbol("B", 1)
    e = many(shapes=[(n,), (n, 3), (4, n), (8,)])
    p = e.program(sizes={"B": ("x0", 0)})
    (launch,) = launches(p)
    assert [str(p.extent) for p in launch.parts] == ["B", "3*B", "4*B", "8"] and not launch.schedule.is_aligned
    inputs = filled(p, sizes={"B": 6})
    for x, y in zip(inputs, evaluated(p, inputs)):
        np.testing.assert_array_equal(y, 2 * x)


@pytest.mark.parametrize("text", [
    "kernel k(x: f32[4, 3]) -> (y: f32[3, 4]) axes i: 3, j: 4 { %0[i, j] = load x[j, i] : f32 store y[i, j], %0 }",
    "kernel k(x: f32[4]) -> (y: f32[3, 4]) axes i: 3, j: 4 { %0[j] = load x[j] : f32 store y[i, j], %0 }",
    "kernel k(x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[i] = load x[7 - i] : f32 store y[i], %0 }",
    "kernel k(x: f32[8]) -> (y: f32[4]) axes i: 4 { %0[i] = load x[i] : f32 store y[i], %0 }",
    "kernel k(x: f32[4]) -> (y: f32[8]) axes i: 4 { %0[i] = load x[i] : f32 store y[i], %0 }",
    "kernel k(x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[i] = load x[i - 1] else 0.0 : f32 store y[i], %0 }",
    "kernel k(x: f32[8]) -> (y: f32[]) axes i: 8 { %0[i] = load x[i] : f32 %1[] = sum %0 over i : f32 store y[], %1 }",
    "kernel k(x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[i] = load x[i] : f32 %1[i] = scan sum %0 along i : f32"
    " store y[i], %1 }",
    "kernel k(x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[i] = load x[i] : f32 add y[i], %0 }",
    "kernel k(p: i64[8], x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[i] = load p[i] : i64 %1[i] = load x[%0] : f32"
    " store y[i], %1 }",
    "kernel k(x: f32[8]) -> (y: f32[8]) axes i: 8 { %0[] = load x[3] : f32 %1[i] = load x[i] : f32"
    " %2[i] = mul %0, %1 : f32 store y[i], %2 }",
    "kernel k(x: f32[N]) -> (y: f32[N]) axes i: N { %0[i] = load x[i] : f32 %1[] = index N : i64"
    " %2[] = cast %1 : f32 %3[i] = div %0, %2 : f32 store y[i], %3 }",
], ids=["transposed", "broadcast", "reversed", "a part read", "a part written", "outside", "sum", "scan", "added",
        "gather", "one of many", "a size as a number"])
def test_what_is_no_kernel_for_any_extent(text):
    assert flattened(parse_kernel(text)) is None


def test_positions_are_known_on_a_flat_axis():
    text = ("kernel k() -> (y: i64[3, 4]) axes i: 12 { %0[i] = index i : i64 %1[i] = add %0, 1 : i64"
            " store y[i // 4, i % 4], %1 }")
    found = flattened(parse_kernel(text))
    assert found is not None and "%0[i] = index i : i64" in str(found.kernel)


# ---- what may be -----------------------------------------------------------------------------------------------------


def test_what_needs_another_is_not_joined_with_it():
    e = Elementwise()
    for n in range(4):
        e.slot(f"x{n}", (9,), "input")
        for m in range(3):
            e.run(doubled, e.slot(f"{'y' if m == 2 else 't'}{n}{m}", (9,), "output" if m == 2 else "temporary"),
                  f"t{n}{m - 1}" if m else f"x{n}")
    p = same(e)
    assert [len(s.parts) for s in joined(p)] == [4, 4, 4] and len(launches(p)) == 3


def test_what_meets_by_way_of_others_is_not_joined():
    """a0, b0(a0), a1(b0), b1(a1), …: neither the a nor the b may be one."""
    e = Elementwise()
    e.slot("x", (9,), "input")
    for n in range(4):
        e.run(doubled, e.slot(f"a{n}", (9,), "temporary"), f"b{n - 1}" if n else "x")
        e.run(scaled, e.slot(f"b{n}", (9,), "output"), f"a{n}", "s" if n else e.slot("s", (), "input"))
    assert not joined(same(e))


def test_joining_one_kind_may_part_another():
    """Each pair is a then b, or b then a: once the a are one, the b before them and those behind are two."""
    e = Elementwise()
    e.slot("s", (), "input")
    for n in range(8):
        first, second = ((doubled, scaled) if n % 2 else (scaled, doubled))
        shape = (9 + n,)
        number = {doubled: (), scaled: ("s",)}
        e.slot(f"x{n}", shape, "input")
        e.run(first, e.slot(f"t{n}", shape, "temporary"), f"x{n}", *number[first])
        e.run(second, e.slot(f"y{n}", shape, "output"), f"t{n}", *number[second])
    p = same(e)
    assert sorted(len(s.parts) for s in joined(p)) == [4, 4, 8]


def test_memory_of_an_input_is_written_when_all_have_read_it():
    """y0 lies in x0, which another launch reads: the updates wait for it."""
    e = many()
    e.run(difference, e.slot("d", (7,), "output"), "x0", "x0")
    e.steps = [*e.steps[1:], e.steps[0]]
    donated = {f"y{n}": f"x{n}" for n in range(len(SHAPES))}
    p = same(e, donated)
    assert [s.kernel.name for s in launches(p)] == ["difference", "doubled"]
    assert sum(bool(s.takes) for s in p.slots.values()) == len(SHAPES)


def test_an_input_that_another_part_reads_is_not_taken():
    e = Elementwise()
    for n in range(5):
        e.slot(f"x{n}", (8,), "input")
    for n in range(5):
        e.run(difference, e.slot(f"y{n}", (8,), "output"), f"x{n}", f"x{(n + 1) % 5}")
    p = same(e, {f"y{n}": f"x{n}" for n in range(5)})
    before = e.program({f"y{n}": f"x{n}" for n in range(5)}, is_joined=False)
    assert [s.takes for s in p.slots.values()] == [s.takes for s in before.slots.values()]
    assert not joined(p)                                 # to update in place is worth more


def test_host_calls_keep_their_order():
    e = many(shapes=[(4,)] * 4)
    host = [HostCall(f"h{n}", lambda x: (x,), (e.slot(f"a{n}", (4,), "input"),), (e.slot(f"b{n}", (4,), "output"),))
            for n in range(3)]
    e.steps = [s for pair in zip(host, e.steps) for s in pair] + e.steps[3:]
    p = e.program()
    assert [s.name for s in p.steps if isinstance(s, HostCall)] == ["h0", "h1", "h2"] and len(joined(p)) == 1


def test_regions_are_joined_by_themselves():
    e = many(role="output")
    inside = tuple(e.steps)
    condition = e.slot("c", (), "input", "b1")
    e.steps = [Branch(condition, inside, inside),
               Loop("t", 3, (Carry("x0", "now", "then", e.slot("r", (7,), "output"), e.slot("p", (7,), "temporary")),),
                    tuple(replace(s, arguments={"x0": "now", "y0": "then"}) if n == 0 else s
                          for n, s in enumerate(inside)))]
    branch, loop = e.program().steps
    assert [len(part) for part in (branch.then, branch.otherwise, loop.steps)] == [1, 1, 1]
    assert loop.steps[0].parts[0].arguments == {"x0": "now", "y0": "then"}


# ---- memory ----------------------------------------------------------------------------------------------------------


def layers(count, size):
    """Weights are narrowed, each before what needs it, which is not joined as its result is cleared first."""
    e = Elementwise()
    for n in range(count):
        e.run(narrowed, e.slot(f"t{n}", (size,), "temporary", "bf16"), e.slot(f"w{n}", (size,), "input"))
        e.run(doubled, e.slot(f"y{n}", (size,), "output", "bf16"), f"t{n}")
        e.steps[-1] = replace(e.steps[-1], zeroed=(f"y{n}",))
    return e


def test_what_would_take_more_memory_is_joined_in_part():
    e = layers(16, 1 << 18)                              # half a megabyte each
    before, after = e.program(is_joined=False), e.program()
    assert after.arena <= before.arena + gpu_join.LITTLE and not joined(after)
    e = layers(64, 1 << 16)
    before, after = e.program(is_joined=False), e.program()
    assert after.arena <= before.arena + gpu_join.LITTLE and [len(s.parts) for s in joined(after)] == [8]


def test_what_does_not_take_more_is():
    """All are needed again at the end, as by a backward half."""
    e = layers(16, 1 << 18)
    for n in range(16):
        e.run(doubled, e.slot(f"z{n}", (1 << 18,), "output", "bf16"), f"t{n}")
        e.steps[-1] = replace(e.steps[-1], zeroed=(f"z{n}",))
    before, after = e.program(is_joined=False), e.program()
    assert after.arena == before.arena and [len(s.parts) for s in joined(after)] == [16]


def test_large_temporaries_are_used_while_they_are_in_the_cache():
    assert not joined(many(shapes=[(4, 1 << 20)] * 5, role="temporary").program())
    assert joined(many(shapes=[(4, 1 << 20)] * 5).program())


# ---- the order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_give_the_same(seed):
    e, donated = random_program(np.random.default_rng(seed))
    p = same(e, donated)
    before = e.program(donated, is_joined=False)
    assert len(launches(p)) <= len(launches(before))
    assert {n for n, s in p.slots.items() if s.takes} >= {n for n, s in before.slots.items() if s.takes}
    assert p.arena <= before.arena + gpu_join.LITTLE


def test_random_programs_are_joined():
    programs = [random_program(np.random.default_rng(seed))[0].program() for seed in range(40)]
    sizes = [len(s.parts) for p in programs for s in joined(p)]
    assert len(sizes) > 20 and max(sizes) > 4


@pytest.mark.parametrize("seed", range(10))
def test_an_order_respects_all_conflicts(seed):
    e, donated = random_program(np.random.default_rng(seed), 40)
    d = Dependences(tuple(e.steps), donated)
    free = d.free(range(len(e.steps)))
    place = {n: k for k, node in enumerate(d.order([free])) for n in node}
    assert sorted(place) == list(range(len(e.steps)))
    for n, before in enumerate(d.before):
        for m in (m for m in range(len(e.steps)) if before >> m & 1):
            assert place[m] < place[n] and d.after[m] >> n & 1


# ---- what is checked, and what is printed ----------------------------------------------------------------------------


KERNEL = ("kernel k(x: f32[n], s: f32[]) -> (y: f32[n]) axes i: n { %0[i] = load x[i] : f32 %1[] = load s[] : f32"
          " %2[i] = mul %0, %1 : f32 store y[i], %2 }")


@pytest.mark.parametrize("text, schedule, words", [
    (KERNEL, Joined(size=24), "no power of two"),
    (KERNEL, Joined(shared=("x",)), "x is no number that is read by all"),
    (KERNEL, Joined(shared=("y",)), "y is no number"),
    (KERNEL, Joined(shared=("z",)), "z is no number"),
    (KERNEL.replace("f32[n]", "f32[8]").replace("i: n", "i: 8"), Joined(), "whose extent is the kernel's only size"),
    (KERNEL.replace("load x[i]", "load x[n - 1 - i]"), Joined(), "x is accessed elsewhere"),
    (KERNEL.replace("load x[i]", "load x[i] else 0.0"), Joined(), "x is accessed elsewhere"),
    (KERNEL.replace("store", "add"), Joined(), "stored twice, or added to"),
    (KERNEL.replace("store y[i], %2", "store y[i], %2 store y[i], %0"), Joined(), "stored twice"),
    (KERNEL.replace("%2[i] = mul %0, %1 : f32", "%2[i] = scan sum %0 along i : f32"), Joined(), "it reduces, scans"),
])
def test_schedules_are_checked(text, schedule, words):
    with pytest.raises(VerifyError, match=words):
        schedule.check(parse_kernel(text))


@pytest.mark.parametrize("parts, words", [
    ([{"x": "a", "y": "b"}, {"x": "b", "y": "c"}], "b is written, and used elsewhere"),
    ([{"x": "a", "y": "b"}, {"x": "c", "y": "b"}], "b is written, and used elsewhere"),
    ([{"x": "a", "y": "a"}], "a is written, and used elsewhere"),
    ([{"x": "a", "y": "s"}, {"x": "c", "y": "d"}], "s is written, and used elsewhere"),
    ([{"x": "a"}], "are not the kernel's buffers"),
])
def test_parts_are_checked(parts, words):
    launch = JoinedLaunch(parse_kernel(KERNEL), Joined(shared=("s",)), {"s": "s"},
                          parts=tuple(Part(p, 8) for p in parts))
    with pytest.raises(VerifyError, match=words):
        launch.check()


def test_a_joined_launch_prints_and_reads_back():
    p = many(shapes=[(symbol("B", 1), 3), (4,), (2, 2), (5,)]).program(sizes={"B": ("x0", 0)})
    text = str(p)
    assert "\n  launch doubled() by Joined(" in text
    assert "\n    part of 3*B: x0, y0\n    part of 4: x0 = x1, y0 = y1\n" in text
    kernels: dict = {}
    data = plain(p, kernels)
    again = Reading([k for _, k in kernels.values()]).object(data)
    assert str(again) == str(p) and isinstance(again.steps[0], JoinedLaunch)
    assert parse_kernel(str(p.steps[0].kernel)).sizes == ("n",)
    assert plan_arena(dict(again.slots), again.steps, {})[1] == p.arena
