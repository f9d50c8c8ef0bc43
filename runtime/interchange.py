"""Arrays of other libraries and ours for them, without copies: DLPack and CUDA's array interface.

NumPy and CuPy do the work, read-only flags and streams included. What they lack are bfloat16 and 8-bit floats, which
travel as words of their width: the capsule is told so (or not) by the bytes that name the element type.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from ..ir.errors import DeviceError, DTypeError
from . import cuda

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13         # DLDeviceType, dlpack.h
_UNSIGNED_CODE = 1                                       # DLDataTypeCode; 8-bit floats have theirs since DLPack 1.1
_CODES = {np.dtype(ml_dtypes.bfloat16): 4, np.dtype(ml_dtypes.float8_e4m3fn): 10, np.dtype(ml_dtypes.float8_e5m2): 12}
_OF_CODE = {(code, 8 * d.itemsize, 1): d for d, code in _CODES.items()}
_TENSOR_AT = {b"dltensor": 0, b"dltensor_versioned": 32}         # where DLTensor lies in what a capsule holds
_TYPE_AT = 20                                            # where DLTensor has its element type: code, bits, lanes


class _ElementType(ctypes.Structure):
    """DLDataType."""

    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


def _element_type(capsule: Any) -> _ElementType:
    """The element type that a capsule names; writing to it changes the capsule."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    if name not in _TENSOR_AT:
        raise DTypeError(f"a capsule named {name!r} is no DLPack tensor that nobody has taken yet")
    return _ElementType.from_address(api.PyCapsule_GetPointer(capsule, name) + _TENSOR_AT[name] + _TYPE_AT)


# ---- out -------------------------------------------------------------------------------------------------------------


def dlpack_device(array: Any) -> tuple[int, int]:
    """The type and number of the device that has the array's memory, in DLPack's terms."""
    kind, number = array.__dlpack_device__()
    return int(kind), int(number)


def to_dlpack(array: Any, **options: Any) -> Any:
    """A capsule of the array: its `__dlpack__(**options)`, for bfloat16 and 8-bit floats too. NumPy's refuses arrays
    that are read-only where the consumer could not know.
    """
    code = _CODES.get(array.dtype)
    if code is None:
        return _plain(array).__dlpack__(**options)
    capsule = _plain(array).view(f"uint{8 * array.dtype.itemsize}").__dlpack__(**options)
    _element_type(capsule).code = code
    return capsule


def _plain(array: Any) -> Any:
    """The memory that a consumer sees: a simulated device's is NumPy's."""
    return array.view(np.ndarray) if isinstance(array, np.ndarray) else array


# ---- in --------------------------------------------------------------------------------------------------------------


class _Words:
    """A producer whose numbers of a dtype that NumPy lacks, `named`, are given as words."""

    def __init__(self, producer: Any):
        self._producer = producer
        self.named: np.dtype | None = None

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._producer.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = _capsule(self._producer, options)
        kind = _element_type(capsule)
        self.named = _OF_CODE.get((kind.code, kind.bits, kind.lanes))
        if self.named is not None:
            kind.code = _UNSIGNED_CODE
        return capsule


def _capsule(producer: Any, options: dict[str, Any]) -> Any:
    """A producer's capsule; one of before 2024 takes a stream alone."""
    try:
        return producer.__dlpack__(**options)
    except TypeError:
        old = {name: value for name, value in options.items() if name == "stream"}
        if old == options:
            raise
        return producer.__dlpack__(**old)


def from_dlpack(producer: Any) -> Any:
    """An array on the producer's memory: NumPy's for the CPU, CuPy's for a GPU. It is read-only where the producer's
    is, or does not say.
    """
    kind, _ = dlpack_device(producer)
    words = _Words(producer)
    if kind in (CPU, CUDA_HOST):
        array = np.from_dlpack(words)
    elif kind in (CUDA, CUDA_MANAGED):
        array = cuda.namespace().from_dlpack(words)
    else:
        raise DeviceError(f"a DLPack tensor on a device of type {kind}; CPU ({CPU}) and CUDA ({CUDA}) can be read")
    return array if words.named is None else array.view(words.named)


def from_cuda_interface(x: Any) -> Any:
    """CuPy's array on the memory of an object with `__cuda_array_interface__`, on the device that has it."""
    cupy = cuda.namespace()
    address = x.__cuda_array_interface__["data"][0]
    if not address:                                      # no elements
        return cupy.asarray(x)
    with cupy.cuda.Device(cupy.cuda.runtime.pointerGetAttributes(address).device):
        return cupy.asarray(x)
