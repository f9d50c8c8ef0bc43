"""A compiled function that finds `.grad` made elsewhere: it reads what is there at each call, without tracing again."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze import nn, optim


def parameter():
    return nn.Parameter(braze.ones(3))


@pytest.mark.parametrize("is_held", [False, True])
def test_each_step_takes_the_gradient_that_is_there(is_held):
    p, held = parameter(), []
    step = braze.compile(optim.SGD([p], lr=1.0).step)
    wanted = 1.0
    for n in range(8):
        if n > 3:                                        # the same one at the first calls
            held = [*held, p.grad] if is_held else []
            p.grad = braze.full(3, 10.0**n)
        elif n == 0:
            p.grad = braze.full(3, 2.0)
        step()
        wanted -= 10.0**n if n > 3 else 2.0
    np.testing.assert_allclose(np.asarray(p.detach()), wanted, rtol=1e-6)
    assert len(step.compilations) == 1
    assert not is_held or [float(g[0]) for g in held] == [2.0, 1e4, 1e5, 1e6]


def test_backward_outside_and_the_update_compiled():
    eager, compiled = parameter(), parameter()
    for p, stage in ((eager, lambda f: f), (compiled, braze.compile)):
        optimiser = optim.AdamW([p], lr=0.1)

        def update(p=p, optimiser=optimiser):
            nn.utils.clip_grad_norm_([p], 1.0)
            optimiser.step()
            optimiser.zero_grad()

        staged = stage(update)
        for n in range(6):
            (p * p * (n + 1)).sum().backward()
            staged()
            assert p.grad is None
    np.testing.assert_allclose(np.asarray(compiled.detach()), np.asarray(eager.detach()), rtol=1e-6)
    assert len(staged.compilations) == 1


def test_gradients_accumulate_inside_and_outside():
    p = parameter()

    @braze.compile
    def accumulate(s):
        (p * s).sum().backward()
        return p.grad.sum()

    totals = []
    for n in range(6):
        totals.append(float(accumulate(braze.tensor(float(n + 1)))))
        if n == 3:
            (p * 100.0).sum().backward()
    assert totals == [3.0, 9.0, 18.0, 30.0, 345.0, 363.0]
    assert len(accumulate.compilations) == 2             # the first call finds none


def test_a_gradient_of_another_type_is_another_program():
    p = parameter()
    step = braze.compile(optim.SGD([p], lr=1.0).step)
    for g in (braze.ones(3), braze.ones(3, dtype=braze.float64), None, braze.ones(3)):
        p.grad = g
        step()
    np.testing.assert_allclose(np.asarray(p.detach()), -2.0)


def test_a_gradient_that_is_changed_in_place_is_the_one_that_was_traced():
    p = parameter()

    @braze.compile
    def halve():
        p.grad.mul_(0.5)

    for value in (8.0, 6.0):
        p.grad = braze.full(3, value)
        halve()
        halve()
        np.testing.assert_allclose(np.asarray(p.grad), value / 4)
