"""Device programs are found on disk by the next process, which then runs no pass and emits no source."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import braze
import numpy as np
import pytest
import small_triton
from braze.ir.configuration import configuration
from braze.ir.program import HostCall
from braze.runtime import cache, device_store, devices, program_store
from small_programs import program


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    return tmp_path


@pytest.fixture
def saved(monkeypatch):
    """The keys under which programs are kept."""
    found, save = [], device_store.save
    monkeypatch.setattr(device_store, "save", lambda entry, executable: found.append(entry) or save(entry, executable))
    return found


@pytest.fixture
def x(device):
    return braze.tensor(np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 15)).to("cuda")


FUNCTIONS = {
    "rows": lambda x: braze.nn.functional.softmax(x, -1) * 2,
    "products": lambda x: (x @ x.T).tanh().sum(0),
    "a loop": lambda x: braze.fori_loop(0, 3, lambda n, y: y * 0.5 + n, x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_kept_program_gives_the_same(name, x, saved, device):
    first = braze.compile(FUNCTIONS[name])(x).cpu()
    (entry,) = saved
    kept = device_store.restore(entry, device, "default")
    assert kept is not None
    np.testing.assert_array_equal(np.asarray(braze.compile(FUNCTIONS[name])(x).cpu()), np.asarray(first))
    assert len(saved) == 1                               # the second one found it


def test_a_kept_program_serves_other_sizes(x, saved):
    function = lambda x: (x * 2).sum(0)                                                            # noqa: E731
    for _ in range(2):
        f = braze.compile(function, dynamic=True)
        for n in (4, 7):
            y = braze.ones(n, 15).to("cuda")
            assert f(y).cpu().tolist() == [2.0 * n] * 15
    assert len(saved) == 1


@pytest.mark.parametrize("damage", [
    lambda header: header.pop("kernels"), lambda header: header["launches"].append(99),
    lambda header: header["launches"].pop(), lambda header: header.update(program={"os.system": ["true"]}),
    lambda header: header["sources"].append(3),
], ids=["no kernels", "no source", "no launch", "another class", "a number"])
def test_an_entry_that_makes_no_sense_is_none(x, saved, device, damage):
    braze.compile(FUNCTIONS["rows"])(x)
    header = json.loads(cache.get(saved[0]))
    damage(header)
    cache.put(saved[0], json.dumps(header).encode())
    assert device_store.restore(saved[0], device, "default") is None


def test_host_calls_are_not_kept(device):
    p = program("x: input n, out: output n", [HostCall("flip", lambda x: (x[::-1],), ("x",), ("out",))], "x", ["out"],
                shapes={"n": (4,)})
    assert not device_store.save("00" * 32, devices.load(p, small_triton.emit, device))


def test_the_device_is_part_of_the_key():
    one = program_store.device_key("graph @g() {}", "a GPU")
    assert one != program_store.device_key("graph @g() {}", "another") != program_store.key("graph @g() {}", "a GPU")


def test_a_warm_process_runs_no_pass(tmp_path):
    code = ("import sys, braze; f = braze.compile(lambda x: braze.exp(x).sum()); x = braze.zeros(10).to('cuda');"
            "print(f(x).item(), [m for m in ('networkx', 'braze.passes', 'braze.codegen') if m in sys.modules])")
    environment = {**os.environ, "BRAZE_CACHE_DIR": str(tmp_path)}
    cold, warm = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/",
                                 env=environment).stdout.strip() for _ in range(2))
    assert cold.startswith("10.0") and "braze.passes" in cold and warm == "10.0 []"
