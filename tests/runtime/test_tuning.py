"""Measured schedules: all candidates give the bits of the default, choices are kept on disk, nothing is measured twice.

Times are made up where a choice is asserted: what is faster on a busy machine is chance.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.codegen.llvm import emit
from braze.ir.configuration import configuration
from braze.ir.product_rows import ProductRows
from braze.ir.program import Launch, walk
from braze.ir.schedule import Contraction, Rows, Serial
from braze.ir.streamed import Streamed
from braze.passes.candidates import candidates
from braze.runtime import cache, program_store, tuning
from braze.runtime.machine import host

F = braze.nn.functional


def arrays(*shapes):
    random = np.random.default_rng(1)
    return [braze.tensor(random.standard_normal(shape, dtype=np.float32)) for shape in shapes]


def lstm(x, w):
    """A recurrent layer whose gates are sums of their own."""
    def step(state, row):
        h, c = state
        i, f, g, o = (row + F.linear(h, w)).split(32, 1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * braze.tanh(g)
        h = F.sigmoid(o) * braze.tanh(c)
        return (h, c), h

    zero = braze.zeros(20, 32)
    return braze.scan(step, (zero, zero), x)[1]


CASES = {
    "tile": (Contraction, lambda x, y: x @ y, [(70, 600), (600, 90)]),
    "epilogue": (Contraction, lambda x, w, b: F.gelu(F.linear(x, w, b)), [(64, 128), (192, 128), (192,)]),
    "batched": (Contraction, lambda x, y: x @ y.mT, [(3, 40, 33), (3, 50, 33)]),
    "convolution": (Contraction, lambda x, w: F.relu(F.conv2d(x, w, None, 1, 1)), [(2, 16, 14, 14), (24, 16, 3, 3)]),
    "few rows in place": (Contraction, lambda x, y: x @ y, [(13, 40), (40, 90)]),
    "gates": (Contraction, lambda x, w: lstm(x, w), [(3, 20, 128), (128, 32)]),
    "stream": (Contraction, lambda x, y: x @ y, [(2, 300), (300, 700)]),
    "dots": (Contraction, lambda x, w: F.linear(x, w), [(3, 300), (200, 300)]),
    "rows of a product": (ProductRows, lambda x, y: F.softmax(x @ y, -1), [(150, 90), (90, 200)]),
    "pieces of a sum": (Contraction, lambda x, y: x.mT @ y, [(9000, 20), (9000, 40)]),
    "pointwise": (Rows, lambda x, y: braze.tanh(x * y) + x, [(300, 70), (300, 70)]),
    "transposed": (Rows, lambda x, y: braze.exp(x.mT) + y, [(300, 70), (70, 300)]),
    "columns": (Rows, lambda x: x.var(0), [(200, 300)]),
    "rows": (Rows, lambda x: F.softmax(x, -1), [(100, 300)]),
    "cumulated": (Rows, lambda x: braze.cumsum(x, 0), [(30, 200)]),
    "attention": (Streamed, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                  [(2, 2, 130, 16)] * 3),
}


def launch_of(name: str) -> Launch:
    """The launch of a case's largest kernel."""
    kind, function, shapes = CASES[name]
    compiled = braze.compile(function)
    compiled(*arrays(*shapes))
    return next(s for s in walk(compiled.ir("fused").steps) if isinstance(s, Launch) and isinstance(s.schedule, kind))


def emitted(kernel, schedule):
    return emit(kernel, schedule, host())


def results(launch: Launch, schedule) -> list[bytes]:
    bench = tuning.Bench(launch.kernel, emitted, dict.fromkeys(launch.kernel.sizes, 0))
    return [out.tobytes() for out in bench.executable(bench.launch(schedule))(bench.inputs, bench.sizes)]


@pytest.mark.parametrize("name", CASES)
def test_candidates_give_the_same_bits(name):
    launch = launch_of(name)
    expected = results(launch, launch.schedule)
    found = candidates(launch.kernel, host(), launch.schedule)
    assert found
    for schedule in found:
        schedule.check(launch.kernel)
        assert results(launch, schedule) == expected, schedule


def test_candidates_two_steps_away_give_the_same_bits():
    launch = launch_of("tile")
    expected = results(launch, launch.schedule)
    first = candidates(launch.kernel, host(), launch.schedule)
    further = {s for at in first[::7] for s in candidates(launch.kernel, host(), at)} - {*first}
    assert all(results(launch, s) == expected for s in sorted(further, key=str)[::5])


def test_candidates_are_pure_and_differ():
    launch = launch_of("tile")
    once, again = (candidates(launch.kernel, host(), launch.schedule) for _ in range(2))
    assert once == again and len(set(once)) == len(once) and launch.schedule not in once


def test_order_of_sums_is_never_a_choice():
    for name in ("tile", "convolution", "batched"):
        launch = launch_of(name)
        for s in candidates(launch.kernel, host(), launch.schedule):
            assert (s.k, s.k_flat, s.depth) == tuple(getattr(launch.schedule, n) for n in ("k", "k_flat", "depth"))


def test_nothing_to_choose_for_a_serial_schedule():
    assert candidates(launch_of("rows").kernel, host(), Serial()) == []


# ---- choosing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """An empty disk cache, and made-up times: the more rows a tile has, the faster; what was measured is kept."""
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    asked = []

    def times(self, schedules):
        asked.append(schedules)
        return {s: 1e-3 / s.rows for s in schedules}

    monkeypatch.setattr(tuning.Bench, "times", times)
    return asked


def tuned(launch: Launch, sizes=None) -> tuning.Tuning:
    def nearby(schedule):
        return candidates(launch.kernel, host(), schedule)

    return tuning.tune(launch.kernel, launch.schedule, nearby, emitted, sizes or {})


def test_climbs_to_the_fastest_and_remembers_it(measured):
    launch = launch_of("batched")
    first = tuned(launch)
    assert first.chosen.rows == 14 and not first.is_remembered
    count = len(measured)
    again = tuned(launch)
    assert again.chosen == first.chosen and again.tried == first.tried and again.is_remembered
    assert len(measured) == count                            # nothing was measured
    assert "schedules remembered, by the default" in str(again)


def test_other_sizes_and_damaged_entries_are_measured_anew(measured, monkeypatch):
    launch = launch_of("batched")
    tuned(launch)
    count = len(measured)
    for damaged in (b"{}", b"no json", b'{"chosen": "[]", "tried": []}',
                    b'{"chosen": "{\\"Contraction\\": [1, 1]}", "tried": [["x", 1]]}'):
        monkeypatch.setattr(cache, "get", lambda entry, payload=damaged: payload)
        assert not tuned(launch).is_remembered
    assert len(measured) > count


def test_the_default_stays_where_nothing_is_clearly_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(tuning.Bench, "times", lambda self, schedules: {s: 1e-3 - 1e-9 * s.rows for s in schedules})
    launch = launch_of("batched")
    tuning_ = tuned(launch)
    assert tuning_.chosen == launch.schedule and "none was faster" in str(tuning_)


def test_short_kernels_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(tuning.Bench, "times", lambda self, schedules: {s: 1e-6 for s in schedules})
    assert len(tuned(launch_of("batched")).tried) == 1


def test_measuring_gives_a_time_for_each_schedule():
    launch = launch_of("dots")
    found = [launch.schedule, *candidates(launch.kernel, host(), launch.schedule)[:2]]
    times = tuning.Bench(launch.kernel, emitted, {}).times(found)
    assert [*times] == found and all(0 < t < 10 for t in times.values())


@pytest.mark.parametrize("name", CASES)
def test_schedules_are_read_back_from_their_text(name):
    schedule = launch_of(name).schedule
    assert program_store.read_schedule(program_store.schedule_text(schedule)) == schedule
