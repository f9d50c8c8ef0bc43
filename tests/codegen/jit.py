"""A small way from LLVM text to a callable function, for tests of what the writer prints."""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm
import numpy as np


@cache
def _start() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


class Compiled:
    """A module of machine code; `compiled.name(arguments)` calls its function with arrays and ints."""

    def __init__(self, text: object, level: int = 2):
        _start()
        module = llvm.parse_assembly(str(text))
        module.verify()
        self._module = module
        features = llvm.get_host_cpu_features().flatten()
        self._machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features, opt=level, jit=True)
        self._engine = llvm.create_mcjit_compiler(module, self._machine)
        self._engine.finalize_object()

    def assembly(self) -> str:
        """The machine code as text."""
        return self._machine.emit_assembly(self._module)

    def __getattr__(self, name: str):
        address = self._engine.get_function_address(name)
        if not address:
            raise AttributeError(name)

        def call(*arguments):
            pointers = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
            kinds = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in arguments]
            ctypes.CFUNCTYPE(None, *kinds)(address)(*pointers)

        call.owner = self                            # the code lives as long as what calls it
        return call
