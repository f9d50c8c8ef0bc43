"""All that runtime/cuda.py and its kin ask of CuPy is there in the CuPy that is installed; no GPU is needed to see."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from braze.codegen.numpy import helpers, spelling
from braze.ir.types import DTYPES
from braze.runtime import cuda, cuda_facts, device_numpy, interchange

cupy = pytest.importorskip("cupy")
NAMES = {"self.xp": "", "cupy": "", "self._runtime": "cuda.runtime", "cuda": "cuda", "memory": "cuda",
         "driver": "cuda.driver", "runtime": "cuda.runtime"}
ATTRIBUTES = ("MultiProcessorCount", "ClockRate", "WarpSize", "MaxSharedMemoryPerBlockOptin",
              "MaxRegistersPerMultiprocessor", "L2CacheSize", "MemoryClockRate", "GlobalMemoryBusWidth")


def at(name: str) -> object:
    """What CuPy has by a dotted name; None where it has nothing."""
    found = cupy
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def chains(module, roots=NAMES) -> set[str]:
    """The dotted names below CuPy that a module's text has."""
    found = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root == "self":
                first, _, rest = rest.partition(".")
                root = f"self.{first}"
            if root in roots and rest.replace(".", "").replace("_", "").isalnum():
                found.add(f"{roots[root]}.{rest}".strip("."))
    return found


@pytest.mark.parametrize("module, roots, least", [
    (cuda, NAMES, 20), (cuda_facts, NAMES, 5), (interchange, {"cupy": ""}, 3),
], ids=["cuda", "facts", "interchange"])
def test_what_is_asked_of_cupy_is_there(module, roots, least):
    asked = chains(module, roots)
    assert len(asked) >= least
    for chain in sorted(asked):
        at = cupy
        for name in chain.split("."):
            if isinstance(at, type):
                break                    # what an object of the class has
            assert hasattr(at, name), f"cupy.{chain}"
            at = getattr(at, name)


def test_functions_of_numpy_source_are_there():
    words = [*spelling.UFUNC.values(), *spelling.REDUCE.values(), *map(spelling.dtype_name, DTYPES)]
    names = {w.removeprefix("np.") for w in words if w.startswith("np.")}
    names |= {*device_numpy._REDUCED.values(), "where", "arange", "broadcast_to", "matmul", "einsum"}
    names |= chains(helpers, {"np": ""})
    assert len(names) > 50 and not {n for n in names if not at(n)}
    assert [*inspect.signature(at("lib.stride_tricks.as_strided")).parameters] == ["x", "shape", "strides"]
    for name in ("add", "multiply"):
        assert hasattr(getattr(cupy, name), "reduce") and hasattr(getattr(cupy, name), "accumulate")


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_of_devices_are_named_as_in_cuda(name):
    assert isinstance(getattr(cupy.cuda.runtime, f"cudaDevAttr{name}"), int)
    assert f'"{name}"' in Path(cuda_facts.__file__).read_text()


def test_arrays_have_what_tensors_ask_of_them():
    asked = ("base", "data", "device", "flags", "get", "view", "copy", "astype", "min", "max", "nbytes", "__dlpack__",
             "__dlpack_device__", "__cuda_array_interface__")
    assert not [name for name in asked if not hasattr(cupy.ndarray, name)]
    assert not issubclass(cupy.ndarray, np.ndarray) and hasattr(cupy.cuda.Device, "use")


def test_signatures_of_what_is_called_by_position():
    runtime, driver = cupy.cuda.runtime, cupy.cuda.driver
    assert "intptr_t dst, intptr_t src, size_t size, int kind, intptr_t stream" in runtime.memcpyAsync.__doc__
    assert "intptr_t ptr, int value, size_t size, intptr_t stream" in runtime.memsetAsync.__doc__
    assert "intptr_t stream, intptr_t kernel_params, intptr_t extra" in driver.launchKernel.__doc__
    assert "bytes image" in driver.moduleLoadData.__doc__ and "str funcname" in driver.moduleGetFunction.__doc__
    assert driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES == cuda._MAX_DYNAMIC_SHARED_SIZE
    assert (runtime.memcpyDeviceToHost, runtime.memcpyDeviceToDevice) == (cuda._DEVICE_TO_HOST, cuda._DEVICE_TO_DEVICE)
    assert cupy.ndarray.__weakrefoffset__ and issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
