"""The frameworks that are compared, each behind the same five methods. Importing this file imports none of them."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx_graph import Model
from workload import Call, Program, Workload, as_list, bound


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

    @classmethod
    def runs(cls, workload: Workload) -> bool:
        """Whether the workload is written for this framework."""
        return True

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

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        if not workload.has_constants:
            return super().call(workload, tensors)
        program, weights = workload.braze(self.library), tensors[workload.fed :]
        return bound(self.library.compile(lambda *fed: program(*fed, *weights), constant_weights=True),
                     tensors[: workload.fed])


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

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        if not workload.has_constants:
            return super().call(workload, tensors)
        from torch._inductor import config

        config.freezing = True  # parameters of a module are constants
        if type(workload).torch_call is not Workload.torch_call:
            return super().call(workload, tensors)
        program, torch = workload.torch(self.library), self.library

        class Fixed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weights = torch.nn.ParameterList(tensors[workload.fed :])

            def forward(self, *fed: Any) -> Any:
                return program(*fed, *self.weights)

        return bound(torch.compile(Fixed().eval()), tensors[: workload.fed])


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


class OnnxRuntime(Framework):
    """A session with all optimisations, its inputs bound: what is fed lies where ONNX Runtime reads it, as others'
    tensors do.
    """

    title, package, is_peer = "ONNX Runtime", "onnxruntime", True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import onnx
        import onnxruntime

        self.library, self.onnx = onnxruntime, onnx

    @classmethod
    def runs(cls, workload: Workload) -> bool:
        return type(workload).onnx is not Workload.onnx

    @property
    def version(self) -> str:
        return self.library.__version__

    def tensor(self, array: np.ndarray) -> Any:
        return array

    def call(self, workload: Workload, tensors: Sequence[Any]) -> Call:
        fed = len(tensors) if workload.fed is None else workload.fed
        model = Model(self.onnx, tensors[:fed])
        results = as_list(workload.onnx(model, *model.inputs, *map(model.constant, tensors[fed:])))
        options = self.library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.library.InferenceSession(model.finish(results), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for value in results:
            binding.bind_output(value.name)
        for name, array in model.fed.items():
            tensor = self.library.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(name, tensor)
            if name in model.updates:
                binding.bind_ortvalue_output(model.updates[name].name, tensor)

        def call() -> Any:
            session.run_with_iobinding(binding)
            return binding.get_outputs()[: len(results)]

        return call

    def array(self, tensor: Any) -> np.ndarray:
        return tensor.numpy()


def as_written(program: Program) -> Program:
    return program


FRAMEWORKS: dict[str, type[Framework]] = {
    "braze_eager": BrazeEager,
    "braze_compiled": BrazeCompiled,
    "torch_eager": TorchEager,
    "torch_compile": TorchCompiled,
    "jax": Jax,
    "onnx_runtime": OnnxRuntime,
}

COMPILED_PEERS = ("torch_compile", "jax", "onnx_runtime")
"""Braze's ratio is taken to the best of these."""
