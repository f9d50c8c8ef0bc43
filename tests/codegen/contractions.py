"""Kernels that are contractions, in many shapes: what the tests of matching and of the emitter share."""

from __future__ import annotations

import math
import random

from braze.ir.expr import floordiv
from braze.ir.kernel import Kernel
from braze.ir.types import dtype, float32
from kernel_zoo import Zoo


def matmul(m, n, p, d="f32", a="ik", b="kj", y="ij", epilogue=None) -> Kernel:
    """y = a @ b under any layouts, with `epilogue(builder, product)` if given."""
    k = Zoo("matmul", {"i": m, "j": n, "k": p})
    x = k.reduce("sum", k.mul(k.read("a", a, d), k.read("b", b, d)), "k")
    k.write("y", y, epilogue(k, x) if epilogue else x)
    return k.build()


def distances(m, n, p, d="f32", a="ik", b="jk", y="ij") -> Kernel:
    """The Euclidean distance of each row of a to each of b: a contraction whose operands meet in a difference."""
    k = Zoo("distances", {"i": m, "j": n, "k": p})
    x = k.sub(k.read("a", a, d), k.read("b", b, d))
    k.write("y", y, k.sqrt(k.reduce("sum", k.mul(x, x), "k")))
    return k.build()


def nearness(m, n, p) -> Kernel:
    """sum of exp(-|a - b| / 2) / 3 + 1 with a gathered, scaled: a term of several operations and constants."""
    k = Zoo("nearness", {"i": m, "j": n, "k": p})
    row = k.load("table", (m,), "i64", (k.axis("i"),))
    a = k.mul(k.load("a", (m, p), "f32", (row, k.axis("k"))), k.read("gain", "k"))
    gap = k.mul(k.abs(k.sub(k.read("b", "kj"), a)), -0.5)
    k.write("y", "ij", k.reduce("sum", k.add(k.div(k.exp(gap), 3.0), 1.0), "k"))
    return k.build()


def biased_relu(k, x):
    """max(x + bias, 0) + residual, scaled by rows."""
    d = x.dtype.name
    x = k.add(k.max(k.add(x, k.read("bias", "j", d)), 0), k.read("residual", "ij", d))
    return k.mul(x, k.read("scale", "i", d))


def biased_panels(k, x):
    """The tangent of a sum with a bias and what was there."""
    return k.tanh(k.add(k.add(x, k.read("bias", "lj")), k.read("before", "ilj")))


def between(g, m, n, p, d="f32", moved=0, one_sided=False) -> Kernel:
    """For each place of g the sum over a part of K, from a computed start to a computed end."""
    k = Zoo("between", {"g": g, "i": m, "j": n, "k": p})
    at = k.index(k.axis("k") + moved)
    start, end = (k.mul(k.cast(k.read(name, "g", "i32"), dtype("i64")), 3) for name in ("start", "end"))
    inside = k.gt(end, at) if one_sided else k.and_(k.ge(at, start), k.and_(k.lt(at, end), k.le(at, k.add(start, 20))))
    zero = k.constant(0, dtype(d))
    a, b = (k.select(inside, k.read(name, axes, d), zero) for name, axes in (("a", "ik"), ("b", "kj")))
    total = k.reduce("sum", k.mul(*(k.cast(x, float32) for x in (a, b))), "k")
    k.write("y", "gij", total)
    return k.build()


def several_stores(m, n, p) -> Kernel:
    """The product, its transpose, and its sign as an integer."""
    k = Zoo("several_stores", {"i": m, "j": n, "k": p})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "jk")), "k")
    k.write("y", "ij", x)
    k.write("transposed", "ji", k.max(x, 0.0))
    k.write("positive", "ij", k.cast(k.gt(x, 0.0), dtype("i8")))
    return k.build()


def stored_narrow(m, n, p, d) -> Kernel:
    """16-bit operands and result, summed in float32."""
    k = Zoo("stored_narrow", {"i": m, "j": n, "k": p})
    a, b = (k.cast(k.read(name, axes, d), float32) for name, axes in (("a", "ik"), ("b", "jk")))
    k.write("y", "ij", k.cast(k.reduce("sum", k.mul(a, b), "k"), dtype(d)))
    return k.build()


def prologues(m, n, p) -> Kernel:
    """Both operands made on the way: masked, scaled, gathered."""
    k = Zoo("prologues", {"i": m, "j": n, "k": p})
    row = k.load("table", (m,), "i64", (k.axis("i"),))
    a = k.mul(k.load("a", (m, p), "f32", (row, k.axis("k"))), k.read("gain", "k"))
    causal = k.le(k.index(k.axis("k")), k.index(k.axis("j")))
    b = k.select(causal, k.read("b", "jk"), 0.0)
    k.write("y", "ij", k.reduce("sum", k.mul(a, b), "k"))
    return k.build()


def batched(b, m, n, p, left="bik", right="bkj", y="bij") -> Kernel:
    """A product for each of a batch, under any layouts."""
    k = Zoo("batched", {"b": b, "i": m, "j": n, "k": p})
    k.write("y", y, k.reduce("sum", k.mul(k.read("x", left), k.read("w", right)), "k"))
    return k.build()


def panels(m, parts, width, p, epilogue=None) -> Kernel:
    """A product with a matrix that lies in panels of so many columns."""
    k = Zoo("panels", {"i": m, "l": parts, "j": width, "k": p})
    x = k.reduce("sum", k.mul(k.read("a", "ik"), k.read("b", "lkj")), "k")
    k.write("y", "ilj", epilogue(k, x) if epilogue else x)
    return k.build()


def gates(m, n, p, parts=4, a="ik", b="kj", d="f32", columns="j") -> Kernel:
    """The product of the logistic functions of several sums of the same rows; the first sum is stored too."""
    sizes = {"l": n // 16, "j": 16} if columns == "lj" else {"j": n}
    k = Zoo("gates", {"i": m, **sizes, "k": p})
    left = k.read("a", a, d)
    sums = [k.reduce("sum", k.mul(left, k.read(f"b{n}", b, d)), "k") for n in range(parts)]
    gated = sums[0]
    for x in sums[1:]:
        gated = k.mul(gated, k.div(1.0, k.add(1.0, k.exp(k.neg(k.add(x, k.read("bias", columns, d)))))))
    k.write("y", f"i{columns}", gated)
    k.write("first", f"i{columns}", sums[0])
    return k.build()


def heads(b, t, h, d, e) -> Kernel:
    """An attention projection: columns in two axes, stored with heads outside."""
    k = Zoo("heads", {"b": b, "h": h, "t": t, "e": e, "d": d})
    x = k.reduce("sum", k.mul(k.read("x", "btd"), k.read("w", "dhe")), "d")
    k.write("y", "bhte", k.add(x, k.read("bias", "he")))
    return k.build()


def scores(b, h, t, u, e) -> Kernel:
    """Scores of attention out of [batch, time, head, element] arrays."""
    k = Zoo("scores", {"b": b, "h": h, "t": t, "u": u, "e": e})
    k.write("y", "bhtu", k.mul(k.reduce("sum", k.mul(k.read("q", "bthe"), k.read("k", "buhe")), "e"), 0.125))
    return k.build()


def tensor_product(m, n, p, q) -> Kernel:
    """A sum over two axes that lie apart in memory."""
    k = Zoo("tensor_product", {"i": m, "j": n, "k": p, "l": q})
    k.write("y", "ij", k.reduce("sum", k.mul(k.read("a", "kil"), k.read("b", "lkj")), "kl"))
    return k.build()


def window(n, c, o, h, w, r=3, s=3, step=1, dilation=1, groups=1, layout="nhwc") -> Kernel:
    """A convolution with padding that keeps the size at step 1, in either layout."""
    oh, ow = (h - 1) // step + 1, (w - 1) // step + 1
    last = {"nhwc": ("nhwg", "rsc"), "nchw": ("nghw", "crs")}[layout]
    sizes = {"n": n, "g": groups, "o": o, "h": oh, "w": ow, "c": c, "r": r, "s": s}
    order = ("nhwgo" if layout == "nhwc" else "ngohw") + last[1]
    k = Zoo("window", {a: sizes[a] for a in order})
    at = {a: k.axis(a) for a in k.axes}
    y = step * at["h"] + dilation * at["r"] - dilation * (r // 2)
    x = step * at["w"] + dilation * at["s"] - dilation * (s // 2)
    if layout == "nhwc":
        image = k.load("x", (n, h, w, groups, c), "f32", (at["n"], y, x, at["g"], at["c"]), fill=0.0)
        out = "nhwgo"
    else:
        image = k.load("x", (n, groups, c, h, w), "f32", (at["n"], at["g"], at["c"], y, x), fill=0.0)
        out = "ngohw"
    total = k.reduce("sum", k.mul(image, k.read("f", "gocrs")), last[1])
    k.write("y", out, k.max(k.add(total, k.read("bias", "go")), 0.0))
    return k.build()


def grouped(n, c, o, h, w, groups, layout="nhwc") -> Kernel:
    """A 3x3 convolution of groups of c channels to groups of o, which lie in one axis, as it is lowered."""
    order = "nhwo" if layout == "nhwc" else "nohw"
    sizes = {"n": n, "o": groups * o, "h": h, "w": w, "c": c, "r": 3, "s": 3}
    k = Zoo("grouped", {a: sizes[a] for a in order + "crs"})
    at = {a: k.axis(a) for a in k.axes}
    y, x, channel = at["h"] + at["r"] - 1, at["w"] + at["s"] - 1, at["c"] + floordiv(at["o"], o) * c
    if layout == "nhwc":
        image = k.load("x", (n, h, w, groups * c), "f32", (at["n"], y, x, channel), fill=0.0)
    else:
        image = k.load("x", (n, groups * c, h, w), "f32", (at["n"], channel, y, x), fill=0.0)
    total = k.reduce("sum", k.mul(image, k.read("f", "ocrs")), "crs")
    k.write("y", order, k.max(k.add(total, k.read("bias", "o")), 0.0))
    return k.build()


def weight_gradient(n, c, o, h, w, layout="nhwc") -> Kernel:
    """The gradient of a 3x3 convolution with respect to its filter."""
    k = Zoo("weight_gradient", {"o": o, "c": c, "r": 3, "s": 3, "n": n, "h": h, "w": w})
    at = {a: k.axis(a) for a in k.axes}
    y, x = at["h"] + at["r"] - 1, at["w"] + at["s"] - 1
    if layout == "nhwc":
        image = k.load("x", (n, h, w, c), "f32", (at["n"], y, x, at["c"]), fill=0.0)
    else:
        image = k.load("x", (n, c, h, w), "f32", (at["n"], at["c"], y, x), fill=0.0)
    g = k.read("dy", "nhwo" if layout == "nhwc" else "nohw")
    k.write("df", "ocrs", k.reduce("sum", k.mul(image, g), "nhw"))
    return k.build()


def image_gradient(n, c, o, h, w) -> Kernel:
    """The gradient of a 3x3 convolution with respect to its image: the window slides backwards."""
    k = Zoo("image_gradient", {"n": n, "h": h, "w": w, "c": c, "r": 3, "s": 3, "o": o})
    at = {a: k.axis(a) for a in k.axes}
    g = k.load("dy", (n, h, w, o), "f32", (at["n"], at["h"] - at["r"] + 1, at["w"] - at["s"] + 1, at["o"]), fill=0.0)
    k.write("dx", "nhwc", k.reduce("sum", k.mul(g, k.read("f", "orsc")), "rso"))
    return k.build()


def narrow_window(n, c, o, h, w, left="bf16", right="bf16", wide="f32") -> Kernel:
    """A 3x3 convolution of narrow numbers that are summed in wide ones."""
    k = Zoo("narrow_window", {"n": n, "h": h, "w": w, "o": o, "r": 3, "s": 3, "c": c})
    at = {a: k.axis(a) for a in k.axes}
    y, x = at["h"] + at["r"] - 1, at["w"] + at["s"] - 1
    image = k.cast(k.load("x", (n, h, w, c), left, (at["n"], y, x, at["c"]), fill=0), dtype(wide))
    k.write("y", "nhwo", k.reduce("sum", k.mul(image, k.cast(k.read("f", "orsc", right), dtype(wide))), "rsc"))
    return k.build()


def narrow_matmul(m, n, p, left, right, wide, a="ik", b="kj", scaled=False) -> Kernel:
    """y = a @ b of narrow numbers that are summed in wide ones; perhaps with a scale and a bias behind."""
    k = Zoo("narrow_matmul", {"i": m, "j": n, "k": p})
    x, y = (k.cast(k.read(name, axes, d), dtype(wide)) for name, axes, d in (("a", a, left), ("b", b, right)))
    total = k.reduce("sum", k.mul(x, y), "k")
    if scaled:
        total = k.max(k.add(k.mul(k.cast(total, float32), k.read("scale", "j")), k.read("bias", "j")), 0.0)
    k.write("y", "ij", total)
    return k.build()


NARROW = (("f32", "bf16", "bf16"), ("i32", "i8", "i8"), ("i32", "u8", "i8"), ("i32", "i8", "u8"), ("i32", "u8", "u8"))


def random_contraction(seed: int, narrow: bool = False) -> Kernel | None:
    """Any roles, orders and small sizes of axes, with prologues and epilogues now and then; None where nothing is
    shared. Operands may be `narrow` numbers that are cast.
    """
    r = random.Random(seed)

    def shuffled(axes) -> str:
        return "".join(r.sample(list(axes), len(axes)))

    batch, rows = r.sample("bg", r.choice([0, 0, 1, 2])), r.sample("im", r.choice([0, 1, 1, 2]))
    columns, deep = r.sample("jn", r.choice([0, 1, 1, 2])), r.sample("kl", r.choice([1, 1, 2]))
    if not rows and not columns:
        return None
    d, one, other = r.choice(NARROW) if narrow else (r.choice(["f32", "f32", "f64", "i32"]),) * 3
    k = Zoo("random", {a: r.choice([1, 2, 3, 5, 8, 16, 17, 20, 33]) for a in shuffled(batch + rows + columns + deep)})
    left, right, out = (shuffled(x) for x in (batch + rows + deep, batch + columns + deep, batch + rows + columns))
    a, b = k.read("a", left, one), k.read("b", right, other)
    if r.random() < 0.3:
        a = k.mul(a, k.read("scale", shuffled(left[:2]), one))
    if r.random() < 0.3:
        b = k.max(b, 0)
    if narrow:
        a, b = k.cast(a, dtype(d)), k.cast(b, dtype(d))
    x = k.reduce("sum", k.mul(a, b) if r.random() < 0.5 else k.mul(b, a), "".join(deep))
    if r.random() < 0.5:
        x = k.add(x, k.read("bias", r.choice(out), d))
    if r.random() < 0.5:
        x = k.max(x, k.read("other", shuffled(out), d))
    k.write("y", out, x)
    if math.prod(k.axes.values()) > 300_000:  # the definition holds an array of all axes
        return None
    if r.random() < 0.3:
        k.write("z", shuffled(out), k.mul(x, 2))
    return k.build()
