"""Resident memory of this process, now and at its highest."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Resident memory now; where the system doesn't say, its highest value so far."""
    return status_bytes("VmRSS") if STATUS.exists() else peak_bytes()


def peak_bytes() -> int:
    """The highest resident memory so far. On Linux it is this process' own; getrusage counts its parent's too."""
    if STATUS.exists():
        return status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status_bytes(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(field)
