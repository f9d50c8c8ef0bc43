"""Programs of science: heat conduction by a five-point stencil in a loop, and the forces among n bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Formula, Program, Workload, normal, uniform


class HeatStencil(Workload):
    """Explicit steps of the heat equation; the border keeps its temperature.

    Compulsory bytes are those of the whole loop: the plate read once and written once. Each framework is written as its
    users would for speed: torch steps between two plates in place, one compiled step at a time; JAX and Braze have a
    loop of their own.
    """

    name = "heat_stencil"
    title = "heat stencil, 50 steps, 2048 x 2048"
    size, steps, conductivity = 2048, 50, 0.2
    bytes = 2 * 4 * size * size
    writes = 4 * size * size
    flops = 7 * steps * (size - 2) ** 2

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [uniform(random, 0.0, 1.0, self.size, self.size)]

    def reference(self, plate: np.ndarray) -> np.ndarray:
        for _ in range(self.steps):
            plate = plate + self.conductivity * np.pad(laplacian(plate), 1)
        return plate

    def braze(self, braze: ModuleType) -> Program:
        steps, conductivity = self.steps, self.conductivity

        def step(_: Any, plate: Any) -> Any:
            return plate + conductivity * braze.pad(laplacian(plate), 1)

        def run(plate: Any) -> Any:
            return braze.fori_loop(0, steps, step, plate)

        return run

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        conductivity, steps = self.conductivity, self.steps
        start, (current, following) = tensors[0], (tensors[0].clone(), tensors[0].clone())

        def step(source: Any, target: Any) -> None:
            target[1:-1, 1:-1] = source[1:-1, 1:-1] + conductivity * laplacian(source)

        staged = stage(step)

        def call() -> Any:
            current.copy_(start)
            source, target = current, following
            for _ in range(steps):
                staged(source, target)
                source, target = target, source
            return source

        return call

    def jax(self, jax: ModuleType) -> Program:
        steps, conductivity = self.steps, self.conductivity

        def step(_: Any, plate: Any) -> Any:
            return plate + conductivity * jax.numpy.pad(laplacian(plate), 1)

        def run(plate: Any) -> Any:
            return jax.lax.fori_loop(0, steps, step, plate)

        return run


def laplacian(plate: Any) -> Any:
    """The five-point Laplacian of the interior."""
    neighbours = plate[:-2, 1:-1] + plate[2:, 1:-1] + plate[1:-1, :-2] + plate[1:-1, 2:]
    return neighbours - 4.0 * plate[1:-1, 1:-1]


class NBody(Formula):
    """Gravity between all pairs of 4096 bodies, softened: a square of values that should never be stored."""

    name = "n_body"
    title = "n-body forces, n = 4096"
    bodies = 4096
    bytes = 7 * 4 * bodies
    writes = 3 * 4 * bodies
    flops = 20 * bodies * bodies
    softening = 0.01

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        positions = [normal(random, self.bodies) for _ in range(3)]
        return [*positions, uniform(random, 0.5, 1.5, self.bodies)]

    def reference(self, *arrays: np.ndarray) -> Any:
        x, y, z, mass = arrays
        blocks = [self.pulls(np.sqrt, part, part + 128, x, y, z, mass) for part in range(0, self.bodies, 128)]
        return tuple(np.concatenate(axis) for axis in zip(*blocks))

    def pulls(self, sqrt: Program, first: int, last: int, x: Any, y: Any, z: Any, mass: Any) -> tuple[Any, ...]:
        """The forces on some of the bodies: the reference goes by blocks, as the whole square takes gigabytes."""
        away = [axis[None, :] - axis[first:last, None] for axis in (x, y, z)]
        distance = sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2 + self.softening)
        pull = mass[None, :] / distance**3
        return tuple((pull * axis).sum(axis=1) for axis in away)

    @staticmethod
    def formula(xp: ModuleType, x: Any, y: Any, z: Any, mass: Any) -> tuple[Any, Any, Any]:
        dx = x[None, :] - x[:, None]
        dy = y[None, :] - y[:, None]
        dz = z[None, :] - z[:, None]
        inverse = 1.0 / xp.sqrt(dx * dx + dy * dy + dz * dz + NBody.softening)
        pull = mass[None, :] * (inverse * inverse * inverse)
        return (pull * dx).sum(1), (pull * dy).sum(1), (pull * dz).sum(1)
