"""Tensors and other libraries' arrays on the same memory: DLPack and `__cuda_array_interface__`, no copies.

Values of tensors never change, so what Braze gives out is marked read-only where the asker's version of the protocol
has a mark for it; who has none must not write (JAX never does). What it takes in is never written by Braze.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..ir.errors import BrazeError, DTypeError
from . import devices, transfer
from .devices import CPU
from .tensor import Tensor

_CPU, _CUDA = 1, 2                         # DLDeviceType
_MARKS_READ_ONLY = (1, 0)                  # the version of DLPack from which on a capsule can say so


def from_dlpack(x: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of an array of another library (NumPy, PyTorch, JAX, CuPy, Numba) that exports DLPack or,
    on a GPU, `__cuda_array_interface__`.

    Changing that array afterwards changes the tensor's values; Braze itself never writes into it.

    >>> import numpy as np
    >>> braze.from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    if isinstance(x, Tensor):
        return transfer.to(x, device=device, copy=bool(copy))
    array = _array_on(x).view()                          # a view is never donated
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    t = Tensor(devices.copied(array) if copy else array)
    t.dtype  # noqa: B018  (refuses what Braze has no dtype for)
    return t if device is None else transfer.to(t, device=device)


def _array_on(x: Any) -> Any:
    """NumPy's or CuPy's array on the same memory."""
    from ..runtime import interchange

    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        if hasattr(x, "__cuda_array_interface__"):
            return interchange.from_cuda_interface(x)
        raise DTypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__ and no __cuda_array_interface__; it takes "
                         "an array of NumPy, PyTorch, JAX, CuPy, …; for numbers and lists use braze.tensor(…)")
    try:
        return interchange.from_dlpack(x)
    except BrazeError:
        raise
    except (RuntimeError, BufferError) as error:
        raise DTypeError(f"from_dlpack: this {type(x).__name__} cannot be read: {error}") from None


def to_dlpack(x: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None,
              dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    """A DLPack capsule on the tensor's memory (`Tensor.__dlpack__`)."""
    array = x._concrete("t.__dlpack__()", "return the tensor from the compiled function and export it outside")
    if x.requires_grad:
        raise BufferError("a tensor that requires gradients is exported without them: call detach() first")
    if dl_device is not None and tuple(dl_device) != dlpack_device(x):
        raise BufferError(f"a tensor on {x.device} is exported there alone; move it first with .to(…)")
    array = devices.copied(array) if copy else array
    if devices.of(array) == CPU:
        return _exported(array.view(np.ndarray), max_version)
    from ..runtime import interchange

    return interchange.to_dlpack(array, stream=stream, max_version=max_version)


def _exported(array: np.ndarray, max_version: tuple[int, int] | None) -> Any:
    from ..runtime import interchange

    if max_version is not None and tuple(max_version) >= _MARKS_READ_ONLY:
        array.flags.writeable = False
        return interchange.to_dlpack(array, max_version=max_version)
    return interchange.to_dlpack(array if array.flags.writeable else array.copy())


def dlpack_device(x: Tensor) -> tuple[int, int]:
    """DLPack's numbers of the device's type and of the device (`Tensor.__dlpack_device__`)."""
    where = x.device
    return (_CPU, 0) if where == CPU else (_CUDA, int(where.index or 0))


def cuda_array_interface(x: Tensor) -> dict[str, Any]:
    """The description of a tensor's memory on a GPU (`Tensor.__cuda_array_interface__`), read-only.

    Who takes it holds the tensor, not its memory: that is kept as long as the tensor, and written no more.
    """
    found = getattr(x._array, "__cuda_array_interface__", None)
    if found is None:
        raise AttributeError("only a tensor on a GPU has a __cuda_array_interface__")
    if x.dtype.name == "bf16" or x.dtype.is_storage:
        raise AttributeError(f"__cuda_array_interface__ has no name for {x.dtype.long_name}; use DLPack")
    if x.requires_grad:
        raise AttributeError("a tensor that requires gradients is exported without them: call detach() first")
    x._array = x._array.view()                           # a view is never written in place
    weakref.finalize(x, _released, x._array).atexit = False
    return {**found, "data": (found["data"][0], True)}


def _released(array: Any) -> None:
    """Nothing is left to do: the array goes."""


METHODS = {"__dlpack__": to_dlpack, "__dlpack_device__": dlpack_device,
           "__cuda_array_interface__": property(cuda_array_interface)}
