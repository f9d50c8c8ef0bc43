"""Braze: a tensor library with a compiler at its heart.

Eager, define-by-run tensors with automatic differentiation; `@braze.compile` traces a function into a typed graph,
differentiates and fuses it, and runs it as a few native kernels.
"""

# ruff: noqa: F401

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ir import errors
from .ir.types import DType as dtype
from .ir.types import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
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
from .tracer import autograd
from .tracer.compile import compile
from .tracer.devices import device
from .tracer.eager import eager as _eager  # noqa: F401  (installs the default interpreter)
from .tracer.modes import (
    enable_grad,
    get_float32_matmul_precision,
    is_grad_enabled,
    no_grad,
    set_float32_matmul_precision,
    set_grad_enabled,
)
from .tracer.public import install_methods as _install_methods
from .tracer.tensor import Tensor

if TYPE_CHECKING:
    from . import nn, optim
    from .runtime.threads import get_num_threads, set_num_threads
    from .tracer import amp, cuda, random, testing
    from .tracer.autocast import autocast
    from .tracer.compare import compare
    from .tracer.control import cond, fori_loop, scan, while_loop
    from .tracer.random import Generator, manual_seed, rand, rand_like, randint, randn, randn_like, randperm
    from .tracer.transforms import Function, checkpoint, grad, value_and_grad, vjp

__version__ = "0.1.0"
globals().update(_install_methods())

# What eager arithmetic does not need is imported when it is first asked for.
_LATER = {
    "tracer.random": "Generator manual_seed rand rand_like randint randn randn_like randperm",
    "tracer.autocast": "autocast", "tracer.compare": "compare", "tracer.control": "cond fori_loop scan while_loop",
    "tracer.transforms": "Function checkpoint grad value_and_grad vjp",
    "runtime.threads": "get_num_threads set_num_threads",
}  # fmt: skip
_HOME = {name: module for module, names in _LATER.items() for name in names.split()}
_MODULES = {module.rpartition(".")[2]: module for module in ("nn", "optim", "tracer.amp", "tracer.cuda",
                                                             "tracer.random", "tracer.testing")}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        found = import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
