"""The frameworks that are compared, each behind the same five methods. Importing this file imports none of them."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from workload import Call, Program, Workload


class Framework(ABC):
    """One way of running a workload; made inside the process that measures it, where it imports the library."""

    title: str
    package: str
    is_peer: bool

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @property
    @abstractmethod
    def version(self) -> str:
        """The version of the library."""

    @abstractmethod
    def tensor(self, array: np.ndarray) -> Any:
        """A tensor with a copy of the array, in memory that the library allocates (and aligns)."""

    @abstractmethod
    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        """The workload as a call without arguments that returns when its result is there."""

    def scope(self, workload: Workload) -> contextlib.AbstractContextManager[Any]:
        """What surrounds making tensors and calling."""
        return contextlib.nullcontext()

    def array(self, tensor: Any) -> np.ndarray:
        """A result as a NumPy array."""
        return np.asarray(tensor)


class BrazeEager(Framework):
    title, package, is_peer = "Braze eager", "braze", False

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import braze

        self.library = braze
        braze.set_num_threads(threads)

    @property
    def version(self) -> str:
        return self.library.__version__

    def tensor(self, array: np.ndarray) -> Any:
        return self.library.tensor(array)

    def stage(self, program: Program) -> Program:
        return program

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        return workload.braze_call(self.library, self.stage, tensors)

    def array(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor.detach() if tensor.requires_grad else tensor)


class BrazeCompiled(BrazeEager):
    title = "Braze compiled"

    def stage(self, program: Program) -> Program:
        return self.library.compile(program)


class TorchEager(Framework):
    title, package, is_peer = "torch eager", "torch", True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        self.library = torch
        self.stage: Callable[..., Program] = as_written
        torch.set_num_threads(threads)

    @property
    def version(self) -> str:
        return self.library.__version__

    def scope(self, workload: Workload) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if workload.gradients else self.library.inference_mode()

    def tensor(self, array: np.ndarray) -> Any:
        return self.library.tensor(array)

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        return workload.torch_call(self.library, self.stage, tensors)

    def array(self, tensor: Any) -> np.ndarray:
        return tensor.detach().numpy()


class TorchCompiled(TorchEager):
    title = "torch.compile"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.stage = self.library.compile


class Jax(Framework):
    title, package, is_peer = "JAX", "jax", True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.library = jax

    @property
    def version(self) -> str:
        return self.library.__version__

    def tensor(self, array: np.ndarray) -> Any:
        return self.library.numpy.array(array)

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        run, wait = workload.jax_call(self.library, self.library.jit, tensors), self.library.block_until_ready

        def call() -> Any:
            result = run()
            if isinstance(result, (tuple, list)):
                return wait(result)
            return result.block_until_ready()

        return call


def as_written(program: Program) -> Program:
    return program


FRAMEWORKS: dict[str, type[Framework]] = {
    "braze_eager": BrazeEager,
    "braze_compiled": BrazeCompiled,
    "torch_eager": TorchEager,
    "torch_compile": TorchCompiled,
    "jax": Jax,
}

COMPILED_PEERS = ("torch_compile", "jax")
"""Braze's ratio is taken to the better of these."""
