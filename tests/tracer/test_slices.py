"""Slices whose ends are arguments: cut as Python cuts them, guarded no more than needed."""

import itertools

import braze
import numpy as np
import pytest
from braze.ir import expr
from braze.ir.errors import IndexingError
from braze.ir.expr import symbol
from braze.tracer.indexing import slice_bounds
from braze.tracer.sizes import Size
from braze.tracer.trace import Trace

SIZES, ENDS = range(2, 6), (*range(-7, 8), None)
STEPS = (1, 2, 3, -1, -2, -3)


def bounds(size, start, stop, step):
    """What `slice_bounds` says of symbolic ends and sizes, and the guards that it needs."""
    given = {"size": size, "start": start, "stop": stop}
    trace = Trace("slice", {name: n for name, n in given.items() if n is not None})
    d, a, b = (None if n is None else Size(symbol(name, 2 if name == "size" else None), trace)
               for name, n in given.items())
    first, count, step = slice_bounds(slice(a, b, step), d)
    return [x.expression if isinstance(x, Size) else x for x in (first, count)], trace.guards


def hold(guards, values):
    for relation, *sides, answer in guards:
        a, b = (expr.evaluate(x, values) for x in sides)
        if (a == b if relation == "==" else a < b) is not answer:
            return False
    return True


@pytest.mark.parametrize("step", STEPS)
def test_where_the_guards_hold_a_slice_is_what_it_was_traced_for(step):
    known = []
    for size, start, stop in itertools.product(SIZES, ENDS, ENDS):
        values = {"size": size, "start": start, "stop": stop}
        given = tuple(x is None for x in values.values())
        served = [r for kind, r in known if kind == given and hold(r[1], values)]
        if not served:
            known.append((given, bounds(size, start, stop, step)))
            served = [known[-1][1]]
        for (first, count), _ in served:
            first, count = (int(expr.evaluate(x, values)) for x in (first, count))
            wanted = range(size)[start:stop:step]
            assert [first + n * step for n in range(count)] == list(wanted), (values, step)
    assert len(known) < 80, "a class of positions is one trace: sizes and ends by their signs and order"


def test_what_follows_from_a_guard_is_not_guarded_again():
    trace = Trace("slice", {"n": 5})
    n = Size(symbol("n", 0), trace)
    assert slice_bounds(slice(n, n + 1), 10)[1] == 1
    assert len(trace.guards) == 1, trace.guards


@pytest.mark.parametrize("take", [
    lambda x, i: x[i], lambda x, i: x[:i], lambda x, i: x[i:], lambda x, i: x[i:i + 1], lambda x, i: x[i:i + 2] * 2,
    lambda x, i: x[:, i - 1:i + 1], lambda x, i: x[i::2], lambda x, i: x[i::-1], lambda x, i: x[:-i],
])  # fmt: skip
def test_moving_positions_are_one_program(take):
    x = braze.arange(120).reshape(12, 10)
    f = braze.compile(take)
    for i in (2, 3, 5, 7, 4, 8):
        np.testing.assert_array_equal(np.asarray(f(x, i)), take(np.asarray(x), i))
    assert len(f.compilations) == 2, [str(r) for r in f.compilations]


@pytest.mark.parametrize("i", [0, 1, 9, 10, 11, 200, -1, -2, -10, -11, -200])
def test_positions_at_the_edges(i):
    x = np.arange(30.0, dtype=np.float32).reshape(10, 3)
    f = braze.compile(lambda x, i: (x[i:i + 2], x[:i], x[i:], x[i::-2]))
    for n in (4, 5, i):                                        # made for the middle, asked for the edge
        for got, want in zip(f(braze.tensor(x), n), (x[n:n + 2], x[:n], x[n:], x[n::-2])):
            np.testing.assert_array_equal(np.asarray(got), want)


def test_sizes_that_vary_are_cut_too():
    f = braze.compile(lambda x: (x[5:], x[-3:], x[:-1]), dynamic=True)
    for n in (9, 7, 5, 3, 2):
        x = np.arange(float(n))
        for got, want in zip(f(braze.tensor(x)), (x[5:], x[-3:], x[:-1])):
            np.testing.assert_array_equal(np.asarray(got), want)


def test_an_index_outside_a_size_that_varies_is_refused():
    f = braze.compile(lambda x: x[5], dynamic=True)
    assert float(f(braze.arange(9.0))) == 5.0
    with pytest.raises(IndexingError, match="index 5 is outside dimension 0"):
        f(braze.arange(4.0))


@pytest.mark.parametrize("rows", [4, 300])
def test_parts_are_written_where_they_belong(rows):
    cache, want = braze.zeros(2, rows, 32), np.zeros((2, rows, 32), np.float32)

    @braze.compile
    def write(x, i):
        cache[:, i:i + 2] = x

    for i in (0, 1, 2, rows - 2, rows - 1, rows, rows + 5, 1, -1, -2, -rows):
        part = want[:, i:i + 2]
        x = np.random.default_rng(rows + i).standard_normal((2, part.shape[1] or 1, 32)).astype(np.float32)
        part[:] = x
        write(braze.tensor(x), i)
        np.testing.assert_array_equal(np.asarray(cache), want)
