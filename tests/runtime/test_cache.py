"""The disk cache and what fills it: damage is repaired, nothing is compiled twice, an unwritable folder does no
harm.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np
import pytest
from braze.ir.configuration import configuration
from braze.ir.errors import CompileError
from braze.ir.schedule import Source
from braze.runtime import cache, jit, link, machine

TEXT = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare float @fmodf(float, float)
@table = private constant [4 x float] [float 1.0, float 2.0, float 3.0, float 5.0]
define void @entry(ptr %args, i64 %start, i64 %stop, ptr %scratch) {
  %a = load ptr, ptr %args
  call void @llvm.memset.p0.i64(ptr %a, i8 0, i64 NUMBER, i1 false)
  %place = getelementptr float, ptr @table, i64 %start
  %v = load float, ptr %place
  %w = call float @fmodf(float %v, float 3.0)
  store float %w, ptr %a
  ret void
}
"""


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "_addresses", {})
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch):
    """The texts that LLVM is given."""
    seen = []
    compile_one = jit._compile
    monkeypatch.setattr(jit, "_compile", lambda llvm, job: (seen.append(job.text), compile_one(llvm, job))[1])
    return seen


def source(number: int = 64) -> Source:
    return Source(TEXT.replace("NUMBER", str(number)), "entry", "llvm")


def run(address: int, count: int = 16) -> np.ndarray:
    a = np.ones(32, np.float32)
    words = np.array([a.ctypes.data])
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(address)
    function(words.ctypes.data, 3, 4, None)
    return a


def assert_works(address: int, number: int = 64) -> None:
    np.testing.assert_array_equal(run(address), [2] + [0] * (number // 4 - 1) + [1] * (32 - number // 4))


def forget() -> None:
    """As in a new process."""
    jit._addresses.clear()


def files(folder) -> list:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_a_warm_process_compiles_nothing(empty_cache, compilations):
    for _ in range(3):
        assert_works(jit.compile_sources([source()])[0])
        forget()
    assert len(compilations) == 1


def test_equal_texts_compile_once(empty_cache, compilations):
    a, b, c = jit.compile_sources([source(), source(32), source()])
    assert a == c != b and len(compilations) == 2
    assert jit.compile_sources([source(32)]) == [b] and len(compilations) == 2
    assert_works(b, 32)


def test_flags_are_part_of_the_key(empty_cache, compilations):
    plain, optimised = source(), Source(source().text, "entry", "llvm", facts={"passes": 2})
    a, b = jit.compile_sources([plain, optimised])
    assert a != b and len(compilations) == 2
    assert_works(b)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:10],
                                    lambda b: b[:60] + bytes([b[60] ^ 1]) + b[61:],
                                    lambda b: b"X" + b[1:], lambda b: b + b"more"],
                         ids=["short", "empty", "shorter", "bit", "magic", "long"])
def test_a_damaged_entry_is_rebuilt(empty_cache, compilations, damage):
    machine.llvm_facts()
    jit.compile_sources([source()])
    (entry,) = files(empty_cache)
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    forget()
    assert_works(jit.compile_sources([source()])[0])
    assert len(compilations) == 2
    assert entry.read_bytes() == sound


@pytest.mark.parametrize("place", ["", "/proc/none", "/dev/null/cache"])
def test_without_a_writable_folder_there_is_no_cache(empty_cache, monkeypatch, place):
    monkeypatch.setattr(configuration, "cache_directory", place)
    assert_works(jit.compile_sources([source()])[0])
    assert not cache.put("ab" * 32, b"x") and cache.get("ab" * 32) is None


def test_the_least_recently_used_entries_go_first(empty_cache):
    keys = [cache.key(str(n)) for n in range(10)]
    for age, k in enumerate(keys):
        cache.put(k, bytes(1000))
        os.utime(cache._path(k), (1e9 - age * 1e6, 1e9 - age * 1e6))
    assert cache.get(keys[9]) == bytes(1000)                     # used: it is renewed
    assert cache.sweep(limit=5000) <= 5000 * 3 // 4
    kept = [n for n, k in enumerate(keys) if cache.get(k)]
    assert kept == [0, 1, 9]


def test_keys_tell_parts_apart():
    assert len({cache.key("ab", "c"), cache.key("a", "bc"), cache.key("abc"), cache.key("abc", "")}) == 4


def test_many_sources_compile_in_parallel_to_the_same_bits(empty_cache, monkeypatch):
    sources = [source(4 * n) for n in range(1, 13)]
    addresses = jit.compile_sources(sources)
    for n, a in enumerate(addresses, 1):
        assert_works(a, 4 * n)
    made = {p.name: p.read_bytes() for p in files(empty_cache)}
    for p in files(empty_cache):
        p.unlink()
    forget()
    monkeypatch.setattr(machine, "usable_threads", lambda: 1)
    jit.compile_sources(sources)
    assert {p.name: p.read_bytes() for p in files(empty_cache)} == made


def test_text_that_llvm_refuses_is_an_error_that_keeps_it(empty_cache):
    for text, message in (("define void @entry( {", "does not read"),
                          ("define void @entry() {\n  ret i32 0\n}", "does not read"),
                          ("define i32 @entry() {\n  br label %b\na:\n  %v = add i32 1, 1\n  br label %b\nb:\n  ret "
                           "i32 %v\n}", "malformed")):
        with pytest.raises(CompileError, match=message) as caught:
            jit.compile_sources([Source(text, "entry", "llvm")])
        path = caught.value.args[0].rpartition(" ")[2]
        with open(path) as file:
            assert file.read() == text
        os.remove(path)


def test_a_missing_c_function_is_named(empty_cache):
    text = "declare void @no_such_function()\ndefine void @entry() {\n  call void @no_such_function()\n  ret void\n}"
    with pytest.raises(CompileError, match="no_such_function"):
        jit.compile_sources([Source(text, "entry", "llvm")])


def test_what_the_linker_does_not_know_is_loaded_by_llvm(empty_cache, compilations):
    text = "@state = internal global i64 7\n" + TEXT.replace("NUMBER", "64").replace(
        "%place =", "%old = load volatile i64, ptr @state\n  store volatile i64 %old, ptr @state\n  %place =")
    for _ in range(2):
        assert_works(jit.compile_sources([Source(text, "entry", "llvm")])[0])
        forget()
    assert len(compilations) == 1
    assert any(b"object\n" in p.read_bytes()[:60] for p in files(empty_cache))


def test_images_survive_their_text_form():
    image = link.Image(b"\xc3\n\0code", {"entry": 0, "a.b": 7}, {"memcpy": 16})
    assert link.Image.from_bytes(image.to_bytes()) == image
    assert link.link(b"not an object file") is None


def test_the_host_is_described():
    t = machine.host()
    assert t.vector_bytes in (16, 32, 64) and t.registers in (16, 32)
    assert 8 << 10 <= t.l1_bytes <= t.l2_bytes and 1 <= t.threads <= (os.cpu_count() or 1)
    assert t.triple and t.cpu
