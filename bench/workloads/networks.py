"""Convolutional and recurrent networks: ResNet-50, the training step of a small CNN, an LSTM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Program, Workload, normal, uniform

from .layers import EPSILON, Layered, Trained, convolve

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
EXPANSION = 4


def convolutions() -> Iterator[tuple[int, int, int, int]]:
    """(inputs, outputs, window, side of the result) of ResNet-50's convolutions, in the order in which weights are
    used.
    """
    yield 3, 64, 7, 112
    inputs = 64
    for stage, (width, blocks) in enumerate(STAGES):
        side = 56 >> stage
        for n in range(blocks):
            yield inputs, width, 1, side if n or not stage else 2 * side
            yield width, width, 3, side
            yield width, EXPANSION * width, 1, side
            if n == 0:
                yield inputs, EXPANSION * width, 1, side
            inputs = EXPANSION * width


class ResNet50(Layered):
    """ResNet-50 (He et al. 2015, strides on the 3x3 convolutions) with running statistics, 224 x 224."""

    tolerance = 1e-4
    fed = 1

    def __init__(self, batch: int) -> None:
        self.name, self.title, self.batch = f"resnet50_{batch}", f"ResNet-50 inference, batch {batch}", batch
        shapes = list(convolutions())
        elements = sum(o * (i * k * k + 4) for i, o, k, _ in shapes) + 2049 * 1000
        self.bytes = 4 * (elements + batch * (3 * 224 * 224 + 1000))
        self.writes = 4 * batch * 1000
        self.flops = batch * (sum(s * s * o * (2 * i * k * k + 3) for i, o, k, s in shapes) + 2 * 2048 * 1000)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        arrays = [normal(random, self.batch, 3, 224, 224)]
        for i, o, k, _ in convolutions():
            statistics = [normal(random, o, scale=0.1), uniform(random, 0.5, 2.0, o), uniform(random, 0.3, 0.7, o)]
            arrays += [normal(random, o, i, k, k, scale=(2 / (i * k * k)) ** 0.5), *statistics,
                       normal(random, o, scale=0.1)]
        return [*arrays, normal(random, 1000, 2048, scale=2048**-0.5), normal(random, 1000)]

    @staticmethod
    def walk(x: Any, weights: Sequence[Any], convolve: Callable[..., Any], relu: Callable[[Any], Any],
             pool: Callable[[Any], Any]) -> Any:
        """The network up to the last pooling; `convolve` is a convolution with its batch norm: (x, weights, stride,
        padding).
        """
        parts = iter([weights[n : n + 5] for n in range(0, len(weights), 5)])
        x = pool(relu(convolve(x, next(parts), 2, 3)))
        for stage, (_, blocks) in enumerate(STAGES):
            for n in range(blocks):
                stride = 2 if n == 0 and stage else 1
                y = relu(convolve(x, next(parts), 1, 0))
                y = relu(convolve(y, next(parts), stride, 1))
                y = convolve(y, next(parts), 1, 0)
                x = relu(y + (x if n else convolve(x, next(parts), stride, 0)))
        return x

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        def block(x: np.ndarray, weights: Sequence[np.ndarray], stride: int, padding: int) -> np.ndarray:
            mean, variance, scale, shift = (each[:, None, None] for each in weights[1:])
            return (convolve(x, weights[0], stride, padding) - mean) / np.sqrt(variance + EPSILON) * scale + shift

        def pool(x: np.ndarray) -> np.ndarray:
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
            return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max((-1, -2))

        y = self.walk(x, weights[:-2], block, lambda x: np.maximum(x, 0), pool)
        return y.mean((2, 3)) @ weights[-2].T + weights[-1]

    @staticmethod
    def program(library: ModuleType, F: ModuleType, x: Any, *weights: Any) -> Any:
        def block(x: Any, weights: Sequence[Any], stride: int, padding: int) -> Any:
            return F.batch_norm(F.conv2d(x, weights[0], None, stride, padding), *weights[1:])

        y = ResNet50.walk(x, weights[:-2], block, F.relu, lambda x: F.max_pool2d(x, 3, 2, 1))
        return F.linear(y.mean((2, 3)), weights[-2], weights[-1])

    def jax(self, jax: ModuleType) -> Program:
        lax = jax.lax

        def block(x: Any, weights: Sequence[Any], stride: int, padding: int) -> Any:
            mean, variance, scale, shift = (each[:, None, None] for each in weights[1:])
            y = lax.conv_general_dilated(x, weights[0], (stride, stride), ((padding, padding),) * 2)
            return (y - mean) * lax.rsqrt(variance + EPSILON) * scale + shift

        def pool(x: Any) -> Any:
            around = (0, 0), (0, 0), (1, 1), (1, 1)
            return lax.reduce_window(x, -jax.numpy.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), around)

        def run(x: Any, *weights: Any) -> Any:
            return self.walk(x, weights[:-2], block, jax.nn.relu, pool).mean((2, 3)) @ weights[-2].T + weights[-1]

        return run

    def onnx(self, model: Any, x: Any, *weights: Any) -> Any:
        def block(x: Any, weights: Sequence[Any], stride: int, padding: int) -> Any:
            weight, mean, variance, scale, shift = weights
            y = model.Conv(x, weight, strides=[stride] * 2, pads=[padding] * 4)
            return model.BatchNormalization(y, scale, shift, mean, variance, epsilon=EPSILON)

        def pool(x: Any) -> Any:
            return model.MaxPool(x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

        y = model.GlobalAveragePool(self.walk(x, weights[:-2], block, model.Relu, pool))
        return model.linear(model.Flatten(y), weights[-2], weights[-1])


class CNNTraining(Trained):
    """A training step of two convolutions with pooling and a linear layer."""

    name = "cnn_train"
    title = "CNN training step, [64, 3, 32, 32]"
    batch, classes, data = 64, 10, 2
    elements = 32 * (27 + 1) + 64 * (9 * 32 + 1) + 10 * (64 * 64 + 1)
    bytes = 4 * (6 * elements + batch * 3 * 32 * 32) + 8 * batch
    writes = 3 * 4 * elements
    flops = batch * (2 * 2 * 27 * 32 * 1024 + 3 * 2 * 9 * 32 * 64 * 256 + 3 * 2 * 4096 * 10) + 15 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        images, labels = normal(random, self.batch, 3, 32, 32), random.integers(0, self.classes, self.batch)
        arrays = []
        for shape in ((32, 3, 3, 3), (64, 32, 3, 3), (self.classes, 4096)):
            arrays += [normal(random, *shape, scale=np.prod(shape[1:]) ** -0.5), normal(random, shape[0], scale=0.1)]
        return [images, labels, *arrays]

    @staticmethod
    def program(library: ModuleType, F: ModuleType, *tensors: Any) -> Any:
        x, labels, w1, b1, w2, b2, w3, b3 = tensors
        x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, 1, 1)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, 1, 1)), 2)
        return F.cross_entropy(F.linear(x.reshape(x.shape[0], -1), w3, b3), labels)

    def jax_loss(self, jax: ModuleType) -> Callable[..., Any]:
        def block(x: Any, weight: Any, bias: Any) -> Any:
            y = jax.lax.conv_general_dilated(x, weight, (1, 1), ((1, 1), (1, 1))) + bias[:, None, None]
            return jax.lax.reduce_window(jax.nn.relu(y), -jax.numpy.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2),
                                         "VALID")

        def loss(x: Any, labels: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
            x = block(block(x, w1, b1), w2, b2)
            log_p = jax.nn.log_softmax(x.reshape(x.shape[0], -1) @ w3.T + b3)
            return -jax.numpy.take_along_axis(log_p, labels[:, None], -1).mean()

        return loss


class LSTM(Workload):
    """One layer of LSTM (gates in torch's order) from a zero state; torch runs its own layer."""

    name = "lstm"
    title = "LSTM, hidden 256, 64 steps, batch 32"
    steps, batch, width = 64, 32, 256
    fed = 1
    tolerance = 2e-5
    bytes = 4 * (2 * steps * batch * width + 8 * width * (width + 1))
    writes = 4 * steps * batch * width
    flops = steps * batch * (2 * 8 * width * width + 4 * 5 * width)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        w = self.width
        weights = [normal(random, 4 * w, w, scale=w**-0.5) for _ in range(2)]
        return [normal(random, self.steps, self.batch, w), *weights,
                *(normal(random, 4 * w, scale=0.1) for _ in range(2))]

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        w_in, w_hidden, b_in, b_hidden = weights
        h = c = np.zeros(x.shape[1:])
        out = []
        for row in x:
            gates = np.split(row @ w_in.T + b_in + h @ w_hidden.T + b_hidden, 4, 1)
            i, f, o = (1 / (1 + np.exp(-gates[n])) for n in (0, 1, 3))
            c = f * c + i * np.tanh(gates[2])
            h = o * np.tanh(c)
            out.append(h)
        return np.stack(out)

    def braze(self, braze: ModuleType) -> Program:
        F, width = braze.nn.functional, self.width

        def run(x: Any, w_in: Any, w_hidden: Any, b_in: Any, b_hidden: Any) -> Any:
            def step(state: Any, row: Any) -> Any:
                h, c = state
                i, f, g, o = (F.linear(row, w_in, b_in) + F.linear(h, w_hidden, b_hidden)).split(width, 1)
                c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
                h = F.sigmoid(o) * F.tanh(c)
                return (h, c), h

            zero = braze.zeros_like(x[0])
            return braze.scan(step, (zero, zero), x)[1]

        return run

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        x, *weights = tensors
        layer = torch.nn.LSTM(self.width, self.width)
        with torch.no_grad():
            for parameter, value in zip(layer.parameters(), weights):
                parameter.copy_(value)
        staged = stage(layer)
        return lambda: staged(x)[0]

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, w_in: Any, w_hidden: Any, b_in: Any, b_hidden: Any) -> Any:
            def step(state: Any, row: Any) -> Any:
                h, c = state
                i, f, g, o = jax.numpy.split(row @ w_in.T + b_in + h @ w_hidden.T + b_hidden, 4, 1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
                h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
                return (h, c), h

            zero = jax.numpy.zeros_like(x[0])
            return jax.lax.scan(step, (zero, zero), x)[1]

        return run

    def onnx(self, model: Any, x: Any, *weights: Any) -> Any:
        """ONNX's layer, which has the gates in the order input, output, forget, cell."""
        def ordered(weight: Any) -> np.ndarray:
            i, f, g, o = np.split(weight.array, 4)
            return np.concatenate([i, o, f, g])[None]

        w_in, w_hidden, b_in, b_hidden = map(ordered, weights)
        biases = np.concatenate([b_in, b_hidden], 1)
        y = model.LSTM(x, *map(model.constant, (w_in, w_hidden, biases)), hidden_size=self.width)
        return model.Squeeze(y, [1])
