"""Carried values that are what another one was: copied nowhere where that is safe, and the right values always."""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze.ir.program import Loop, walk

BACKENDS = ("llvm", "numpy")


def wave(xp, state):
    u, old = state
    return 1.5 * u - old + 0.25 * xp.roll(u, 1, 0), u


def damped(xp, state):
    """With a second result, of the same kernel."""
    u, old, total = state
    total = 0.5 * total + old
    return u - 0.25 * total, u, total


def apart(xp, state):
    """With a second result, of a kernel that comes later."""
    u, old, total = state
    return u - 0.5 * old, u, 0.5 * total + old


def sideways(xp, state):
    u, old = state
    return u + 0.5 * xp.roll(old, 1, 1), u


def swapped(xp, state):
    a, b = state
    return b, a


def three_deep(xp, state):
    a, b, c = state
    return a - 0.5 * b + 0.25 * c, a, b


def two_behind_one(xp, state):
    a, b, c = state
    return 0.5 * a + b - c, a, a


def read_later(xp, state):
    """What is overwritten is read by another kernel, which needs all of the new values."""
    u, old = state
    new = u - 0.5 * old
    return new + xp.sum(new) * 0.01 * old, u


# how many values are behind another one, and how many are copied
STEPS = {wave: (1, 0), damped: (1, 0), apart: (0, 1), sideways: (0, 1), swapped: (0, 2), three_deep: (0, 2),
         two_behind_one: (0, 2), read_later: (0, 1)}


def count_of(step) -> int:
    return 3 if step in (damped, apart, three_deep, two_behind_one) else 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("trips", range(6))
@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.__name__)
def test_any_number_of_turns_gives_the_values_of_the_definition(step, trips, backend):
    random = np.random.default_rng(trips)
    given = [random.standard_normal((5, 37)).astype(np.float32) for _ in range(count_of(step))]
    loop = braze.compile(lambda *s: braze.fori_loop(0, trips, lambda _, s: step(braze, s), s), backend=backend)
    got = loop(*map(braze.asarray, given))
    wanted = tuple(x.astype(np.float64) for x in given)
    for _ in range(trips):
        wanted = step(np, wanted)
    for g, w in zip(got, wanted):
        np.testing.assert_allclose(np.asarray(g), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.__name__)
def test_nothing_is_copied_where_the_turn_reads_what_it_overwrites(step):
    loop = braze.compile(lambda *s: braze.fori_loop(0, 4, lambda _, s: step(braze, s), s))
    loop(*[braze.ones(4, 9)] * count_of(step))
    (found,) = [s for s in walk(loop.ir("fused").steps) if isinstance(s, Loop)]
    copies = [b for s in walk(found.steps) if s.kernel.name == "copy" for b in s.kernel.outputs]
    assert (sum(c.is_behind for c in found.carries), len(copies)) == STEPS[step]


def test_the_number_of_turns_may_be_read_from_memory():
    loop = braze.compile(lambda n, *s: braze.fori_loop(0, n, lambda _, s: wave(braze, s), s))
    random = np.random.default_rng(0)
    given = [random.standard_normal((4, 20)).astype(np.float32) for _ in range(2)]
    for trips in range(5):
        wanted = tuple(x.astype(np.float64) for x in given)
        for _ in range(trips):
            wanted = wave(np, wanted)
        for g, w in zip(loop(braze.asarray(trips), *map(braze.asarray, given)), wanted):
            np.testing.assert_allclose(np.asarray(g), w, rtol=1e-4, atol=1e-5)


def test_a_state_that_a_function_keeps_is_updated():
    """Captured and donated: the results lie where the state does."""
    u, old = braze.rand(3, 50), braze.rand(3, 50)
    wanted = tuple(np.asarray(x, np.float64) for x in (u, old))

    @braze.compile
    def advance(trips: int):
        u[...], old[...] = braze.fori_loop(0, trips, lambda _, s: wave(braze, s), (u, old))

    for trips in (3, 2, 1, 3):
        advance(trips)
        for _ in range(trips):
            wanted = wave(np, wanted)
        for g, w in zip((u, old), wanted):
            np.testing.assert_allclose(np.asarray(g), w, rtol=1e-4, atol=1e-5)
