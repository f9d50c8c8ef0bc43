"""Programs that are bound by multiply-adds: matrix products, a small MLP, distances, a convolution block."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from workload import Formula, Program, Workload, normal, uniform

from .layers import EPSILON, Layered, convolve, gelu


class MatMul(Formula):
    """One matrix product."""

    def __init__(self, name: str, rows: int, depth: int, columns: int) -> None:
        self.name, self.rows, self.depth, self.columns = name, rows, depth, columns
        self.title = f"matmul, [{rows}, {depth}] x [{depth}, {columns}]"
        self.bytes = 4 * (rows * depth + depth * columns + rows * columns)
        self.writes = 4 * rows * columns
        self.flops = 2 * rows * depth * columns

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.rows, self.depth), normal(random, self.depth, self.columns)]

    @staticmethod
    def formula(xp: Any, left: Any, right: Any) -> Any:
        return xp.matmul(left, right)

    def onnx(self, model: Any, left: Any, right: Any) -> Any:
        return left @ right


class MLP(Layered):
    """Three linear layers, GELU between them."""

    name = "mlp"
    title = "MLP inference, batch 256, width 1024, 3 layers"
    batch, width, layers = 256, 1024, 3
    fed = 1
    bytes = 4 * (2 * batch * width + layers * (width + 1) * width)
    writes = 4 * batch * width
    flops = layers * 2 * batch * width * width + (layers - 1) * 8 * batch * width

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        arrays = [normal(random, self.batch, self.width)]
        for _ in range(self.layers):
            arrays += [normal(random, self.width, self.width, scale=self.width**-0.5), normal(random, self.width)]
        return arrays

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        for n in range(0, len(weights), 2):
            x = (gelu(x) if n else x) @ weights[n].T + weights[n + 1]
        return x

    @staticmethod
    def program(library: ModuleType, F: ModuleType, x: Any, *weights: Any) -> Any:
        for n in range(0, len(weights), 2):
            x = F.linear(F.gelu(x, approximate="tanh") if n else x, weights[n], weights[n + 1])
        return x

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, *weights: Any) -> Any:
            for n in range(0, len(weights), 2):
                x = (jax.nn.gelu(x) if n else x) @ weights[n].T + weights[n + 1]
            return x

        return run

    def onnx(self, model: Any, x: Any, *weights: Any) -> Any:
        for n in range(0, len(weights), 2):
            x = model.linear(model.Gelu(x, approximate="tanh") if n else x, weights[n], weights[n + 1])
        return x


class PairwiseDistances(Formula):
    """The Euclidean distance of each pair, written by the definition: no n x k x d array is wanted in memory."""

    name = "distances"
    title = "pairwise distances, [1024, 64] x [2048, 64]"
    first, second, width = 1024, 2048, 64
    bytes = 4 * ((first + second) * width + first * second)
    writes = 4 * first * second
    flops = first * second * (3 * width + 1)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.first, self.width), normal(random, self.second, self.width)]

    @staticmethod
    def formula(xp: Any, x: Any, y: Any) -> Any:
        difference = x[:, None, :] - y[None, :, :]
        return xp.sqrt(xp.sum(difference * difference, -1))


class KMeansAssignment(Workload):
    """The nearest of 256 centres for each point; points lie near their centre, so that none is nearly tied."""

    name = "kmeans"
    title = "k-means assignment, 32768 points, 256 centres, 32 dimensions"
    points, centres, width = 32768, 256, 32
    bytes = 4 * (points + centres) * width + 8 * points
    writes = 8 * points
    flops = points * centres * (2 * width + 3)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        centres = normal(random, self.centres, self.width)
        labels = random.integers(0, self.centres, self.points)
        return [centres[labels] + normal(random, self.points, self.width, scale=0.1), centres]

    def reference(self, x: np.ndarray, centres: np.ndarray) -> np.ndarray:
        return ((centres**2).sum(1) - 2 * x @ centres.T).argmin(1)

    def braze(self, braze: ModuleType) -> Program:
        def run(x: Any, centres: Any) -> Any:
            return braze.argmin((centres * centres).sum(1) - 2 * (x @ centres.T), 1)

        return run

    def torch(self, torch: ModuleType) -> Program:
        def run(x: Any, centres: Any) -> Any:
            return torch.argmin((centres * centres).sum(1) - 2 * (x @ centres.T), 1)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, centres: Any) -> Any:
            return jax.numpy.argmin((centres * centres).sum(1) - 2 * (x @ centres.T), 1)

        return run

    def onnx(self, model: Any, x: Any, centres: Any) -> Any:
        norms = model.ReduceSum(centres * centres, [1], keepdims=0)
        return model.ArgMin(norms - (x @ model.Transpose(centres)) * 2.0, axis=1, keepdims=0)


class ConvolutionBlock(Layered):
    """A 3x3 convolution, batch norm by running statistics, ReLU."""

    name = "conv_block"
    title = "conv 3x3 + batch norm + ReLU, [8, 64, 56, 56]"
    batch, channels, side = 8, 64, 56
    fed = 1
    bytes = 4 * (2 * batch * channels * side * side + channels * (9 * channels + 4))
    writes = 4 * batch * channels * side * side
    flops = batch * channels * side * side * (2 * 9 * channels + 3)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        c = self.channels
        weight = normal(random, c, c, 3, 3, scale=(9 * c) ** -0.5)
        statistics = [normal(random, c, scale=0.1), uniform(random, 0.5, 2.0, c), uniform(random, 0.5, 2.0, c)]
        return [normal(random, self.batch, c, self.side, self.side), weight, *statistics, normal(random, c)]

    def reference(self, x: np.ndarray, weight: np.ndarray, *statistics: np.ndarray) -> np.ndarray:
        mean, variance, scale, shift = (each[:, None, None] for each in statistics)
        return np.maximum((convolve(x, weight, 1, 1) - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)

    @staticmethod
    def program(library: ModuleType, F: ModuleType, x: Any, weight: Any, *statistics: Any) -> Any:
        return F.relu(F.batch_norm(F.conv2d(x, weight, None, 1, 1), *statistics))

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, weight: Any, *statistics: Any) -> Any:
            mean, variance, scale, shift = (each[:, None, None] for each in statistics)
            y = jax.lax.conv_general_dilated(x, weight, (1, 1), ((1, 1), (1, 1)))
            return jax.nn.relu((y - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + shift)

        return run

    def onnx(self, model: Any, x: Any, weight: Any, mean: Any, variance: Any, scale: Any, shift: Any) -> Any:
        y = model.Conv(x, weight, pads=[1, 1, 1, 1])
        return model.Relu(model.BatchNormalization(y, scale, shift, mean, variance, epsilon=EPSILON))
