"""`mode="max-autotune"`: the same bits as without, choices shown, and nothing measured twice."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.configuration import configuration
from braze.ir.program import Launch, walk
from braze.runtime import jit, tuning

F = braze.nn.functional


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """An empty disk cache; one short turn of measuring, one climb; no kernel is too short."""
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(jit, "_addresses", {})
    for name, value in {"TURNS": 1, "LEAST_SECONDS": 1e-6, "MOST_CLIMBS": 1, "SHORT": 0.0}.items():
        monkeypatch.setattr(tuning, name, value)


@pytest.fixture
def favoured(monkeypatch):
    """Made-up times by which the last schedule is by far the fastest, so that another one is chosen."""
    monkeypatch.setattr(tuning.Bench, "times", lambda self, schedules: {
        s: 1e-3 if s is schedules[-1] else 2e-3 for s in schedules})


def forbid(*_):
    raise AssertionError("measured again")


def data(*shapes):
    random = np.random.default_rng(3)
    return [braze.tensor(random.standard_normal(shape, dtype=np.float32)) for shape in shapes]


def layer(x, w, b):
    return F.softmax(F.relu(F.linear(x, w, b)), -1).sum(0)


def recurrent(x, w):
    return braze.scan(lambda h, row: (braze.tanh(row + h @ w),) * 2, braze.zeros(4, 8), x)[1]


PROGRAMS = {"layer": (layer, [(20, 24), (40, 24), (40,)]), "loop": (recurrent, [(5, 4, 8), (8, 8)]),
            "branch": (lambda x: braze.cond(x.sum() > 0, lambda: x @ x, lambda: x - 1), [(24, 24)])}


@pytest.mark.parametrize("name", PROGRAMS)
def test_tuned_programs_give_the_same_bits(name, favoured):
    function, shapes = PROGRAMS[name]
    operands = data(*shapes)
    tuned = braze.compile(function, mode="max-autotune")
    np.testing.assert_array_equal(np.asarray(tuned(*operands)), np.asarray(braze.compile(function)(*operands)))
    assert [stage for stage, _, _ in tuned.history()].count("tuned") == 1


def test_the_program_runs_by_what_was_chosen(favoured):
    tuned = braze.compile(layer, mode="max-autotune")
    tuned(*data((20, 24), (40, 24), (40,)))
    stages = tuned.specialisations[0].stages
    chosen = {str(t.chosen) for t in stages.named("tuned").tunings}
    run = {str(s.schedule) for s in walk(stages.program.steps) if isinstance(s, Launch)}
    default = {str(s.schedule) for s in walk(tuned.ir("fused").steps) if isinstance(s, Launch)}
    assert chosen and chosen <= run and chosen != default


def test_explain_shows_what_was_tried():
    tuned = braze.compile(layer, mode="max-autotune")
    tuned(*data((20, 24), (40, 24), (40,)))
    assert "schedules measured, by the default" in str(tuned.explain())


def test_a_second_function_measures_nothing(monkeypatch):
    operands = data((20, 24), (40, 24), (40,))
    first, second = (braze.compile(layer, mode="max-autotune") for _ in range(2))
    first(*operands)
    monkeypatch.setattr(tuning.Bench, "times", forbid)
    np.testing.assert_array_equal(np.asarray(first(*operands)), np.asarray(second(*operands)))
    assert "schedules remembered" in str(second.explain())


def test_a_program_that_is_not_stored_whole_remembers_its_kernels(monkeypatch):
    def with_host_call(x):
        return braze.sort((x @ x).relu())

    (x,) = data((24, 24))
    braze.compile(with_host_call, mode="max-autotune")(x)
    monkeypatch.setattr(tuning.Bench, "times", forbid)
    braze.compile(with_host_call, mode="max-autotune")(x)


def test_symbolic_sizes_are_measured_at_those_seen():
    tuned = braze.compile(lambda x, w: braze.tanh(x @ w), mode="max-autotune", dynamic=True)
    plain = braze.compile(lambda x, w: braze.tanh(x @ w), dynamic=True)
    for n in (20, 33):
        operands = data((n, 24), (24, 40))
        np.testing.assert_array_equal(np.asarray(tuned(*operands)), np.asarray(plain(*operands)))
    assert len(tuned.compilations) == 1


def test_training_steps_are_tuned_and_agree(favoured):
    def train(mode):
        braze.manual_seed(0)
        model = braze.nn.Sequential(braze.nn.Linear(12, 16), braze.nn.GELU(), braze.nn.Linear(16, 3))
        optimiser = braze.optim.AdamW(model.parameters(), lr=1e-2)

        @braze.compile(mode=mode)
        def step(x, y):
            loss = F.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            return loss

        (x,) = data((20, 12))
        y = braze.arange(20) % 3
        return [step(x, y).item() for _ in range(4)]

    assert train("max-autotune") == train("default")


def test_the_numpy_back_end_has_nothing_to_tune():
    function = braze.compile(layer, backend="numpy", mode="max-autotune")
    function(*data((20, 24), (40, 24), (40,)))
    assert "tuned" not in [stage for stage, _, _ in function.history()]


def test_the_tuned_stage_is_there_where_schedules_were_measured():
    tuned, plain = braze.compile(layer, mode="max-autotune"), braze.compile(layer)
    for function in (tuned, plain):
        function(*data((20, 24), (40, 24), (40,)))
    assert "schedules measured" in str(tuned.ir("tuned"))
    with pytest.raises(braze.errors.CompileError, match="use graph, joint, optimized, fused or source"):
        plain.ir("tuned")
