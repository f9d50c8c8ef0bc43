"""Device programs on disk, under their traced graph: a warm process runs no pass, prints no source, and does not import
Triton (the machine code of the kernels is in the cache by itself, see `triton_compiler.py`).

An entry is a line of JSON. A program with host calls has Python functions in it and is not kept; an entry that does not
read is none.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..ir.errors import BrazeError
from ..ir.program import Launch, walk
from ..ir.schedule import Source
from . import cache
from .device import Device
from .device_executable import DeviceExecutable
from .program_data import DAMAGES, NotDataError, Reading, plain


def save(entry: str, executable: DeviceExecutable) -> bool:
    """Keep an executable under a key; False where it cannot be kept."""
    launches = [s for s in walk(executable.program.steps) if isinstance(s, Launch)]
    sources = {id(executable.sources[s]): executable.sources[s] for s in launches}
    places = {number: n for n, number in enumerate(sources)}
    kernels: dict[int, Any] = {}
    try:
        header = {
            "program": plain(executable.program, kernels), "kernels": [k for _, k in kernels.values()],
            "sources": [[[s.text, s.entry, s.language, plain(s.facts, kernels)] for s in first.chain]
                        for first in sources.values()],
            "launches": [places[id(executable.sources[s])] for s in launches],
        }  # fmt: skip
    except NotDataError:
        return False
    return cache.put(entry, json.dumps(header, separators=(",", ":")).encode())


def restore(entry: str, device: Device, mode: str) -> DeviceExecutable | None:
    """The executable that was kept under a key, ready to run on a device; None where there is none."""
    payload = cache.get(entry)
    if payload is None:
        return None
    try:
        header = json.loads(payload)
        reading = Reading(header["kernels"])
        program = reading.object(header["program"])
        sources = [_chained([Source(text, name, language, facts=reading.object(facts))
                             for text, name, language, facts in chain]) for chain in header["sources"]]
        launches = [s for s in walk(program.steps) if isinstance(s, Launch)]
        used = dict(zip(launches, (sources[n] for n in header["launches"]), strict=True))
    except (*DAMAGES, BrazeError):
        return None
    return DeviceExecutable(program, used, device, mode)


def _chained(sources: list[Source]) -> Source:
    """Sources that run one behind the other as one."""
    last: Source | None = None
    for source in reversed(sources):
        last = replace(source, then=last)
    assert last is not None
    return last
