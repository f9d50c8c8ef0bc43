"""Stencils in loops, as users write them: one kernel a step, and NumPy's bits after many steps."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import Launch, walk


def five(u, pad):
    return pad((u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]) * np.float32(0.25), 1)


def nine(u, pad):
    near = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return pad(near * np.float32(0.2) + (u[:-2, :-2] + u[:-2, 2:] + u[2:, :-2] + u[2:, 2:]) * np.float32(0.05), 1)


def space(u, pad):
    around = (u[:-2, 1:-1, 1:-1] + u[2:, 1:-1, 1:-1] + u[1:-1, :-2, 1:-1] + u[1:-1, 2:, 1:-1]
              + u[1:-1, 1:-1, :-2] + u[1:-1, 1:-1, 2:])
    return u + pad(around - u[1:-1, 1:-1, 1:-1] * np.float32(6), 1) * np.float32(0.125)


def advected(u, pad):
    return u - pad((u[2:] - u[:-2]) * np.float32(0.25), 1)


GRIDS = {five: (700, 1100), nine: (700, 1100), space: (90, 70, 150), advected: (900_000,)}


@pytest.mark.parametrize("step", GRIDS, ids=lambda f: f.__name__)
def test_a_step_is_one_kernel_and_many_steps_have_the_bits_of_numpy(step):
    start = np.random.default_rng(0).random(GRIDS[step], dtype=np.float32)
    compiled = braze.compile(lambda u: braze.fori_loop(0, 9, lambda _, u: step(u, braze.pad), u))
    got = np.asarray(compiled(braze.tensor(start)))
    wanted = start
    for _ in range(9):
        wanted = step(wanted, np.pad)
    assert got.tobytes() == wanted.tobytes()
    launches = [s for s in walk(compiled.ir("fused").steps) if isinstance(s, Launch)]
    assert len(launches) == 1


def test_the_number_of_steps_may_be_a_tensor():
    start = np.random.default_rng(1).random((900, 800), dtype=np.float32)
    compiled = braze.compile(lambda u, n: braze.fori_loop(0, n, lambda _, u: five(u, braze.pad), u))
    for steps in (0, 1, 5):
        wanted = start
        for _ in range(steps):
            wanted = five(wanted, np.pad)
        assert np.asarray(compiled(braze.tensor(start), braze.tensor(steps))).tobytes() == wanted.tobytes()


def test_grids_that_close_upon_themselves():
    start = np.random.default_rng(2).random((300, 500), dtype=np.float32)

    def step(u, roll):
        around = roll(u, 1, 0) + roll(u, -1, 0) + roll(u, 1, 1) + roll(u, -1, 1)
        return u + (around - u * np.float32(4)) * np.float32(0.125)

    compiled = braze.compile(lambda u: braze.fori_loop(0, 9, lambda _, u: step(u, braze.roll), u))
    wanted = start
    for _ in range(9):
        wanted = step(wanted, np.roll)
    assert np.asarray(compiled(braze.tensor(start))).tobytes() == wanted.tobytes()
