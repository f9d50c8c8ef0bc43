"""LLVM text to machine code to addresses. The one file that touches llvmlite.

Machine code is kept on disk by content, so that a warm process compiles nothing; where `link` can make an image of it,
LLVM is not even loaded. Several kernels compile in parallel: llvmlite holds one lock around each call into LLVM, which
its contexts make unnecessary; parsing, passes and emission run without it, each thread in a context of its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..ir import locks
from ..ir.errors import CompileError
from ..ir.schedule import Source
from . import cache, link, machine

CODEGEN_LEVEL = 1                        # 2 and 3 take 7% longer and gain nothing; 0 halves both speed and compile time
PASSES_LEVEL = 0                         # vectors are emitted explicitly: LLVM's pipeline doubles the time for nothing
_FORMAT = "1"                            # of what is cached

_addresses: dict[str, dict[str, int]] = {}
_lock = locks.lock()
_engines: list[Any] = []                 # keep what LLVM loaded alive


class Request(NamedTuple):
    """Text to compile, with the levels of LLVM's code generation and of its passes."""

    text: str
    codegen_level: int = CODEGEN_LEVEL
    passes: int = PASSES_LEVEL


class _Job(NamedTuple):
    key: str
    text: str
    codegen_level: int
    passes: int


def compile_sources(sources: Sequence[Source], others: Sequence[Request] = ()) -> list[int]:
    """The address of each source's entry, after compiling `others` beside them.

    Equal texts are compiled once per process, and once per machine while the cache is kept.
    """
    requests = [*map(_request, sources), *others]
    return [functions[s.entry] for s, functions in zip(sources, compile_texts(requests))]


def _request(source: Source) -> Request:
    return Request(source.text, source.facts.get("codegen_level", CODEGEN_LEVEL),
                   source.facts.get("passes", PASSES_LEVEL))


def _key(request: Request) -> str:
    return cache.key(_FORMAT, request.text, *machine.llvm_facts(), f"{request.codegen_level} {request.passes}")


def key_of(source: Source) -> str:
    """The key of a source's machine code."""
    return _key(_request(source))


def kept(source: Source) -> bytes | None:
    """The machine code of a source as it is kept on disk; None if it is not."""
    return cache.get(key_of(source))


def adopt(code: Mapping[str, bytes]) -> dict[str, dict[str, int]]:
    """Load machine code that was `kept`, by its key; the addresses of the functions of each."""
    images: dict[str, link.Image] = {}
    objects: dict[str, bytes] = {}
    with _lock:
        for key, data in code.items():
            if key not in _addresses:
                _sort_in(key, data, images, objects)
        _load(images, objects)
    return {key: _addresses[key] for key in code}


def compile_texts(requests: Sequence[Request]) -> list[dict[str, int]]:
    """The addresses of all functions of each text, by name."""
    jobs = [_Job(_key(r), *r) for r in requests]
    with _lock:
        missing = {j.key: j for j in jobs if j.key not in _addresses}
        if missing:
            _load_all(missing)
    return [_addresses[j.key] for j in jobs]


def _load_all(jobs: dict[str, _Job]) -> None:
    images: dict[str, link.Image] = {}
    objects: dict[str, bytes] = {}
    cold: list[_Job] = []
    for job in jobs.values():
        kept = cache.get(job.key)
        if kept is None:
            cold.append(job)
        else:
            _sort_in(job.key, kept, images, objects)
    for job, made in zip(cold, _compile_parallel(cold) if cold else ()):
        image = link.link(made)
        kept = b"image\n" + image.to_bytes() if image else b"object\n" + made
        cache.put(job.key, kept)
        _sort_in(job.key, kept, images, objects)
    _load(images, objects)


def _load(images: dict[str, link.Image], objects: dict[str, bytes]) -> None:
    try:
        _addresses.update(zip(images, link.load(list(images.values())) if images else ()))
    except KeyError as missing:
        raise CompileError(f"a kernel calls the C function {missing}, which no library of this process has") from None
    for key, data in objects.items():
        _addresses[key] = _load_object(data)


def _sort_in(key: str, kept: bytes, images: dict[str, link.Image], objects: dict[str, bytes]) -> None:
    kind, _, data = kept.partition(b"\n")
    if kind == b"image":
        images[key] = link.Image.from_bytes(data)
    else:
        objects[key] = data


# ---- LLVM -------------------------------------------------------------------------------------------------------


def _llvm() -> Any:
    """llvmlite's binding, ready to compile for this machine."""
    try:
        import llvmlite.binding as llvm
    except ImportError as why:
        raise CompileError(f"compiling for this processor needs llvmlite ({why}); "
                           "backend=\"numpy\" runs without it") from why

    if not _llvm_is_ready:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        _llvm_is_ready.append(True)
    return llvm


_llvm_is_ready: list[bool] = []


def _target_machine(llvm: Any, level: int) -> Any:
    triple, cpu, features, _ = machine.llvm_facts()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small")


def _compile_parallel(jobs: Sequence[_Job]) -> list[bytes]:
    """The object file of each job."""
    llvm = _llvm()
    workers = min(len(jobs), machine.usable_threads())
    if workers == 1:
        return [_compile(llvm, job) for job in jobs]
    made: dict[str, bytes] = {}
    errors: list[Exception] = []
    waiting = sorted(jobs, key=lambda job: len(job.text))        # the longest is taken first

    def work() -> None:
        while waiting and not errors:
            try:
                job = waiting.pop()
            except IndexError:
                return
            try:
                made[job.key] = _compile(llvm, job)
            except (CompileError, RuntimeError, MemoryError) as error:
                errors.append(error)

    threads = [threading.Thread(target=work, name="braze compile") for _ in range(workers - 1)]
    for t in threads:
        t.start()
    work()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return [made[job.key] for job in jobs]


def _unlocked(name: str) -> Any:
    """A function of LLVM's C interface without llvmlite's lock, where this llvmlite lets us have it."""
    from llvmlite.binding import ffi

    function = getattr(ffi.lib, name)
    return getattr(function, "_cfn", function)


def _compile(llvm: Any, job: _Job) -> bytes:
    from llvmlite.binding import ffi

    with llvm.create_context() as context:
        with ffi.OutputString() as error:
            parsed = _unlocked("LLVMPY_ParseAssembly")(context, ctypes.c_char_p(job.text.encode()), error)
            if error:
                raise CompileError(f"LLVM does not read a kernel: {error}{_saved(job.text)}")
        with llvm.ModuleRef(parsed, context) as module, _target_machine(llvm, job.codegen_level) as target:
            module.triple = target.triple
            module.data_layout = str(target.target_data)
            with ffi.OutputString() as error:
                if _unlocked("LLVMPY_VerifyModule")(module, error):
                    raise CompileError(f"LLVM finds a kernel malformed: {error}{_saved(job.text)}")
            if job.passes:
                _run_passes(llvm, module, target, job.passes)
            return _emit(ffi, module, target)


def _run_passes(llvm: Any, module: Any, target: Any, level: int) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = options.slp_vectorization = level >= 2
    builder = llvm.create_pass_builder(target, options)
    manager = builder.getModulePassManager()
    _unlocked("LLVMPY_RunNewModulePassManager")(manager, module, builder)


def _emit(ffi: Any, module: Any, target: Any) -> bytes:
    with ffi.OutputString() as error:
        buffer = _unlocked("LLVMPY_TargetMachineEmitToMemory")(target, module, 1, error)
        if not buffer:
            raise CompileError(f"LLVM cannot emit a kernel: {error}")
    try:
        size = ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _saved(text: str) -> str:
    """Where the text of a kernel that does not compile was put."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="braze_", suffix=".ll", delete=False) as file:
        file.write(text)
    return f"; its text is in {os.path.abspath(file.name)}"


def _load_object(data: bytes) -> dict[str, int]:
    """The addresses of the functions in an object file, loaded by LLVM."""
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(llvm, CODEGEN_LEVEL))
    file = llvm.ObjectFileRef.from_data(data)
    engine.add_object_file(file)
    engine.finalize_object()
    _engines.append((engine, file))
    return _Lazy(engine)


class _Lazy(dict):
    """Addresses that are looked up when asked for."""

    def __init__(self, engine: Any):
        super().__init__()
        self.engine = engine

    def __missing__(self, name: str) -> int:
        self[name] = self.engine.get_function_address(name)
        return self[name]
