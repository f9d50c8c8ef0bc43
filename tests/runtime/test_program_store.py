"""Programs kept on disk: what is found runs to the same bits, is found only for the same graph, and never half."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import braze
import numpy as np
import pytest
from braze.ir.configuration import configuration
from braze.ir.program import Launch, Loop, walk
from braze.passes import skew
from braze.runtime import cache, jit, program_store


def elementwise(x):
    return braze.exp(x) * 2 + 1


def normalised(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()


def product(x):
    return braze.tanh(x @ x.mT).sum(0)


def loop(x):
    return braze.fori_loop(0, 5, lambda i, c: c * 0.5 + x, x)


def scatter(x):
    y = braze.zeros(7, 8)
    y[braze.tensor([1, 3, 1])] += x[:3]
    return y


PROGRAMS = {f.__name__: f for f in (elementwise, normalised, product, loop, scatter)}


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    monkeypatch.setattr(jit, "_addresses", {})               # what earlier tests compiled is not in this folder
    return tmp_path


@pytest.fixture
def saved(monkeypatch):
    """The keys under which programs were kept, and the executables."""
    found = []
    save = program_store.save
    monkeypatch.setattr(program_store, "save", lambda key, executable: found.append((key, executable))
                        or save(key, executable))
    return found


def restored(f) -> bool:
    return f.specialisations[-1].stages.again is not None


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_program_that_is_found_gives_the_same_bits(empty_cache, name, dynamic):
    x = braze.tensor(np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32))
    first, second = (braze.compile(PROGRAMS[name], dynamic=dynamic) for _ in range(2))
    made = first(x)
    assert not restored(first)
    found = second(x)
    assert restored(second)
    np.testing.assert_array_equal(np.asarray(made), np.asarray(found))
    again = braze.tensor(np.random.default_rng(1).normal(size=(11, 8) if dynamic else (9, 8)).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(first(again)), np.asarray(second(again)))
    assert len(second.compilations) == 1


@pytest.mark.parametrize("dynamic", [False, True])
def test_loops_on_tiles_that_are_found_give_the_same_bits(empty_cache, saved, monkeypatch, dynamic):
    """Small arrays, which as a rule stay in cache without tiles."""
    monkeypatch.setattr(skew, "_leaves_cache", lambda loop, target: True)
    random = np.random.default_rng(0)

    def leapfrog(u):
        def step(_, now):
            u, before = now
            around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
            return 1.5 * u - before + 0.1 * braze.pad(around, 1), u

        return braze.fori_loop(0, 9, step, (u, 0.5 * u))

    first, second = (braze.compile(leapfrog, dynamic=dynamic) for _ in range(2))
    for shape in ((90, 70), (70, 101) if dynamic else (90, 70)):
        x = braze.tensor(random.standard_normal(shape).astype(np.float32))
        for f in (first, second):
            for a, b in zip(f(x), leapfrog(x)):
                np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-4)
        for a, b in zip(first(x), second(x)):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert restored(second)
    assert any(isinstance(s, Loop) and s.tiles for s in walk(saved[-1][1].program.steps))


def test_stages_of_a_program_that_was_found_are_made_when_asked_for(empty_cache):
    x = braze.ones(4, 5)
    first, second = braze.compile(normalised), braze.compile(normalised)
    first(x), second(x)
    assert restored(second)
    for stage in ("graph", "joint", "optimized", "fused", "source"):
        assert str(first.ir(stage)) == str(second.ir(stage))
    assert [name for name, _, _ in second.history()][-1] == "restore"
    assert "not fused" in str(first.explain()) or "kernel" in str(second.explain())


def test_kernels_of_a_stored_program_read_back(empty_cache, saved):
    braze.compile(product)(braze.ones(6, 6))
    key, executable = saved[-1]
    found = program_store.restore(key)
    assert str(found.program) == str(executable.program)
    assert [s.kernel.sizes for s in walk(found.program.steps) if isinstance(s, Launch)] == [
        s.kernel.sizes for s in walk(executable.program.steps) if isinstance(s, Launch)]


def test_training_steps_write_back_what_is_found(empty_cache):
    def run():
        w = braze.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), requires_grad=True)

        @braze.compile
        def step(x):
            loss = ((x @ w) ** 2).sum()
            loss.backward()
            with braze.no_grad():
                w.sub_(0.1 * w.grad)
            w.grad = None
            return loss

        losses = [step(braze.ones(4, 2)).item() for _ in range(3)]
        return losses, w.tolist(), restored(step)

    first, second = run(), run()
    assert first[:2] == second[:2] and (first[2], second[2]) == (False, True)


@pytest.mark.parametrize("change", [
    lambda f: braze.compile(lambda x: braze.exp(x) * 2 + 1.0000001),
    lambda f: braze.compile(f, dynamic=True),
], ids=["a number", "symbolic sizes"])
def test_another_graph_has_another_key(empty_cache, saved, change):
    x = braze.ones(4, 5)
    braze.compile(elementwise)(x)
    change(elementwise)(x)
    assert len({key for key, _ in saved}) == 2


def test_the_compiler_is_part_of_the_key(empty_cache, monkeypatch):
    one = program_store.key("graph @g() {}", "llvm")
    monkeypatch.setattr(program_store, "_compiler", lambda: "another compiler")
    assert program_store.key("graph @g() {}", "llvm") != one
    assert program_store.key("graph @g() {}", "numpy") != one


def test_host_calls_are_not_kept(empty_cache, saved):
    f = braze.compile(lambda x: braze.sort(x) + 1)
    f(braze.ones(5))
    if any(not isinstance(s, Launch) for s in walk(f.ir("fused").steps)):
        assert program_store.restore(saved[-1][0]) is None


@pytest.mark.parametrize("damage", [
    lambda header: header.pop("kernels"),
    lambda header: header["launches"].append(99),
    lambda header: header["program"]["Program"].__delitem__(slice(2, None)),
    lambda header: header.update(program={"os.system": ["true"]}),
    lambda header: header.update(program={"size": "((("}),
    lambda header: header["sources"].append(3),
], ids=["no kernels", "no such source", "fields missing", "another class", "no size", "no source"])
def test_an_entry_that_makes_no_sense_is_none(empty_cache, saved, damage):
    braze.compile(elementwise)(braze.ones(4, 5))
    key = saved[-1][0]
    text, _, code = cache.get(key).partition(b"\n")
    header = json.loads(text)
    damage(header)
    cache.put(key, json.dumps(header).encode() + b"\n" + code)
    assert program_store.restore(key) is None


def test_a_damaged_file_is_made_again(empty_cache):
    x = braze.ones(4, 5)
    expected = braze.compile(elementwise)(x).tolist()
    for folder, _, files in os.walk(empty_cache):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "r+b") as file:
                file.seek(50)
                file.write(b"\xff\xff\xff")
    f = braze.compile(elementwise)
    assert f(x).tolist() == expected and not restored(f)


def test_a_warm_process_runs_no_pass_and_loads_no_llvm(tmp_path):
    code = ("import sys, braze; f = braze.compile(lambda x: braze.exp(x).sum()); print(f(braze.zeros(10)).item());"
            "print([m for m in ('llvmlite', 'networkx', 'braze.passes', 'braze.codegen') if m in sys.modules])")
    env = {**os.environ, "BRAZE_CACHE_DIR": str(tmp_path)}
    cold, warm = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/",
                                 env=env).stdout.split("\n")
                  for _ in range(2))
    assert cold[0] == warm[0] == "10.0"
    assert "llvmlite" in cold[1] and warm[1] == "[]"


def test_machine_code_is_adopted_once(empty_cache, saved):
    braze.compile(elementwise)(braze.ones(3))
    source = next(iter(saved[-1][1].sources.values()))
    key = jit.key_of(source)
    assert jit.adopt({key: jit.kept(source)}) == jit.adopt({key: b"image\nnot read again"})


def test_a_fresh_process_knows_all_schedules():
    """A schedule is read by its class' name, whether or not something has been compiled by it."""
    code = "from braze.runtime.program_data import classes; print(*classes())"
    known = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    schedules = {"Rows", "Contraction", "Serial", "Skewed", "Streamed", "SortedRows", "ProductRows", "Tiled",
                 "GpuContraction", "GpuStreamed", "Joined"}
    assert schedules <= set(known.split())
