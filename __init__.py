"""Braze: a tensor library with a compiler at its heart.

Eager, define-by-run tensors with automatic differentiation; `@braze.compile` traces a function into a typed graph, differentiates
and fuses it, and runs it as a few native kernels.
"""

# ruff: noqa: F401

from .ir import errors
from .ir.types import DType as dtype
from .ir.types import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .runtime.threads import get_num_threads, set_num_threads
from .tracer import autograd, random, testing
from .tracer.compare import compare
from .tracer.compile import compile
from .tracer.control import cond, fori_loop, scan, while_loop
from .tracer.eager import eager as _eager  # noqa: F401  (installs the default interpreter)
from .tracer.modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .tracer.public import install_methods as _install_methods
from .tracer.random import Generator, manual_seed, rand, rand_like, randint, randn, randn_like, randperm
from .tracer.tensor import Tensor
from .tracer.transforms import Function, checkpoint, grad, value_and_grad, vjp

__version__ = "0.1.0"
globals().update(_install_methods())
