"""Joined launches on a device: an optimiser's updates have the CPU's bits in a handful of launches however many tensors
there are, tables follow addresses, and all of recording, donation and the store works with them.
"""

from __future__ import annotations

import braze
import numpy as np
import pytest
from braze import nn, optim
from braze.codegen.triton import emit as emit_triton
from braze.ir.configuration import configuration
from braze.ir.expr import symbol
from braze.ir.gpu import GpuTarget
from braze.ir.program import Carry, JoinedLaunch, Launch, Loop, walk
from braze.runtime import device_plan, device_store, device_tables, devices
from elementwise_programs import (
    Elementwise,
    difference,
    doubled,
    evaluated,
    filled,
    joined,
    narrowed,
    random_program,
    scaled,
)

SHAPES = [(3,), (17,), (8, 8), (16, 4), (5, 7), (2, 3, 4), (), (32,), (1,), (2000,), (48,)]
TARGET = GpuTarget()


def emit(kernel, schedule):
    return emit_triton(kernel, schedule, TARGET)


def trained(kind, options, where, shapes, mode="default", turns=4):
    """Parameters after some steps of an optimiser, and the compiled step."""
    random = np.random.default_rng(1)

    def tensors():
        return [braze.tensor(np.asarray(random.standard_normal(s), np.float32)).to(where) for s in shapes]

    parameters = [nn.Parameter(t) for t in tensors()]
    opt = kind(parameters, lr=0.05, **options)

    @braze.compile(mode=mode)
    def step(gradients):
        for p, g in zip(parameters, gradients):
            p.grad = g
        opt.step()
        opt.zero_grad()

    for _ in range(turns):
        step(tensors())
    return [p.detach().cpu().numpy() for p in parameters], step


def launches(step):
    return [s for s in walk(step.ir("fused").steps) if isinstance(s, Launch)]


OPTIMISERS = {
    "SGD": (optim.SGD, {}),
    "SGD with momentum": (optim.SGD, {"momentum": 0.9, "dampening": 0.1, "nesterov": False, "weight_decay": 0.01}),
    "Adam": (optim.Adam, {"weight_decay": 0.1}), "AdamW": (optim.AdamW, {"amsgrad": True}),
    "RMSprop": (optim.RMSprop, {"centered": True}), "Adagrad": (optim.Adagrad, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_have_the_cpus_bits(name):
    here, _ = trained(*OPTIMISERS[name], "cpu", SHAPES)
    there, step = trained(*OPTIMISERS[name], "cuda", SHAPES)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(a, b)
    assert len(launches(step)) <= 7 and any(isinstance(s, JoinedLaunch) for s in launches(step))
    assert " parts by Joined: moves " in str(step.explain())
    others = [s.name for s in step.ir("fused").slots.values() if s.role == "output" and not s.takes]
    assert len(others) <= 1                              # of the count of steps, which several kernels read


def test_launches_do_not_grow_with_the_number_of_tensors():
    counts = [len(launches(trained(optim.AdamW, {}, "cuda", SHAPES * n, turns=1)[1])) for n in (1, 3)]
    assert counts[0] == counts[1] == 3


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_modes_give_the_same(mode):
    here, _ = trained(optim.AdamW, {}, "cpu", SHAPES, turns=6)
    there, step = trained(optim.AdamW, {}, "cuda", SHAPES, mode, turns=6)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(a, b)
    assert any(isinstance(s, JoinedLaunch) for s in launches(step))


def test_weights_of_a_model_are_cast_at_once():
    braze.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(5)))
    x = braze.randn(4, 6)

    def f(x):
        with braze.autocast(braze.bfloat16):
            return model(x)

    want = f(x)
    model.to("cuda")
    g = braze.compile(f)
    np.testing.assert_allclose(g(x.to("cuda")).float().cpu().numpy(), want.float().numpy(), rtol=2e-2, atol=2e-2)
    assert [len(s.parts) for s in launches(g) if isinstance(s, JoinedLaunch)] == [11]


# ---- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("is_donated", [False, True], ids=["kept", "donated"])
def test_random_programs(device, seed, is_donated):
    e, donated = random_program(np.random.default_rng(seed))
    p = e.program(donated)
    inputs = filled(p, seed)
    want = evaluated(e.program(donated, is_joined=False), inputs)
    loaded = devices.load(p, emit, device)
    for _ in range(2):
        there = [device.from_host(x) for x in inputs]
        got = loaded(there, donated=[is_donated] * len(there))
        order = {n: k for k, n in enumerate(e.program(donated, is_joined=False).outputs)}
        for name, array in zip(p.outputs, got):
            np.testing.assert_array_equal(device.to_host(array), want[order[name]])


def many(formula, shapes, role="output", d="f32", source="f32"):
    e = Elementwise()
    for n, shape in enumerate(shapes):
        e.run(formula, e.slot(f"y{n}", shape, role, d), e.slot(f"x{n}", shape, "input", source))
    return e


@pytest.mark.parametrize("shapes", [[(16,), (4, 8), (4096,), (1024,)], [(1,), (1025,), (0,), (1023,), (5,), (2048,)]],
                         ids=["aligned", "odd"])
@pytest.mark.parametrize("formula, d, source", [
    (doubled, "f32", "f32"), (narrowed, "bf16", "f32"), (doubled, "i64", "i64"), (doubled, "f64", "f64"),
    (lambda k, x: k.cast(k.lt(x, 1.0), k.dtype_of(x)), "f32", "f32"),
    (lambda k, x: k.apply("not", (x,)), "b1", "b1"),
], ids=["f32", "bf16", "i64", "f64", "compared", "bool"])
def test_sizes_and_dtypes(device, shapes, formula, d, source):
    p = many(formula, shapes, d=d, source=source).program()
    assert joined(p)[0].schedule.is_aligned is (shapes[0] == (16,))
    inputs = filled(p)
    got = devices.load(p, emit, device)([device.from_host(x) for x in inputs])
    for a, b in zip(got, evaluated(p, inputs), strict=True):
        np.testing.assert_array_equal(device.to_host(a), b)


def test_sizes_that_are_not_known(device):
    n = symbol("B", 0)
    p = many(doubled, [(n,), (n, 3), (4, n), (8,)]).program(sizes={"B": ("x0", 0)})
    loaded = devices.load(p, emit, device)
    for size in (5, 0, 16, 5):
        inputs = filled(p, sizes={"B": size})
        for x, y in zip(inputs, loaded([device.from_host(x) for x in inputs]), strict=True):
            np.testing.assert_array_equal(device.to_host(y), 2 * x)


def test_nothing_at_all_is_no_launch(device):
    n = symbol("B", 0)
    p = many(doubled, [(n,), (n, 3), (4, n), (2, n)]).program(sizes={"B": ("x0", 0)})
    inputs = filled(p, sizes={"B": 0})
    assert [a.shape for a in devices.load(p, emit, device)([device.from_host(x) for x in inputs])] == [
        (0,), (0, 3), (4, 0), (2, 0)]


@pytest.mark.parametrize("written_out", [1024, 0], ids=["written out", "counted"])
@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_in_a_loop_parts_alternate(device, monkeypatch, written_out, turns):
    """Four states, doubled in each turn."""
    monkeypatch.setattr(device_plan, "_LAUNCHES_WRITTEN_OUT", written_out)
    e, carries = Elementwise(), []
    for n, shape in enumerate([(7,), (3, 4), (20,), (16,)]):
        carry = Carry(e.slot(f"x{n}", shape, "input"), e.slot(f"now{n}", shape, "carried"),
                      e.slot(f"then{n}", shape, "carried"), e.slot(f"y{n}", shape, "output"),
                      e.slot(f"spare{n}", shape, "temporary"))
        e.run(doubled, carry.following, carry.current)
        carries.append(carry)
    e.steps = [Loop("t", turns, tuple(carries), tuple(e.steps))]
    p = e.program()
    (launch,) = p.steps[0].steps
    assert isinstance(launch, JoinedLaunch)
    inputs = filled(p)
    for x, y in zip(inputs, devices.load(p, emit, device)([device.from_host(x) for x in inputs]), strict=True):
        np.testing.assert_array_equal(device.to_host(y), x * 2**turns)


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copies(device, monkeypatch):
    """The shapes of what is copied to the device for tables."""
    seen, copy = [], device.from_host

    def from_host(array):
        seen.append(array.shape)
        return copy(array)

    monkeypatch.setattr(device, "from_host", from_host)
    return seen


def updating():
    """y = x - g, in the memory of x, for five arrays; and two launches more, so that recording is worth it."""
    e = Elementwise()
    for n in range(5):
        e.run(difference, e.slot(f"y{n}", (9 + n,), "output"), e.slot(f"x{n}", (9 + n,), "input"),
              e.slot(f"g{n}", (9 + n,), "input"))
    donated = {f"y{n}": f"x{n}" for n in range(5)}
    e.run(doubled, e.slot("t", (4,), "temporary"), e.slot("s", (4,), "input"))
    e.run(scaled, e.slot("u", (4,), "output"), "t", e.slot("number", (), "input"))
    return e.program(donated)


def called(device, loaded, arrays):
    """A call that gives its x away; arrays by name, those of the host as they are."""
    given = [arrays[n] for n in loaded.program.inputs]
    got = loaded(given, donated=[n.startswith("x") for n in loaded.program.inputs])
    return dict(zip(loaded.program.outputs, got))


def on_device(device, program):
    return {n: device.from_host(x) for n, x in zip(program.inputs, filled(program))}


def test_tables_are_copied_when_addresses_change(device, copies, monkeypatch):
    p = updating()
    loaded = devices.load(p, emit, device)
    arrays = on_device(device, p)
    before = {n: device.to_host(a) for n, a in arrays.items()}
    counts = []
    monkeypatch.setattr(device, "record", lambda work: None)
    for turn in range(1, 7):
        if turn == 4:
            arrays["g2"] = device.from_host(before["g2"])
        copies.clear()
        got = called(device, loaded, arrays)
        for n in range(5):
            assert got[f"y{n}"] is arrays[f"x{n}"]
            np.testing.assert_array_equal(device.to_host(got[f"y{n}"]), before[f"x{n}"] - turn * before[f"g{n}"])
        counts.append(len(copies))
    assert counts[:2] == [2, 0]                          # places and addresses; then nothing
    assert counts[3] == 1 and counts[4] == 0             # addresses


def test_addresses_that_come_again_are_known(device):
    words = np.zeros(8, np.int64)
    table = device_tables.Table.of(2, [5, 0, 40], [[0, 1], [2, 3], [4, 5]], 16, "k")
    assert table.programs == 4 and table.places.tolist() == [[0, 0], [2, 0], [2, 1], [2, 2]]
    frame = device_tables.TableFrame(words, [table], device)
    seen = []
    for shift in (0, 100, 0, 100, 200, 300, 400, 100):
        frame.fill(np.arange(6) * 16 + shift)
        rows = device.view(int(frame.words[2]), (3, 3), np.dtype(np.int64), None)
        assert device.to_host(rows).tolist() == [[5, shift, 16 + shift], [0, 32 + shift, 48 + shift],
                                                 [40, 64 + shift, 80 + shift]]
        seen.append(int(frame.words[2]))
    assert seen[0] == seen[2] and seen[1] == seen[3] == seen[7]
    assert device.to_host(device.view(int(frame.words[3]), (4, 2), np.dtype(np.int32), None)).tolist() == [
        [0, 0], [2, 0], [2, 1], [2, 2]]


def test_recordings_have_tables_of_their_own(device, monkeypatch):
    played = []

    def record(work):
        return lambda stream: (played.append(stream), work(stream))

    monkeypatch.setattr(device, "record", record)
    kept, allocate = device.empty((4,), np.dtype(np.float32)), device.allocate
    monkeypatch.setattr(device, "allocate", lambda shape, dtype: kept if shape == (4,) else allocate(shape, dtype))
    p = updating()
    loaded = devices.load(p, emit, device, "reduce-overhead")
    (plan,) = loaded._plans.values()
    assert plan.prepared.bytes > 0 and plan.recordings is not None
    arrays = on_device(device, p)
    before = {n: device.to_host(a) for n, a in arrays.items()}
    spent = dict.fromkeys(before, 0.0)
    for turn in range(1, 10):
        for n in range(5):
            arrays[f"g{n}"] = device.from_host(before[f"g{n}"] * turn)           # moves: copied to where it was
            spent[f"x{n}"] = spent[f"x{n}"] + before[f"g{n}"] * turn
        got = called(device, loaded, arrays)
        for n in range(5):
            np.testing.assert_array_equal(device.to_host(got[f"y{n}"]), before[f"x{n}"] - spent[f"x{n}"])
    assert len(played) >= 4


def test_each_stream_has_tables_of_its_own(device, copies, monkeypatch):
    """What one stream copies may not have arrived when another one runs."""
    p = updating()
    loaded = devices.load(p, emit, device)
    monkeypatch.setattr(device, "record", lambda work: None)
    arrays = on_device(device, p)
    before = {n: device.to_host(a) for n, a in arrays.items()}
    counts = []
    for turn, stream in enumerate((1, 2, 1, 2), 1):
        monkeypatch.setattr(device, "stream", lambda stream=stream: stream)
        copies.clear()
        got = called(device, loaded, arrays)
        np.testing.assert_array_equal(device.to_host(got["y1"]), before["x1"] - turn * before["g1"])
        counts.append(len(copies))
    assert counts == [2, 2, 0, 0]


def test_a_kept_program_gives_the_same(device, tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "cache_directory", str(tmp_path))
    p = updating()
    entry = "ab" * 32
    assert device_store.save(entry, devices.load(p, emit, device))
    kept = device_store.restore(entry, device, "default")
    assert kept is not None and [len(s.parts) for s in joined(kept.program)] == [5]
    assert kept.program.steps[0].schedule == p.steps[0].schedule
    inputs = filled(p)
    got = kept([device.from_host(x) for x in inputs])
    for a, b in zip(got, evaluated(p, inputs), strict=True):
        np.testing.assert_array_equal(device.to_host(a), b)
