"""Optimisers and schedules: PyTorch's numbers, eager and compiled; one compilation for all learning rates; state that
can be kept."""

import importlib.util
import pathlib

import braze
import numpy as np
import pytest
from braze import nn, optim


def load(name):
    """A helper module of tests/nn."""
    spec = importlib.util.spec_from_file_location(f"nn_{name}", pathlib.Path(__file__).parents[1] / "nn" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases, golden = load("cases"), load("golden")


def training(name, compiled=False, backend="auto"):
    """A parameter, its optimiser, and a step that takes the number of the step."""
    kind, options = cases.OPTIMISERS[name]
    p = nn.Parameter(cases.pattern((4,)))
    o = getattr(optim, kind)([p], **options)

    def step(t):
        o.zero_grad()
        loss = cases.objective(p, t)
        loss.backward()
        o.step()
        o.zero_grad()
        return loss

    return p, o, braze.compile(step, backend=backend) if compiled else step


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_optimisers_are_pytorchs(name, compiled):
    p, _, step = training(name, compiled)
    for t in range(cases.STEPS):
        step(braze.tensor(float(t), dtype="float64"))
    np.testing.assert_allclose(np.asarray(p), golden.OPTIMISERS[name], rtol=1e-6)
    if compiled:
        assert len(step.compilations) == 1


@pytest.mark.parametrize("name", cases.OPTIMISERS)
def test_the_state_can_be_kept(name):
    p, o, step = training(name)
    for t in range(3):
        step(t)
    q, other, resumed = training(name)
    with braze.no_grad():
        q.copy_(p)
    other.load_state_dict(o.state_dict())
    for t in range(3, cases.STEPS):
        step(t)
        resumed(t)
    np.testing.assert_array_equal(np.asarray(p), np.asarray(q))


@pytest.mark.parametrize("name", cases.SCHEDULES)
def test_schedules_are_pytorchs(name):
    kind, options = cases.SCHEDULES[name]
    o = optim.SGD([nn.Parameter(np.zeros(1))], lr=0.4)
    s = getattr(optim.lr_scheduler, kind)(o, **options)
    rates = []
    for _ in range(cases.STEPS + 3):
        rates.append(o.param_groups[0]["lr"])
        s.step()
    np.testing.assert_allclose(rates, golden.SCHEDULES[name], rtol=1e-9, atol=1e-15)


def test_a_thousand_learning_rates_are_one_compilation():
    p, o, step = training("AdamW", compiled=True)
    schedule = optim.lr_scheduler.CosineAnnealingLR(o, 1000)
    t = braze.tensor(0.0, dtype="float64")
    for _ in range(1000):
        step(t)
        schedule.step()
    assert o.param_groups[0]["lr"] == 0.0
    step(t)
    assert len(step.compilations) == 1


def test_a_float_that_becomes_zero_is_another_program_and_back_again_the_first():
    p, o, step = training("SGD momentum", compiled=True)
    q, plain, eagerly = training("SGD momentum")
    t = braze.tensor(1.0, dtype="float64")
    for decay, compilations in ((0.01, 1), (0.02, 1), (0.0, 2), (0.0, 2), (0.3, 2)):
        o.param_groups[0]["weight_decay"] = plain.param_groups[0]["weight_decay"] = decay
        step(t)
        eagerly(t)
        assert len(step.compilations) == compilations
    np.testing.assert_allclose(np.asarray(p), np.asarray(q), rtol=1e-12)


def test_a_schedule_inside_a_compiled_step_is_refused():
    p, o, _ = training("SGD")
    schedule = optim.lr_scheduler.StepLR(o, 1)

    def step(t):
        cases.objective(p, t).backward()
        o.step()
        schedule.step()

    with pytest.raises(braze.errors.TraceError, match="outside"):
        braze.compile(step)(1)


def test_a_parameter_without_gradient_stands_still_and_does_not_count():
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    o = optim.Adam([a, b], lr=0.1)

    def both():
        o.zero_grad()
        (a * a + b * b).sum().backward()
        o.step()

    both()
    before = np.array(b)
    o.zero_grad()
    (a * a).sum().backward()
    o.step()
    np.testing.assert_array_equal(np.asarray(b), before)
    both()
    assert [o.state[p]["step"].item() for p in (a, b)] == [3.0, 2.0]


def test_groups_have_rates_of_their_own():
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    o = optim.SGD([{"params": [a]}, {"params": b, "lr": 1}], lr=0.5)

    @braze.compile
    def step():
        (a + b).sum().backward()
        o.step()
        o.zero_grad()

    step()
    o.param_groups[1]["lr"] = 3.0
    step()
    np.testing.assert_allclose([np.asarray(a), np.asarray(b)], [[0.0, 0.0], [-3.0, -3.0]])
    assert len(step.compilations) == 1


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, np.inf])
def test_gradients_are_clipped_by_their_common_norm(norm, compiled):
    a, b = nn.Parameter(np.array([3.0, -4.0])), nn.Parameter(np.array([[12.0]]))

    def clip():
        ((a * a).sum() / 2 + (b * b).sum() / 2).backward()
        return nn.utils.clip_grad_norm_([a, b], 2.0, norm)

    total = (braze.compile(clip) if compiled else clip)()
    whole = np.linalg.norm([3.0, 4.0, 12.0], norm)
    np.testing.assert_allclose(total.item(), whole)
    np.testing.assert_allclose(np.asarray(a.grad), np.array([3.0, -4.0]) * 2 / whole, rtol=1e-6)


def test_gradients_are_clipped_by_value():
    a = nn.Parameter(np.array([3.0, -4.0, 0.5]))
    (a * a).sum().backward()
    nn.utils.clip_grad_value_(a, 2.0)
    np.testing.assert_array_equal(np.asarray(a.grad), [2.0, -2.0, 1.0])


def test_closures_return_the_loss():
    p, o, _ = training("SGD")

    def closure():
        o.zero_grad()
        loss = cases.objective(p, 1)
        loss.backward()
        return loss

    first, second = o.step(closure).item(), o.step(closure).item()
    assert second < first


@pytest.mark.parametrize("kind, options", [("SGD", {"lr": -1.0}), ("Adam", {"betas": (0.9, 1.0)}),
                                           ("SGD", {"nesterov": True})])
def test_impossible_hyperparameters_are_refused(kind, options):
    with pytest.raises(ValueError):
        getattr(optim, kind)([nn.Parameter(np.ones(1))], **options)


def test_a_state_of_other_groups_is_refused():
    o = optim.SGD([nn.Parameter(np.ones(1))])
    other = optim.SGD([nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))])
    with pytest.raises(braze.errors.ShapeError):
        o.load_state_dict(other.state_dict())
