"""Convolutions that are not plain: depthwise and grouped blocks, and transposed ones in a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Program, normal, uniform

from .layers import EPSILON, Layered, Trained, convolve


def convolve_groups(x: np.ndarray, weight: np.ndarray, stride: int, padding: int, groups: int) -> np.ndarray:
    """Cross-correlation group by group."""
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups))
    return np.concatenate([convolve(part, w, stride, padding) for part, w in parts], axis=1)


class Block(Layered):
    """Convolutions with batch norm by running statistics and a ReLU behind each; `layers` are (inputs, outputs, window,
    groups). With a `residual`, the input is added before the last ReLU.
    """

    fed = 1
    batch: int
    side: int
    layers: Sequence[tuple[int, int, int, int]]
    residual: bool

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return self.layers[-1][1]

    def count(self) -> None:
        """Bytes and operations, from the layers."""
        spots = self.batch * self.side * self.side
        elements = sum(o * (i // g * k * k + 4) for i, o, k, g in self.layers)
        self.writes = 4 * spots * self.outputs
        self.bytes = 4 * (spots * self.layers[0][0] + elements) + self.writes
        self.flops = spots * sum(o * (2 * (i // g) * k * k + 3) for i, o, k, g in self.layers)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        arrays = [normal(random, self.batch, self.layers[0][0], self.side, self.side)]
        for i, o, k, g in self.layers:
            taps = i // g * k * k
            statistics = [normal(random, o, scale=0.1), uniform(random, 0.5, 2.0, o), uniform(random, 0.5, 2.0, o)]
            arrays += [normal(random, o, i // g, k, k, scale=(2 / taps) ** 0.5), *statistics,
                       normal(random, o, scale=0.1)]
        return arrays

    def walk(self, x: Any, weights: Sequence[Any], block: Callable[..., Any], relu: Callable[[Any], Any]) -> Any:
        """The layers in order; `block` is a convolution with its batch norm: (x, weights, padding, groups)."""
        y = x
        for n, (_, _, window, groups) in enumerate(self.layers):
            y = block(y, weights[5 * n : 5 * n + 5], window // 2, groups)
            y = relu(y + x if self.residual and n == len(self.layers) - 1 else y)
        return y

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        def block(x: np.ndarray, weights: Sequence[np.ndarray], padding: int, groups: int) -> np.ndarray:
            mean, variance, scale, shift = (each[:, None, None] for each in weights[1:])
            y = convolve_groups(x, weights[0], 1, padding, groups)
            return (y - mean) / np.sqrt(variance + EPSILON) * scale + shift

        return self.walk(x, weights, block, lambda y: np.maximum(y, 0))

    def program(self, library: ModuleType, F: ModuleType, x: Any, *weights: Any) -> Any:
        def block(x: Any, weights: Sequence[Any], padding: int, groups: int) -> Any:
            return F.batch_norm(F.conv2d(x, weights[0], None, 1, padding, 1, groups), *weights[1:])

        return self.walk(x, weights, block, F.relu)

    def jax(self, jax: ModuleType) -> Program:
        def block(x: Any, weights: Sequence[Any], padding: int, groups: int) -> Any:
            mean, variance, scale, shift = (each[:, None, None] for each in weights[1:])
            y = jax.lax.conv_general_dilated(x, weights[0], (1, 1), ((padding, padding),) * 2,
                                             feature_group_count=groups)
            return (y - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + shift

        return lambda x, *weights: self.walk(x, weights, block, jax.nn.relu)

    def onnx(self, model: Any, x: Any, *weights: Any) -> Any:
        def block(x: Any, weights: Sequence[Any], padding: int, groups: int) -> Any:
            weight, mean, variance, scale, shift = weights
            y = model.Conv(x, weight, pads=[padding] * 4, group=groups)
            return model.BatchNormalization(y, scale, shift, mean, variance, epsilon=EPSILON)

        return self.walk(x, weights, block, model.Relu)


class DepthwiseBlock(Block):
    """As in MobileNet (Howard et al. 2017): a depthwise 3x3 convolution, then a pointwise one."""

    name = "depthwise"
    title = "depthwise 3x3 + pointwise, batch norm, ReLU, [8, 128, 28, 28] to 256 channels"
    batch, side, residual = 8, 28, False
    layers = ((128, 128, 3, 128), (128, 256, 1, 1))

    def __init__(self) -> None:
        self.count()


class GroupedBlock(Block):
    """As in ResNeXt-50 (Xie et al. 2017): a bottleneck whose 3x3 convolution has 32 groups."""

    name = "grouped"
    title = "ResNeXt bottleneck, 32 groups, [8, 256, 28, 28]"
    batch, side, residual = 8, 28, True
    layers = ((256, 256, 1, 1), (256, 256, 3, 32), (256, 256, 1, 1))

    def __init__(self) -> None:
        self.count()


class GeneratorTraining(Trained):
    """A training step of a generator of images as in DCGAN (Radford et al. 2015): noise through a linear layer and
    three transposed convolutions (4x4, stride 2) with batch norm over the batch, towards given images.
    """

    name = "generator_train"
    title = "DCGAN generator training step, batch 32, images [3, 32, 32]"
    batch, noise, data = 32, 64, 2
    channels = (128, 64, 32, 3)
    sides = (4, 8, 16, 32)
    elements = 64 * 128 * 16 + sum(16 * i * o for i, o in zip(channels, channels[1:])) + 2 * (64 + 32) + 3
    bytes = 4 * (6 * elements + batch * (noise + 3 * 32 * 32))
    writes = 3 * 4 * elements
    flops = 3 * batch * (2 * 64 * 128 * 16 + sum(
        2 * 16 * i * o * s * s for i, o, s in zip(channels, channels[1:], sides))) + 15 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        noise, images = normal(random, self.batch, self.noise), uniform(random, -1, 1, self.batch, 3, 32, 32)
        arrays = [normal(random, self.channels[0] * 16, self.noise, scale=self.noise**-0.5)]
        for n, (i, o) in enumerate(zip(self.channels, self.channels[1:])):
            arrays.append(normal(random, i, o, 4, 4, scale=(4 * i) ** -0.5))
            arrays += [uniform(random, 0.5, 1.5, o), normal(random, o, scale=0.1)] if n < 2 else [
                normal(random, o, scale=0.1)]
        return [noise, images, *arrays]

    @staticmethod
    def program(library: ModuleType, F: ModuleType, *tensors: Any) -> Any:
        noise, images, w0, w1, scale1, shift1, w2, scale2, shift2, w3, bias = tensors
        x = F.relu(F.linear(noise, w0)).reshape(noise.shape[0], -1, 4, 4)
        for weight, scale, shift in ((w1, scale1, shift1), (w2, scale2, shift2)):
            y = F.conv_transpose2d(x, weight, None, 2, 1)
            x = F.relu(F.batch_norm(y, None, None, scale, shift, True))
        y = library.tanh(F.conv_transpose2d(x, w3, bias, 2, 1))
        return ((y - images) ** 2).mean()

    def jax_loss(self, jax: ModuleType) -> Callable[..., Any]:
        def spread(x: Any, weight: Any) -> Any:
            """The transposed convolution, as XLA has it: of a dilated image, with the window turned around."""
            turned = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
            return jax.lax.conv_general_dilated(x, turned, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))

        def normalised(y: Any, scale: Any, shift: Any) -> Any:
            centred = y - y.mean((0, 2, 3), keepdims=True)
            deviation = jax.lax.rsqrt((centred * centred).mean((0, 2, 3), keepdims=True) + EPSILON)
            return centred * deviation * scale[:, None, None] + shift[:, None, None]

        def loss(noise: Any, images: Any, w0: Any, w1: Any, scale1: Any, shift1: Any, w2: Any, scale2: Any,
                 shift2: Any, w3: Any, bias: Any) -> Any:
            x = jax.nn.relu(noise @ w0.T).reshape(noise.shape[0], -1, 4, 4)
            x = jax.nn.relu(normalised(spread(x, w1), scale1, shift1))
            x = jax.nn.relu(normalised(spread(x, w2), scale2, shift2))
            y = jax.numpy.tanh(spread(x, w3) + bias[:, None, None])
            return ((y - images) ** 2).mean()

        return loss
