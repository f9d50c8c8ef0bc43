"""Products of matrices by cuBLAS, through CuPy: the library that generated kernels compete with under
`mode="max-autotune"`.

What is computed is what a kernel would compute: 16-bit operands are summed in float32 and no partial sum is rounded to
16 bits (cuBLAS would by default), float32 is IEEE's unless tf32 is asked for. CuPy refuses to record calls of cuBLAS in
a CUDA graph, so programs with such a step are not recorded.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..ir.errors import DeviceError
from .device import MatrixProduct

# values of cuBLAS and CUDA: cublasOperation_t, cudaDataType, cublasComputeType_t, cublasMath_t, cublasGemmAlgo_t
_AS_IT_LIES, _TURNED = 0, 1
_KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
_COMPUTE_32F, _COMPUTE_32F_PEDANTIC, _COMPUTE_32F_FAST_TF32, _COMPUTE_64F = 68, 69, 77, 70
_NO_REDUCED_PRECISION_REDUCTION = 16
_ANY_ALGORITHM = -1
_LARGEST = 2**31 - 1


class Cublas:
    """cuBLAS for one GPU, whose context is current. Each thread has a handle of its own."""

    def __init__(self, cupy: Any):
        self.cupy = cupy
        self.local = threading.local()
        self.scales = {d: (np.ones((), d), np.zeros((), d)) for d in (np.dtype("f4"), np.dtype("f8"))}

    def multiply(self, p: MatrixProduct, left: int, right: int, result: int, stream: int) -> None:
        """Enqueue a product. cuBLAS thinks of columns that lie one after the other: to it, each of our matrices is
        turned, and the turned result is right times left.
        """
        library = self.cupy.cuda.cublas
        m, n, k = p.columns, p.rows, p.depth
        if max(m, n, k, p.batch) > _LARGEST:
            raise DeviceError(f"cuBLAS takes no matrices of {n} x {k} and {k} x {m} in a batch of {p.batch}")
        one, zero = (a.ctypes.data for a in self.scales[np.dtype("f8" if p.operand == np.float64 else "f4")])
        first = right, _KINDS[p.operand.name], k if p.turned_right else m, k * m
        second = left, _KINDS[p.operand.name], n if p.turned_left else k, n * k
        third = result, _KINDS[p.result.name], m, n * m
        with self._on(stream):
            try:
                library.gemmStridedBatchedEx(
                    self._handle(library), _TURNED if p.turned_right else _AS_IT_LIES,
                    _TURNED if p.turned_left else _AS_IT_LIES, m, n, k, one, *first, *second, zero, *third, p.batch,
                    compute_type(p), _ANY_ALGORITHM)
            except library.CUBLASError as error:
                raise DeviceError(f"cuBLAS does not make a product of {p.operand.name}[{p.batch}, {n}, {k}] and "
                                  f"[{p.batch}, {k}, {m}]: {error}") from error

    def _on(self, stream: int) -> AbstractContextManager[Any]:
        """CuPy calls cuBLAS on its current stream."""
        cuda = self.cupy.cuda
        return nullcontext() if cuda.get_current_stream().ptr == stream else cuda.ExternalStream(stream)

    def _handle(self, library: Any) -> int:
        if not hasattr(self.local, "handle"):
            self.local.handle = library.create()
            library.setMathMode(self.local.handle, _NO_REDUCED_PRECISION_REDUCTION)
        return self.local.handle


def compute_type(p: MatrixProduct) -> int:
    """How cuBLAS multiplies and sums."""
    if p.operand == np.float64:
        return _COMPUTE_64F
    if p.operand != np.float32:
        return _COMPUTE_32F
    return _COMPUTE_32F_FAST_TF32 if p.precision == "tf32" else _COMPUTE_32F_PEDANTIC
