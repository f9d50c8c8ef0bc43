"""Eager rules on 8-bit floats where a device's namespace has no kernels for them: byte for byte what ml_dtypes does."""

from __future__ import annotations

import numpy as np
import pytest
from braze.ir.types import FLOAT8
from braze.runtime import float8
from op_samples import OPS, samples

TAKING = [op for op in OPS if FLOAT8[0] in op.dtypes and op.arity != 0 and op.kind != "random"]


class Host:
    """A device whose namespace is NumPy."""

    xp = np

    def from_host(self, array):
        return array


HOST = Host()


def bits(a):
    return a.view(np.uint8) if a.dtype in float8.STORED else a


@pytest.mark.parametrize("op", TAKING, ids=lambda op: op.name)
def test_rules_give_the_same_bytes(op):
    tried = 0
    for d in op.dtypes:
        for s in samples(op, d):
            if float8.takes_part(s.arrays, s.attrs):
                with np.errstate(all="ignore"):
                    want, got = op.evaluate(np, *s.arrays, **s.attrs), float8.evaluate(HOST, op, s.arrays, s.attrs)
                assert got.dtype == want.dtype and got.shape == want.shape, s.name
                np.testing.assert_array_equal(bits(got), bits(want), err_msg=s.name)
                tried += 1
    assert tried


@pytest.mark.parametrize("d", FLOAT8, ids=str)
def test_tables_round_all_float32_right(d):
    x = np.arange(0, 2**32, 10_007, dtype=np.uint64).astype(np.uint32).view(np.float32)
    middle = np.unique(np.arange(256, dtype=np.uint8).view(d.numpy).astype(np.float32))
    middle = (middle[1:] + middle[:-1])[np.isfinite(middle[1:] + middle[:-1])] / 2
    x = np.concatenate([x, middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf))])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(bits(float8._narrowed(HOST, x, d.numpy)), bits(x.astype(d.numpy)))


def test_numbers_of_the_host_stay_numbers():
    x = FLOAT8[0].numpy.type(1.5)
    assert float8._widened(HOST, x) == np.float32(1.5) and float8.is_stored(x)
