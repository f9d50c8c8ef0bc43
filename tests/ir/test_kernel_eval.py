"""The definition of kernels against NumPy and SciPy, written out by hand: what everything else is tested against is
right.
"""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
from braze.ir.errors import VerifyError
from braze.ir.expr import symbol
from braze.ir.kernel import KernelBuilder
from braze.ir.kernel_eval import evaluate
from braze.ir.types import float32
from kernel_zoo import ZOO, assert_close, inputs, special_inputs


def layer_norm(b):
    x = b["x"] + b["residual"]
    return {"y": (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * b["weight"] + b["bias"],
            "sum": x}


def convolution(b):
    planes = [[sum(scipy.signal.correlate2d(np.pad(x[c], 1), w[c], "valid") for c in range(len(x)))
               for w in b["weight"]] for x in b["x"]]
    return {"y": np.array(planes) + b["bias"][:, None, None]}


def attention(b):
    scores = np.einsum("bik,bjk->bij", b["query"], b["key"]) * 0.25
    scores = np.where(np.tri(scores.shape[1], scores.shape[2], dtype=bool), scores, -1e30)
    return {"y": scipy.special.softmax(scores, 2) @ b["value"]}


def n_body(b):
    away = b["x"][None, :] - b["x"][:, None]
    squared = (away**2).sum(2) + 0.01
    return {"force": (away * (b["mass"] / squared**1.5)[..., None]).sum(1)}


def scatter_added(b):
    out = np.zeros((6, 5))
    for token, row in zip(b["token"], b["g"]):
        out[token] += row
    return {"dtable": out}


def philox(b):
    """Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3: Philox-2x32, four rounds, in Python's integers."""
    bits = []
    for counter in range(33):
        low, high, key = counter, 7, int(b["key"])
        for _ in range(4):
            whole = low * 0xD256D193
            low, high, key = (whole >> 32) ^ key ^ high, whole & 0xFFFFFFFF, (key + 0x9E3779B9) & 0xFFFFFFFF
        bits.append(low)
    return {"bits": np.array(bits), "uniform": (np.array(bits) >> 8) * 2.0**-24}


BY_HAND = {
    "softmax_wide": lambda b: {"y": scipy.special.softmax(b["x"], 1)},
    "softmax_columns": lambda b: {"y": scipy.special.softmax(b["x"], 0)},
    "logsumexp": lambda b: {"y": scipy.special.logsumexp(b["x"], 1)},
    "layer_norm": layer_norm,
    "rms_norm": lambda b: {"y": b["x"] / np.sqrt((b["x"] ** 2).mean(1, keepdims=True) + 1e-6) * b["weight"]},
    "variance_over_rows": lambda b: {"y": b["x"].var(0)},
    "argmax": lambda b: {"y": b["x"].argmax(1)},
    "gelu": lambda b: {"out": b["x"] * scipy.special.ndtr(b["x"])},
    "stencil": lambda b: {"out": b["x"] + 0.1 * scipy.ndimage.laplace(b["x"], mode="constant")},
    "transpose": lambda b: {"out": b["x"].T + b["y"]},
    "permute_4d": lambda b: {"out": np.einsum("bdac->cadb", b["x"])},
    "diagonal": lambda b: {"out": np.diagonal(b["x"])},
    "slices": lambda b: {"out": b["x"][1::3][:17] + b["y"][::-1] + b["z"][::-2]},
    "reshape": lambda b: {"out": b["x"].reshape(12, 6)},
    "repeat_and_tile": lambda b: {"out": np.repeat(b["x"], 3) + np.tile(b["y"], 3)},
    "clamped": lambda b: {"out": np.pad(b["x"], 3, mode="edge")},
    "pad_zero": lambda b: {"out": np.pad(b["x"], (2, 3))},
    "concatenate": lambda b: {"out": np.concatenate([b["x"], 2 * b["y"]])},
    "cropped_store": lambda b: {"out": b["x"][2:12]},
    "matmul_large": lambda b: {"y": b["a"] @ b["b"]},
    "batched_matmul_transposed": lambda b: {"y": np.einsum("bki,bjk->bij", b["x"], b["w"])},
    "matmul_of_integers": lambda b: {"y": b["a"].astype(int) @ b["b"].astype(int)},
    "convolution_nchw": convolution,
    "attention": attention,
    "n_body": n_body,
    "embedding": lambda b: {"y": b["table"][b["token"]]},
    "embedding_gradient": scatter_added,
    "take_along_axis": lambda b: {"y": np.take_along_axis(b["x"], b["place"].astype(int), 1)},
    "dynamic_slice": lambda b: {"y": np.append(b["x"], np.zeros(9))[int(b["start"]) :][:9]},
    "cumsum_backwards": lambda b: {"y": b["x"][::-1].cumsum()[::-1]},
    "histogram": lambda b: {"count": np.histogram(b["x"], bins=[0, 0.5, 1, 1.5, np.nextafter(2, 0)])[0]},
    "causal_mask": lambda b: {"y": np.where(np.tri(9, dtype=bool), b["x"], -np.inf)},
    "philox": philox,
    "zero_extent": lambda b: {"sum": np.zeros(3), "max": np.full(3, -np.inf), "none": np.zeros((3, 0)),
                              "scan": np.zeros((3, 0))},
}


@pytest.mark.parametrize("name", BY_HAND)
def test_named_kernels(name):
    kernel = ZOO[name]
    arrays = inputs(kernel, np.random.default_rng(1))
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}
    wanted = {n: np.asarray(a).astype(kernel.buffers[n].dtype.numpy) for n, a in BY_HAND[name](wide).items()}
    assert_close(kernel, evaluate(kernel, arrays), wanted)


def test_argmax_takes_the_first_nan():
    x = np.zeros((6, 31), np.float32)
    x[0, [4, 9]], x[1, 30], x[2, 3], x[3, [5, 6]] = np.nan, np.nan, np.inf, 1.0
    assert evaluate(ZOO["argmax"], {"x": x})["y"].tolist() == [4, 30, 3, 5, 0, 0]


def test_integers_divide_and_shift_as_defined():
    x = np.zeros(64, np.int8)
    y = np.zeros(64, np.int8)
    x[:6], y[:6] = [7, -7, -128, 5, -1, 1], [2, 2, -1, 0, 9, 7]
    got = evaluate(ZOO["integer_arithmetic_i8"], {"x": x, "y": y})
    assert got["floordiv_out"][:4].tolist() == [3, -4, -128, 0]
    assert got["mod_out"][:4].tolist() == [1, 1, 0, 0]
    assert got["shl_out"][4:6].tolist() == [0, -128] and got["shr_out"][4:6].tolist() == [-1, 0]
    assert got["abs_out"][2] == got["neg_out"][2] == -128


def test_casts_saturate():
    x = np.zeros(64, np.float32)
    x[:6] = [np.nan, np.inf, -np.inf, 300.7, -1.9, 3e9]
    got = evaluate(ZOO["casts_from_f32"], {"x": x})
    assert got["as_i8"][:6].tolist() == [0, 127, -128, 127, -1, 127]
    assert got["as_u8"][:6].tolist() == [0, 255, 0, 255, 0, 255]
    assert got["as_i64"][1:3].tolist() == [2**63 - 1, -(2**63)] and got["as_i32"][5] == 2**31 - 1
    assert got["as_b1"][:7].tolist() == [True] * 6 + [False]


@pytest.mark.parametrize("name", ["softmax", "reductions_f32", "every_function_f32", "cumulative"])
def test_nan_and_infinity_raise_no_warning(name):
    with np.errstate(all="raise"):
        evaluate(ZOO[name], special_inputs(ZOO[name], np.random.default_rng(0)))


def test_a_read_outside_without_a_fill_is_an_error():
    n = symbol("N", 1)
    k = KernelBuilder("outside", {"i": n})
    k.store("y", (n,), (k.axis("i"),), k.load("x", (4,), "f32", (k.axis("i"),)))
    kernel = k.build()
    assert evaluate(kernel, {"x": np.ones(4, np.float32)}, {"N": 4})["y"].tolist() == [1, 1, 1, 1]
    with pytest.raises(VerifyError, match="reads outside"):
        evaluate(kernel, {"x": np.ones(4, np.float32)}, {"N": 5})


def test_a_scattered_set_keeps_what_it_does_not_write():
    kernel = ZOO["scatter_set"]
    arrays = {"place": np.array([1, 2, 3, -4, 99]), "x": np.ones((5, 4), np.float32),
              "y": np.full((8, 4), 7, np.float32)}
    assert evaluate(kernel, arrays)["y"][:, 0].tolist() == [7, 1, 1, 1, 7, 7, 7, 7]


def test_builder_shares_equal_values_and_drops_dead_ones():
    k = KernelBuilder("shared", {"i": 4})
    x = k.load("x", (4,), "f32", (k.axis("i"),))
    assert k.add(x, 1.0) is k.add(x, 1.0) and k.constant(0.0, float32) is not k.constant(-0.0, float32)
    k.exp(x)
    k.store("y", (4,), (k.axis("i"),), k.add(x, 1.0))
    assert [v.op for v in k.build().values] == ["load", "const", "add"]


def test_verifier_names_what_is_wrong():
    k = KernelBuilder("wrong", {"i": 4})
    x = k.load("x", (4,), "f32", (k.axis("i"),))
    with pytest.raises(VerifyError, match="buffer x is declared as"):
        k.load("x", (5,), "f32", (k.axis("i"),))
    k.store("y", (4,), (k.axis("i"),), k.apply("add", (x, k.constant(1, k.index(0).dtype))))
    with pytest.raises(VerifyError, match="add has operands of f32, i64"):
        k.build()


def test_a_kernel_without_axes():
    assert evaluate(ZOO["scalar_only"], {"x": np.asarray(1.5, np.float32)})["y"] == 2.5
