"""What is measured on a GPU: the programs of workloads/ at a GPU's sizes and dtypes, with a sample that is checked.

`tiny` sizes are for trying the scripts on the simulated device. Results are compared in a sample of elements, with
NumPy in float64 where that is quick, else among frameworks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from workload import SEED, Call, Program, Workload, erf64, normal
from workloads.elementwise import Chain
from workloads.layers import softmax
from workloads.networks import ResNet50
from workloads.products import MatMul
from workloads.reductions import ResidualLayerNorm, Softmax, Variance
from workloads.transformers import (
    Attention,
    GPTTraining,
    attention,
    block_elements,
    block_flops,
    jax_block,
    jax_layer_norm,
    split,
)

SAMPLE = 64
Stage = Callable[..., Program]


class GpuWorkload(ABC):
    """One program at one size. `dtype` is what float32 inputs are cast to on the device."""

    name: str
    title: str
    dtype = "float32"
    tolerance = 1e-4
    bytes: int
    flops: int
    rotates = True
    """Whether calls take turns among copies of the inputs, so that none finds them in the cache."""
    frameworks: ClassVar[tuple[str, ...]] = ("braze", "torch_eager", "torch_compile", "torch_autotune", "jax")
    autocast = False
    channels_last = False

    def __init__(self, tiny: bool) -> None:
        self.base = self.sized(tiny)
        self.bytes, self.flops = self.traffic(), self.base.flops

    @abstractmethod
    def sized(self, tiny: bool) -> Workload:
        """The workload of this benchmark, at its size."""

    def traffic(self) -> int:
        """Compulsory bytes."""
        return self.base.bytes // (2 if self.dtype == "bfloat16" else 1)

    def inputs(self) -> list[np.ndarray]:
        """The arrays that every framework starts from."""
        return self.base.inputs(np.random.default_rng(SEED))

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray | None:
        """The sample of the result in float64; None where frameworks are compared with each other."""
        return None

    def sample(self, result: Any) -> Any:
        """Some elements of a result, as a tensor of the framework: its first row's first ones."""
        while result.ndim > 1:
            result = result[0]
        return result[:SAMPLE]

    def call(self, kind: str, library: Any, stage: Stage, tensors: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        """The program of a kind of framework ("braze", "torch" or "jax"), as a function of its inputs."""
        staged = stage(getattr(self.base, kind)(library))
        return lambda inputs: staged(*inputs)


def rows_of(arrays: list[np.ndarray], count: int = 1) -> list[np.ndarray]:
    """The first rows of what has rows, in float64."""
    return [(a[:count] if a.ndim > 1 else a).astype(np.float64) for a in arrays]


def with_sizes(kind: type[Workload], tiny: bool, small: dict[str, int], large: dict[str, int],
               **counts: Callable[..., int]) -> Workload:
    """A workload of a kind at other sizes; `counts` say its bytes and flops by them."""
    workload = kind()
    sizes = small if tiny else large
    for name, size in sizes.items():
        setattr(workload, name, size)
    for name, count in counts.items():
        setattr(workload, name, count(**sizes))
    return workload


class GpuChain(GpuWorkload):
    name, title = "chain", "elementwise chain, 64M elements"

    def sized(self, tiny: bool) -> Workload:
        return with_sizes(Chain, tiny, {"elements": 3000}, {"elements": 64 * 2**20},
                          bytes=lambda elements: 12 * elements, flops=lambda elements: 15 * elements)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        return self.base.formula(np, *(a[:SAMPLE].astype(np.float64) for a in arrays))  # type: ignore[attr-defined]


class GpuSoftmax(GpuWorkload):
    name, title = "softmax", "softmax, [32768, 2048]"

    def sized(self, tiny: bool) -> Workload:
        return with_sizes(Softmax, tiny, {"rows": 9, "columns": 130}, {"rows": 32768, "columns": 2048},
                          bytes=lambda rows, columns: 8 * rows * columns,
                          flops=lambda rows, columns: 5 * rows * columns)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        return softmax(rows_of(arrays)[0])[0, :SAMPLE]


class GpuLayerNorm(GpuWorkload):
    name, title = "layer_norm", "layer_norm(x + residual), [16384, 4096]"

    def sized(self, tiny: bool) -> Workload:
        return with_sizes(ResidualLayerNorm, tiny, {"rows": 9, "columns": 130}, {"rows": 16384, "columns": 4096},
                          bytes=lambda rows, columns: 4 * (3 * rows * columns + 2 * columns),
                          flops=lambda rows, columns: 8 * rows * columns)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        return self.base.reference(*rows_of(arrays))[0, :SAMPLE]


class GpuVariance(GpuWorkload):
    name, title = "variance", "variance over axis 0, [16384, 4096]"

    def sized(self, tiny: bool) -> Workload:
        return with_sizes(Variance, tiny, {"rows": 70, "columns": 40}, {"rows": 16384, "columns": 4096},
                          bytes=lambda rows, columns: 4 * (rows * columns + columns),
                          flops=lambda rows, columns: 4 * rows * columns)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        return arrays[0][:, :SAMPLE].astype(np.float64).var(0)


class GpuMatMul(GpuWorkload):
    """bf16, plain."""

    dtype, tolerance = "bfloat16", 2e-2
    frameworks = ("braze", "braze_autotune", "libraries", "torch_compile", "torch_autotune", "jax")

    def __init__(self, size: int, tiny: bool) -> None:
        self.size = size
        self.name, self.title = f"matmul_{size}", f"matmul bf16, {size} x {size}"
        super().__init__(tiny)

    def sized(self, tiny: bool) -> Workload:
        n = 33 if tiny else self.size
        return MatMul(self.name, n, n, n)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        left, right = arrays
        return left[0].astype(np.float64) @ right[:, :SAMPLE].astype(np.float64)


class LinearGelu(MatMul):
    """gelu(x @ w + b), exact: the epilogue of a product."""

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        x, w = super().inputs(random)
        return [x, w * np.float32(self.depth**-0.5), normal(random, self.columns)]

    def braze(self, braze: Any) -> Program:
        return lambda x, w, b: braze.nn.functional.gelu(x @ w + b)

    def torch(self, torch: Any) -> Program:
        return lambda x, w, b: torch.nn.functional.gelu(torch.addmm(b, x, w))

    def jax(self, jax: Any) -> Program:
        return lambda x, w, b: jax.nn.gelu(x @ w + b, approximate=False)


class GpuLinearGelu(GpuMatMul):
    """bf16, with bias and GELU."""

    def __init__(self, size: int, tiny: bool) -> None:
        super().__init__(size, tiny)
        self.name, self.title = f"linear_gelu_{size}", f"gelu(matmul + bias) bf16, {size} x {size}"

    def sized(self, tiny: bool) -> Workload:
        n = 33 if tiny else self.size
        return LinearGelu(self.name, n, n, n)

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        shifted = super().reference(arrays[:2]) + arrays[2][:SAMPLE]
        return 0.5 * shifted * (1 + erf64(shifted * math.sqrt(0.5)))


class GpuAttention(GpuWorkload):
    name, title = "attention", "causal attention bf16, [4, 16, 4096, 64]"
    dtype, tolerance = "bfloat16", 2e-2
    frameworks = ("braze", "braze_autotune", "libraries", "torch_compile", "torch_autotune", "jax")

    def sized(self, tiny: bool) -> Workload:
        workload = Attention()
        b, h, t, d = workload.shape = (1, 2, 40, 16) if tiny else (4, 16, 4096, 64)
        workload.bytes, workload.flops = 16 * b * h * t * d, b * h * t * (t + 1) // 2 * (4 * d + 5)
        return workload

    def sample(self, result: Any) -> Any:
        return result[0, 0, -1]

    def reference(self, arrays: list[np.ndarray]) -> np.ndarray:
        q, k, v = (a[0, 0].astype(np.float64) for a in arrays)
        return attention(q[-1:], k, v, causal=False)[0]


class LargerGPT(GPTTraining):
    """GPT-2 small's width, six layers, 1024 positions."""

    def __init__(self, tiny: bool) -> None:
        sizes = (1, 32, 2, 16, 2, 50) if tiny else (6, 768, 12, 1024, 8, 32768)
        self.blocks, self.width, self.count, self.length, self.batch, self.vocabulary = sizes
        self.rows = self.batch * self.length
        self.elements = self.blocks * block_elements(self.width) + (self.vocabulary + self.length + 2) * self.width
        self.bytes = 4 * 6 * self.elements
        self.flops = 3 * (self.blocks * block_flops(self.rows, (self.length + 1) / 2, self.width)
                          + 2 * self.rows * self.width * self.vocabulary)

    def jax_loss(self, jax: Any) -> Callable[..., Any]:
        """The blocks in bfloat16, the loss in float32: what autocast does elsewhere."""
        def loss(tokens: Any, following: Any, *parameters: Any) -> Any:
            embedding, positions, scale, shift, *weights = (p.astype(jax.numpy.bfloat16) for p in parameters)
            x = embedding[tokens] + positions
            for each in split(weights):
                x = jax_block(jax, x, each, self.count, causal=True)
            logits = jax_layer_norm(jax, x, scale, shift) @ embedding.T
            log_p = jax.nn.log_softmax(logits.astype(jax.numpy.float32))
            return -jax.numpy.take_along_axis(log_p, following[..., None], -1).mean()

        return loss


class GpuGPT(GpuWorkload):
    """The loss after some steps is compared: mixed precision lets frameworks drift apart a little."""

    name, title = "gpt_train", "GPT training step, bf16 autocast, 6 x 768, T=1024, B=8"
    rotates, autocast, tolerance = False, True, 3e-2

    def sized(self, tiny: bool) -> Workload:
        return LargerGPT(tiny)

    def sample(self, result: Any) -> Any:
        return result

    def call(self, kind: str, library: Any, stage: Stage, tensors: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        step: Call = getattr(self.base, f"{kind}_call")(library, stage, tensors)
        return lambda inputs: step()


class GpuResNet(GpuWorkload):
    name, title = "resnet50", "ResNet-50 inference, bf16, batch 32, channels last"
    dtype, tolerance, rotates, channels_last = "bfloat16", 1e-1, False, True

    def sized(self, tiny: bool) -> Workload:
        return ResNet50(1 if tiny else 32)

    def sample(self, result: Any) -> Any:
        return result[0, :SAMPLE]


def workloads(tiny: bool) -> dict[str, GpuWorkload]:
    """All workloads by name; the tiny ones leave out what takes Triton's interpreter minutes."""
    kinds: list[Callable[[], GpuWorkload]] = [
        lambda: GpuChain(tiny), lambda: GpuSoftmax(tiny), lambda: GpuLayerNorm(tiny), lambda: GpuVariance(tiny),
        lambda: GpuMatMul(4096, tiny), lambda: GpuMatMul(8192, tiny), lambda: GpuLinearGelu(4096, tiny),
        lambda: GpuLinearGelu(8192, tiny), lambda: GpuAttention(tiny), lambda: GpuGPT(tiny), lambda: GpuResNet(tiny),
    ]  # fmt: skip
    made = [kind() for kind in kinds]
    return {workload.name: workload for workload in made if not (tiny and workload.name == "resnet50")}
