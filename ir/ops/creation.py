"""Constants, sizes, positions, random bits: what has no tensor operand."""

from __future__ import annotations

import numpy as np

from ..scalar import converted
from ..types import TensorType, dtype, float32, int64, uint32, uint64
from . import parts
from .declare import as_dim, composite, general
from .namespace import F
from .views import flat_index

_CONSTANTS = tuple(((), {"value": value, "dtype": dtype(name)}) for value, name in (
    (True, "b1"), (-3, "i8"), (0.1, "f32"), (float("inf"), "f16"), (2.5, "bf16"), (1 + 2j, "c64")))

constant = general("constant", "view", lambda xp, value, dtype: converted(xp.asarray(value), dtype), arity=0,
                   parameters=("value", "dtype"),
                   infer=lambda types, value, dtype: TensorType((), dtype), vjp=lambda g, y, value, dtype: (),
                   parts=parts.constant, samples=_CONSTANTS, doc="A 0-d number.")
size = general("size", "view", lambda xp, dim: xp.asarray(dim, xp.int64), arity=0, parameters=("dim",),
               lower=lambda c, index, types, dim: c.k.index(dim),
               infer=lambda types, dim: TensorType((), int64), vjp=lambda g, y, dim: (), samples=(((), {"dim": 5}),),
               doc="A symbolic size as a 0-d number.")
iota = general("iota", "view", lambda xp, size: xp.arange(size, dtype=xp.int64), arity=0, parameters=("size",),
               lower=lambda c, index, types, size: c.k.index(index[0]),
               infer=lambda types, size: TensorType((size,), int64), vjp=lambda g, y, size: (),
               samples=(((), {"size": 5}), ((), {"size": 0})), doc="0, 1, …, size - 1.")


@composite
def full(shape, value, dtype):
    """A tensor filled with one number, or with a 0-d operand."""
    if isinstance(value, (bool, int, float, complex)):
        value = F.constant(value=value, dtype=dtype)
    return F.broadcast_to(F.astype(value, dtype), shape=tuple(as_dim(d) for d in shape))


@composite
def zeros_like(x):
    """Zeros of the same type."""
    return F.full(x.shape, 0, x.dtype)


@composite
def ones_like(x):
    """Ones of the same type."""
    return F.full(x.shape, 1, x.dtype)


@composite
def full_like(x, value):
    """One number in the shape and dtype of x."""
    return F.full(x.shape, value, x.dtype)


@composite
def astype(x, dtype):
    """x in another dtype; x itself if it has it."""
    return x if x.dtype is dtype else F.cast(x, dtype=dtype)


@composite
def as_inexact(x):
    """x itself if it is floating point or complex, else in float32."""
    return x if x.dtype.is_inexact else F.cast(x, dtype=float32)


@composite
def arange(start, stop, step, dtype=None):
    """start, start + step, … below stop. Sizes may be symbolic when the step is 1."""
    if all(isinstance(v, (int, np.integer)) for v in (start, stop, step)):
        n = max(0, -(-(int(stop) - int(start)) // int(step)))
    elif any(isinstance(v, float) for v in (start, stop, step)):
        n = max(0, int(np.ceil((stop - start) / step)))
    else:
        n = as_dim(stop) - as_dim(start)
    d = dtype or (float32 if any(isinstance(v, float) for v in (start, stop, step)) else int64)
    i = F.iota(size=n)
    if d.is_float:
        return F.astype(F.astype(i, d) * float(step) + float(start), d)
    i = i if step == 1 else i * step
    return F.astype(i if start == 0 else i + start, d)


# ---- random: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) ------------------

_ROUND = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(mulhi, mullo, xor, add, counter, key, rounds: int = 10):
    """Four 32-bit words from a counter of four and a key of two, with the given 32-bit arithmetic."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        h0, l0 = mulhi(c0, _ROUND[0]), mullo(c0, _ROUND[0])
        h1, l1 = mulhi(c2, _ROUND[1]), mullo(c2, _ROUND[1])
        c0, c1, c2, c3 = xor(xor(h1, c1), k0), l1, xor(xor(h0, c3), k1), l0
        k0, k1 = add(k0, _WEYL[0]), add(k1, _WEYL[1])
    return c0, c1, c2, c3


def _random_bits(xp, state, shape, stream):
    n = int(np.prod(shape, dtype=np.int64))
    element = xp.arange(n, dtype=xp.uint64)
    words = _counter_words(state, stream)             # vectors of one element, on the state's device
    mask = xp.uint64(0xFFFFFFFF)
    e0, e1 = (element & mask), (element >> xp.uint64(32))
    low = np.uint64(0xFFFFFFFF)
    out = philox(lambda a, m: (a * np.uint64(m)) >> np.uint64(32), lambda a, m: (a * np.uint64(m)) & low,
                 xp.bitwise_xor,
                 lambda a, b: (a + np.uint64(b)) & low, (e0, e1, words[2], words[3]), (words[0], words[1]))
    return out[0].astype(xp.uint32).reshape(shape)


def _counter_words(state, stream):
    seed, position = state[:1].astype(np.uint64), state[1:].astype(np.uint64) + np.uint64(stream)
    low, width = np.uint64(0xFFFFFFFF), np.uint64(32)
    return [seed & low, seed >> width, position & low, position >> width]


def _lower_random(c, index, types, shape, stream):
    k = c.k
    element = k.cast(k.index(flat_index(index, shape)), uint64)
    seed, position = c.read(0, (0,)), c.read(0, (1,))
    position = k.add(position, stream) if stream else position
    words = [w for x in (element, seed, position) for w in (k.cast(x, uint32), k.cast(k.shr(x, 32), uint32))]
    e0, e1, s0, s1, p0, p1 = words
    return philox(k.mulhi, k.mul, k.xor, k.add, (e0, e1, p0, p1), (s0, s1))[0]


random_bits = general("random_bits", "random", _random_bits, arity=1, lower=_lower_random,
                      parameters=("shape", "stream"),
                      infer=lambda types, shape, stream: TensorType(shape, uint32),
                      vjp=lambda g, y, state, shape, stream: (None,), source="Salmon et al. 2011, Philox 4x32-10",
                      samples=tuple((((2,),), {"shape": shape, "stream": n})
                                    for shape, n in (((), 0), ((3, 5), 1), ((0,), 2))),
                      doc="Uniform 32-bit integers. state: uint64 [2], seed and position; element i of draw `stream` "
                          "is the first word of Philox(counter = (i, position + stream), key = seed).")


@composite
def random_uniform(state, shape, dtype, stream):
    """Uniform in [0, 1): the upper 24 bits times 2^-24 (two words, 53 bits, for float64)."""
    bits = F.random_bits(state, shape=shape, stream=stream)
    if dtype.name == "f64":
        more = F.random_bits(state, shape=shape, stream=stream + 1)
        high = F.cast(F.shift_right(bits, 5), dtype=dtype)
        low = F.cast(F.shift_right(more, 6), dtype=dtype)
        return (high * 67108864.0 + low) * 2.0**-53
    return F.astype(F.cast(F.shift_right(bits, 8), dtype=float32) * 2.0**-24, dtype)


@composite
def random_normal(state, shape, dtype, stream):
    """Standard normal by Box and Muller's transform (1958), cosine branch; takes four streams."""
    wide = dtype if dtype.name == "f64" else float32
    u = 1.0 - F.random_uniform(state, shape, wide, stream)
    v = F.random_uniform(state, shape, wide, stream + 2)
    return F.astype(F.sqrt(-2.0 * F.log(u)) * F.cos(v * (2 * np.pi)), dtype)


