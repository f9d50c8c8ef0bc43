"""The op registry: importing this room declares all ops in the namespace `F`."""

from . import (
    activations,
    arithmetic,
    complex_numbers,
    composites,
    contraction,
    control,
    creation,
    elementary,
    error_functions,
    gamma,
    indexing,
    linear_algebra,
    losses,
    manipulation,
    ragged,
    reductions,
    sorting,
    special,
    views,
)
from .namespace import F

__all__ = [
    "F", "activations", "arithmetic", "complex_numbers", "composites", "contraction", "control", "creation",
    "elementary", "error_functions", "gamma", "indexing", "linear_algebra", "losses", "manipulation", "ragged",
    "reductions", "sorting", "special", "views",
]
