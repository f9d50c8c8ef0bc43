"""Locks that a child of `fork` finds open, whoever held them in the parent: that thread is not there any more.

What a lock that the forking thread itself holds protects is as it left it, and stays locked.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_made: weakref.WeakSet[Any] = weakref.WeakSet()


def lock() -> Any:
    """A re-entrant lock, as `threading.RLock` makes it."""
    made = threading.RLock()
    _made.add(made)
    return made


def _open_in_child() -> None:
    for each in list(_made):
        if not each._is_owned():
            each._at_fork_reinit()                # as `threading` and `logging` do with theirs


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_in_child)
