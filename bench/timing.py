"""Timing of a call inside one process: batches long enough for the clock, the median of many."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

SHORTEST_BATCH = 1e-3
FEWEST_BATCHES = 5


def median_seconds(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds a call over about `seconds` of calling, after a warm-up of a third as long."""
    single = warm_up(call, seconds / 3)
    batch = max(1, math.ceil(SHORTEST_BATCH / single))
    samples: list[float] = []
    gc.collect()
    gc.disable()
    end = time.perf_counter() + seconds
    while len(samples) < FEWEST_BATCHES or time.perf_counter() < end:
        samples.append(batch_seconds(call, batch))
    gc.enable()
    return statistics.median(samples)


def warm_up(call: Callable[[], Any], seconds: float) -> float:
    """Call for a while, at least twice; the shortest time of a call."""
    end, shortest, count = time.perf_counter() + seconds, math.inf, 0
    while count < 2 or time.perf_counter() < end:
        shortest = min(shortest, batch_seconds(call, 1))
        count += 1
    return shortest


def batch_seconds(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, over `count` calls whose results are dropped at once."""
    turns = range(count)
    start = time.perf_counter()
    for _ in turns:
        call()
    return (time.perf_counter() - start) / count
