"""Random numbers: a generator whose state (seed and position) is a tensor, so that compiled programs read it and write
it back.

Counter-based (Philox): draw n of a generator has the same bits eager and compiled, on every machine, for any number of
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.interpreter import _current
from ..ir.ops import F
from ..ir.types import DType, dtype, float32, int64, uint64
from .arguments import dims
from .tensor import Tensor

_STREAMS = 4                          # a draw takes up to four streams of words
_ADVANCE = Tensor(np.array([0, _STREAMS], np.uint64))


class Generator:
    """A source of random numbers. `seed` starts it anew; `state` is a uint64 tensor [seed, position]."""

    def __init__(self, seed: int = 0):
        self.state = Tensor(np.array([seed, 0], np.uint64))

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        self.state._assign(Tensor(np.array([seed % 2**64, 0], np.uint64)))
        return self

    def draw(self) -> tuple[Tensor, int]:
        """The state and the stream for one draw, and on to the next."""
        state = self.state
        if _current.get() is None:
            now = Tensor(state._array)
            array = np.array(state._array)
            array[1] += np.uint64(_STREAMS)
            state._assign(Tensor(array))
            return now, 0
        now = F.add(state, 0)
        state._assign(F.add(state, _ADVANCE))
        return now, 0


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew."""
    return default_generator.manual_seed(seed)


def _float(d: Any) -> DType:
    return float32 if d is None else dtype(d)


def _marked(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_() if requires_grad else t


def _shape(shape: tuple[Any, ...]) -> Any:
    return dims(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)


def rand(*shape: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1)."""
    state, stream = (generator or default_generator).draw()
    return _marked(F.random_uniform(state, _shape(shape), _float(dtype), stream), requires_grad)


def randn(*shape: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers."""
    state, stream = (generator or default_generator).draw()
    return _marked(F.random_normal(state, _shape(shape), _float(dtype), stream), requires_grad)


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None,
            generator: Generator | None = None) -> Tensor:
    """Integers in [low, high), or [0, low); by multiplication, with a bias below 2^-32 of the range."""
    low, high = (0, low) if high is None else (low, high)
    state, stream = (generator or default_generator).draw()
    bits = F.cast(F.random_bits(state, shape=dims(size), stream=stream), dtype=uint64)
    scaled = F.shift_right(F.mul(bits, high - low), 32)
    return F.astype(F.add(F.cast(scaled, dtype=int64), low), int64 if dtype is None else _named(dtype))


def _named(d: Any) -> DType:
    return dtype(d)


def randperm(n: int, generator: Generator | None = None) -> Tensor:
    """A random order of 0 … n - 1."""
    state, stream = (generator or default_generator).draw()
    return F.argsort(F.random_bits(state, shape=(n,), stream=stream), axis=0, descending=False)


def rand_like(x: Tensor, **kwargs: Any) -> Tensor:
    """Uniform numbers in the shape and dtype of x."""
    return rand(x.shape, dtype=kwargs.pop("dtype", x.dtype), **kwargs)


def randn_like(x: Tensor, **kwargs: Any) -> Tensor:
    """Standard normal numbers in the shape and dtype of x."""
    return randn(x.shape, dtype=kwargs.pop("dtype", x.dtype), **kwargs)
