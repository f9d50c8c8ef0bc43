"""All workloads by name. To add one: write the class in a file of this folder and name it in the table below."""

from __future__ import annotations

from workload import Workload

from .elementwise import BlackScholes, Chain, GeluBias, SmallOps
from .reductions import LogSumExp, ResidualLayerNorm, Softmax, Variance
from .simulation import HeatStencil, NBody
from .training import AdamW

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Chain(),
        GeluBias(),
        Softmax(),
        ResidualLayerNorm(),
        BlackScholes(),
        Variance(),
        LogSumExp(),
        HeatStencil(),
        NBody(),
        SmallOps(),
        AdamW(),
    )
}
