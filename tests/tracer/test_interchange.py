"""Arrays of other libraries and tensors on the same memory, through DLPack."""

from __future__ import annotations

import os
import subprocess
import sys

import braze
import numpy as np
import pytest
from braze.ir.errors import DTypeError

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64"]


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("name", DTYPES)
def test_round_trips_share_memory(name):
    given = np.arange(12).reshape(3, 4).astype(name)
    t = braze.from_dlpack(given)
    assert t.dtype.long_name == name and address(t.numpy()) == address(given)
    back = np.from_dlpack(t)
    assert address(back) == address(given) and not back.flags.writeable and (back == given).all()


def test_bfloat16_goes_out_and_comes_in():
    given = braze.arange(5.0).bfloat16()
    back = braze.from_dlpack(Exporter(given))
    assert back.dtype == braze.bfloat16 and address(back.numpy()) == address(given.numpy())
    assert back.tolist() == [0, 1, 2, 3, 4]


class Exporter:
    """Some other library's array."""

    def __init__(self, t):
        self.__dlpack__, self.__dlpack_device__ = t.__dlpack__, t.__dlpack_device__


def test_strides_are_kept():
    given = np.arange(24.0).reshape(4, 6)[::2, ::3].T
    np.testing.assert_array_equal(np.from_dlpack(braze.from_dlpack(given)), given)


def test_what_is_exported_stays_what_it_was():
    x = braze.arange(5.0)
    out = np.from_dlpack(x)
    x += 1
    x[0] = 9
    step = braze.compile(lambda: x.add_(1))
    for _ in range(3):
        step()
    assert out.tolist() == [0, 1, 2, 3, 4]


def test_what_is_taken_in_is_never_written():
    given = np.zeros(4, np.float32)
    x = braze.from_dlpack(given)

    @braze.compile
    def step():
        x.add_(1)

    for _ in range(3):
        step()
    x[0] = 7
    assert x.tolist() == [7, 3, 3, 3] and given.tolist() == [0, 0, 0, 0]


def test_copies_where_asked():
    given = np.zeros(4, np.float32)
    assert address(braze.from_dlpack(given, copy=True).numpy()) != address(given)
    x = braze.zeros(3)
    assert address(np.from_dlpack(x, copy=True)) != address(x.numpy())
    assert braze.from_dlpack(x) is x and braze.from_dlpack(x, copy=True) is not x


def test_devices():
    assert braze.zeros(2).__dlpack_device__() == (1, 0) and not hasattr(braze.zeros(2), "__cuda_array_interface__")
    assert braze.from_dlpack(np.zeros(2), device="cpu").device == "cpu"


@pytest.mark.parametrize("export, kind, words", [
    (lambda: np.from_dlpack(braze.zeros(2, requires_grad=True)), BufferError, r"detach\(\)"),
    (lambda: braze.zeros(2).__dlpack__(dl_device=(2, 0)), BufferError, "exported there alone"),
    (lambda: braze.from_dlpack(np.zeros(2, "V3")), DTypeError, "this ndarray cannot be read"),
    (lambda: braze.compile(lambda x: x.__dlpack__())(braze.zeros(2)), braze.ir.errors.TraceError, "export it outside"),
])
def test_errors(export, kind, words):
    with pytest.raises(kind, match=words):
        export()


PEERS = """
import braze, numpy as np, {library} as lib
raw = np.zeros(24, np.float32)
start = -raw.__array_interface__["data"][0] % 64 // 4                        # aligned as JAX asks for
x = braze.Tensor(raw[start:start + 6].reshape(2, 3))
theirs = {take}
assert {address} == x.numpy().__array_interface__["data"][0], "copied"
assert np.asarray(theirs).tolist() == x.tolist()
ours = braze.from_dlpack(theirs)
assert ours.tolist() == x.tolist() and ours.numpy().__array_interface__["data"][0] == {address}
"""


@pytest.mark.parametrize("library, take, where", [
    ("torch", "lib.from_dlpack(x)", "theirs.data_ptr()"),
    ("jax.dlpack", "lib.from_dlpack(x)", "theirs.unsafe_buffer_pointer()"),
])
def test_other_libraries_without_copies(library, take, where):
    """In the interpreter that has them: this one, or that named by PEERS_PYTHON."""
    python = os.environ.get("PEERS_PYTHON", sys.executable)
    if subprocess.run([python, "-c", f"import {library}"], capture_output=True).returncode:
        pytest.skip(f"{library} is not installed")
    code = PEERS.format(library=library, take=take, address=where)
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/")
    if "No module named 'braze'" in done.stderr:
        pytest.skip("braze is not installed there")
    assert done.returncode == 0, done.stderr
