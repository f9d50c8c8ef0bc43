"""Bodies that attract each other: accelerations from all pairs, positions by leapfrog, a compiled loop of steps."""

import braze
import numpy as np
from measure import QUICK, side_by_side

BODIES, STEPS, DT, SOFTENING = (64, 3, 1e-3, 1e-2) if QUICK else (512, 20, 1e-3, 1e-2)


def accelerations(x, mass):
    """The sum of m_j (x_j - x_i) / |x_j - x_i|^3 over j, softened; works for NumPy and Braze."""
    gap = x[None, :, :] - x[:, None, :]
    distance = (gap * gap).sum(2) + SOFTENING**2
    pull = mass[None, :] / (distance * distance**0.5)
    return (gap * pull[:, :, None]).sum(1)


def leapfrog(_, state):
    """Half a kick, a drift, half a kick."""
    x, v, mass = state
    v = v + accelerations(x, mass) * (0.5 * DT)
    x = x + v * DT
    return x, v + accelerations(x, mass) * (0.5 * DT), mass


def numpy_orbits(x, v, mass):
    """The steps in Python."""
    state = x, v, mass
    for i in range(STEPS):
        state = leapfrog(i, state)
    return state[0]


def orbits(x, v, mass):
    """The steps in one loop."""
    return braze.fori_loop(0, STEPS, leapfrog, (x, v, mass))[0]


def main():
    rng = np.random.default_rng(0)
    x, v = (rng.standard_normal((BODIES, 3)) for _ in range(2))
    mass = rng.uniform(0.5, 1.5, BODIES) / BODIES
    tensors = [braze.tensor(a) for a in (x, v, mass)]
    fast = braze.compile(orbits)
    print(f"{STEPS} steps of {BODIES} bodies, float64")
    rows = {
        "NumPy": lambda: numpy_orbits(x, v, mass),
        "Braze, eager": lambda: orbits(*tensors),
        "Braze, compiled": lambda: fast(*tensors),
    }
    return side_by_side(rows, repeats=3)


if __name__ == "__main__":
    main()
