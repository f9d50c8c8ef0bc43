"""Triton's compiler, driven without a GPU: machine code for several devices, its facts, and its cache."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from braze.ir.configuration import configuration
from braze.ir.errors import CompileError
from braze.ir.gpu import GpuTarget
from braze.runtime import cache, device_scalars, triton_compiler
from triton_sources import bad, scale

pytest.importorskip("triton")
TARGETS = {"8.0": GpuTarget(arch="80"), "9.0": GpuTarget(arch="90"), "10.0": GpuTarget(arch="100"),
           "gfx942": GpuTarget("hip", "gfx942", 64)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))


@pytest.fixture
def compilations(monkeypatch):
    """The requests that reach Triton."""
    seen = []
    given = triton_compiler._compile
    monkeypatch.setattr(triton_compiler, "_compile", lambda r: seen.append(r) or given(r))
    return seen


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_kernel_compiles_offline_for_each_device(target):
    made = triton_compiler.compile_source(scale(), target, (True,))
    assert made.binary[:4] == b"\x7fELF" and made.entry == "scale"
    assert 0 < made.registers < 64 and made.spills == 0 and made.shared == 0 and made.warps == 4
    assert "scale" in made.assembly


def test_divisible_sizes_are_loaded_by_128_bits():
    hinted, plain = (triton_compiler.compile_source(scale(), TARGETS["9.0"], (d,)).ptx for d in (True, False))
    assert "ld.global.v4" in hinted and "ld.global.v4" not in plain


def test_a_second_compilation_is_read_from_disk(compilations):
    first = triton_compiler.compile_source(scale(), TARGETS["9.0"])
    assert triton_compiler.compile_source(scale(), TARGETS["9.0"]) == first
    assert len(compilations) == 1


def test_a_damaged_entry_is_compiled_again(compilations):
    first = triton_compiler.compile_source(scale(), TARGETS["9.0"])
    (entry,) = (p for p in Path(configuration.cache_directory).rglob("*") if p.is_file())
    data = bytearray(entry.read_bytes())
    data[-20] ^= 1
    entry.write_bytes(data)
    assert triton_compiler.compile_source(scale(), TARGETS["9.0"]) == first
    assert len(compilations) == 2


def test_equal_sources_are_compiled_once(compilations):
    requests = [triton_compiler.Request(scale(), TARGETS[name], (True,)) for name in ("9.0", "8.0", "9.0", "8.0")]
    made = triton_compiler.compile_sources(requests)
    assert len(compilations) == 2 and made[0] is made[2] and made[1] is made[3]


def test_what_takes_longest_is_begun_first(monkeypatch):
    texts = {"short": "x", "product": "tl.dot(", "long": "x" * 99}
    begun = []
    monkeypatch.setattr(triton_compiler, "threads_for", lambda count: 2)
    monkeypatch.setattr(triton_compiler, "compile_source", lambda source, *_: begun.append(source.entry) or source.text)
    requests = [triton_compiler.Request(replace(scale(), entry=name, text=text), TARGETS["9.0"])
                for name, text in texts.items()]
    assert triton_compiler.compile_sources(requests) == [*texts.values()]
    assert sorted(begun) == sorted(texts) and begun[0] == "product"


GLUON_AFTERWARDS = """
import sys
from triton_sources import scale
from braze.ir.gpu import GpuTarget
from braze.runtime import triton_import
from braze.runtime.triton_compiler import compile_source
triton_import.load_ahead()
compile_source(scale(), GpuTarget())
assert not any(name.startswith("triton.experimental.gluon") for name in sys.modules), "a kernel needs no Gluon"
import triton.experimental.gluon.language as gluon
from triton.compiler.code_generator import CodeGenerator
known = CodeGenerator.statically_implemented_functions
assert known.get(gluon.static_assert) is known.get(__import__("triton").language.static_assert) is not None
assert callable(known.get(gluon.static_print)) and known.get(print) is None
print(triton_import.version() == __import__("triton").__version__)
"""


def test_gluon_is_left_out_until_someone_imports_it(tmp_path):
    environment = {**os.environ, "BRAZE_CACHE_DIR": str(tmp_path)}
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run([sys.executable, "-c", GLUON_AFTERWARDS], env=environment, cwd=root, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_what_triton_refuses_is_an_error_with_the_source():
    with pytest.raises(CompileError, match="(?s)cannot compile kernel bad for cuda 90.*no_such_function"):
        triton_compiler.compile_source(bad(), TARGETS["9.0"])


def test_a_warm_start_does_not_import_triton():
    code = ("import sys\nfrom triton_sources import scale\nfrom braze.ir.gpu import GpuTarget\n"
            "from braze.runtime.triton_compiler import compile_source\ncompile_source(scale(), GpuTarget())\n"
            "print('triton' in sys.modules)")
    environment = {**os.environ, "BRAZE_CACHE_DIR": configuration.cache_directory}
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    said = [subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True, capture_output=True,
                           text=True).stdout.strip() for _ in range(2)]
    assert said == ["True", "False"]


def test_the_number_of_sizes_must_fit():
    with pytest.raises(CompileError, match="has 1 sizes, not 2"):
        triton_compiler.compile_source(scale(), TARGETS["9.0"], (True, False))


def test_keys_know_all_that_decides():
    keys = {triton_compiler._key(triton_compiler._normal(triton_compiler.Request(scale(), t, d)))
            for t in TARGETS.values() for d in ((True,), (False,))}
    assert len(keys) == 2 * len(TARGETS) and all(cache.get(k) is None for k in keys)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_kernel_that_stores_numbers_compiles(target):
    made = triton_compiler.compile_source(device_scalars.source(), target)
    assert made.spills == made.shared == made.global_scratch == 0 and made.warps == 1
