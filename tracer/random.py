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
from . import devices
from .arguments import dims
from .tensor import Tensor
from .transfer import placed

_STREAMS = 4                          # a draw takes up to four streams of words
_ADVANCE = Tensor(np.array([0, _STREAMS], np.uint64).view(devices.Unplaced))


class Generator:
    """A source of random numbers on a device. `seed` starts it anew; `state` is a uint64 tensor [seed, position]."""

    def __init__(self, seed: int = 0, device: Any = "cpu"):
        self.seed = seed
        self.device = devices.located(device)
        self.state = Tensor(devices.moved(np.array([seed % 2**64, 0], np.uint64), self.device))

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed."""
        self.seed = seed
        self.state._assign(Tensor(np.array([seed % 2**64, 0], np.uint64).view(devices.Unplaced)))
        return self

    def draw(self) -> tuple[Tensor, int]:
        """The state and the stream for one draw, and on to the next."""
        state = self.state
        if _current.get() is None:
            now = Tensor(state._array)
            state._assign(Tensor(devices.work_beside(state._array, lambda: _advanced(state._array), "random numbers")))
            return now, 0
        now = F.add(state, 0)
        state._assign(F.add(state, _ADVANCE))
        return now, 0


def _advanced(state: Any) -> Any:
    after = state.copy()
    after[1:] += np.uint64(_STREAMS)
    return after


default_generator = Generator()
_generators: dict[str, Generator] = {devices.CPU: default_generator}


def generator_on(device: Any = None) -> Generator:
    """The default generator of a device: each draws the same numbers from the same seed."""
    where = devices.located(device)
    found = _generators.get(where)
    if found is None:
        found = _generators[where] = Generator(default_generator.seed, where)
    return found


def manual_seed(seed: int) -> Generator:
    """Start the default generators anew; returns that of the CPU."""
    for generator in _generators.values():
        generator.manual_seed(seed)
    return default_generator


def _draw(generator: Generator | None, device: Any) -> tuple[Tensor, int]:
    """A draw from the generator, or from that of the device; in a trace, of the program's."""
    if generator is None:
        trace = _current.get()
        generator = generator_on(trace.placement.device if trace is not None and device is None else device)
    return generator.draw()


def _float(d: Any) -> DType:
    return float32 if d is None else dtype(d)


def _finished(t: Tensor, device: Any, requires_grad: bool = False) -> Tensor:
    t = t if device is None else placed(t, device)
    return t.requires_grad_() if requires_grad else t


def _shape(shape: tuple[Any, ...]) -> Any:
    return dims(shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)


def rand(*shape: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False,
         device: Any = None) -> Tensor:
    """Uniform numbers in [0, 1)."""
    state, stream = _draw(generator, device)
    return _finished(F.random_uniform(state, _shape(shape), _float(dtype), stream), device, requires_grad)


def randn(*shape: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False,
          device: Any = None) -> Tensor:
    """Standard normal numbers."""
    state, stream = _draw(generator, device)
    return _finished(F.random_normal(state, _shape(shape), _float(dtype), stream), device, requires_grad)


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None,
            generator: Generator | None = None, device: Any = None) -> Tensor:
    """Integers in [low, high), or [0, low); by multiplication, with a bias below 2^-32 of the range."""
    low, high = (0, low) if high is None else (low, high)
    state, stream = _draw(generator, device)
    bits = F.cast(F.random_bits(state, shape=dims(size), stream=stream), dtype=uint64)
    scaled = F.shift_right(F.mul(bits, high - low), 32)
    return _finished(F.astype(F.add(F.cast(scaled, dtype=int64), low), int64 if dtype is None else _named(dtype)),
                     device)


def _named(d: Any) -> DType:
    return dtype(d)


def randperm(n: int, generator: Generator | None = None, device: Any = None) -> Tensor:
    """A random order of 0 … n - 1."""
    state, stream = _draw(generator, device)
    return _finished(F.argsort(F.random_bits(state, shape=(n,), stream=stream), axis=0, descending=False), device)


def rand_like(x: Tensor, **kwargs: Any) -> Tensor:
    """Uniform numbers in the shape, dtype and device of x."""
    return rand(x.shape, **{"dtype": x.dtype, "device": x.device, **kwargs})


def randn_like(x: Tensor, **kwargs: Any) -> Tensor:
    """Standard normal numbers in the shape, dtype and device of x."""
    return randn(x.shape, **{"dtype": x.dtype, "device": x.device, **kwargs})
