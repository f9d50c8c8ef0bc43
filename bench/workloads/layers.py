"""What model workloads share: one spelling for Braze and torch, NumPy's layers for references, training with AdamW."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Program, Workload

EPSILON = 1e-5


class Layered(Workload):
    """A workload whose functional layers are spelled alike in Braze and torch; JAX's version stands beside it."""

    tolerance = 2e-5

    @staticmethod
    @abstractmethod
    def program(library: ModuleType, F: ModuleType, *tensors: Any) -> Any:
        """The program; `F` is `nn.functional`."""

    def braze(self, braze: ModuleType) -> Program:
        return self.written_with(braze, braze.nn.functional)

    def torch(self, torch: ModuleType) -> Program:
        return self.written_with(torch, torch.nn.functional)

    def written_with(self, library: ModuleType, F: ModuleType) -> Program:
        program = self.program

        def run(*tensors: Any) -> Any:
            return program(library, F, *tensors)

        return run


class Trained(Layered):
    """A training step: the mean loss of `program`, its gradients, AdamW. The second step's loss is compared.

    The first `data` inputs are what is learned from, the rest are parameters. torch compiles the loss with its
    backward, and the optimiser; Braze the whole step; JAX the whole step, parameters and moments donated.
    """

    data: int
    training = True
    check_calls = 2
    gradients = True
    tolerance = 1e-4
    rate, decay, beta1, beta2, epsilon = 1e-3, 0.01, 0.9, 0.999, 1e-8

    @abstractmethod
    def jax_loss(self, jax: ModuleType) -> Callable[..., Any]:
        """The loss as a function of JAX arrays."""

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        """The second step's loss in float64. The gradients are Braze's, eager: the peers are held to the same
        numbers.
        """
        import braze

        call = self.braze_call(braze, lambda program: program, [braze.tensor(array) for array in arrays])
        losses = [call() for _ in range(self.check_calls)]
        return np.asarray(losses[-1].detach())

    def braze_call(self, braze: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        from braze import nn, optim

        data, parameters = tensors[: self.data], [nn.Parameter(t) for t in tensors[self.data :]]
        optimiser = optim.AdamW(parameters, lr=self.rate, weight_decay=self.decay)

        def step(*data: Any) -> Any:
            loss = self.program(braze, nn.functional, *data, *parameters)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            return loss.detach()

        staged = stage(step)
        return lambda: staged(*data)

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        data, parameters = tensors[: self.data], [torch.nn.Parameter(t) for t in tensors[self.data :]]
        fused = {"foreach": True} if stage is torch.compile else {"fused": True}
        optimiser = torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.decay, **fused)
        loss_of, update = stage(self.written_with(torch, torch.nn.functional)), stage(lambda: optimiser.step())

        def call() -> Any:
            loss = loss_of(*data, *parameters)
            optimiser.zero_grad()
            loss.backward()
            update()
            return loss.detach()

        return call

    def jax_call(self, jax: ModuleType, stage: Callable[..., Program], tensors: Sequence[Any]) -> Call:
        data, values = tensors[: self.data], list(tensors[self.data :])
        means, squares = ([jax.numpy.zeros_like(value) for value in values] for _ in range(2))
        state = values, means, squares, jax.numpy.int32(0)
        loss_of = self.jax_loss(jax)

        def update(value: Any, gradient: Any, mean: Any, square: Any, count: Any) -> tuple[Any, Any, Any]:
            mean = self.beta1 * mean + (1 - self.beta1) * gradient
            square = self.beta2 * square + (1 - self.beta2) * gradient * gradient
            root = jax.numpy.sqrt(square / (1 - self.beta2**count)) + self.epsilon
            value = value * (1 - self.rate * self.decay) - (self.rate / (1 - self.beta1**count)) * mean / root
            return value, mean, square

        def step(values: Any, means: Any, squares: Any, count: Any, *data: Any) -> Any:
            loss, gradients = jax.value_and_grad(lambda values: loss_of(*data, *values))(values)
            count = count + 1
            updated = [update(*each, count) for each in zip(values, gradients, means, squares)]
            return loss, (*(list(column) for column in zip(*updated)), count)

        staged = stage(step, donate_argnums=(0, 1, 2))

        def call() -> Any:
            nonlocal state
            loss, state = staged(*state, *data)
            return loss

        return call


# ---- NumPy's layers, for references ----------------------------------------------------------------------------------


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU by its tanh form."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax along the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The last axis normalised, scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * weight + bias


def convolve(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Cross-correlation of [N, C, H, W] with [O, C, K, K], an example at a time."""
    size = weight.shape[2:]
    around = (padding, padding)
    out = []
    for image in np.pad(x, ((0, 0), (0, 0), around, around)):
        windows = np.lib.stride_tricks.sliding_window_view(image, size, axis=(1, 2))[:, ::stride, ::stride]
        out.append(np.tensordot(weight, windows, axes=((1, 2, 3), (0, 3, 4))))
    return np.stack(out)


def jax_layer_norm(jax: ModuleType, x: Any, weight: Any, bias: Any) -> Any:
    """Layer norm in JAX."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(axis=-1, keepdims=True) + EPSILON) * weight + bias
