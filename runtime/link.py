"""A small linker: an object file of one kernel becomes an `Image`, position-independent bytes that a warm process maps
and calls.

It knows what LLVM makes for kernels on x86-64 ELF: code and constants in a few sections, relocations relative to the
program counter, calls of C library functions. For anything else `link` gives None, and `jit` lets LLVM load the object
(20-100 ms more at the start of a process, for LLVM must be loaded first).

Format: System V ABI, "Object Files"; relocation types from its AMD64 supplement, table 4.9.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once

_X86_64 = 62
_SYMBOLS, _RELOCATIONS, _NO_BYTES = 2, 4, 8
_WRITABLE, _ALLOCATED, _EXECUTABLE = 1, 2, 4
_UNDEFINED = 0
_PC32, _PLT32 = 2, 4
_GOT_LOADS = (9, 41, 42)                 # GOTPCREL, GOTPCRELX, REX_GOTPCRELX
_JUMP = b"\xff\x25\x00\x00\x00\x00"      # jmp [rip + 0]: through the address in the next 8 bytes
_STUB = 16


@dataclass(frozen=True)
class Image:
    """Code and constants. `exports`: offsets of functions; `imports`: offsets of 8-byte cells for addresses of C
    functions.
    """

    code: bytes
    exports: Mapping[str, int]
    imports: Mapping[str, int]

    def to_bytes(self) -> bytes:
        """The image as a cache entry."""
        tables = (" ".join(f"{name}={at}" for name, at in table.items()) for table in (self.exports, self.imports))
        return "\n".join([*tables, ""]).encode() + self.code

    @staticmethod
    def from_bytes(data: bytes) -> Image:
        """What `to_bytes` wrote."""
        exports, imports, code = data.split(b"\n", 2)
        return Image(code, _table(exports), _table(imports))


def _table(line: bytes) -> dict[str, int]:
    pairs = (item.rpartition("=") for item in line.decode().split())
    return {name: int(at) for name, _, at in pairs}


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    data: bytes
    size: int
    align: int
    link: int
    info: int
    name: str


def link(data: bytes) -> Image | None:
    """The image of an object file, or None where this linker does not know something in it."""
    if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18)[0] != _X86_64:
        return None
    sections = _sections(data)
    kept = [n for n, s in enumerate(sections) if s.flags & _ALLOCATED and s.size and s.name != ".eh_frame"]
    if any(sections[n].flags & _WRITABLE for n in kept):
        return None
    kept.sort(key=lambda n: not sections[n].flags & _EXECUTABLE)
    code, places = bytearray(), {}
    for n in kept:
        code += bytes(-len(code) % max(sections[n].align, 16))
        places[n] = len(code)
        code += sections[n].data if sections[n].kind != _NO_BYTES else bytes(sections[n].size)
    symbols = next(([*_symbols(s.data, sections[s.link].data)] for s in sections if s.kind == _SYMBOLS), [])
    imports: dict[str, int] = {}
    for s in sections:
        if s.kind == _RELOCATIONS and s.info in places and not _relocate(code, s.data, places[s.info], symbols, places,
                                                                         imports):
            return None
    exports = {name: places[where] + value
               for name, where, value, is_function in symbols if is_function and where in places}
    return Image(bytes(code), exports, imports)


def _sections(data: bytes) -> list[_Section]:
    table, = struct.unpack_from("<Q", data, 40)
    entry, count, names_at = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + n * entry) for n in range(count)]
    names = data[headers[names_at][4]:]
    return [
        _Section(kind, flags, data[at:at + size], size, align, linked, info, _name(names, name))
        for name, kind, flags, _, at, size, linked, info, align, _ in headers
    ]


def _name(table: bytes, at: int) -> str:
    return table[at:table.index(b"\0", at)].decode()


def _symbols(data: bytes, names: bytes):
    """(name, section, offset in it, is it a function) of each symbol."""
    for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", data):
        yield _name(names, name), section, value, info & 15 == 2


def _relocate(code: bytearray, table: bytes, base: int, symbols: list, places: Mapping[int, int],
              imports: dict[str, int]) -> bool:
    """Write the distances that this table asks for; functions from elsewhere get a stub each, named in `imports`."""
    for offset, info, addend in struct.iter_unpack("<QQq", table):
        kind = info & 0xFFFFFFFF
        name, section, value, _ = symbols[info >> 32]
        if section in places and kind in (_PC32, _PLT32):
            target = places[section] + value
        elif section == _UNDEFINED and kind in (_PLT32, *_GOT_LOADS):
            cell = imports.get(name)
            if cell is None:
                code += bytes(-len(code) % _STUB)
                cell = imports[name] = len(code) + len(_JUMP)
                code += _JUMP + bytes(_STUB - len(_JUMP))
            target = cell if kind in _GOT_LOADS else cell - len(_JUMP)
        else:
            return False
        at = base + offset
        struct.pack_into("<i", code, at, target + addend - at)
    return True


# ---- into memory ------------------------------------------------------------------------------------------------


def load(images: Sequence[Image]) -> list[dict[str, int]]:
    """The addresses of the functions of each image, mapped together and for good: code is never freed.

    Raises KeyError with the name of a function that no library of the process has.
    """
    places, total = [], 0
    for image in images:
        total += -total % 64
        places.append(total)
        total += len(image.code)
    memory = mmap.mmap(-1, max(total, 1))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for image, place in zip(images, places):
        memory[place:place + len(image.code)] = image.code
        for name, cell in image.imports.items():
            struct.pack_into("<Q", memory, place + cell, address_of(name))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))         # threads may run it while the interpreter ends
    protect = c_library().mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(start, total, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "the system refuses to make memory executable")
    return [{name: start + place + at for name, at in image.exports.items()} for image, place in zip(images, places)]


@once
def c_library() -> ctypes.CDLL:
    """The C library of the process, and what else it has loaded."""
    return ctypes.CDLL(None, use_errno=True)


@once
def address_of(name: str) -> int:
    """The address of a C function: from the process, the mathematical library or the compiler's helpers."""
    for library in (None, "libm.so.6", "libgcc_s.so.1"):
        try:
            found = getattr(ctypes.CDLL(library), name)
        except (AttributeError, OSError):
            continue
        return ctypes.cast(found, ctypes.c_void_p).value or 0
    raise KeyError(name)
