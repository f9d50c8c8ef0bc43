"""The frameworks on a GPU, each behind the same few methods; importing this file imports none of them."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gpu_workloads import GpuWorkload

Run = Callable[[Sequence[Any]], Any]


class GpuFramework:
    """One library on one device; made inside the process that measures it."""

    title: str
    kind: str
    """Which spelling of a workload it runs: "braze", "torch" or "jax"."""

    library: Any

    @property
    def version(self) -> str:
        return self.library.__version__

    def tensor(self, array: np.ndarray, dtype: str, channels_last: bool) -> Any:
        """An array on the device; floats are cast."""
        raise NotImplementedError

    def stage(self, program: Any, **options: Any) -> Any:
        """The program compiled, or as it is."""
        return program

    def run(self, workload: GpuWorkload, tensors: Sequence[Any]) -> Run:
        """The workload as a function of its inputs, which returns before the result is there."""
        call = workload.call(self.kind, self.library, self.stage, tensors)
        if not workload.autocast:
            return call

        def inside(inputs: Sequence[Any]) -> Any:
            with self.autocast():
                return call(inputs)

        return inside

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision in bfloat16."""
        return contextlib.nullcontext()

    def wait(self, result: Any) -> None:
        """Until the result is there."""
        raise NotImplementedError

    def seconds(self, enqueue: Callable[[], Any]) -> float:
        """Seconds that the device takes for what is asked of it."""
        raise NotImplementedError

    def array(self, tensor: Any) -> np.ndarray:
        """A sample as a NumPy array in float64."""
        raise NotImplementedError

    def peak_bytes(self) -> int:
        """The most memory of the device that was in use."""
        return 0


class Braze(GpuFramework):
    title, kind, mode = "Braze", "braze", "default"

    def __init__(self) -> None:
        import braze

        self.library = braze
        braze.cuda.synchronize()

    def tensor(self, array: np.ndarray, dtype: str, channels_last: bool) -> Any:
        made = self.library.tensor(array).to("cuda")
        return made.to(getattr(self.library, dtype)) if array.dtype.kind == "f" and dtype != "float32" else made

    def stage(self, program: Any, **options: Any) -> Any:
        return self.library.compile(program, mode=self.mode)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self.library.autocast(self.library.bfloat16)

    def wait(self, result: Any) -> None:
        self.library.cuda.synchronize()

    def seconds(self, enqueue: Callable[[], Any]) -> float:
        return by_events(self.library.cuda.Event, enqueue)

    def array(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor.detach().to(self.library.float32).cpu()).astype(np.float64)

    def peak_bytes(self) -> int:
        return int(self.library.cuda.max_memory_allocated())


class BrazeAutotune(Braze):
    title, mode = "Braze max-autotune", "max-autotune"


class Torch(GpuFramework):
    title, kind = "torch eager", "torch"

    def __init__(self) -> None:
        import torch

        self.library = torch
        torch.cuda.synchronize()
        torch.set_float32_matmul_precision("high")

    def tensor(self, array: np.ndarray, dtype: str, channels_last: bool) -> Any:
        made = self.library.from_numpy(array).cuda()
        if array.dtype.kind == "f":
            made = made.to(getattr(self.library, dtype))
        return made.to(memory_format=self.library.channels_last) if channels_last and made.ndim == 4 else made

    def run(self, workload: GpuWorkload, tensors: Sequence[Any]) -> Run:
        inner = super().run(workload, tensors)
        if workload.base.gradients:
            return inner
        return self.library.inference_mode()(inner)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self.library.autocast("cuda", dtype=self.library.bfloat16)

    def wait(self, result: Any) -> None:
        self.library.cuda.synchronize()

    def seconds(self, enqueue: Callable[[], Any]) -> float:
        return by_events(lambda: self.library.cuda.Event(enable_timing=True), enqueue)

    def array(self, tensor: Any) -> np.ndarray:
        return tensor.detach().double().cpu().numpy()

    def peak_bytes(self) -> int:
        return int(self.library.cuda.max_memory_allocated())


class TorchCompiled(Torch):
    title = "torch.compile"

    def __init__(self) -> None:
        super().__init__()
        self.stage = self.library.compile  # type: ignore[method-assign]


class TorchAutotune(Torch):
    title = "torch max-autotune"

    def __init__(self) -> None:
        super().__init__()
        self.stage = functools.partial(self.library.compile, mode="max-autotune")  # type: ignore[method-assign]


class Libraries(Torch):
    """cuBLAS by torch's matmul (with pointwise kernels behind it), and the best of torch's attention kernels."""

    title = "cuBLAS/cuDNN"

    def run(self, workload: GpuWorkload, tensors: Sequence[Any]) -> Run:
        plain = super().run(workload, tensors)
        if workload.name != "attention":
            return plain
        candidates = [self._by(backend, plain) for backend in self._backends()]
        timed = {run: seconds for run in candidates if (seconds := self._try(run, tensors)) is not None}
        return min(timed, key=timed.__getitem__) if timed else plain

    def _backends(self) -> list[Any]:
        from torch.nn.attention import SDPBackend

        return [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]

    def _by(self, backend: Any, plain: Run) -> Run:
        from torch.nn.attention import sdpa_kernel

        def run(inputs: Sequence[Any]) -> Any:
            with sdpa_kernel(backend):
                return plain(inputs)

        return run

    def _try(self, run: Run, tensors: Sequence[Any]) -> float | None:
        """Seconds of a call; None where the backend can't do it."""
        try:
            self.wait(run(tensors))
        except RuntimeError:
            return None
        return min(self.seconds(lambda: run(tensors)) for _ in range(5))


class Jax(GpuFramework):
    """Timed by the clock, around calls that follow each other without waiting: it has no events."""

    title, kind = "JAX", "jax"

    def __init__(self) -> None:
        import jax

        if jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX has no GPU here, but {jax.default_backend()}")
        self.library = jax

    def tensor(self, array: np.ndarray, dtype: str, channels_last: bool) -> Any:
        made = self.library.numpy.asarray(array)
        return made.astype(dtype) if array.dtype.kind == "f" else made

    def stage(self, program: Any, **options: Any) -> Any:
        return self.library.jit(program, **options)

    def wait(self, result: Any) -> None:
        self.library.block_until_ready(result)

    def seconds(self, enqueue: Callable[[], Any]) -> float:
        start = time.perf_counter()
        self.wait(enqueue())
        return time.perf_counter() - start

    def array(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor.astype("float32")).astype(np.float64)


def by_events(make: Callable[[], Any], enqueue: Callable[[], Any]) -> float:
    """Seconds between two events around what is enqueued."""
    start, end = make(), make()
    start.record()
    enqueue()
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end)


FRAMEWORKS: dict[str, type[GpuFramework]] = {
    "braze": Braze,
    "braze_autotune": BrazeAutotune,
    "torch_eager": Torch,
    "libraries": Libraries,
    "torch_compile": TorchCompiled,
    "torch_autotune": TorchAutotune,
    "jax": Jax,
}
