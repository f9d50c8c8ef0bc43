"""Tensors against NumPy: making, indexing, promotion, reductions, manipulation, in place; eager and compiled alike."""

import braze
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(5)


def close(got, wanted, tolerance=1e-6):
    got = np.asarray(got)
    assert got.shape == np.shape(wanted)
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


# ---- indexing --------------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 5)


@st.composite
def keys(draw, shape, advanced=True):
    """A NumPy index of an array of this shape."""
    out, arrays = [], 0
    rest = list(shape)
    while rest and draw(st.booleans()) or not out:
        kind = draw(st.sampled_from(["slice", "int", "none", "array"] if advanced else ["slice", "int", "none"]))
        if kind == "none" or not rest:
            out.append(None)
            continue
        n = rest.pop(0)
        if kind == "int":
            out.append(draw(st.integers(-n, n - 1)))
        elif kind == "array" and arrays == 0:
            arrays += 1
            out.append(np.array(draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))))
        else:
            step = draw(st.sampled_from([None, 1, 2, -1, -2, 3]))
            ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
            out.append(slice(draw(ends), draw(ends), step))
    if draw(st.booleans()) and rest:
        out.append(Ellipsis)
    return tuple(out)


@st.composite
def indexed(draw, advanced=True):
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=3)))
    return shape, draw(keys(shape, advanced))


def as_tensors(key):
    return tuple(braze.tensor(k) if isinstance(k, np.ndarray) else k for k in key)


@settings(max_examples=150, deadline=None)
@given(indexed())
def test_reading_by_index_agrees_with_numpy(case):
    shape, key = case
    array = RNG.standard_normal(shape).astype("f")
    wanted = array[key]
    close(braze.tensor(array)[as_tensors(key)], wanted)
    close(braze.tensor(array)[key], wanted)
    recorded = braze.tensor(array, requires_grad=True)
    y = recorded[as_tensors(key)]
    close(y.detach(), wanted)
    y.sum().backward()
    counts = np.zeros(shape, "f")
    np.add.at(counts, key, 1)
    close(recorded.grad, counts)


@settings(max_examples=150, deadline=None)
@given(indexed(advanced=False), st.booleans())
def test_assigning_by_index_agrees_with_numpy(case, by_number):
    shape, key = case
    array = RNG.standard_normal(shape).astype("f")
    value = 7.0 if by_number else RNG.standard_normal(array[key].shape).astype("f")
    wanted = array.copy()
    wanted[key] = value
    x = braze.tensor(array)
    x[key] = value if by_number else braze.tensor(value)
    close(x, wanted)
    y = braze.tensor(array, requires_grad=True) * 1
    y[key] = value if by_number else braze.tensor(value)
    close(y.detach(), wanted)


@settings(max_examples=20, deadline=None)
@given(indexed())
def test_compiled_indexing_agrees_with_numpy(case):
    shape, key = case
    array = RNG.standard_normal(shape).astype("f")
    got = braze.compile(lambda x: x[as_tensors(key)] * 1, backend="numpy", dynamic=False)(braze.tensor(array))
    close(got, array[key])


I, J = np.array([2, 0]), np.array([1, 1])
ASSIGNED = {
    "one": (I,), "two": (I, J), "integer before": (0, I), "integer apart": (0, slice(None), J),
    "apart": (I, slice(None), J),
    "last": (Ellipsis, J), "middle": (slice(None), J), "integer after": (I, 1),
    "table": (np.array([[0, 1], [2, 0]]), J),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ASSIGNED)
def test_assigning_through_index_tensors_agrees_with_numpy(name, compiled):
    key, array = ASSIGNED[name], RNG.standard_normal((3, 4, 3)).astype("f")
    value = RNG.standard_normal(array[key].shape).astype("f")
    wanted = array.copy()
    wanted[key] = value

    def f(x, value):
        x = x * 1
        x[as_tensors(key)] = value
        return x

    close((braze.compile(f) if compiled else f)(braze.tensor(array), braze.tensor(value)), wanted)
    close(f(braze.tensor(array, requires_grad=True), braze.tensor(value)).detach(), wanted)
    close((braze.compile(f) if compiled else f)(braze.tensor(array), braze.tensor(2.0)),
          np.where(wanted == array, array, 2.0))


@pytest.mark.parametrize("compiled", [False, True])
def test_masks_and_index_tensors_in_assignments(compiled):
    def f(x, i):
        x = x * 1
        x[x > 2] = 0.0
        x[i] = -1.0
        x[i, 1] = braze.tensor([5.0, 6.0])
        x[:, 0] += 10
        return x

    x, i = RNG.standard_normal((4, 3)).astype("f") * 3, np.array([2, 0])
    wanted = x.copy()
    wanted[wanted > 2] = 0
    wanted[i] = -1
    wanted[i, 1] = [5, 6]
    wanted[:, 0] += 10
    close((braze.compile(f) if compiled else f)(braze.tensor(x), braze.tensor(i)), wanted)


def test_boolean_masks_select():
    x = RNG.standard_normal((3, 4)).astype("f")
    close(braze.tensor(x)[braze.tensor(x) > 0], x[x > 0])
    close(braze.tensor(x)[np.array([True, False, True])], x[[0, 2]])


def test_a_slice_is_a_value_of_its_own():
    x = braze.zeros(3)
    y = x[:2]
    x[0] = 5.0
    close(y, [0, 0])
    close(x, [5, 0, 0])


# ---- promotion -------------------------------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64",
          "complex64", "complex128"]
# where the array API says nothing (ints with floats) a float wins, as it is; elsewhere NumPy's table holds
KINDS = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_promotion(a, b):
    got = (braze.ones(2, dtype=a) * braze.ones(2, dtype=b)).dtype
    ka, kb = np.dtype(a).kind, np.dtype(b).kind
    if ka == kb == "b":
        wanted = "int64"                              # products of bools are numbers
    elif KINDS[ka] == KINDS[kb] or {ka, kb} == {"f", "c"}:
        wanted = np.result_type(np.dtype(a), np.dtype(b)).name
    else:
        wanted = max((a, b), key=lambda d: KINDS[np.dtype(d).kind])
    assert got.long_name == wanted
    assert braze.compile(lambda x, y: x * y, backend="numpy")(braze.ones(2, dtype=a),
                                                              braze.ones(2, dtype=b)).dtype is got


@pytest.mark.parametrize("dtype, number, wanted", [
    ("float16", 2.0, "float16"), ("int32", 2, "int32"), ("uint8", 3, "uint8"), ("int64", 2.5, "float32"),
    ("bool", 2, "int64"), ("bool", 2.0, "float32"), ("float32", 1j, "complex64"), ("float64", 1j, "complex128"),
    ("bfloat16", 2.5, "bfloat16"),
])  # fmt: skip
def test_python_numbers_are_weak(dtype, number, wanted):
    x = braze.ones(2, dtype=dtype)
    assert (x + number).dtype.long_name == wanted
    assert (number + x).dtype.long_name == wanted


def test_defaults():
    assert braze.tensor(1.5).dtype is braze.float32 and braze.tensor(1).dtype is braze.int64
    assert braze.tensor(True).dtype is braze.bool_
    assert (braze.tensor(1) / braze.tensor(2)).dtype is braze.float32
    assert braze.tensor(np.float64(1.5)).dtype is braze.float64


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_nan_is_last_in_order_for_every_float(dtype):
    x = braze.tensor([2.0, float("nan"), -1.0, float("inf"), 0.0]).astype(getattr(braze, dtype))
    for argsort in (lambda x: x.argsort(), braze.compile(lambda x: x.argsort())):
        assert argsort(x).tolist() == [2, 4, 0, 3, 1]
    edges = braze.tensor([-1.0, 0.0, 2.0]).astype(getattr(braze, dtype))
    assert braze.ir.ops.F.searchsorted(edges, x, side="left").tolist() == [2, 3, 0, 3, 1]


# ---- reductions and manipulation -------------------------------------------------------------------------------------

REDUCTIONS = ["sum", "mean", "prod", "max", "min", "any", "all", "argmax", "argmin", "cumsum", "var", "std"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape, axis", [((3, 4), None), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((5,), 0),
                                         ((2, 3, 4), (0, 2))], ids=str)
def test_reductions(name, shape, axis):
    if isinstance(axis, tuple) and name in ("argmax", "argmin", "cumsum"):
        pytest.skip("along one axis only")
    if axis is None and name == "cumsum":
        axis = 0
    array = RNG.uniform(0.5, 1.5, shape).astype("f")
    options = {"correction": 0} if name in ("var", "std") else {}
    wanted = getattr(np, name)(array > 1 if name in ("any", "all") else array, axis=axis)
    x = braze.tensor(array)
    x = x > 1 if name in ("any", "all") else x
    close(getattr(braze, name)(x, axis=axis, **options), wanted, 1e-5)
    close(getattr(x, name)(axis, **options), wanted, 1e-5)
    if name not in ("cumsum", "argmax", "argmin"):
        close(getattr(braze, name)(x, axis=axis, keepdims=True, **options),
              np.expand_dims(wanted, axis) if axis is not None
              else np.reshape(wanted, (1,) * len(shape)), 1e-5)
    close(braze.compile(lambda x: getattr(braze, name)(x, axis=axis, **options), backend="numpy")(x), wanted, 1e-5)


A, B = RNG.standard_normal((2, 3, 4)).astype("f"), RNG.standard_normal((2, 3, 4)).astype("f")
MANIPULATIONS = {
    "reshape": (lambda x, y: x.reshape(4, -1), lambda a, b: a.reshape(4, -1)),
    "flatten": (lambda x, y: x.flatten(1), lambda a, b: a.reshape(2, 12)),
    "permute": (lambda x, y: x.permute(2, 0, 1), lambda a, b: a.transpose(2, 0, 1)),
    "transpose": (lambda x, y: x.transpose(0, 1), lambda a, b: a.swapaxes(0, 1)),
    "mT": (lambda x, y: x.mT, lambda a, b: a.swapaxes(1, 2)),
    "squeeze": (lambda x, y: x[:1].squeeze(0), lambda a, b: a[0]),
    "unsqueeze": (lambda x, y: x.unsqueeze(1), lambda a, b: a[:, None]),
    "expand": (lambda x, y: x[:, :1].expand(-1, 5, -1), lambda a, b: np.broadcast_to(a[:, :1], (2, 5, 4))),
    "cat": (lambda x, y: braze.cat([x, y], 1), lambda a, b: np.concatenate([a, b], 1)),
    "stack": (lambda x, y: braze.stack([x, y], -1), lambda a, b: np.stack([a, b], -1)),
    "split": (lambda x, y: x.split(2, 2)[1], lambda a, b: a[:, :, 2:]),
    "chunk": (lambda x, y: x.chunk(2, 1)[1], lambda a, b: a[:, 2:]),
    "flip": (lambda x, y: braze.flip(x, 1), lambda a, b: a[:, ::-1]),
    "roll": (lambda x, y: braze.roll(x, 1, 2), lambda a, b: np.roll(a, 1, 2)),
    "moveaxis": (lambda x, y: braze.moveaxis(x, 0, 2), lambda a, b: np.moveaxis(a, 0, 2)),
    "where": (lambda x, y: braze.where(x > 0, x, y), lambda a, b: np.where(a > 0, a, b)),
    "where with a number": (lambda x, y: braze.where(x > 0, x, 0.0), lambda a, b: np.where(a > 0, a, 0)),
    "clip": (lambda x, y: x.clip(-0.5, 0.5), lambda a, b: a.clip(-0.5, 0.5)),
    "matmul": (lambda x, y: x @ y.mT, lambda a, b: a @ b.swapaxes(1, 2)),
    "matrix and vector": (lambda x, y: x @ y[0, 0], lambda a, b: a @ b[0, 0]),
    "arange": (lambda x, y: x + braze.arange(4), lambda a, b: a + np.arange(4, dtype="f")),
    "numpy array first": (lambda x, y: np.ones(4, "f") + x, lambda a, b: 1 + a),
    "powers": (lambda x, y: (x**2 + 2**x), lambda a, b: a**2 + 2**a),
    "division": (lambda x, y: 1 / (x * x + 1) + x // 1 + x % 1, lambda a, b: 1 / (a * a + 1) + a // 1 + a % 1),
    "comparison": (lambda x, y: (x > y) & ~(x == y) | (x <= 0), lambda a, b: (a > b) & ~(a == b) | (a <= 0)),
    "iteration": (lambda x, y: sum([row for row in x]), lambda a, b: a.sum(0)),
    "sort": (lambda x, y: braze.sort(x, axis=1), lambda a, b: np.sort(a, 1)),
    "take": (lambda x, y: braze.take(x, braze.tensor([2, 0]), axis=1), lambda a, b: a[:, [2, 0]]),
    "pad": (lambda x, y: braze.pad(x, 1), lambda a, b: np.pad(a, 1)),
    "in place": (lambda x, y: _in_place(x * 1, y), lambda a, b: (a + b) * 2 - 1),
}  # fmt: skip


def _in_place(x, y):
    x += y
    x.mul_(2)
    x -= 1
    return x


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_manipulation(name):
    f, reference = MANIPULATIONS[name]
    x, y, wanted = braze.tensor(A), braze.tensor(B), reference(A, B)
    close(f(x, y), wanted, 1e-5)
    close(braze.compile(f)(x, y), wanted, 1e-5)
    recorded = f(braze.tensor(A, requires_grad=True), y)
    close(recorded.detach(), wanted, 1e-5)


# ---- making, reading, changing ---------------------------------------------------------------------------------------


def test_making():
    close(braze.zeros(2, 3), np.zeros((2, 3)))
    close(braze.ones((2, 3), dtype="int32"), np.ones((2, 3)))
    close(braze.full((2,), 3.5), [3.5, 3.5])
    close(braze.eye(2, 3), np.eye(2, 3))
    close(braze.linspace(0, 1, 5), np.linspace(0, 1, 5))
    close(braze.arange(2, 10, 3), np.arange(2, 10, 3))
    close(braze.tensor([braze.tensor(1.0), braze.tensor(2.0)]), [1, 2])
    close(braze.zeros_like(braze.ones(2, 2)), np.zeros((2, 2)))


def test_data_is_copied_in_and_exports_are_read_only():
    array = np.ones(3, "f")
    t = braze.tensor(array)
    array[0] = 9
    close(t, [1, 1, 1])
    with pytest.raises(ValueError):
        np.asarray(t)[0] = 5


def test_in_place_keeps_dtype_and_identity():
    x = braze.ones(3, dtype="float16")
    before = x
    x += 1.5
    x.copy_(np.array([1.0, 2.0, 3.0]))
    x.fill_(4)
    assert x is before and x.dtype is braze.float16
    close(x.zero_(), [0, 0, 0])
    with pytest.raises(braze.errors.ShapeError):
        x += braze.ones(2, 3)


def test_python_protocols():
    t = braze.tensor([[1.5, 2.5]])
    assert len(t) == 1 and t.tolist() == [[1.5, 2.5]] and t[0, 1].item() == 2.5
    assert float(t[0, 0]) == 1.5 and int(braze.tensor(3)) == 3
    assert bool(braze.tensor(True)) and [10, 20, 30][braze.tensor(1)] == 20 and f"{t[0, 0]:.2f}" == "1.50"
    assert (t.ndim, t.shape, t.size, t.itemsize, t.nbytes, t.device) == (2, (1, 2), 2, 4, 8, "cpu")
    assert repr(braze.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert "requires_grad=True" in repr(braze.ones(1, requires_grad=True))
    assert hash(t) == hash(t) and t in [t]


def test_a_lost_write_is_refused_and_item_assignment_works():
    x = braze.zeros(2, 3)
    x[0] += 1
    x[1, 2] -= 2
    close(x, [[1, 1, 1], [0, 0, -2]])
    with pytest.raises(braze.errors.TraceError, match="view"):
        for row in x:
            row *= 2


@pytest.mark.parametrize("dtype", DTYPES + ["bfloat16"])
def test_conversion_to_every_dtype(dtype):
    t = braze.tensor([0.0, 1.0, 2.0]).to(dtype)
    assert t.dtype.long_name == dtype and getattr(braze.tensor([1.0]), dtype)().dtype is t.dtype
    close(t.float(), np.array([0, 1, 2]).astype(bool) if dtype == "bool" else [0, 1, 2])


@pytest.mark.parametrize("stage", [lambda f: f, braze.compile], ids=["eager", "compiled"])
def test_what_attention_is_written_with(stage):
    a = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    mask = a > 0.5
    x, m = braze.tensor(a), braze.tensor(mask)
    filled = stage(lambda x, m: x.masked_fill(m, -np.inf))(x, m)
    np.testing.assert_array_equal(np.asarray(filled), np.where(mask, -np.inf, a))
    assert stage(lambda x, m: x.half().masked_fill(m, braze.tensor(2.0)))(x, m).dtype is braze.float16
    np.testing.assert_allclose(np.asarray(stage(braze.bmm)(x, x.mT)), a @ a.swapaxes(1, 2), rtol=1e-5, atol=1e-5)
    wanted = np.repeat(a, 2, 1), np.repeat(a.reshape(-1), 3), np.repeat(a, [2, 0, 1], 0)
    found = stage(lambda x: (x.repeat_interleave(2, 1), braze.repeat_interleave(x, 3),
                             x.repeat_interleave((2, 0, 1), dim=0)))(x)
    for y, z in zip(found, wanted):
        np.testing.assert_array_equal(np.asarray(y), z)
    assert stage(lambda x, m: m.type_as(x))(x, m).dtype is braze.float32
    weights = stage(lambda x: braze.nn.functional.softmax(x.bfloat16(), dim=-1, dtype=braze.float32))(x)
    powers = np.exp(np.asarray(x.bfloat16().float()).astype(np.float64))
    np.testing.assert_allclose(np.asarray(weights), powers / powers.sum(-1, keepdims=True), rtol=1e-5)


def test_what_it_refuses():
    x = braze.ones(2, 3)
    for call, kind, words in [(lambda: x.masked_fill(x, 0.0), braze.errors.DTypeError, "give one of bool"),
                              (lambda: x.masked_fill(x > 0, x), braze.errors.ShapeError, "use where"),
                              (lambda: braze.bmm(x, x), braze.errors.ShapeError, "matmul broadcasts")]:
        with pytest.raises(kind, match=words):
            call()
