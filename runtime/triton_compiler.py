"""Triton's compiler, driven stage by stage: the source of a kernel becomes machine code, without Triton's own cache
(whose key hashes its whole library), driver (which builds C at run time) and launcher.

Works without a GPU, for any compute capability and for AMD. This is the only file that knows the compiler's internals
(versions 3.6 to 3.9); those of its interpreter are in `triton_interpreter.py`, of its import in `triton_import.py`.
"""

from __future__ import annotations

import json
import linecache
import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..ir.errors import CompileError
from ..ir.gpu import GpuTarget
from ..ir.schedule import Source
from . import cache
from .triton_import import import_compiler, version

_FORMAT = "1"
_MOST_THREADS = 16
HIDDEN_ARGUMENTS = 2             # behind a kernel's own: its scratch memory, and that of Triton's profiler


@dataclass(frozen=True)
class Compiled:
    """A kernel's machine code for one device and one pattern of divisible sizes, and what a launch must know.

    `registers` are those of a thread, `spills` the bytes of a thread's local memory, `shared` the bytes of dynamic
    shared memory; a program of `warps` warps may need scratch memory in global memory. `assembly` is PTX or AMD's.
    """

    binary: bytes
    assembly: str
    entry: str
    registers: int
    spills: int
    shared: int
    warps: int
    global_scratch: int = 0
    profile_scratch: int = 0

    @property
    def ptx(self) -> str:
        """The assembly, by the name that it has on NVIDIA's devices."""
        return self.assembly


class Request(NamedTuple):
    """A source to compile: `divisible` says of each of its sizes whether it is a multiple of 16."""

    source: Source
    target: GpuTarget
    divisible: tuple[bool, ...] = ()


def compile_source(source: Source, target: GpuTarget, divisible: tuple[bool, ...] = ()) -> Compiled:
    """The machine code of a source, from the disk cache or compiled and kept there.

    `divisible` has an entry for each size among the arguments; without any, none is.
    """
    request = _normal(Request(source, target, divisible))
    entry = _key(request)
    found = _read(cache.get(entry))
    if found is None:
        found = _compile(request)
        cache.put(entry, _written(found))
    return found


def compile_sources(requests: Sequence[Request]) -> list[Compiled]:
    """The machine code of several sources, in parallel; equal ones are compiled once."""
    distinct = {_key(_normal(r)): r for r in requests}
    made = dict(zip(distinct, _in_threads(list(distinct.values()))))
    return [made[_key(_normal(r))] for r in requests]


def _in_threads(requests: list[Request]) -> list[Compiled]:
    threads = threads_for(len(requests))
    if threads == 1:
        return [compile_source(*r) for r in requests]
    order = sorted(range(len(requests)), key=lambda n: _dearness(requests[n]), reverse=True)     # none begins last
    with ThreadPoolExecutor(threads, "braze-triton") as pool:
        made = dict(zip(order, pool.map(lambda n: compile_source(*requests[n]), order)))
    return [made[n] for n in range(len(requests))]


def _dearness(request: Request) -> tuple[bool, int]:
    """How long a source compiles, as far as its text tells: products and sorts take longest."""
    text = request.source.text
    return any(dear in text for dear in ("tl.dot(", "tl.sort(", "tl.topk(")), len(text)


def threads_for(count: int) -> int:
    """How many threads compile so many kernels."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, available, _MOST_THREADS))


# ---- the disk cache --------------------------------------------------------------------------------------------------


def _normal(request: Request) -> Request:
    sizes = sum(kind[0] != "*" for _, kind in request.source.facts["arguments"])
    given = request.divisible or (False,) * sizes
    if len(given) != sizes:
        raise CompileError(f"kernel {request.source.entry} has {sizes} sizes, not {len(given)}")
    return request._replace(divisible=given)


def _key(request: Request) -> str:
    source, target = request.source, request.target
    facts = repr([source.facts[name] for name in ("arguments", "warps", "stages")])
    return cache.key("triton", _FORMAT, version(), target.kind, target.arch, str(target.warp), source.entry,
                     source.text, facts, repr(request.divisible))


def _written(compiled: Compiled) -> bytes:
    facts = asdict(compiled)
    binary, assembly = facts.pop("binary"), facts.pop("assembly").encode()
    return b"".join([json.dumps({**facts, "size": len(binary)}).encode(), b"\n", binary, assembly])


def _read(payload: bytes | None) -> Compiled | None:
    if payload is None:
        return None
    header, _, rest = payload.partition(b"\n")
    facts = json.loads(header)
    size = facts.pop("size")
    return Compiled(binary=rest[:size], assembly=rest[size:].decode(), **facts)


# ---- Triton's front end --------------------------------------------------------------------------------------------


# It runs in Python, and Python 3.11 mistakes syntax trees that several threads make at once (CPython's gh-106905).
_front_end = threading.Lock()


def load_function(source: Source) -> Any:
    """The `@triton.jit` function of a source. Its lines are entered where `inspect` finds them; no file is written."""
    with _front_end:
        import triton  # noqa: F401  (the first import must not meet another one)

        file = f"<braze kernel {source.entry} {cache.key(source.text)[:16]}>"
        linecache.cache[file] = len(source.text), None, source.text.splitlines(keepends=True), file
        space: dict[str, Any] = {"__name__": file[1:-1], "__file__": file}
        exec(compile(source.text, file, "exec"), space)
        return space[source.entry]


def _compile(request: Request) -> Compiled:
    with _front_end:
        import_compiler()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.errors import TritonError

    source, target = request.source, request.target
    arch = int(target.arch) if target.kind == "cuda" else target.arch
    function = load_function(source)
    arguments = source.facts["arguments"]
    tree = ASTSource(fn=function, signature=dict(arguments), constexprs={}, attrs=_hints(request))
    try:
        return _stages(tree, GPUTarget(target.kind, arch, target.warp), source)
    except (TritonError, RuntimeError) as error:
        raise CompileError(f"Triton cannot compile kernel {source.entry} for {target.kind} {target.arch}: {error}\n"
                           f"{source.text}") from error


def _hints(request: Request) -> dict[tuple[int], list[list[Any]]]:
    """Which arguments are multiples of 16: all pointers, and sizes as they are given."""
    sizes = iter(request.divisible)
    return {(n,): [["tt.divisibility", 16]]
            for n, (_, kind) in enumerate(request.source.facts["arguments"]) if kind[0] == "*" or next(sizes)}


def _stages(tree: Any, target: Any, source: Source) -> Compiled:
    from triton._C.libtriton import ir
    from triton.compiler.compiler import make_backend

    backend = make_backend(target)
    options = backend.parse_options({"num_warps": source.facts["warps"], "num_stages": source.facts["stages"],
                                     "enable_fp_fusion": False})      # no operation is rounded otherwise than it says
    facts: dict[str, Any] = {"target": target, **options.__dict__}
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, tree.language)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    with _front_end:
        made = tree.make_ir(target, options, backend.get_codegen_implementation(options), backend.get_module_map(),
                            context)
    assembly = ""
    for name, stage in stages.items():
        made = stage(made, facts)
        if name in ("ptx", "amdgcn"):
            assembly = str(made)
    if target.backend == "cuda" and (found := _parameters(assembly)) != len(tree.signature) + HIDDEN_ARGUMENTS:
        raise CompileError(f"kernel {source.entry} takes {found} parameters from this Triton ({version()}), not "
                           f"{len(tree.signature)} and {HIDDEN_ARGUMENTS} hidden ones")
    registers, spills = _cubin_facts(made) if target.backend == "cuda" else _amd_facts(assembly)
    scratch = [facts.get(f"{kind}_scratch_size") or 0 for kind in ("global", "profile")]
    return Compiled(bytes(made), assembly, facts["name"], registers, spills, facts["shared"], facts["num_warps"],
                    *scratch)


# ---- what the machine code says of itself --------------------------------------------------------------------------


def _parameters(ptx: str) -> int:
    """The number of parameters of the kernel in a PTX module."""
    return ptx[ptx.index(".entry"):].partition(")")[0].count(".param")


_ATTRIBUTE_WITH_DATA, _REGISTER_COUNT, _FRAME_SIZE = 4, 0x2F, 0x11       # of NVIDIA's ELF section .nv.info


def _cubin_facts(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread and bytes of its local memory."""
    facts = {}
    start, size = _section(cubin, b".nv.info")
    at = start
    while at < start + size:
        form, kind, length = struct.unpack_from("<BBH", cubin, at)
        if form == _ATTRIBUTE_WITH_DATA and kind in (_REGISTER_COUNT, _FRAME_SIZE):
            facts[kind] = struct.unpack_from("<II", cubin, at + 4)[1]    # after the function's symbol
        at += 4 + (length if form == _ATTRIBUTE_WITH_DATA else 0)
    return facts.get(_REGISTER_COUNT, 0), facts.get(_FRAME_SIZE, 0)


def _section(elf: bytes, wanted: bytes) -> tuple[int, int]:
    """Where a section of a 64-bit ELF file begins, and its size; (0, 0) if there is none of this name."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, number, names = struct.unpack_from("<HHH", elf, 0x3A)
    heads = [struct.unpack_from("<IIQQQQIIQQ", elf, table + n * size) for n in range(number)]
    texts = heads[names][4]
    for head in heads:
        start = texts + head[0]
        if elf[start:elf.index(b"\0", start)] == wanted:
            return head[4], head[5]
    return 0, 0


def _amd_facts(assembly: str) -> tuple[int, int]:
    """Vector registers of a thread and bytes of its local memory, from the assembly's metadata."""
    found = {}
    for line in assembly.splitlines():
        name, _, value = line.strip().partition(":")
        if name in (".vgpr_count", ".private_segment_fixed_size"):
            found[name] = int(value)
    return found.get(".vgpr_count", 0), found.get(".private_segment_fixed_size", 0)
