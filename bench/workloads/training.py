"""Programs that update state: the step of an optimiser over many parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Program, Workload, normal


class AdamW(Workload):
    """One AdamW step over 100 parameters, half matrices and half vectors, as a transformer has them.

    Each framework updates in place: torch and Braze through their optimisers, JAX by donating parameters and moments.
    torch eager runs its fused CPU optimiser, torch.compile fuses the `foreach` one itself.
    """

    name = "adamw"
    title = "AdamW, 100 parameters"
    matrices = vectors = 50
    width = 512
    elements = matrices * width * width + vectors * width
    bytes = 7 * 4 * elements
    writes = 3 * 4 * elements
    flops = 15 * elements
    training = True
    check_calls = 3
    gradients = True
    rate, decay, beta1, beta2, epsilon = 1e-3, 0.01, 0.9, 0.999, 1e-8

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        shapes = [(self.width, self.width)] * self.matrices + [(self.width,)] * self.vectors
        return [normal(random, *shape, scale=0.02) for shape in shapes + shapes]

    def reference(self, *arrays: np.ndarray) -> Any:
        half = len(arrays) // 2
        return tuple(self.reference_steps(value, gradient) for value, gradient in zip(arrays[:half], arrays[half:]))

    def reference_steps(self, value: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Loshchilov and Hutter 2019, algorithm 2, with the decay multiplied by the rate as all three libraries do."""
        mean, square = np.zeros_like(value), np.zeros_like(value)
        for count in range(1, self.check_calls + 1):
            mean = self.beta1 * mean + (1 - self.beta1) * gradient
            square = self.beta2 * square + (1 - self.beta2) * gradient**2
            root = np.sqrt(square / (1 - self.beta2**count)) + self.epsilon
            value = value - self.rate * self.decay * value - self.rate * mean / (1 - self.beta1**count) / root
        return value

    def braze_call(self, braze: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        from braze import nn, optim

        parameters = with_gradients(nn.Parameter, tensors)
        optimiser = optim.AdamW(
            parameters, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.epsilon, weight_decay=self.decay
        )
        return stepping(stage, optimiser, parameters)

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        parameters = with_gradients(torch.nn.Parameter, tensors)
        optimiser = torch.optim.AdamW(
            parameters,
            lr=self.rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.decay,
            **({"foreach": True} if stage is torch.compile else {"fused": True}),
        )
        return stepping(stage, optimiser, parameters)

    def jax_call(self, jax: ModuleType, stage: Callable[..., Program], tensors: Sequence[Any]) -> Call:
        half = len(tensors) // 2
        values = list(tensors[:half])
        means, squares = ([jax.numpy.zeros_like(value) for value in values] for _ in range(2))
        state = values, means, squares, jax.numpy.int32(0)
        gradients = list(tensors[half:])

        def update(value: Any, gradient: Any, mean: Any, square: Any, count: Any) -> tuple[Any, Any, Any]:
            mean = self.beta1 * mean + (1 - self.beta1) * gradient
            square = self.beta2 * square + (1 - self.beta2) * gradient * gradient
            root = jax.numpy.sqrt(square / (1 - self.beta2**count)) + self.epsilon
            value = value * (1 - self.rate * self.decay) - (self.rate / (1 - self.beta1**count)) * mean / root
            return value, mean, square

        def step(values: Any, means: Any, squares: Any, count: Any, gradients: Any) -> Any:
            count = count + 1
            updated = [update(*each, count) for each in zip(values, gradients, means, squares)]
            return *(list(column) for column in zip(*updated)), count

        staged = stage(step, donate_argnums=(0, 1, 2))

        def call() -> Any:
            nonlocal state
            state = staged(*state, gradients)
            return state[0]

        return call


def with_gradients(make: Callable[[Any], Any], tensors: Sequence[Any]) -> list[Any]:
    """Parameters of the first half of the tensors, with the second half as their gradients."""
    half = len(tensors) // 2
    parameters = [make(tensor) for tensor in tensors[:half]]
    for parameter, gradient in zip(parameters, tensors[half:]):
        parameter.grad = gradient
    return parameters


def stepping(stage: Callable[[Program], Program], optimiser: Any, parameters: list[Any]) -> Call:
    def step() -> None:
        optimiser.step()

    staged = stage(step)

    def call() -> Any:
        staged()
        return parameters

    return call
