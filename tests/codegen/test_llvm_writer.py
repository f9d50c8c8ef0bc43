"""The text that the writer prints runs and does what the Python around it says."""

import numpy as np
import pytest
from braze.codegen.llvm.types import INDEX, POINTER, type_of
from braze.codegen.llvm.writer import Module
from braze.ir.types import DTYPES, bool_, float32, int64

from .jit import Compiled


def function(**parameters):
    module = Module()
    return module, module.function("run", parameters, linkage="external")


def run(module, *arguments):
    Compiled(module).run(*arguments)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_nested_loops_carry_values_through_branches(n):
    module, w = function(out=POINTER, n=INDEX)
    out, size = w.parameters

    def row(i, total):
        def column(j, inner, product):
            odd = w.equal(w.mod(j, 2), 1)
            (step,) = w.when(odd, lambda: i * j, lambda: w.lift(7))
            return inner + step, product * 3

        return w.loop(0, i, 1, column, total, 1)[0]

    (total,) = w.loop(0, size, 1, row, 0)
    w.store(total, out)
    got = np.full(1, -1)
    run(module, got, n)
    assert got[0] == sum(i * j if j % 2 else 7 for i in range(n) for j in range(i))


def test_index_arithmetic_of_numbers_writes_nothing():
    _, w = function(n=INDEX)
    (n,) = w.parameters
    assert w.min(3, 4) == 3 and w.less(3, 4) is True and (n + 0) is n and (n * 1) is n and n * 0 == 0 and n - n == 0
    assert w.loop(3, 3, 1, lambda i: None) == () and w.floordiv(7, 2) == 3 and not w.lines


@pytest.mark.parametrize("divisor", [1, 3, 8])
def test_division_of_indices_floors(divisor):
    module, w = function(out=POINTER, n=INDEX, d=INDEX)
    out, n, d = w.parameters
    for k, x in enumerate((n // divisor, n % divisor, n // d, n % d)):
        w.store(w.lift(x), w.at(out, k, int64))
    got = np.zeros(4, np.int64)
    for number in (-17, -16, -1, 0, 1, 23, 24):
        run(module, got, number, divisor)
        assert tuple(got) == (number // divisor, number % divisor) * 2


@pytest.mark.parametrize("d", [d for d in DTYPES if d.kind != "c"], ids=str)
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_memory_moves_every_dtype(d, lanes):
    module, w = function(x=POINTER, y=POINTER, n=INDEX)
    x, y, n = w.parameters
    mask = w.mask_below(0, n, lanes)
    backwards = w.offsets(lanes - 1, lanes, -1)
    w.store(w.load(d, x, lanes), y)
    if lanes > 1:
        w.masked_store(w.masked_load(d, x, mask, 1), w.at(y, lanes, d), mask)
        w.store(w.masked_load(d, x, mask, 1), w.at(y, 2 * lanes, d))
    w.store(w.gather(d, x, backwards), w.at(y, 3 * lanes, d))
    w.scatter(w.load(d, x, lanes), d, w.at(y, 4 * lanes, d), backwards)
    source = (np.arange(lanes) % 3).astype(d.numpy)
    got, keep = np.zeros(5 * lanes, d.numpy), lanes - 1
    run(module, source, got, keep)
    parts = got.reshape(5, lanes)
    assert (parts[0] == source).all() and (parts[3] == source[::-1]).all() and (parts[4] == source[::-1]).all()
    if lanes > 1:
        assert (parts[1][:keep] == source[:keep]).all() and parts[1][keep] == 0
        assert (parts[2][:keep] == source[:keep]).all() and parts[2][keep] == 1


def test_masks_of_lanes_near_their_bounds():
    module, w = function(y=POINTER, low=INDEX, at=INDEX, high=INDEX)
    y, low, at, high = w.parameters
    w.store(w.mask_below(at, high, 16), y)
    w.store(w.mask_between(low, at, high, 16), w.at(y, 16, bool_))
    compiled, got, lane = Compiled(module), np.zeros(32, bool), np.arange(16)
    for start in (-20, -3, 0, 5, 90, 1 << 40):
        for bound in (0, 3, 16, 100, 1 << 40):
            compiled.run(got, 2, start, bound)
            if start - bound < 1 << 31:
                assert (got[:16] == (start + lane < bound)).all()
            assert (got[16:] == ((start + lane >= 2) & (start + lane < bound))).all()


def test_lanes_are_summed_by_the_fixed_tree():
    module, w = function(x=POINTER, y=POINTER)
    x, y = w.parameters
    w.store(w.reduce_lanes(w.add, w.load(float32, x, 16)), y)
    rng, got = np.random.default_rng(0), np.zeros(1, np.float32)
    for _ in range(20):
        source = rng.standard_normal(16).astype(np.float32)
        run(module, source, got)
        while len(source) > 1:
            source = source[: len(source) // 2] + source[len(source) // 2 :]
        assert got[0] == source[0]


def test_equal_tables_are_one_and_lookup_reads_them():
    module, w = function(y=POINTER)
    (y,) = w.parameters
    numbers = [3, 1, 4, 1, 5, 9, 2, 6]
    w.store(w.lookup(int64, numbers, w.iota(8)), y)
    w.store(w.lookup(int64, numbers, w.lift(5)), w.at(y, 8, int64))
    got = np.zeros(9, np.int64)
    run(module, got)
    assert list(got) == [*numbers, 9] and len(module.constants) == 1


def test_functions_call_each_other_and_return():
    module = Module()
    inner = module.function("twice", {"x": type_of(float32, 16)}, returns=type_of(float32, 16))
    inner.ret(inner.parameters[0] + inner.parameters[0])
    w = module.function("run", {"x": POINTER}, linkage="external")
    (x,) = w.parameters
    space = w.alloca(type_of(float32, 16))
    w.store(w.call("twice", type_of(float32, 16), w.load(float32, x, 16)), space)
    w.store(w.load(float32, space, 16), x)
    data = np.arange(16, dtype=np.float32)
    run(module, data)
    assert (data == 2 * np.arange(16)).all()
