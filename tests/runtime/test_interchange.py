"""DLPack out and in: no copies, bfloat16 and 8-bit floats too, read-only flags kept, and what a GPU's tensor needs."""

from __future__ import annotations

import ctypes
import gc
import weakref

import ml_dtypes
import numpy as np
import pytest
from braze.ir.errors import DeviceError, DTypeError
from braze.ir.types import DTYPES
from braze.runtime import cuda, interchange


class Producer:
    """Exports an array as Braze does."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return interchange.dlpack_device(self.array)

    def __dlpack__(self, **options):
        return interchange.to_dlpack(self.array, **options)


class OldProducer(Producer):
    """Knows nothing of versions."""

    def __dlpack__(self, stream=None):
        return interchange.to_dlpack(self.array, stream=stream)


@pytest.mark.parametrize("producer", [Producer, OldProducer])
@pytest.mark.parametrize("dtype", [d.numpy for d in DTYPES], ids=lambda d: d.name)
def test_a_round_trip_shares_memory(dtype, producer):
    given = np.arange(12).reshape(3, 4).astype(dtype)
    for view in (given, given[::2, 1:], given.T):
        back = interchange.from_dlpack(producer(view))
        assert back.dtype == dtype and back.shape == view.shape and np.shares_memory(back, given)
        np.testing.assert_array_equal(back.astype(complex), view.astype(complex))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_memory_lives_as_long_as_somebody_has_it(dtype):
    given = np.ones(1000, dtype)
    watched = weakref.ref(given)
    back = interchange.from_dlpack(Producer(given))
    del given
    gc.collect()
    assert watched() is not None and (back == 1).all()
    del back
    gc.collect()
    assert watched() is None


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_read_only_arrays_stay_so(dtype):
    given = np.ones(3, dtype)
    given.flags.writeable = False
    assert not interchange.from_dlpack(Producer(given)).flags.writeable
    with pytest.raises(BufferError):
        interchange.from_dlpack(OldProducer(given))
    given = np.ones(3, dtype)
    interchange.from_dlpack(Producer(given))[0] = 5
    assert given[0] == 5


@pytest.mark.parametrize("name, code", [("bfloat16", 4), ("float8_e4m3fn", 10), ("float8_e5m2", 12)])
def test_the_element_type_of_a_capsule_is_named(name, code):
    """As `DLDataTypeCode` of dlpack.h numbers them."""
    given = np.ones(3, getattr(ml_dtypes, name))
    kind = interchange._element_type(interchange.to_dlpack(given))
    assert (kind.code, kind.bits, kind.lanes) == (code, 8 * given.itemsize, 1)


def test_a_capsule_that_was_taken_is_refused():
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    with pytest.raises(DTypeError, match="no DLPack tensor"):
        interchange._element_type(new(1, b"used_dltensor", None))


class Elsewhere:
    def __init__(self, kind):
        self.kind = kind

    def __dlpack_device__(self):
        return self.kind, 0


def test_tensors_of_other_devices():
    with pytest.raises(DeviceError, match="a device of type 10"):
        interchange.from_dlpack(Elsewhere(10))


@pytest.mark.skipif(cuda.count() > 0, reason="there is a GPU")
def test_a_gpu_tensor_where_there_is_no_gpu():
    with pytest.raises(DeviceError, match="there is no GPU: "):
        interchange.from_dlpack(Elsewhere(interchange.CUDA))
    with pytest.raises(DeviceError, match="there is no GPU: "):
        interchange.from_cuda_interface(object())
