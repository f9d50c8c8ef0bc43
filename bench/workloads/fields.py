"""Programs of science that go beyond one field: waves, reactions, and the gradient of sums over all pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Program, Workload, normal, uniform

from .simulation import laplacian


class Fields(Workload):
    """Explicit steps of fields on a plane; the border keeps its values.

    Compulsory bytes are those of the whole loop. Each framework is written as its users would for speed: torch steps in
    place between arrays that are there, one compiled step at a time; JAX and Braze have a loop of their own.
    """

    size, steps, count = 2048, 50, 2
    operations: int                      # of a step, for each place
    tolerance = 1e-4

    def __init__(self) -> None:
        self.bytes = 2 * self.count * 4 * self.size * self.size
        self.writes = self.bytes // 2
        self.flops = self.operations * self.steps * (self.size - 2) ** 2

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [uniform(random, 0.0, 1.0, self.size, self.size) for _ in range(self.count)]

    @abstractmethod
    def step(self, pad: Program, *fields: Any) -> tuple[Any, ...]:
        """The fields a step later; `pad` puts zeros around an interior."""

    @abstractmethod
    def step_in_place(self, fields: Sequence[Any], spare: Sequence[Any]) -> None:
        """The same for torch, which then is in the fields whose order `swapped` tells."""

    @abstractmethod
    def swapped(self, fields: Sequence[Any], spare: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """The fields and the spare arrays after a step in place."""

    def reference(self, *fields: np.ndarray) -> tuple[np.ndarray, ...]:
        for _ in range(self.steps):
            fields = self.step(lambda x: np.pad(x, 1), *fields)
        return fields

    def braze(self, braze: ModuleType) -> Program:
        return self.looped(lambda x: braze.pad(x, 1), braze.fori_loop)

    def jax(self, jax: ModuleType) -> Program:
        return self.looped(lambda x: jax.numpy.pad(x, 1), jax.lax.fori_loop)

    def looped(self, pad: Program, fori_loop: Callable[..., Any]) -> Program:
        def run(*fields: Any) -> Any:
            return fori_loop(0, self.steps, lambda _, now: self.step(pad, *now), fields)

        return run

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        now, spare = ([t.clone() for t in tensors] for _ in range(2))
        staged = stage(self.step_in_place)

        def call() -> Any:
            fields, other = now, spare
            for field, start in zip(fields, tensors):
                field.copy_(start)
            for _ in range(self.steps):
                staged(fields, other)
                fields, other = self.swapped(fields, other)
            return tuple(fields)

        return call


class Wave(Fields):
    """The wave equation, second order in time: a step overwrites the field of a step ago."""

    name = "wave"
    title = "wave equation, 50 steps, 2048 x 2048"
    operations, courant = 9, 0.25

    def step(self, pad: Program, *fields: Any) -> tuple[Any, ...]:
        u, before = fields
        return u + pad((u - before)[1:-1, 1:-1] + self.courant * laplacian(u)), u

    def step_in_place(self, fields: Sequence[Any], spare: Sequence[Any]) -> None:
        u, before = fields
        before[1:-1, 1:-1] = 2.0 * u[1:-1, 1:-1] - before[1:-1, 1:-1] + self.courant * laplacian(u)

    def swapped(self, fields: Sequence[Any], spare: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        return fields[::-1], spare

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        """A border that is at rest, so that both ways to keep it agree."""
        fields = super().inputs(random)
        for side in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            fields[1][side] = fields[0][side]
        return fields


class GrayScott(Fields):
    """A reaction and the diffusion of two substances."""

    name = "gray_scott"
    title = "Gray-Scott reaction, 50 steps, 2048 x 2048"
    operations = 24
    diffusion, feed, kill = (0.16, 0.08), 0.035, 0.065

    def changes(self, u: Any, v: Any) -> tuple[Any, Any]:
        """By how much a step changes the interior."""
        inner_u, inner_v = u[1:-1, 1:-1], v[1:-1, 1:-1]
        eaten = inner_u * inner_v * inner_v
        return (self.diffusion[0] * laplacian(u) - eaten + self.feed * (1.0 - inner_u),
                self.diffusion[1] * laplacian(v) + eaten - (self.feed + self.kill) * inner_v)

    def step(self, pad: Program, *fields: Any) -> tuple[Any, ...]:
        return tuple(x + pad(change) for x, change in zip(fields, self.changes(*fields)))

    def step_in_place(self, fields: Sequence[Any], spare: Sequence[Any]) -> None:
        for x, y, change in zip(fields, spare, self.changes(*fields)):
            y[1:-1, 1:-1] = x[1:-1, 1:-1] + change

    def swapped(self, fields: Sequence[Any], spare: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        return spare, fields


class KernelGradient(Workload):
    """A matrix of Gaussian kernel functions times a vector, and its gradients: n x n values that need no memory."""

    name = "kernel_gradient"
    title = "Gaussian kernel matrix times vector with gradients, n = 4096, d = 3"
    points, width = 4096, 3
    bytes = 4 * points * (2 * width + 4)
    writes = 4 * points * (width + 2)
    flops = 40 * points * points
    gradients = True
    tolerance = 1e-4

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, self.points, self.width), normal(random, self.points), normal(random, self.points)]

    @staticmethod
    def formula(exp: Program, x: Any, v: Any) -> Any:
        apart = x[:, None, :] - x[None, :, :]
        return exp(-0.5 * (apart * apart).sum(-1)) @ v

    def reference(self, x: np.ndarray, v: np.ndarray, g: np.ndarray) -> Any:
        square = (x * x).sum(-1)
        kernel = np.exp(x @ x.T - 0.5 * (square[:, None] + square[None, :]))
        pull = kernel * (g[:, None] * v[None, :] + v[:, None] * g[None, :])
        return kernel @ v, pull @ x - pull.sum(1)[:, None] * x, kernel @ g

    def braze(self, braze: ModuleType) -> Program:
        def run(x: Any, v: Any, g: Any) -> Any:
            y, pullback = braze.vjp(lambda *a: self.formula(braze.exp, *a), x, v)
            return y, *pullback(g)

        return run

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, v: Any, g: Any) -> Any:
            y, pullback = jax.vjp(lambda *a: self.formula(jax.numpy.exp, *a), x, v)
            return y, *pullback(g)

        return run

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        leaves, g = [t.requires_grad_() for t in tensors[:2]], tensors[2]
        staged = stage(lambda *a: self.formula(torch.exp, *a))

        def call() -> Any:
            y = staged(*leaves)
            return y, *torch.autograd.grad(y, leaves, g)

        return call
