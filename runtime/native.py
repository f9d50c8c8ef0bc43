"""The native runner from Python: `run` interprets step records on a frame, `bind` makes a builtin of a program.

The builtin takes arrays (or addresses) and sizes, copies a template frame onto its stack, and runs: two programs, or
two calls of one, may run at once. It keeps the interpreter's lock for short programs and releases it for longer ones.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache as once
from typing import Any, NamedTuple

import numpy as np

from . import abi, jit, link, threads
from .runner_text import runner_text

_METH_FASTCALL = 0x80                    # CPython's stable interface, Include/methodobject.h
_MESSAGE = b"a bound program takes an array or an address for each input and output, then its sizes"


class Runner(NamedTuple):
    """The addresses of the runner's functions, and the table of CPython functions that its builtin reads."""

    run: Callable[[int, int, int, int], int]
    run_alone: Callable[[int, int, int, int], int]       # the same, keeping the interpreter's lock
    region: Callable[[int, int, int, int, int, int], None]
    turns: int
    call: int
    table: np.ndarray
    time: int


class _MethodDefinition(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p))


@once
def request() -> jit.Request:
    """The runner's text for this machine and this Python; a program that compiles has it compiled beside its
    kernels.
    """
    architecture = os.uname().machine if hasattr(os, "uname") else "x86_64"
    return jit.Request(runner_text(architecture, bytes.__basicsize__ - 1))


@once
def load() -> Runner:
    """The runner, compiled for this machine if it was not yet."""
    functions = jit.compile_texts([request()])[0]
    threads.calibrate(ctypes.PYFUNCTYPE(None, ctypes.c_int64)(functions["pause"]))
    threads.pool()
    word = ctypes.c_int64
    time = link.address_of("time")
    python = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in abi.PYTHON_FUNCTIONS]
    message = ctypes.cast(ctypes.c_char_p(_MESSAGE), ctypes.c_void_p).value
    return Runner(
        ctypes.CFUNCTYPE(word, word, word, word, word)(functions["run"]),
        ctypes.PYFUNCTYPE(word, word, word, word, word)(functions["run"]),
        ctypes.CFUNCTYPE(None, word, word, word, word, word, word)(functions["region"]),
        functions["turns"],
        functions["call"],
        np.array([*python, id(None), id(TypeError), message, time, _array_type()], np.int64),
        time,
    )


def _array_type() -> int:
    """The type whose objects the builtin reads addresses from; none in a Python whose objects are laid out
    otherwise.
    """
    for array in (np.empty(3), np.empty((2, 2), np.int8)[1:]):
        read = ctypes.c_int64.from_address
        kind, data = read(id(array) + abi.OBJECT_TYPE).value, read(id(array) + abi.ARRAY_DATA).value
        if kind != id(np.ndarray) or data != array.ctypes.data:
            return -1
    return id(np.ndarray)


@once
def _definition() -> _MethodDefinition:
    return _MethodDefinition(b"program", load().call, _METH_FASTCALL, b"A compiled program, bound to its memory.")


def bind(code: Sequence[int] | np.ndarray, frame: np.ndarray, arguments: int,
         releases_lock: bool) -> Callable[..., None]:
    """A builtin that puts its arguments as words after the header of a copy of `frame` and runs `code`.

    Code and frame are copied into the bytes object that is the builtin's `self`, so that it owns all that it needs.
    """
    native = load()
    header = np.zeros(abi.BOUND_HEADER, np.int64)
    header[abi.BOUND_CODE] = abi.BOUND_HEADER
    header[abi.BOUND_FRAME] = abi.BOUND_HEADER + len(code)
    header[abi.BOUND_WORDS] = len(frame)
    header[abi.BOUND_ARGUMENTS] = arguments
    header[abi.BOUND_RELEASES] = releases_lock
    header[abi.BOUND_POOL] = threads.cell_address()
    header[abi.BOUND_TABLE] = native.table.ctypes.data
    owner = np.concatenate([header, np.asarray(code, np.int64), frame]).tobytes()
    make: Any = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make(ctypes.addressof(_definition()), owner, None)
