"""Where in the user's code a node comes from: stored raw (code object, instruction offset), decoded when shown."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TRANSPARENT = tuple(_PACKAGE + room + os.sep for room in ("ir", "passes", "codegen", "runtime", "tracer", "nn",
                                                           "optim", "data"))
_ours: dict[CodeType, bool] = {}


class Location:
    """One line of the user's program; `scope` is the module path (`block.3.attn`) it ran in."""

    __slots__ = ("code", "offset", "scope", "_file", "_line")

    def __init__(self, code: CodeType | None, offset: int, scope: str = "", file: str = "", line: int = 0):
        self.code, self.offset, self.scope, self._file, self._line = code, offset, scope, file, line

    @property
    def file(self) -> str:
        """The file's path."""
        return self.code.co_filename if self.code is not None else self._file

    @property
    def line(self) -> int:
        """The line number."""
        if self.code is None:
            return self._line
        if not self._line:
            self._line = self.code.co_firstlineno
            for start, stop, line in self.code.co_lines():
                if start <= self.offset < stop and line is not None:
                    self._line = line
                    break
        return self._line

    def __str__(self) -> str:
        name = os.path.basename(self.file)
        return f"{name}:{self.line}" + (f" in {self.scope}" if self.scope else "")


def is_internal(code: CodeType) -> bool:
    """Is this code Braze's own (examples, tests and benchmarks are the user's)?"""
    known = _ours.get(code)
    if known is None:
        known = _ours[code] = code.co_filename.startswith(_TRANSPARENT)
    return known


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame that is not ours."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and is_internal(frame.f_code):
        frame = frame.f_back
    return frame


def here(scope: str = "") -> Location | None:
    """The user's line that is running now."""
    frame = user_frame(2)
    return None if frame is None else Location(frame.f_code, frame.f_lasti, scope)
