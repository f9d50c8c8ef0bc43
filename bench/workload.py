"""What a workload is: inputs, a float64 reference, and the same program written for each framework.

A workload is data and functions and measures nothing itself. Frameworks are handed in as modules, so that this file and
its neighbours in workloads/ import NumPy alone and a process that measures one framework never loads another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

SEED = 20_240_607
WIDE = {"f": np.float64, "c": np.complex128}       # what references are computed in

Program = Callable[..., Any]
Call = Callable[[], Any]


class Workload(ABC):
    """One program to measure. `bytes` counts compulsory traffic: each input read once, each output written once;
    `writes` are the written ones of them.

    `flops` counts an add, a multiply, a comparison and a transcendental function as one each. `tolerance` bounds the
    largest error, relative to the largest magnitude of the float64 result.
    """

    name: str
    title: str
    bytes: int
    writes: int
    flops: int
    tolerance: float = 1e-5
    check_calls: int = 1
    """Calls after which the result is compared: more than one for programs that update state."""
    gradients: bool = False
    """Whether the program differentiates or updates parameters, and so can't run in torch's inference mode."""

    training: bool = False
    """Whether it is a step of training, whose peak memory is compared with torch.compile's."""
    fed: int | None = None
    """How many inputs a program of inference is fed at each call: the others are its constants, where a framework can
    have some. None for all.
    """

    reference: Callable[..., Any]
    """A method: the result in float64, from the inputs widened to float64."""

    @abstractmethod
    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        """The arrays that every framework starts from."""

    @property
    def has_constants(self) -> bool:
        """Has it weights that never change?"""
        return self.fed is not None and not self.gradients

    def braze(self, braze: ModuleType) -> Program:
        """The program as a function of Braze tensors."""
        raise NotImplementedError(f"{self.name} is not written for Braze")

    def torch(self, torch: ModuleType) -> Program:
        """The program as a function of torch tensors."""
        raise NotImplementedError(f"{self.name} is not written for torch")

    def jax(self, jax: ModuleType) -> Program:
        """The program as a function of JAX arrays."""
        raise NotImplementedError(f"{self.name} is not written for JAX")

    def onnx(self, model: Any, *values: Any) -> Any:
        """The program as an ONNX model (see `onnx_graph.Model`); only programs of inference are written so."""
        raise NotImplementedError(f"{self.name} is not written for ONNX")

    def braze_call(self, braze: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        """A call without arguments; `stage` compiles a function, or leaves it. Overridden where state is kept."""
        return bound(stage(self.braze(braze)), tensors)

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        """The same for torch."""
        return bound(stage(self.torch(torch)), tensors)

    def jax_call(self, jax: ModuleType, stage: Callable[..., Program], tensors: Sequence[Any]) -> Call:
        """The same for JAX."""
        return bound(stage(self.jax(jax)), tensors)


class Formula(Workload):
    """A workload that is spelled alike everywhere: `formula(xp, *tensors)` for NumPy, Braze, torch and jax.numpy."""

    formula: Callable[..., Any]
    """A static method: the program, in names that all four namespaces share."""

    def reference(self, *arrays: np.ndarray) -> Any:
        return self.formula(np, *arrays)

    def braze(self, braze: ModuleType) -> Program:
        return written_for(self.formula, braze)

    def torch(self, torch: ModuleType) -> Program:
        return written_for(self.formula, torch)

    def jax(self, jax: ModuleType) -> Program:
        return written_for(self.formula, jax.numpy)


def written_for(formula: Program, namespace: ModuleType) -> Program:
    def run(*tensors: Any) -> Any:
        return formula(namespace, *tensors)

    return run


def bound(program: Program, tensors: Sequence[Any]) -> Call:
    def call() -> Any:
        return program(*tensors)

    return call


def make_inputs(workload: Workload) -> list[np.ndarray]:
    """The inputs of a workload, the same in each process."""
    return workload.inputs(np.random.default_rng(SEED))


def compute_reference(workload: Workload) -> list[np.ndarray]:
    """The float64 result of a workload, as a list of arrays."""
    wide = [array.astype(WIDE.get(array.dtype.kind, array.dtype)) for array in make_inputs(workload)]
    return as_list(workload.reference(*wide))


def as_list(result: Any) -> list[Any]:
    """One result or several, as a list."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def largest_error(results: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """The largest difference of any result, relative to the largest magnitude of its reference."""
    if len(results) != len(references):
        raise ValueError(f"{len(results)} results where the reference has {len(references)}")
    return max(relative_error(result, reference) for result, reference in zip(results, references))


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    if result.shape != reference.shape:
        raise ValueError(f"result of shape {result.shape} where the reference has {reference.shape}")
    scale = float(np.abs(reference).max()) or 1.0
    difference = float(np.abs(result.astype(WIDE.get(reference.dtype.kind, np.float64)) - reference).max())
    return difference / scale if math.isfinite(difference) else math.inf


def normal(random: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normally distributed float32 numbers."""
    array = random.standard_normal(shape, dtype=np.float32)
    array *= np.float32(scale)
    return array


def uniform(random: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    """Uniformly distributed float32 numbers."""
    return (low + (high - low) * random.random(shape, dtype=np.float32)).astype(np.float32)


def erf64(x: np.ndarray) -> np.ndarray:
    """The error function in float64: SciPy's where it is installed, else the standard library's, element by element."""
    try:
        from scipy.special import erf
    except ImportError:
        return np.vectorize(math.erf, otypes=[np.float64])(x)
    return erf(x)
