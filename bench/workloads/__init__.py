"""All workloads by name and by group. To add one: write the class in a file of this folder and name it in the table
below.
"""

from __future__ import annotations

from workload import Workload

from .convolutions import DepthwiseBlock, GeneratorTraining, GroupedBlock
from .elementwise import BlackScholes, Chain, GeluBias, QuadraticMap, SmallOps
from .fields import GrayScott, KernelGradient, Wave
from .networks import LSTM, CNNTraining, ResNet50
from .products import MLP, ConvolutionBlock, KMeansAssignment, MatMul, PairwiseDistances
from .reductions import LogSumExp, ResidualLayerNorm, Softmax, Variance
from .simulation import HeatStencil, NBody
from .training import AdamW
from .transformers import Attention, AttentionGradient, Decode, Encoder, GPTTraining

_CORE = (
    Chain(),
    GeluBias(),
    Softmax(),
    ResidualLayerNorm(),
    BlackScholes(),
    Variance(),
    LogSumExp(),
    HeatStencil(),
    NBody(),
    QuadraticMap(),
    SmallOps(),
    AdamW(),
)

_PRODUCTS = (
    MatMul("matmul_256", 256, 256, 256),
    MatMul("matmul_1024", 1024, 1024, 1024),
    MatMul("matmul_2048", 2048, 2048, 2048),
    MatMul("matmul_row", 1, 4096, 4096),
    MatMul("matmul_skinny", 16, 1024, 1024),
    MLP(),
    ConvolutionBlock(),
    Attention(),
    AttentionGradient(),
    LSTM(),
    KMeansAssignment(),
    PairwiseDistances(),
)

_MODELS = (
    Encoder("gpt_block", "GPT-2 small block, T=512", 1, 512, causal=True),
    Encoder("bert", "BERT-base-shaped inference, T=128", 12, 128, causal=False),
    Decode(),
    GPTTraining(),
    CNNTraining(),
    ResNet50(1),
    ResNet50(8),
)

_CONVOLUTIONS = (DepthwiseBlock(), GroupedBlock(), GeneratorTraining())

_FIELDS = (Wave(), GrayScott(), KernelGradient())

GROUPS: dict[str, tuple[str, ...]] = {
    "core": tuple(workload.name for workload in _CORE),
    "products": tuple(workload.name for workload in _PRODUCTS),
    "models": tuple(workload.name for workload in _MODELS),
    "convolutions": tuple(workload.name for workload in _CONVOLUTIONS),
    "fields": tuple(workload.name for workload in _FIELDS),
}
"""What `--group` runs: programs bound by memory, by multiply-adds, whole models, convolutions not plain, and loops and
pairs of science."""

USUAL_GROUPS = ("core", "products", "models")
"""What is run where no group is asked for: in under forty minutes."""

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for workload in (*_CORE, *_PRODUCTS, *_MODELS, *_CONVOLUTIONS, *_FIELDS)
}
