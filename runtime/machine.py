"""What this machine offers: the `Target` of the host, and how many threads the process may run.

LLVM names the processor and its features; they are kept in the disk cache under a fingerprint of the processor and of
llvmlite's library, so that a warm process need not load LLVM to know them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache as once

from ..ir.target import Target
from . import cache
from .control_groups import processors, text

_VECTORS = (                             # feature, bytes of a register, number of registers; the first match counts
    ("+avx512f", 64, 32), ("+avx2", 32, 16), ("+avx", 32, 16), ("+neon", 16, 32), ("+sse2", 16, 16),
)  # fmt: skip
_ARCHITECTURE = os.uname().machine if hasattr(os, "uname") else "AMD64"
_GENERIC = {"aarch64": (16, 32), "arm64": (16, 32), "x86_64": (16, 16), "AMD64": (16, 16)}


def usable_threads() -> int:
    """How many threads may run at once: the processors the process is bound to, less where a control group says so."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = processors()
    return max(1, count if limit is None else min(count, -int(-limit // 1)))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


@once
def host() -> Target:
    """The machine this process runs on."""
    triple, cpu, features, _ = llvm_facts()
    present = set(features.split(","))
    width, registers = next(((w, r) for name, w, r in _VECTORS if name in present),
                            _GENERIC.get(_ARCHITECTURE, (16, 16)))
    l1, l2 = _cache_sizes()
    return Target(triple, cpu, features, width, registers, l1, l2, usable_threads())


@once
def llvm_facts() -> tuple[str, str, str, str]:
    """LLVM's triple, processor, features and version for this machine; four empty texts where llvmlite is not
    installed.
    """
    library = _llvm_library()
    if library is None:
        return "", "generic", "", ""
    entry = cache.key("machine", _processor(), *library)
    known = cache.get(entry)
    if known is not None:
        triple, cpu, features, version = known.decode().split("\n")
        return triple, cpu, features, version
    import llvmlite.binding as llvm

    facts = (llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(),
             ".".join(map(str, llvm.llvm_version_info)))
    cache.put(entry, "\n".join(facts).encode())
    return facts


def _llvm_library() -> tuple[str, ...] | None:
    """The place, size and time of llvmlite's library, found without importing it."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = os.path.join(spec.submodule_search_locations[0], "binding")
    for name in sorted(_names(folder)):
        if "llvmlite." in name:
            facts = os.stat(os.path.join(folder, name))
            return folder, name, str(facts.st_size), str(facts.st_mtime_ns)
    return folder, sys.version, ""


def _processor() -> str:
    """Text that differs between processors with different instructions."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU implementer",
              "CPU part")
    lines = text("/proc/cpuinfo").split("\n\n")[0].splitlines()
    if lines:
        return _ARCHITECTURE + "\n" + "\n".join(line for line in lines if line.split(":")[0].strip() in wanted)
    return f"{_ARCHITECTURE} {_sysctl('machdep.cpu.brand_string')} {sys.version}"


def _cache_sizes() -> tuple[int, int]:
    """Bytes of the first (data) and second level cache of one core."""
    sizes: dict[int, int] = {}
    caches = "/sys/devices/system/cpu/cpu0/cache"
    for folder in [f"{caches}/{name}" for name in _names(caches) if name.startswith("index")]:
        size = text(f"{folder}/size")
        if text(f"{folder}/type") in ("Data", "Unified") and size[:-1].isdigit():
            sizes[int(text(f"{folder}/level"))] = int(size[:-1]) << {"K": 10, "M": 20}.get(size[-1], 0)
    if not sizes and sys.platform == "darwin":
        for level, name in ((1, "l1dcachesize"), (2, "l2cachesize")):
            size = _sysctl(f"hw.perflevel0.{name}") or _sysctl(f"hw.{name}")
            if size.isdigit():
                sizes[level] = int(size)
    default = Target()
    return sizes.get(1, default.l1_bytes), sizes.get(2, default.l2_bytes)


def _sysctl(name: str) -> str:
    if sys.platform != "darwin":
        return ""
    import subprocess

    answer = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
