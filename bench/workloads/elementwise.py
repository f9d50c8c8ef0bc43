"""Pointwise programs: a long chain, gelu with a bias, Black-Scholes, and ten operations on next to nothing."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from workload import Formula, Program, Workload, erf64, normal, uniform


class Chain(Formula):
    """A chain of fifteen operations on 4M elements: what fusion is for."""

    name = "chain"
    title = "elementwise chain, 4M elements"
    elements = 4 * 2**20
    bytes = 3 * 4 * elements
    writes = 4 * elements
    flops = 15 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.elements), normal(random, self.elements)]

    @staticmethod
    def formula(xp: ModuleType, x: Any, y: Any) -> Any:
        a = x * y + 0.5
        b = xp.tanh(a) * x
        c = xp.exp(-b * b)
        return c / (1.0 + xp.abs(y)) + xp.sqrt(a * a + 1.0) - 0.25 * b


class GeluBias(Workload):
    """gelu(x + b), exact: large output, one transcendental function."""

    name = "gelu_bias"
    title = "gelu(x + b), 4096 x 4096"
    rows = columns = 4096
    bytes = 4 * (2 * rows * columns + columns)
    writes = 4 * rows * columns
    flops = 6 * rows * columns

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.rows, self.columns), normal(random, self.columns)]

    def reference(self, x: np.ndarray, b: np.ndarray) -> np.ndarray:
        shifted = x + b
        return 0.5 * shifted * (1.0 + erf64(shifted * math.sqrt(0.5)))

    def braze(self, braze: ModuleType) -> Program:
        from braze.nn import functional

        def run(x: Any, b: Any) -> Any:
            return functional.gelu(x + b)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any, b: Any) -> Any:
            return torch.nn.functional.gelu(x + b)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, b: Any) -> Any:
            return jax.nn.gelu(x + b, approximate=False)

        return run


class BlackScholes(Workload):
    """Prices of European calls and puts."""

    name = "black_scholes"
    title = "Black-Scholes, 2M options"
    options = 2 * 2**20
    bytes = 5 * 4 * options
    writes = 2 * 4 * options
    flops = 38 * options
    rate, volatility = 0.03, 0.25

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        count = self.options
        return [uniform(random, 10, 50, count), uniform(random, 10, 50, count), uniform(random, 0.25, 3.0, count)]

    def prices(self, xp: ModuleType, erf: Program, spot: Any, strike: Any, years: Any) -> tuple[Any, Any]:
        """The closed form (Black and Scholes 1973), on the functions of one framework."""
        rate, volatility, half = self.rate, self.volatility, math.sqrt(0.5)
        deviation = volatility * xp.sqrt(years)
        d1 = (xp.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / deviation
        d2 = d1 - deviation
        discounted = strike * xp.exp(-rate * years)
        below1, below2 = 0.5 + 0.5 * erf(d1 * half), 0.5 + 0.5 * erf(d2 * half)
        call = spot * below1 - discounted * below2
        put = discounted * (1.0 - below2) - spot * (1.0 - below1)
        return call, put

    def reference(self, *arrays: np.ndarray) -> Any:
        return self.prices(np, erf64, *arrays)

    def braze(self, braze: ModuleType) -> Program:
        def run(spot: Any, strike: Any, years: Any) -> Any:
            return self.prices(braze, braze.erf, spot, strike, years)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(spot: Any, strike: Any, years: Any) -> Any:
            return self.prices(torch, torch.erf, spot, strike, years)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(spot: Any, strike: Any, years: Any) -> Any:
            return self.prices(jax.numpy, jax.lax.erf, spot, strike, years)

        return run


class QuadraticMap(Formula):
    """Twenty turns of z^2 + c on complex numbers, with c so small that orbits stay near a fixed point."""

    name = "quadratic_map"
    title = "20 turns of z*z + c, 1M complex numbers"
    elements, turns = 2**20, 20
    bytes = 8 * 3 * elements + 4 * elements
    writes = 8 * elements + 4 * elements
    flops = turns * 8 * elements + 4 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        parts = [uniform(random, -0.15, 0.15, self.elements) for _ in range(4)]
        return [re + 1j * im for re, im in zip(parts[::2], parts[1::2])]

    @staticmethod
    def formula(xp: ModuleType, z: Any, c: Any) -> Any:
        for _ in range(QuadraticMap.turns):
            z = z * z + c
        return z, xp.abs(z)


class SmallOps(Workload):
    """Ten operations on 64 elements: the cost of a call, not of arithmetic."""

    name = "small_ops"
    title = "ten ops on 64 elements"
    elements = 64
    bytes = 3 * 4 * elements
    writes = 4 * elements
    flops = 10 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.elements), normal(random, self.elements)]

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp((((x + y) * x - y) * 0.5) ** 2 * -0.1) * y + np.tanh(x)

    def braze(self, braze: ModuleType) -> Program:
        def run(x: Any, y: Any) -> Any:
            a = ((x + y) * x - y) * 0.5
            return braze.exp(a * a * -0.1) * y + braze.tanh(x)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any, y: Any) -> Any:
            a = ((x + y) * x - y) * 0.5
            return torch.exp(a * a * -0.1) * y + torch.tanh(x)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, y: Any) -> Any:
            a = ((x + y) * x - y) * 0.5
            return jax.numpy.exp(a * a * -0.1) * y + jax.numpy.tanh(x)

        return run
