"""Outputs and blocks are used again, never while somebody holds them, and never beyond the cap."""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest
from braze.ir.configuration import configuration
from braze.runtime import executable, memory
from small_programs import add, double_plus_one, emit, launch, program

F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def fresh_pools(monkeypatch):
    memory.release()
    monkeypatch.setattr(memory, "_output_pools", {})
    monkeypatch.setattr(memory, "_block_pools", {})
    yield
    memory.release()


@pytest.mark.parametrize("n", [0, 1, 100, 1 << 15, 1 << 21])
def test_a_freed_array_is_used_again(n):
    pool = memory.outputs((n,), F32)
    a, place = pool.take()
    assert a.shape == (n,) and a.dtype == F32 and place % 64 == 0 and (n == 0 or place == a.ctypes.data)
    b, other = pool.take()
    assert b is not a and (n == 0 or other != place)
    del a
    assert pool.take()[1] == place


def test_arrays_that_are_not_yet_unpacked_differ():
    pool = memory.outputs((10,), F32)
    taken = [pool.take() for _ in range(20)]
    assert len({address for _, address in taken}) == 20


HOLDERS = {
    "itself": lambda a: a,
    "view": lambda a: a[1:],
    "view of a view": lambda a: a[1:][1:].reshape(2, -1),
    "other dtype": lambda a: a.view(np.int32),
    "transposed": lambda a: a.reshape(2, -1).T,
    "memoryview": memoryview,
    "dlpack": lambda a: a.__dlpack__(),
    "asarray": np.asarray,
    "tuple": lambda a: (a,),
    "iterator": lambda a: iter(a),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("n", [102, 1 << 16])
def test_an_array_that_is_held_is_left_alone(holder, n):
    pool = memory.outputs((n,), F32)
    a, place = pool.take()
    held = HOLDERS[holder](a)
    del a
    assert all(pool.take()[1] != place for _ in range(3))
    del held
    assert place in {pool.take()[1]}


def test_dtypes_and_shapes_have_pools_of_their_own():
    bf16 = np.dtype(ml_dtypes.bfloat16)
    assert memory.outputs((2, 3), F32) is memory.outputs((2, 3), F32) is not memory.outputs((3, 2), F32)
    a, _ = memory.outputs((2, 3), bf16).take()
    assert a.dtype == bf16 and a.shape == (2, 3)
    a[...] = 1.5
    assert a.tolist() == [[1.5] * 3] * 2


def test_pooled_arrays_are_known():
    a, _ = memory.outputs((5,), F32).take()
    assert memory.is_pooled(a)
    assert not memory.is_pooled(a[:]) and not memory.is_pooled(np.empty(5, F32))
    memory.release()
    assert not memory.is_pooled(a)


def test_what_is_kept_stays_under_the_cap(monkeypatch):
    monkeypatch.setattr(configuration, "pool_bytes", 10_000_000)
    held = []
    for n in range(1, 30):
        a, _ = memory.outputs((n * 100_000,), F32).take()
        a[0] = n
        held.append(a)
        block = memory.blocks(n * 100_000).take()
        memory.blocks(n * 100_000).give(block)
        assert memory.kept_bytes() <= 10_000_000
    assert [a[0] for a in held] == list(range(1, 30))
    memory.release()
    assert memory.kept_bytes() == 0


def test_an_array_beyond_the_cap_is_not_kept(monkeypatch):
    monkeypatch.setattr(configuration, "pool_bytes", 1000)
    pool = memory.outputs((1000,), F32)
    a, _ = pool.take()
    a[...] = 3
    del a
    assert memory.kept_bytes() == 0
    assert pool.take()[0].shape == (1000,)


def test_sizes_of_blocks_are_rounded_by_a_quarter_at_most():
    for size in (0, 1, 4096, 4097, 5000, 65_537, 1 << 20, (1 << 20) + 1, 10**9):
        rounded = memory.size_class(size)
        assert max(size, 4096) <= rounded <= max(size * 5 / 4, 4096 + 1024) and memory.size_class(rounded) == rounded


def test_a_steady_state_allocates_nothing(monkeypatch):
    n = 5000
    p = program("x: input n, y: input n, t: temporary n at 0, out: output n, two: output n",
                [launch(add(n), x="x", y="y", out="t"), launch(double_plus_one(n), x="t", out="out"),
                 launch(add(n), x="t", y="y", out="two")], "xy", ["out", "two"], arena=20_032, shapes={"n": (n,)})
    loaded = executable.load(p, emit)
    x = np.ones(n, np.float32)
    kept = [loaded([x, x]) for _ in range(3)]
    del kept
    made = []
    allocate = memory.buffer
    monkeypatch.setattr(memory, "buffer", lambda size: (made.append(size), allocate(size))[1])
    for _ in range(50):
        result = loaded([x, x])
        assert result[0][0] == 5 and result[1][0] == 3
    assert not made


def test_results_that_are_kept_do_not_change():
    n = 64
    p = program("x: input n, out: output n", [launch(double_plus_one(n), x="x", out="out")], "x", ["out"],
                shapes={"n": (n,)})
    loaded = executable.load(p, emit)
    results = [loaded([np.full(n, k, np.float32)])[0] for k in range(50)]
    assert [r[0] for r in results] == [2 * k + 1 for k in range(50)]


def test_threads_never_share_an_array():
    pool = memory.outputs((16,), F32)
    wrong = []

    def work(mark: int) -> None:
        for _ in range(3000):
            a, _ = pool.take()
            a[...] = mark
            if not (a == mark).all():
                wrong.append(mark)
            del a

    workers = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not wrong
