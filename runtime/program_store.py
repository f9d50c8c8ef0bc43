"""Compiled programs on disk: an entry per traced graph holds program, plan and machine code, so that a warm process
runs no pass.

An entry is data: a line of JSON (steps and slots, kernels as their IR text, sizes as text) and the machine code of the
kernels behind it. It is found by the graph's text, the files of the compiler, the target, and what else decided
(donated inputs, usual sizes). A program with host calls has Python functions in it and is not kept; an entry that does
not read is none.
"""

from __future__ import annotations

import json
import os
from functools import cache as once
from typing import Any

from ..ir.errors import BrazeError
from ..ir.program import Launch, walk
from ..ir.schedule import Source
from . import cache, jit, machine
from .executable import Executable
from .program_data import DAMAGES, NotDataError, Reading, plain, read_schedule, schedule_text

__all__ = ["device_key", "key", "read_schedule", "restore", "save", "schedule_text"]

_FORMAT = "1"
_ROOMS = ("ir", "passes", "codegen", "runtime")


def key(graph: str, *flags: str) -> str:
    """The key of a graph's text under these flags, for this compiler and this machine."""
    return cache.key("program", _FORMAT, graph, _compiler(), *machine.llvm_facts(), *flags)


def device_key(graph: str, *flags: str) -> str:
    """The key of a graph's text under these flags, for this compiler and a device (which the flags name)."""
    from . import triton_compiler  # which programs of the CPU need not load

    return cache.key("device program", _FORMAT, graph, _compiler(), triton_compiler.version(), *flags)


@once
def _compiler() -> str:
    """The names, sizes and times of the compiler's files: what a change of any of them changes."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [os.path.join(root, room) for room in _ROOMS]
    found = []
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    facts = entry.stat()
                    found.append(f"{entry.path[len(root):]} {facts.st_size} {facts.st_mtime_ns}")
                elif entry.is_dir() and not entry.name.startswith("_"):
                    folders.append(entry.path)
    return "\n".join(sorted(found))


# ---- keeping ---------------------------------------------------------------------------------------------------------


def save(entry: str, executable: Executable) -> bool:
    """Keep an executable under a key; False where it cannot be kept."""
    launches = [s for s in walk(executable.program.steps) if isinstance(s, Launch)]
    sources = {id(executable.sources[s]): executable.sources[s] for s in launches}
    code = [jit.kept(s) for s in sources.values() if s.language == "llvm"]
    if not executable.is_native or len(code) < len(sources) or any(c is None for c in code):
        return False
    places = {number: n for n, number in enumerate(sources)}
    kernels: dict[int, Any] = {}
    try:
        program = plain(executable.program, kernels)
        header = {
            "program": program, "kernels": [k for _, k in kernels.values()],
            "sources": [[s.entry, *(plain(x, kernels) for x in (s.units, s.grain, s.scratch, s.facts))]
                        for s in sources.values()],
            "launches": [places[id(executable.sources[s])] for s in launches],
            "code": [[jit.key_of(s), len(c or b"")] for s, c in zip(sources.values(), code)],
        }  # fmt: skip
    except NotDataError:
        return False
    text = json.dumps(header, separators=(",", ":"))
    return cache.put(entry, b"".join([text.encode(), b"\n", *(c or b"" for c in code)]))


# ---- finding ---------------------------------------------------------------------------------------------------------


def restore(entry: str) -> Executable | None:
    """The executable that was kept under a key, ready to run; None where there is none."""
    payload = cache.get(entry)
    if payload is None:
        return None
    text, _, code = payload.partition(b"\n")
    try:
        header = json.loads(text)
        reading = Reading(header["kernels"])
        program = reading.object(header["program"])
        sources = [Source("", name, "llvm", *map(reading.object, rest)) for name, *rest in header["sources"]]
        launches = [s for s in walk(program.steps) if isinstance(s, Launch)]
        used = [sources[n] for n in header["launches"]]
    except (*DAMAGES, BrazeError):
        return None
    start, images = 0, {}
    for name, size in header["code"]:
        images[name] = code[start:start + size]
        start += size
    functions = jit.adopt(images)
    addresses = {id(s): functions[name][s.entry] for s, (name, _) in zip(sources, header["code"])}
    return Executable(program, dict(zip(launches, used)), [addresses[id(s)] for s in used])
