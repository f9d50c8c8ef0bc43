"""Heat spreading over a plate: an explicit scheme, hundreds of steps inside one compiled program."""

import braze
import numpy as np
from measure import QUICK, side_by_side

SIZE, STEPS = (64, 20) if QUICK else (512, 200)


def numpy_heat(u):
    """The scheme with NumPy, in place."""
    u = u.copy()
    for _ in range(STEPS):
        u[1:-1, 1:-1] += np.float32(0.2) * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1])
    return u


def step(_, u):
    """One step; the border keeps its temperature."""
    inside = u[1:-1, 1:-1]
    change = 0.2 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * inside)
    return u + braze.pad(change, 1)


def heat(u):
    """All steps."""
    return braze.fori_loop(0, STEPS, step, u)


def main():
    plate = np.zeros((SIZE, SIZE), np.float32)
    plate[SIZE // 4:SIZE // 2, SIZE // 4:SIZE // 2] = 100.0
    u, fast = braze.tensor(plate), braze.compile(heat)
    print(f"{STEPS} steps on a plate of {SIZE} x {SIZE}")
    rows = {"NumPy": lambda: numpy_heat(plate), "Braze, eager": lambda: heat(u), "Braze, compiled": lambda: fast(u)}
    return side_by_side(rows, repeats=3)


if __name__ == "__main__":
    main()
