"""Importing Triton's compiler, most of what a first kernel costs: without the part that kernels here have no use for,
and with its library loaded ahead, while Python does something else.

What is known here of Triton's inside (versions 3.6 to 3.9) is where its library lies, and that its code generator knows
two functions of Gluon.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
import sys
import threading
from functools import cache as once
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..ir.errors import CompileError

_GENERATOR, _GLUON = "triton.compiler.code_generator", "triton.experimental.gluon"
_FUNCTIONS = ("static_assert", "static_print")


@once
def version() -> str:
    """The version of Triton that is installed; found without importing it, or what reads the metadata of packages."""
    try:
        with open(os.path.join(_folder(), "__init__.py"), encoding="utf-8") as file:
            found = re.search(r"^__version__ = ['\"](.+?)['\"]", file.read(), re.MULTILINE)
    except OSError:
        found = None
    if found is not None:
        return found[1]
    from importlib import metadata

    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        raise CompileError("Triton is not installed (pip install triton)") from None


def _folder() -> str:
    """Where the package lies."""
    loaded = sys.modules.get("triton")
    spec: ModuleSpec | None = getattr(loaded, "__spec__", None) if loaded else importlib.util.find_spec("triton")
    places = spec.submodule_search_locations if spec is not None else None
    return next(iter(places or ()), "")


def load_ahead() -> None:
    """Load Triton's library in a thread of its own; who imports Triton later finds it loaded."""
    if "triton" not in sys.modules:
        _load_ahead()


@once
def _load_ahead() -> None:
    library = os.path.join(_folder(), "_C", "libtriton.so")
    if os.path.exists(library):
        threading.Thread(target=_load, args=(library,), name="braze-triton-library", daemon=True).start()


def _load(library: str) -> None:
    try:
        ctypes.CDLL(library)
    except OSError:
        pass                             # the import says what is wrong


def import_compiler() -> None:
    """Import Triton with its code generator. That imports Gluon, another language, for two names that it looks up;
    until someone imports it, there are none to be looked up.
    """
    import triton  # noqa: F401

    if _GENERATOR in sys.modules:
        return
    stand_ins: dict[str, ModuleType] = {}
    if not any(name == _GLUON or name.startswith(f"{_GLUON}.") for name in sys.modules):
        gluon, language = ModuleType(_GLUON), ModuleType(f"{_GLUON}.language")
        vars(language).update({name: object() for name in _FUNCTIONS})
        vars(gluon).update(language=language)
        stand_ins = {_GLUON: gluon, language.__name__: language}
    sys.modules.update(stand_ins)
    try:
        generator = importlib.import_module(_GENERATOR)
    finally:
        for name in stand_ins:
            del sys.modules[name]
    if stand_ins:
        known = generator.CodeGenerator.statically_implemented_functions
        generator.CodeGenerator.statically_implemented_functions = _Implemented(known, stand_ins[f"{_GLUON}.language"])


class _Implemented(dict):
    """What the code generator computes itself, by function. Gluon's functions are entered when Gluon is there."""

    def __init__(self, known: dict[Any, Any], stand_in: ModuleType):
        super().__init__(known)
        self._waiting = {name: self.pop(getattr(stand_in, name)) for name in _FUNCTIONS}

    def get(self, function: Any, default: Any = None) -> Any:
        """As a dictionary does."""
        language = sys.modules.get(f"{_GLUON}.language") if self._waiting else None
        if language is not None and all(hasattr(language, name) for name in _FUNCTIONS):
            self.update((getattr(language, name), how) for name, how in self._waiting.items())
            self._waiting = {}
        return super().get(function, default)
