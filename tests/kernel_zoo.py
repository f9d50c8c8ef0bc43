"""Small named kernels, well formed and varied, that every reader of the kernel IR is tested on: `ZOO[name]`.

`sizes_of(kernel)` gives the symbolic sizes to try, `inputs` and `special_inputs` make arrays for its buffers,
`reference` computes what it should give (`ir/kernel_eval.py`), and `assert_close` compares. Random kernels are in
`random_kernels.py`.
"""

from __future__ import annotations

import math

from braze.ir.expr import maximum, minimum, symbol
from braze.ir.kernel import Kernel, KernelBuilder
from braze.ir.types import DTYPES, FLOATS, INTEGERS, dtype, float32, float64, int32, int64, uint32
from zoo_tools import assert_close, in_float64, inputs, reference, sizes_of, special_inputs, terms

__all__ = ["CASES", "ZOO", "assert_close", "in_float64", "inputs", "reference", "sizes_of", "special_inputs", "terms"]

M, N, K, B = (symbol(name, 1) for name in "MNKB")
MAYBE_NONE = symbol("Z", 0)                                        # a size that may be zero
REAL_DTYPES = tuple(d for d in DTYPES if d.kind != "c")


class Zoo(KernelBuilder):
    """A builder with two shorthands for whole arrays that are indexed by axes in order."""

    def read(self, name: str, axes: str, d="f32"):
        """name[axes], its shape being theirs."""
        return self.load(name, [self.axes[a] for a in axes], d, [self.axis(a) for a in axes])

    def write(self, name: str, axes: str, value) -> None:
        """name[axes] = value, its shape being theirs."""
        self.store(name, [self.axes[a] for a in axes], [self.axis(a) for a in axes], value)


# ---- pointwise ----------------------------------------------------------------------------------------------------


def pointwise_chain(n, d="f32"):
    k = Zoo("pointwise_chain", {"i": n})
    x, y = k.read("x", "i", d), k.read("y", "i", d)
    k.write("out", "i", k.div(k.tanh(k.add(k.mul(x, 0.5), y)), k.add(k.exp(k.neg(k.abs(x))), 1.0)))
    return k.build()


def gelu(n):
    k = Zoo("gelu", {"i": n})
    x = k.read("x", "i")
    k.write("out", "i", k.mul(k.mul(x, 0.5), k.add(k.erf(k.mul(x, math.sqrt(0.5))), 1.0)))
    return k.build()


def every_function(d):
    """All functions of floats, on arguments that a `max` or `abs` brings into their domains."""
    k = Zoo(f"every_function_{d.name}", {"i": 37})
    x, y = k.read("x", "i", d), k.read("y", "i", d)
    positive, unit = k.abs(x), k.max(k.min(x, 1.0), -1.0)
    for name in ("sqrt", "log", "log1p"):
        k.write(name, "i", k.apply(name, (positive,)))
    for name in ("asin", "acos"):
        k.write(name, "i", k.apply(name, (unit,)))
    for name in ("exp", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "erf", "floor", "ceil", "trunc",
                 "rint"):
        k.write(name, "i", k.apply(name, (x,)))
    k.write("atan2", "i", k.atan2(x, y))
    k.write("pow", "i", k.pow(positive, y))
    k.write("copysign", "i", k.copysign(x, y))
    k.write("fma", "i", k.fma(x, y, x))
    return k.build()


def broadcasts(m, n):
    k = Zoo("broadcasts", {"i": m, "j": n})
    row, column, scalar = k.read("row", "j"), k.read("column", "i"), k.read("scalar", "")
    k.write("out", "ij", k.add(k.mul(row, column), scalar))
    k.write("rows_only", "ij", row)
    k.write("constant", "ij", k.constant(2.5, float32))
    return k.build()


def transpose(m, n):
    k = Zoo("transpose", {"i": m, "j": n})
    k.write("out", "ij", k.add(k.read("x", "ji"), k.read("y", "ij")))
    return k.build()


def permute_4d():
    k = Zoo("permute_4d", {"a": 2, "b": 3, "c": 4, "d": 5})
    k.write("out", "cadb", k.read("x", "bdac"))
    return k.build()


def diagonal(n):
    k = Zoo("diagonal", {"i": n})
    i = k.axis("i")
    k.write("out", "i", k.load("x", (n, n), "f32", (i, i)))
    return k.build()


def stencil(n):
    k = Zoo("stencil", {"i": n, "j": n})
    i, j = k.axis("i"), k.axis("j")
    x = [k.load("x", (n, n), "f32", (i + di, j + dj), fill=0.0)
         for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))]
    around = k.add(k.add(x[0], x[1]), k.add(x[2], x[3]))
    k.write("out", "ij", k.add(x[4], k.mul(k.sub(around, k.mul(x[4], 4.0)), 0.1)))
    return k.build()


def pad_with(n, fill):
    k = Zoo("pad", {"i": n + 5})
    k.write("out", "i", k.load("x", (n,), "f32", (k.axis("i") - 2,), fill=fill))
    return k.build()


def slices(n):
    k = Zoo("slices", {"i": n})
    i = k.axis("i")
    strided = k.load("x", (3 * n + 2,), "f32", (3 * i + 1,))
    backwards = k.load("y", (n,), "f32", (n - 1 - i,))
    backwards_strided = k.load("z", (2 * n,), "f32", (2 * n - 2 * i - 1,))
    k.write("out", "i", k.add(k.add(strided, backwards), backwards_strided))
    return k.build()


def windows(n):
    """Overlapping windows: one index of two axes."""
    k = Zoo("windows", {"i": n, "r": 3})
    k.write("out", "i", k.reduce("max", k.load("x", (2 * n + 1,), "f32", (2 * k.axis("i") + k.axis("r"),)), "r"))
    return k.build()


def reshape(m, n):
    """[m, n, 4] read as if it were [m * 4, n]."""
    k = Zoo("reshape", {"i": m * 4, "j": n})
    flat = k.axis("i") * n + k.axis("j")
    k.write("out", "ij", k.load("x", (m, n, 4), "f32", (flat // (n * 4), flat // 4 % n, flat % 4)))
    return k.build()


def repeat_and_tile(n):
    k = Zoo("repeat_and_tile", {"i": n * 3})
    i = k.axis("i")
    k.write("out", "i", k.add(k.load("x", (n,), "f32", (i // 3,)), k.load("y", (n,), "f32", (i % n,))))
    return k.build()


def clamped(n):
    """Padding by the edge: the index is clamped by min and max."""
    k = Zoo("clamped", {"i": n + 6})
    k.write("out", "i", k.load("x", (n,), "f32", (minimum(maximum(k.axis("i") - 3, 0), n - 1),)))
    return k.build()


def concatenate(m, n):
    k = Zoo("concatenate", {"i": m, "j": n})
    k.store("out", (m + n,), (k.axis("i"),), k.read("x", "i"))
    k.store("out", (m + n,), (k.axis("j") + m,), k.mul(k.read("y", "j"), 2.0))
    return k.build()


def strided_store(n):
    """Two interleaved halves, one written backwards; what falls outside is dropped."""
    k = Zoo("strided_store", {"i": n})
    i = k.axis("i")
    k.store("out", (2 * n,), (2 * i,), k.read("x", "i"))
    k.store("out", (2 * n,), (2 * n - 1 - 2 * i,), k.read("y", "i"))
    k.store("shifted", (n,), ((i + n - 1) % n,), k.read("x", "i"))
    return k.build()


def cropped_store(n):
    k = Zoo("cropped_store", {"i": n + 4})
    k.store("out", (n,), (k.axis("i") - 2,), k.read("x", "i"))
    return k.build()


def several_outputs(m, n):
    k = Zoo("several_outputs", {"i": m, "j": n})
    x = k.read("x", "ij")
    total = k.reduce("sum", x, "j")
    k.write("doubled", "ij", k.mul(x, 2.0))
    k.write("total", "i", total)
    k.write("centred", "ji", k.sub(x, k.mul(total, 0.125)))
    k.write("is_big", "ij", k.gt(x, 0.5))
    return k.build()


def adamw(n):
    k = Zoo("adamw", {"i": n})
    w, g, m, v = (k.read(name, "i") for name in ("w", "g", "m", "v"))
    rate, step = k.read("rate", ""), k.cast(k.read("step", "", "i32"), float32)
    m = k.add(k.mul(m, 0.9), k.mul(g, 0.1))
    v = k.add(k.mul(k.abs(v), 0.999), k.mul(k.mul(g, g), 0.001))
    correction = k.sub(1.0, k.pow(k.constant(0.9, float32), k.add(k.abs(step), 1.0)))
    update = k.div(k.div(m, correction), k.add(k.sqrt(v), 1e-3))
    k.write("w_out", "i", k.sub(k.mul(w, 0.99), k.mul(rate, update)))
    k.write("m_out", "i", m)
    k.write("v_out", "i", v)
    return k.build()


# ---- rows ---------------------------------------------------------------------------------------------------------


def softmax(m, n, d="f32"):
    k = Zoo("softmax", {"i": m, "j": n})
    x = k.read("x", "ij", d)
    e = k.exp(k.sub(x, k.reduce("max", x, "j")))
    k.write("y", "ij", k.div(e, k.reduce("sum", e, "j")))
    return k.build()


def softmax_columns(m, n):
    k = Zoo("softmax_columns", {"i": m, "j": n})
    x = k.read("x", "ij")
    e = k.exp(k.sub(x, k.reduce("max", x, "i")))
    k.write("y", "ij", k.div(e, k.reduce("sum", e, "i")))
    return k.build()


def logsumexp(m, n):
    k = Zoo("logsumexp", {"i": m, "j": n})
    x = k.read("x", "ij")
    top = k.reduce("max", x, "j")
    k.write("y", "i", k.add(top, k.log(k.reduce("sum", k.exp(k.sub(x, top)), "j"))))
    return k.build()


def mean_of(k, x, over, count):
    number = float(count) if isinstance(count, int) else k.cast(k.index(count), float32)
    return k.div(k.reduce("sum", x, over), number)


def layer_norm(m, n):
    """layer_norm(x + residual), with the sum kept as a second output."""
    k = Zoo("layer_norm", {"i": m, "j": n})
    x = k.add(k.read("x", "ij"), k.read("residual", "ij"))
    centred = k.sub(x, mean_of(k, x, "j", n))
    scale = k.div(1.0, k.sqrt(k.add(mean_of(k, k.mul(centred, centred), "j", n), 1e-5)))
    k.write("y", "ij", k.add(k.mul(k.mul(centred, scale), k.read("weight", "j")), k.read("bias", "j")))
    k.write("sum", "ij", x)
    return k.build()


def rms_norm(m, n, d="f32"):
    k = Zoo("rms_norm", {"i": m, "j": n})
    x = k.cast(k.read("x", "ij", d), float32)
    scale = k.div(1.0, k.sqrt(k.add(mean_of(k, k.mul(x, x), "j", n), 1e-6)))
    k.write("y", "ij", k.cast(k.mul(k.mul(x, scale), k.cast(k.read("weight", "j", d), float32)), dtype(d)))
    return k.build()


def rms_norm_gradient(m, n):
    """Sums over both axes: the weight's gradient over the rows, the input's within them."""
    k = Zoo("rms_norm_gradient", {"i": m, "j": n})
    x, w, g = k.read("x", "ij"), k.read("weight", "j"), k.read("g", "ij")
    scale = k.div(1.0, k.sqrt(k.add(mean_of(k, k.mul(x, x), "j", n), 1e-6)))
    unit, gw = k.mul(x, scale), k.mul(g, w)
    k.write("dx", "ij", k.mul(scale, k.sub(gw, k.mul(unit, mean_of(k, k.mul(gw, unit), "j", n)))))
    k.write("dweight", "j", k.reduce("sum", k.mul(g, unit), "i"))
    return k.build()


def variance_over_rows(m, n):
    k = Zoo("variance_over_rows", {"i": m, "j": n})
    x = k.read("x", "ij")
    centred = k.sub(x, mean_of(k, x, "i", m))
    k.write("y", "j", mean_of(k, k.mul(centred, centred), "i", m))
    return k.build()


def argmax(m, n):
    """The first place of the maximum, a NaN being the greatest."""
    k = Zoo("argmax", {"i": m, "j": n})
    x = k.read("x", "ij")
    is_top = k.or_(k.eq(x, k.reduce("max", x, "j")), k.ne(x, x))
    place = k.select(is_top, k.index(k.axis("j")), k.constant(2**62, int64))
    k.write("y", "i", k.reduce("min", place, "j"))
    return k.build()


def reductions(d):
    """All combinations over two of three axes, and over all."""
    k = Zoo(f"reductions_{d.name}", {"a": 3, "b": 4, "c": 7})
    x = k.read("x", "abc", d)
    combines = ("max", "min") if d.kind == "b" else ("sum", "prod", "max", "min")
    for combine in combines:
        k.write(f"{combine}_ac", "b", k.reduce(combine, x, "ac"))
        k.write(f"{combine}_all", "", k.reduce(combine, x, "abc"))
    return k.build()


def count_positions(m, n):
    """A value that does not vary over the reduced axis counts once per position."""
    k = Zoo("count_positions", {"i": m, "j": n})
    k.write("y", "i", k.reduce("sum", k.read("x", "i"), "j"))
    k.write("count", "", k.reduce("sum", k.constant(1, int64), "ij"))
    return k.build()


def zero_extent():
    k = Zoo("zero_extent", {"i": 3, "j": 0})
    x = k.read("x", "ij")
    k.write("sum", "i", k.reduce("sum", x, "j"))
    k.write("max", "i", k.reduce("max", x, "j"))
    k.write("none", "ij", k.add(x, 1.0))
    k.write("scan", "ij", k.scan("sum", x, "j"))
    return k.build()


def sum_long(n):
    k = Zoo("sum_long", {"i": n})
    k.write("y", "", k.reduce("sum", k.read("x", "i"), "i"))
    return k.build()


def n_body(n):
    k = Zoo("n_body", {"i": n, "j": n, "c": 3})
    i, j, c = k.axis("i"), k.axis("j"), k.axis("c")
    away = k.sub(k.load("x", (n, 3), "f32", (j, c)), k.load("x", (n, 3), "f32", (i, c)))
    squared = k.add(k.reduce("sum", k.mul(away, away), "c"), 0.01)
    pull = k.div(k.read("mass", "j"), k.mul(squared, k.sqrt(squared)))
    k.write("force", "ic", k.reduce("sum", k.mul(away, pull), "j"))
    return k.build()


# ---- contractions -------------------------------------------------------------------------------------------------


def silu(k, x):
    return k.div(x, k.add(k.exp(k.neg(x)), 1.0))


def matmul(m, n, p, d="f32"):
    k = Zoo("matmul", {"i": m, "j": n, "k": p})
    k.write("y", "ij", k.reduce("sum", k.mul(k.read("a", "ik", d), k.read("b", "kj", d)), "k"))
    return k.build()


def linear_silu(m, n, p):
    k = Zoo("linear_silu", {"i": m, "j": n, "k": p})
    product = k.reduce("sum", k.mul(k.read("x", "ik"), k.read("weight", "jk")), "k")
    k.write("y", "ij", silu(k, k.add(product, k.read("bias", "j"))))
    return k.build()


def matmul_with_prologue(m, n, p):
    """b16 operands, one dequantised, the other scaled by rows; f32 inside."""
    k = Zoo("matmul_with_prologue", {"i": m, "j": n, "k": p})
    a = k.mul(k.cast(k.read("a", "ik", "bf16"), float32), k.read("scale", "i"))
    b = k.mul(k.cast(k.read("b", "kj", "i8"), float32), 0.05)
    k.write("y", "ij", k.reduce("sum", k.mul(a, b), "k"))
    return k.build()


def batched_matmul(b, m, n, p, left="bik", right="bkj"):
    k = Zoo("batched_matmul", {"b": b, "i": m, "j": n, "k": p})
    k.write("y", "bij", k.reduce("sum", k.mul(k.read("x", left), k.read("w", right)), "k"))
    return k.build()


def matmul_of_integers():
    k = Zoo("matmul_of_integers", {"i": 5, "j": 6, "k": 17})
    a, b = (k.cast(k.read(name, axes, "i8"), int32) for name, axes in (("a", "ik"), ("b", "kj")))
    k.write("y", "ij", k.reduce("sum", k.mul(a, b), "k"))
    return k.build()


def matmul_then_softmax(m, n, p):
    k = Zoo("matmul_then_softmax", {"i": m, "j": n, "k": p})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "kj")), "k")
    e = k.exp(k.sub(x, k.reduce("max", x, "j")))
    k.write("y", "ij", k.div(e, k.reduce("sum", e, "j")))
    return k.build()


def attention(b, m, n, p, q, causal=True):
    k = Zoo("attention", {"b": b, "i": m, "j": n, "k": p, "d": q})
    scores = k.mul(k.reduce("sum", k.mul(k.read("query", "bik"), k.read("key", "bjk")), "k"), 0.25)
    if causal:
        scores = k.select(k.le(k.index(k.axis("j")), k.index(k.axis("i"))), scores, -1e30)
    e = k.exp(k.sub(scores, k.reduce("max", scores, "j")))
    weights = k.div(e, k.reduce("sum", e, "j"))
    k.write("y", "bid", k.reduce("sum", k.mul(weights, k.read("value", "bjd")), "j"))
    return k.build()


def convolution_nchw(n, c, o, size, step=1):
    out = (size + 2 - 3) // step + 1
    k = Zoo("convolution_nchw", {"n": n, "o": o, "h": out, "w": out, "c": c, "r": 3, "s": 3})
    a = {name: k.axis(name) for name in k.axes}
    x = k.load("x", (n, c, size, size), "f32",
               (a["n"], a["c"], step * a["h"] + a["r"] - 1, step * a["w"] + a["s"] - 1), fill=0.0)
    k.write("y", "nohw", k.add(k.reduce("sum", k.mul(x, k.read("weight", "ocrs")), "crs"), k.read("bias", "o")))
    return k.build()


def convolution_nhwc(n, c, o, size):
    k = Zoo("convolution_nhwc", {"n": n, "h": size, "w": size, "o": o, "r": 3, "s": 3, "c": c})
    a = {name: k.axis(name) for name in k.axes}
    x = k.load("x", (n, size, size, c), "f32", (a["n"], a["h"] + a["r"] - 1, a["w"] + a["s"] - 1, a["c"]), fill=0.0)
    product = k.reduce("sum", k.mul(x, k.read("weight", "orsc")), "rsc")
    k.write("y", "nhwo", k.max(k.add(product, k.read("bias", "o")), 0.0))
    return k.build()


def depthwise_convolution(n, c, size):
    k = Zoo("depthwise_convolution", {"n": n, "h": size, "w": size, "c": c, "r": 3, "s": 3})
    a = {name: k.axis(name) for name in k.axes}
    x = k.load("x", (n, size, size, c), "f32", (a["n"], a["h"] + a["r"] - 1, a["w"] + a["s"] - 1, a["c"]), fill=0.0)
    k.write("y", "nhwc", k.reduce("sum", k.mul(x, k.read("weight", "rsc")), "rs"))
    return k.build()


# ---- gather, scatter, scans ---------------------------------------------------------------------------------------


def embedding(n, rows, width):
    k = Zoo("embedding", {"n": n, "d": width})
    token = k.read("token", "n", "i64")
    k.write("y", "nd", k.load("table", (rows, width), "f32", (token, k.axis("d"))))
    return k.build()


def embedding_gradient(n, rows, width):
    k = Zoo("embedding_gradient", {"n": n, "d": width})
    k.store("dtable", (rows, width), (k.read("token", "n", "i64"), k.axis("d")), k.read("g", "nd"), mode="add")
    return k.build()


def take_along_axis(m, n):
    k = Zoo("take_along_axis", {"i": m, "j": n})
    place = k.read("place", "ij", "i32")
    k.write("y", "ij", k.load("x", (m, 9), "f32", (k.axis("i"), place), fill=-1.0))
    return k.build()


def dynamic_slice(n):
    k = Zoo("dynamic_slice", {"i": n})
    place = k.add(k.read("start", "", "i64"), k.index(k.axis("i")))
    k.write("y", "i", k.load("x", (2 * n,), "f32", (place,), fill=0.0))
    return k.build()


def scatter_set(n, rows):
    k = Zoo("scatter_set", {"n": n, "d": 4})
    k.store("y", (rows, 4), (k.read("place", "n", "i64"), k.axis("d")), k.read("x", "nd"))
    return k.build()


def histogram(n):
    """Counts by a computed place; places outside are dropped."""
    k = Zoo("histogram", {"n": n})
    place = k.cast(k.floor(k.mul(k.read("x", "n"), 2.0)), int64)
    k.store("count", (4,), (place,), k.constant(1, int64), mode="add")
    return k.build()


def running(m, n):
    """Scans of rows, of which one is written backwards and one is used on the way."""
    k = Zoo("running", {"i": m, "j": n})
    x, w = k.read("x", "ij"), k.read("w", "i")
    i, j = k.axis("i"), k.axis("j")
    k.store("least", (m, n), (i, n - 1 - j), k.scan("min", x, "j"))
    k.write("sum", "ij", k.mul(k.scan("sum", k.mul(x, w), "j"), 0.5))
    k.write("scaled", "ij", k.mul(x, w))
    return k.build()


def cumulative(m, n):
    k = Zoo("cumulative", {"i": m, "j": n})
    x = k.read("x", "ij")
    k.write("sum", "ij", k.scan("sum", x, "j"))
    k.write("max_down", "ij", k.scan("max", x, "i"))
    k.write("product", "ij", k.scan("prod", k.add(k.mul(x, 0.1), 1.0), "j"))
    k.write("total", "i", k.reduce("max", k.scan("sum", x, "j"), "j"))
    return k.build()


def cumsum_backwards(n):
    k = Zoo("cumsum_backwards", {"i": n})
    i = k.axis("i")
    x = k.load("x", (n,), "f32", (n - 1 - i,))
    k.store("y", (n,), (n - 1 - i,), k.scan("sum", x, "i"))
    return k.build()


# ---- positions, integers, bits ------------------------------------------------------------------------------------


def iota(m, n):
    k = Zoo("iota", {"i": m, "j": n})
    k.write("y", "ij", k.index(k.axis("i") * 100 + k.axis("j") // 2))
    return k.build()


def causal_mask(n):
    k = Zoo("causal_mask", {"i": n, "j": n})
    i, j = k.index(k.axis("i")), k.index(k.axis("j"))
    k.write("y", "ij", k.select(k.ge(i, j), k.read("x", "ij"), -math.inf))
    return k.build()


def integer_arithmetic(d):
    """With division by zero, wrap-around, and shifts by too much."""
    k = Zoo(f"integer_arithmetic_{d.name}", {"i": 64})
    x, y = k.read("x", "i", d), k.read("y", "i", d)
    for name in ("add", "sub", "mul", "floordiv", "mod", "max", "min", "and", "or", "xor", "shl", "shr"):
        k.write(f"{name}_out", "i", k.apply(name, (x, y)))
    for name in ("neg", "abs", "not"):
        k.write(f"{name}_out", "i", k.apply(name, (x,)))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        k.write(f"{name}_out", "i", k.apply(name, (x, y)))
    k.write("by_three", "i", k.add(k.floordiv(x, 3), k.mod(x, 3)))
    return k.build()


def philox(n):
    """Four rounds of Philox 2x32 on a counter, and the float in [0, 1) that comes of it."""
    k = Zoo("philox", {"i": n})
    low, high, key = k.cast(k.index(k.axis("i")), uint32), k.constant(7, uint32), k.read("key", "", "u32")
    for _ in range(4):
        low, high = (k.xor(k.xor(k.mulhi(low, 0xD256D193), key), high), k.mul(low, 0xD256D193))
        key = k.add(key, 0x9E3779B9)
    k.write("bits", "i", low)
    k.write("uniform", "i", k.mul(k.cast(k.shr(low, 8), float32), 2.0**-24))
    return k.build()


def mulhi_u64():
    k = Zoo("mulhi_u64", {"i": 32})
    k.write("y", "i", k.mulhi(k.read("a", "i", "u64"), k.read("b", "i", "u64")))
    return k.build()


def bits_of_floats():
    k = Zoo("bits_of_floats", {"i": 32})
    k.write("bits", "i", k.bitcast(k.read("x", "i"), int32))
    k.write("exponent", "i", k.and_(k.shr(k.bitcast(k.read("d", "i", "f64"), int64), 52), 0x7FF))
    k.write("back", "i", k.bitcast(k.read("n", "i", "u32"), float32))
    return k.build()


def casts_from(d):
    k = Zoo(f"casts_from_{d.name}", {"i": 64})
    x = k.read("x", "i", d)
    for to in REAL_DTYPES:
        k.write(f"as_{to.name}", "i", k.apply("cast", (x,), to))
    return k.build()


def bool_logic():
    k = Zoo("bool_logic", {"i": 40})
    p, q = k.read("p", "i", "b1"), k.read("q", "i", "b1")
    k.write("y", "i", k.select(k.or_(k.and_(p, k.not_(q)), k.xor(p, q)), k.read("x", "i"), 0.0))
    k.write("least", "i", k.min(p, q))
    k.write("all", "", k.reduce("min", k.or_(p, q), "i"))
    k.write("is_less", "i", k.lt(p, q))
    return k.build()


def half_precision(d):
    k = Zoo(f"half_{d.name}", {"i": 5, "j": 24})
    x, y = k.read("x", "ij", d), k.read("y", "j", d)
    k.write("out", "ij", k.add(k.mul(x, y), k.max(x, y)))
    k.write("exp", "ij", k.exp(x))
    k.write("total", "i", k.cast(k.reduce("sum", k.cast(x, float32), "j"), d))
    return k.build()


def float64_rows():
    k = Zoo("float64_rows", {"i": 6, "j": 11})
    x = k.read("x", "ij", "f64")
    k.write("y", "ij", k.div(k.exp(x), k.reduce("sum", k.exp(x), "j")))
    k.write("wide", "ij", k.cast(k.read("z", "ij"), float64))
    return k.build()


def scalar_only():
    k = Zoo("scalar_only", {})
    k.write("y", "", k.add(k.read("x", ""), 1.0))
    return k.build()


ZOO: dict[str, Kernel] = {
    "pointwise_chain_1": pointwise_chain(1), "pointwise_chain_1000": pointwise_chain(1000),
    "pointwise_chain_N": pointwise_chain(N),
    "pointwise_chain_maybe_none": pointwise_chain(MAYBE_NONE), "pointwise_chain_f64": pointwise_chain(100, "f64"),
    "gelu": gelu(77), **{f"every_function_{d.name}": every_function(d) for d in FLOATS},
    "broadcasts": broadcasts(3, 18), "broadcasts_MN": broadcasts(M, N), "transpose": transpose(7, 20),
    "transpose_MN": transpose(M, N),
    "permute_4d": permute_4d(), "diagonal": diagonal(9), "diagonal_N": diagonal(N), "stencil": stencil(19),
    "stencil_N": stencil(N),
    "pad_zero": pad_with(13, 0.0), "pad_minus_infinity": pad_with(N, -math.inf), "pad_nan": pad_with(3, math.nan),
    "slices": slices(17), "slices_N": slices(N), "windows": windows(20), "windows_N": windows(N),
    "reshape": reshape(3, 6),
    "reshape_MN": reshape(M, N), "repeat_and_tile": repeat_and_tile(6), "repeat_and_tile_N": repeat_and_tile(N),
    "clamped": clamped(5), "clamped_N": clamped(N), "concatenate": concatenate(4, 9),
    "concatenate_MN": concatenate(M, N),
    "strided_store": strided_store(8), "strided_store_N": strided_store(N), "cropped_store": cropped_store(10),
    "several_outputs": several_outputs(5, 19), "several_outputs_MN": several_outputs(M, N), "adamw": adamw(50),
    "adamw_N": adamw(N),
    "softmax": softmax(3, 5), "softmax_wide": softmax(4, 130), "softmax_one_column": softmax(6, 1),
    "softmax_MN": softmax(M, N),
    "softmax_f64": softmax(5, 40, "f64"), "softmax_columns": softmax_columns(12, 21),
    "softmax_columns_MN": softmax_columns(M, N),
    "logsumexp": logsumexp(4, 33), "logsumexp_MN": logsumexp(M, N), "layer_norm": layer_norm(5, 48),
    "layer_norm_MN": layer_norm(M, N),
    "rms_norm": rms_norm(4, 64), "rms_norm_MN": rms_norm(M, N), "rms_norm_bf16": rms_norm(3, 32, "bf16"),
    "rms_norm_f16": rms_norm(3, 40, "f16"), "rms_norm_gradient": rms_norm_gradient(7, 32),
    "rms_norm_gradient_MN": rms_norm_gradient(M, N), "variance_over_rows": variance_over_rows(30, 17),
    "variance_over_rows_MN": variance_over_rows(M, N), "argmax": argmax(6, 31), "argmax_MN": argmax(M, N),
    **{f"reductions_{d.name}": reductions(d) for d in REAL_DTYPES if not d.is_float or d.bits > 16},
    "count_positions": count_positions(4, 5), "count_positions_MN": count_positions(M, N), "zero_extent": zero_extent(),
    "sum_long": sum_long(5000), "sum_long_N": sum_long(N), "sum_maybe_none": sum_long(MAYBE_NONE), "n_body": n_body(11),
    "n_body_N": n_body(N), "matmul": matmul(5, 7, 9), "matmul_large": matmul(65, 70, 300),
    "matmul_one": matmul(1, 1, 1),
    "matmul_MNK": matmul(M, N, K), "matmul_f64": matmul(15, 33, 20, "f64"), "linear_silu": linear_silu(17, 40, 33),
    "linear_silu_MNK": linear_silu(M, N, K), "matmul_with_prologue": matmul_with_prologue(9, 32, 24),
    "batched_matmul": batched_matmul(3, 5, 6, 7), "batched_matmul_transposed": batched_matmul(2, 18, 9, 8, "bki",
                                                                                              "bjk"),
    "batched_matmul_shared": batched_matmul(3, 6, 20, 5, "ibk", "jk"),
    "batched_matmul_BMNK": batched_matmul(B, M, N, K),
    "matmul_of_integers": matmul_of_integers(), "matmul_then_softmax": matmul_then_softmax(6, 20, 9),
    "attention": attention(2, 9, 9, 8, 5), "attention_full": attention(1, 7, 20, 16, 16, causal=False),
    "attention_BMNK": attention(B, M, N, K, 8), "convolution_nchw": convolution_nchw(2, 3, 5, 8),
    "convolution_strided": convolution_nchw(1, 4, 16, 9, step=2), "convolution_nhwc": convolution_nhwc(2, 4, 16, 7),
    "convolution_nhwc_BN": convolution_nhwc(B, 3, 8, N), "depthwise_convolution": depthwise_convolution(2, 18, 6),
    "embedding": embedding(7, 10, 12), "embedding_NM": embedding(N, M, 16),
    "embedding_gradient": embedding_gradient(20, 6, 5),
    "embedding_gradient_NM": embedding_gradient(N, M, 8), "take_along_axis": take_along_axis(4, 6),
    "dynamic_slice": dynamic_slice(9),
    "dynamic_slice_N": dynamic_slice(N), "scatter_set": scatter_set(5, 8), "scatter_set_N": scatter_set(N, N + 3),
    "histogram": histogram(50), "cumulative": cumulative(4, 21), "cumulative_MN": cumulative(M, N),
    "cumsum_backwards": cumsum_backwards(23), "iota": iota(4, 9), "iota_MN": iota(M, N), "causal_mask": causal_mask(9),
    "causal_mask_N": causal_mask(N), **{f"integer_arithmetic_{d.name}": integer_arithmetic(d) for d in INTEGERS},
    "philox": philox(33), "philox_N": philox(N), "mulhi_u64": mulhi_u64(), "bits_of_floats": bits_of_floats(),
    **{f"casts_from_{d.name}": casts_from(d) for d in REAL_DTYPES}, "bool_logic": bool_logic(),
    "half_f16": half_precision(dtype("f16")), "half_bf16": half_precision(dtype("bf16")),
    "float64_rows": float64_rows(), "scalar_only": scalar_only(),
}  # fmt: skip

CASES = [(name, sizes) for name, kernel in ZOO.items() for sizes in sizes_of(kernel)]

