"""Tuning on a device: the fastest way is chosen, what does not work is passed over, and nothing is measured twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_triton
from braze.ir.configuration import configuration
from braze.ir.errors import CompileError
from braze.ir.expr import symbol
from braze.ir.gpu import GpuSchedule
from braze.ir.gpu_tiled import Block, Tiled
from braze.passes.gpu_candidates import candidates
from braze.runtime import device_tuning
from small_programs import add, double_plus_one

WAYS = [GpuSchedule(warps=n) for n in (1, 2, 4, 8)]


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch, device):
    monkeypatch.setattr(type(device), "is_timed", True)
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    for name, value in {"TURNS": 2, "MOST_REPEATS": 2, "MOST_SETS": 2}.items():
        monkeypatch.setattr(device_tuning, name, value)


@pytest.fixture
def emitted():
    """An emitter that notes the schedules, and refuses eight warps."""
    def emit(kernel, schedule):
        if schedule.warps == 8:
            raise CompileError("too many warps")
        emit.seen.append(schedule.warps)
        source = small_triton.emit(kernel)
        return replace(source, text=f"# {schedule.warps} warps\n{source.text}")

    emit.seen = []
    return emit


@pytest.fixture
def times(monkeypatch):
    """Made-up times by warps."""
    def favour(fast):
        def fastest(works, device):
            for work in works:
                work(0)
            assert len(works) == 3
            return [1e6 * (0.5 if warps == fast else 1.0) for warps in (1, 2, 4)]
        monkeypatch.setattr(device_tuning, "fastest", fastest)
    return favour


def test_the_fastest_is_chosen_and_kept_on_disk(device, emitted, times, monkeypatch):
    times(2)
    tuning = device_tuning.tune(add(40), WAYS, emitted, {}, device)
    assert tuning.chosen is WAYS[1] and len(tuning.tried) == 3 and not tuning.is_remembered
    assert sorted(emitted.seen) == [1, 2, 4]
    monkeypatch.setattr(device_tuning, "_Bench", None)
    again = device_tuning.tune(add(40), WAYS, emitted, {}, device)
    assert again.chosen is WAYS[1] and again.is_remembered and again.tried == tuning.tried


def test_the_default_stays_where_nothing_is_much_faster(device, emitted, times):
    times(None)
    assert device_tuning.tune(add(40), WAYS, emitted, {}, device).chosen is WAYS[0]


def test_sizes_of_one_class_choose_alike(device, emitted, times):
    times(4)
    kernel = double_plus_one(symbol("B", 0))
    tunings = [device_tuning.tune(kernel, WAYS, emitted, {"B": n}, device) for n in (40, 50, 48, 64, 70)]
    assert [t.is_remembered for t in tunings] == [False, True, False, True, False]


@pytest.mark.simulated
def test_another_device_chooses_for_itself(device, emitted, times, monkeypatch):
    times(4)
    device_tuning.tune(add(40), WAYS, emitted, {}, device)
    monkeypatch.setattr(device, "description", "another GPU", raising=False)
    assert not device_tuning.tune(add(40), WAYS, emitted, {}, device).is_remembered


def test_work_takes_turns_and_its_shortest_time_counts(device, monkeypatch):
    spent = iter([50.0, 30.0, 20.0, 90.0])
    monkeypatch.setattr(device_tuning, "_spent", lambda run, repeats, stream, device: next(spent))
    done = []
    found = device_tuning.fastest([lambda stream: done.append("a"), lambda stream: done.append("b")], device)
    assert found == [20.0, 30.0] and done == ["a", "b"]


def test_tiles_and_warps_of_half_and_twice_the_size(device):
    kernel = add(4096)
    s = Tiled(warps=4, grid=(Block(("i",), 1024),))
    found = candidates(kernel, s, device.target)
    assert found[0] is s and {w.warps for w in found} == {2, 4, 8}
    assert {w.grid[0].size for w in found} == {512, 1024, 2048}


def test_a_tuned_function_gives_the_same(device):
    import braze

    x = braze.tensor(np.linspace(-1, 1, 300, dtype=np.float32).reshape(20, 15)).to("cuda")
    function = lambda x: braze.nn.functional.softmax(x, -1) * 2                                    # noqa: E731
    tuned = braze.compile(function, mode="max-autotune")
    np.testing.assert_allclose(np.asarray(tuned(x).cpu()), np.asarray(braze.compile(function)(x).cpu()), rtol=1e-6)
    assert "schedules measured" in str(tuned.ir("tuned"))


@pytest.mark.simulated
def test_on_the_simulated_device_ways_are_tried_and_none_is_measured(device, emitted, monkeypatch):
    monkeypatch.setattr(type(device), "is_timed", False)
    monkeypatch.setattr(device_tuning, "fastest", None)
    tuning = device_tuning.tune(add(40), WAYS[::-1], emitted, {}, device)
    assert tuning.chosen is WAYS[2] and len(tuning.tried) == 3 and sorted(emitted.seen) == [1, 2, 4]
    assert str(tuning).endswith("3 schedules work, none measured")
