"""Who tells that a user function starts or returns, while a function is traced: `sys.monitoring`, or a profile function
before Python 3.12.

Monitoring costs our own code nothing: its events are switched off where they first arise. A profile function is
suspended while an operation is carried out (trace.py); one that was there before is called on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from ..ir import locks
from .reads import reads_of

Look = Callable[[FrameType, bool, Any], None]          # (frame, is it returning, what its code reads)


@contextmanager
def watching(trace: Any, look: Look) -> Iterator[None]:
    """Call `look` for each start and return of a user function in this thread."""
    if hasattr(sys, "monitoring"):
        with monitor(sys.monitoring).watching(look):
            yield
        return
    profile = _Profile(look)
    trace.profile = profile.event
    before = profile.before
    if before is not None and not callable(before):    # cProfile: paused
        before.disable()
    sys.setprofile(profile.event)
    try:
        yield
    finally:
        trace.profile = None
        sys.setprofile(before if callable(before) else None)
        if before is not None and not callable(before):
            before.enable()


class _Profile:
    """A profile function, in front of the one that was there."""

    def __init__(self, look: Look):
        self.look, self.before = look, sys.getprofile()

    def event(self, frame: FrameType, kind: Any, argument: Any) -> None:
        """What Python calls when a function starts or returns."""
        if callable(self.before):
            self.before(frame, kind, argument)
        if kind == "call" or kind == "return":
            reads = reads_of(frame.f_code)
            if reads:
                self.look(frame, kind == "return", reads)


class Monitor:
    """A tool of `sys.monitoring` that all threads share: events are on while any thread traces."""

    def __init__(self, monitoring: Any):
        self.monitoring = monitoring
        self.looks: dict[int, list[Look]] = {}
        self.lock = locks.lock()
        self.tool = next((n for n in (4, 3, 1, 0) if monitoring.get_tool(n) is None), None)
        if self.tool is not None:
            monitoring.use_tool_id(self.tool, "braze")
            monitoring.register_callback(self.tool, monitoring.events.PY_START, self.start)
            monitoring.register_callback(self.tool, monitoring.events.PY_RETURN, self.stop)

    @contextmanager
    def watching(self, look: Look) -> Iterator[None]:
        """Events of this thread go to `look`."""
        me = threading.get_ident()
        with self.lock:
            self.looks.setdefault(me, []).append(look)
            self._switch()
        try:
            yield
        finally:
            with self.lock:
                self.looks[me].pop()
                if not self.looks[me]:
                    del self.looks[me]
                self._switch()

    def _switch(self) -> None:
        if self.tool is not None:
            events = self.monitoring.events
            self.monitoring.set_events(self.tool, events.PY_START | events.PY_RETURN if self.looks else 0)

    def start(self, code: CodeType, offset: int) -> Any:
        """A function starts."""
        return self._tell(code, False)

    def stop(self, code: CodeType, offset: int, result: Any) -> Any:
        """A function returns."""
        return self._tell(code, True)

    def _tell(self, code: CodeType, is_returning: bool) -> Any:
        reads = reads_of(code)
        if not reads:
            return self.monitoring.DISABLE
        looks = self.looks.get(threading.get_ident())
        if looks:
            looks[-1](sys._getframe(2), is_returning, reads)
        return None


_monitors: list[Monitor] = []


def monitor(monitoring: Any) -> Monitor:
    """The one monitor of the process."""
    if not _monitors:
        _monitors.append(Monitor(monitoring))
    return _monitors[0]
