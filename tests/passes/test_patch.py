"""Parts of arrays replaced: which kernels are cut in a copy and a part, and that both give what one gave."""

import braze
import numpy as np
import pytest
from braze.ir.kernel import Kernel
from braze.passes.patch import split_patch
from kernel_zoo import Zoo, inputs, reference

ROWS, COLUMNS = 64, 80


def patch(condition, new=None, rows=ROWS) -> Kernel:
    """y = new where the condition holds, else x: `condition(builder, i, j)` of index values."""
    k = Zoo("patch", {"i": rows, "j": COLUMNS})
    i, j = (k.index(k.axis(a)) for a in "ij")
    value = new(k) if new else k.mul(k.read("v", "j"), 2.0)
    k.write("y", "ij", k.select(condition(k, i, j), value, k.read("x", "ij")))
    return k.build()


PARTS = {
    "one row": (lambda k, i, j: k.eq(i, 5), (1, 80)),
    "the last rows": (lambda k, i, j: k.ge(k.sub(i, 60), 0), (4, 80)),
    "rows between": (lambda k, i, j: k.and_(k.gt(i, 3), k.le(i, 9)), (6, 80)),
    "a rectangle": (lambda k, i, j: k.and_(k.and_(k.ge(i, 8), k.lt(i, 16)), k.lt(k.add(j, 3), 33)), (8, 30)),
    "more than there is": (lambda k, i, j: k.ge(k.add(i, 2), 64), (2, 80)),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_copy_and_a_part_give_what_one_kernel_gave(name):
    condition, shape = PARTS[name]
    kernel = patch(condition)
    copy, part = split_patch(kernel)
    assert tuple(part.axes.values()) == shape
    assert not any(v.op == "load" and v.buffer == "x" for v in part.values), "the array may be overwritten by then"
    arrays = inputs(kernel, np.random.default_rng(0))
    want = reference(kernel, arrays)["y"]
    got = reference(copy, {"x": arrays["x"]})["y"]
    written = reference(part, {"v": arrays["v"]})["y"]
    here = np.zeros(want.shape, bool)
    here[np.nonzero(want != arrays["x"])] = True
    np.testing.assert_array_equal(np.where(here, written, got), want)


@pytest.mark.parametrize(
    "kernel",
    [
        patch(lambda k, i, j: k.lt(i, 40)),
        patch(lambda k, i, j: k.lt(i, 2), rows=8),
        patch(lambda k, i, j: k.lt(i, j)),
        patch(lambda k, i, j: k.or_(k.lt(i, 2), k.gt(i, 60))),
        patch(lambda k, i, j: k.lt(i, 0)),
        patch(lambda k, i, j: k.lt(k.read("flags", "i", "i64"), 2)),
        patch(lambda k, i, j: k.lt(i, 2), lambda k: k.add(k.read("x", "ij"), 1.0)),
        patch(lambda k, i, j: k.lt(i, 2), lambda k: k.read("x", "ji"[::-1])),
    ],
    ids=("most of it", "small", "a triangle", "two parts", "nowhere", "by values", "read and written", "itself"),
)
def test_refusals(kernel):
    assert split_patch(kernel) is None


def test_a_sole_owner_is_patched_in_place_and_a_shared_array_is_not():
    table = braze.tensor(np.zeros((64, 128), np.float32))

    @braze.compile
    def put(row):
        table[3:5] = row

    for n in (1.0, 2.0, 3.0):
        put(braze.tensor(np.full(128, n, np.float32)))
    before = table.detach()
    held = np.array(before)
    put(braze.tensor(np.full(128, 7, np.float32)))
    np.testing.assert_array_equal(np.asarray(before), held)
    expected = np.zeros((64, 128), np.float32)
    expected[3:5] = 7
    np.testing.assert_array_equal(np.asarray(table), expected)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_what_is_read_and_written_is_right(backend):
    def step(x, v):
        x[2:4] = v
        x[0] += 1
        x[:, 5] = x[:, 6] * 2
        return x

    x, v = np.arange(6400, dtype=np.float32).reshape(64, 100), np.ones(100, np.float32)
    want = step(x.copy(), v)
    compiled = braze.compile(lambda a, b: step(a * 1, b), backend=backend)
    np.testing.assert_array_equal(np.asarray(compiled(braze.tensor(x), braze.tensor(v))), want)
