"""The errors that Braze raises. Each says what was wrong, with which shapes and dtypes, and one remedy.

The room that knows raises them plainly; the edge (`tracer/`) adds the user's file and line once.
"""

from __future__ import annotations


class BrazeError(Exception):
    """Base of all errors of Braze. `location` is the user's `file:line` once the edge has added it."""

    location: str | None = None

    def at(self, location: str | None) -> BrazeError:
        """The same error with the user's line put before its text (only the first one counts)."""
        if location and self.location is None:
            self.location = location
            self.args = (f"{self.args[0] if self.args else ''}\n  at {location}",)
        return self


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


class ParseError(BrazeError, ValueError):
    """IR text that is not well formed."""


class VerifyError(BrazeError, ValueError):
    """A graph, kernel or program that breaks a rule of the IR."""
