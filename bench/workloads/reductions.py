"""Programs that reduce: softmax and layer_norm over rows, a variance over the outer axis, logsumexp."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from workload import Program, Workload, normal


class Softmax(Workload):
    """Softmax over rows."""

    name = "softmax"
    title = "softmax, [8192, 1024]"
    rows, columns = 8192, 1024
    bytes = 2 * 4 * rows * columns
    writes = 4 * rows * columns
    flops = 5 * rows * columns

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.rows, self.columns, scale=3.0)]

    def reference(self, x: np.ndarray) -> np.ndarray:
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def braze(self, braze: ModuleType) -> Program:
        from braze.nn import functional

        def run(x: Any) -> Any:
            return functional.softmax(x, -1)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return torch.softmax(x, -1)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return jax.nn.softmax(x, axis=-1)

        return run


class ResidualLayerNorm(Workload):
    """layer_norm(x + residual), with scale and shift."""

    name = "layer_norm"
    title = "layer_norm(x + residual), [8192, 1024]"
    rows, columns = 8192, 1024
    bytes = 4 * (3 * rows * columns + 2 * columns)
    writes = 4 * rows * columns
    flops = 8 * rows * columns
    epsilon = 1e-5

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        shape = self.rows, self.columns
        return [normal(random, *shape), normal(random, *shape), normal(random, shape[1]), normal(random, shape[1])]

    def reference(self, x: np.ndarray, residual: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        total = x + residual
        centred = total - total.mean(axis=1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + self.epsilon) * weight + bias

    def braze(self, braze: ModuleType) -> Program:
        from braze.nn import functional

        columns, epsilon = self.columns, self.epsilon

        def run(x: Any, residual: Any, weight: Any, bias: Any) -> Any:
            return functional.layer_norm(x + residual, (columns,), weight, bias, epsilon)

        return run

    def torch(self, torch: ModuleType) -> Program:
        columns, epsilon = self.columns, self.epsilon

        def run(x: Any, residual: Any, weight: Any, bias: Any) -> Any:
            return torch.nn.functional.layer_norm(x + residual, (columns,), weight, bias, epsilon)

        return run

    def jax(self, jax: ModuleType) -> Program:
        epsilon = self.epsilon

        def run(x: Any, residual: Any, weight: Any, bias: Any) -> Any:
            total = x + residual
            centred = total - total.mean(axis=1, keepdims=True)
            variance = (centred * centred).mean(axis=1, keepdims=True)
            return centred * jax.lax.rsqrt(variance + epsilon) * weight + bias

        return run


class Variance(Workload):
    """The variance of each column: a reduction over the axis that isn't contiguous."""

    name = "variance"
    title = "variance over axis 0, [4096, 2048]"
    rows, columns = 4096, 2048
    bytes = 4 * (rows * columns + columns)
    writes = 4 * columns
    flops = 4 * rows * columns

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.rows, self.columns)]

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.var(axis=0)

    def braze(self, braze: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return braze.var(x, axis=0)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return torch.var(x, dim=0, correction=0)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return jax.numpy.var(x, axis=0)

        return run


class LogSumExp(Workload):
    """logsumexp of each row."""

    name = "logsumexp"
    title = "logsumexp over axis 1, [4096, 2048]"
    rows, columns = 4096, 2048
    bytes = 4 * (rows * columns + rows)
    writes = 4 * rows
    flops = 4 * rows * columns

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.rows, self.columns, scale=3.0)]

    def reference(self, x: np.ndarray) -> np.ndarray:
        largest = x.max(axis=1, keepdims=True)
        return np.log(np.exp(x - largest).sum(axis=1)) + largest[:, 0]

    def braze(self, braze: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return braze.logsumexp(x, axis=1)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return torch.logsumexp(x, 1)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any) -> Any:
            return jax.nn.logsumexp(x, axis=1)

        return run
