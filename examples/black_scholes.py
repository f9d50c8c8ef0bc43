"""Prices of a million European options by the Black-Scholes formula, and their deltas by automatic differentiation."""

import math

import braze
import numpy as np
from measure import QUICK, side_by_side

COUNT = 10_000 if QUICK else 1_000_000
RATE, VOLATILITY = 0.03, 0.25


def normal_cdf(x):
    """The distribution function of the standard normal."""
    return 0.5 * (1.0 + braze.erf(x * math.sqrt(0.5)))


def call_price(spot, strike, years):
    """Black and Scholes 1973."""
    spread = VOLATILITY * braze.sqrt(years)
    d1 = (braze.log(spot / strike) + (RATE + 0.5 * VOLATILITY**2) * years) / spread
    return spot * normal_cdf(d1) - strike * braze.exp(-RATE * years) * normal_cdf(d1 - spread)


def numpy_erf(x):
    """Abramowitz and Stegun 7.1.26: NumPy has no erf; the error is below 1.5e-7."""
    t = 1.0 / (1.0 + 0.3275911 * np.abs(x))
    p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1.0 - p * np.exp(-x * x))


def numpy_price(spot, strike, years):
    """The same with NumPy."""
    def cdf(x):
        return 0.5 * (1.0 + numpy_erf(x * np.float32(math.sqrt(0.5))))

    spread = np.float32(VOLATILITY) * np.sqrt(years)
    d1 = (np.log(spot / strike) + np.float32(RATE + 0.5 * VOLATILITY**2) * years) / spread
    return spot * cdf(d1) - strike * np.exp(-np.float32(RATE) * years) * cdf(d1 - spread)


def main():
    rng = np.random.default_rng(0)
    market = [rng.uniform(low, high, COUNT).astype(np.float32) for low, high in ((50, 150), (50, 150), (0.1, 2))]
    tensors = [braze.tensor(a) for a in market]
    fast = braze.compile(call_price)
    print(f"{COUNT:,} prices")
    worst = side_by_side({
        "NumPy": lambda: numpy_price(*market), "Braze, eager": lambda: call_price(*tensors),
        "Braze, compiled": lambda: fast(*tensors)})

    def total(spot, strike, years):
        return call_price(spot, strike, years).sum()

    delta = braze.grad(total)
    fast_delta = braze.compile(delta)
    print(f"\n{COUNT:,} deltas")
    side_by_side({"Braze, eager": lambda: delta(*tensors), "Braze, compiled": lambda: fast_delta(*tensors)})
    return worst


if __name__ == "__main__":
    main()
