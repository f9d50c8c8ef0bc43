"""One small table for the numerical examples: NumPy, Braze eager, Braze compiled, side by side."""

import os
import time

import numpy as np

QUICK = bool(os.environ.get("BRAZE_QUICK"))          # small sizes, for the tests


def median_seconds(run, repeats):
    """The median of some runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def side_by_side(rows, repeats=3 if QUICK else 7):
    """`rows`: {name: function without arguments}, NumPy first. Prints times and largest differences from the first;
    returns the latter."""
    results = {name: np.asarray(run()) for name, run in rows.items()}
    reference = next(iter(results.values()))
    scale = float(np.abs(reference).max())
    slowest = None
    print(f"{'':18}{'time':>12}{'speed-up':>10}{'largest difference':>22}")
    worst = 0.0
    for name, run in rows.items():
        seconds = median_seconds(run, repeats)
        slowest = slowest or seconds
        difference = float(np.abs(results[name] - reference).max()) / scale
        worst = max(worst, difference)
        print(f"{name:18}{1e3 * seconds:9.2f} ms{slowest / seconds:9.1f}x{difference:22.1e}")
    return worst
