"""The errors that Braze raises. Each says what was wrong, with which shapes and dtypes, where in the user's code, and
one remedy.

The user's line is found when the error is made. Our own frames are cut out of tracebacks where calls enter Braze; what
must remain of them goes with `hide_internal_frames()` (or `BRAZE_TRACEBACK=short`), and `BRAZE_TRACEBACK=full` keeps
all.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from types import TracebackType
from typing import Any, TypeVar

from .location import Location, here, is_internal

E = TypeVar("E", bound="BrazeError")
_mode = os.environ.get("BRAZE_TRACEBACK", "")


class BrazeError(Exception):
    """Base of all errors of Braze. `location` is the user's `file:line`."""

    is_about_text = False                  # the line of the caller says nothing: the error tells its own place

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._where: Location | str | None = None if self.is_about_text else here()

    @property
    def location(self) -> str | None:
        """The user's `file:line`."""
        w = self._where
        return f"{w.file}:{w.line}" if isinstance(w, Location) else w

    def at(self: E, location: Location | str | None) -> E:
        """The same error, about another line: that of the operation which a pass has stumbled on."""
        self._where = location or self._where
        return self

    def __str__(self) -> str:
        w, text = self._where, super().__str__()
        if w is None:
            return text
        source = linecache.getline(w.file, w.line).strip() if isinstance(w, Location) else ""
        return f"{text}\n  at {self.location}" + (f": {source[:100]}" if source else "")


def shorten(error: E) -> E:
    """The error with a traceback of the user's frames alone, to be raised again where the call entered Braze."""
    return error if _mode == "full" else error.with_traceback(user_traceback(error.__traceback__))


def user_traceback(tb: TracebackType | None) -> TracebackType | None:
    """A traceback without our own frames."""
    frames = []
    while tb is not None:
        if not is_internal(tb.tb_frame.f_code):
            frames.append(tb)
        tb = tb.tb_next
    out: TracebackType | None = None
    for t in reversed(frames):
        out = TracebackType(out, t.tb_frame, t.tb_lasti, t.tb_lineno)
    return out


def hide_internal_frames() -> None:
    """From now on, when an error of Braze ends the program or a thread, its traceback shows the user's frames alone.

    Sets `sys.excepthook` and `threading.excepthook`, which call those that were there before; other errors are left
    alone.
    """
    hook, thread_hook = sys.excepthook, threading.excepthook

    def show(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
        if isinstance(error, BrazeError):
            tb = user_traceback(tb)
            error = error.with_traceback(tb)
        hook(kind, error, tb)

    def show_in_thread(args: Any) -> None:
        if isinstance(args.exc_value, BrazeError):
            tb = user_traceback(args.exc_traceback)
            args = threading.ExceptHookArgs((args.exc_type, args.exc_value.with_traceback(tb), tb, args.thread))
        thread_hook(args)

    sys.excepthook, threading.excepthook = show, show_in_thread


if _mode == "short":
    hide_internal_frames()


class ShapeError(BrazeError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(BrazeError, TypeError):
    """A dtype or an argument type that an operation does not take."""


class IndexingError(BrazeError, IndexError):
    """An index outside its tensor."""


class TraceError(BrazeError, RuntimeError):
    """Python that a trace cannot follow: a value that is not known while tracing was asked for."""


class GradientError(BrazeError, RuntimeError):
    """A derivative that was asked for and does not exist."""


class CompileError(BrazeError, RuntimeError):
    """A graph that could not be compiled; tensors and caches are as they were before."""


class DeviceError(BrazeError, RuntimeError):
    """A device that is not there, that an operation does not take, or that has no memory left."""


class ParseError(BrazeError, ValueError):
    """IR text that is not well formed."""

    is_about_text = True


class VerifyError(BrazeError, ValueError):
    """A graph, kernel or program that breaks a rule of the IR."""

    is_about_text = True
