"""The disk cache: bytes by content key, for machine code and what is derived from a machine.

An entry is `MAGIC`, the SHA-256 of its payload, and the payload; it is written beside its place and renamed into it, so
that a reader never sees half of one. A damaged entry reads as absent and is written anew; a folder that cannot be
written means no cache.
"""

from __future__ import annotations

import hashlib
import os
import time

from ..ir.configuration import configuration

MAGIC = b"BRAZE\x01"
_DIGEST = 32
_FRESH_SECONDS = 24 * 3600       # an entry's time of use is renewed at most once a day
_PUTS_BETWEEN_SWEEPS = 64

_puts = 0


def key(*parts: str) -> str:
    """The key of what these parts determine."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _path(entry: str) -> str:
    return os.path.join(configuration.cache_directory, entry[:2], entry[2:])


def get(entry: str) -> bytes | None:
    """The payload kept under a key; None if there is none, or not a sound one."""
    if not configuration.cache_directory:
        return None
    path = _path(entry)
    try:
        with open(path, "rb", buffering=0) as file:
            used = os.fstat(file.fileno()).st_mtime
            data = file.read()
    except OSError:
        return None
    start = len(MAGIC) + _DIGEST
    if not data.startswith(MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(MAGIC):start]:
        return None
    if time.time() - used > _FRESH_SECONDS:
        _renew(path)
    return data[start:]


def _renew(path: str) -> None:
    try:
        os.utime(path)
    except OSError:
        return                           # a folder that is only read keeps its times


def put(entry: str, payload: bytes) -> bool:
    """Keep a payload under a key; False where nothing can be written."""
    global _puts
    if not configuration.cache_directory:
        return False
    path = _path(entry)
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
        os.replace(temporary, path)
    except OSError:
        _remove(temporary)
        return False
    _puts += 1
    if _puts % _PUTS_BETWEEN_SWEEPS == 1:
        sweep()
    return True


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        return


def sweep(limit: int | None = None) -> int:
    """Remove the entries that were not used for longest until the rest takes 3/4 of the limit at most; the bytes that
    remain.
    """
    limit = configuration.cache_bytes if limit is None else limit
    entries = []
    for folder, _, files in os.walk(configuration.cache_directory):
        for name in files:
            path = os.path.join(folder, name)
            try:
                facts = os.stat(path)
            except OSError:
                continue
            entries.append((facts.st_mtime, facts.st_size, path))
    total = sum(size for _, size, _ in entries)
    if total <= limit:
        return total
    for _, size, path in sorted(entries):
        _remove(path)
        total -= size
        if total <= limit * 3 // 4:
            break
    return total
