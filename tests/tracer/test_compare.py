"""`braze.compare`: the same state for both, errors found, nothing changed afterwards."""

from __future__ import annotations

import braze
import numpy as np
from braze import nn, optim


def test_a_training_step_is_compared_from_the_same_state_and_leaves_it():
    braze.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 1))
    optimizer = optim.AdamW(model.parameters(), lr=0.1)

    @braze.compile
    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x, y = braze.randn(32, 4), braze.randn(32, 1)
    step(x, y)
    before = [np.array(p) for p in model.parameters()]
    result = braze.compare(step, x, y, repeats=2)
    assert result.error < 1e-5
    assert all(np.array_equal(a, np.asarray(p)) for a, p in zip(before, model.parameters()))
    assert float(step(x, y)) < 10
    assert "times as fast" in str(result)


def test_arguments_changed_in_place_are_given_back():
    def f(x):
        x += 1
        return x.sum()

    x = braze.zeros(3)
    assert braze.compare(f, x, repeats=1).error == 0
    assert x.tolist() == [0, 0, 0]


def test_what_is_not_the_same_is_an_error():
    compiled = braze.compile(lambda x: x * 2)
    compiled(braze.ones(3))
    compiled(braze.ones(3))
    compiled.function = lambda x: x * 3
    assert braze.compare(compiled, braze.ones(3), repeats=1, search=False).error > 0.3
