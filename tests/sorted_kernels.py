"""Kernels with an argsort: `SORTED` of small static sizes, `SYMBOLIC` of any; for all readers of the kernel IR."""

from __future__ import annotations

from braze.ir.kernel import Kernel
from braze.ir.types import DTYPES, dtype, int64
from kernel_zoo import MAYBE_NONE, K, M, N, Zoo

REAL = tuple(d for d in DTYPES if d.kind != "c" and not d.is_storage)
NARROW = tuple(d for d in REAL if d.bits <= 32)


def order(m, n, d="f32", direction="ascending", over="j") -> Kernel:
    """The positions that sort each row (over "j") or each column (over "i")."""
    k = Zoo("order", {"i": m, "j": n})
    x = k.read("x", "ij", d)
    p = k.add_axis("p", k.axes[over])
    y = k.argsort(direction, x, over, p)
    k.write("y", "ip" if over == "j" else "pj", y)
    return k.build()


def of_several_axes(b, m, n) -> Kernel:
    """Rows of two axes, which are one axis where kernels are collapsed."""
    k = Zoo("of_several_axes", {"b": b, "i": m, "j": n})
    x = k.read("x", "bij")
    k.add_axis("p", n)
    k.write("y", "bip", k.argsort("descending", x, "j", k.axis("p")))
    return k.build()


def in_order(m, n, d="f32", direction="ascending") -> Kernel:
    """Rows sorted, and their places too."""
    k = Zoo("in_order", {"i": m, "j": n})
    x = k.read("x", "ij", d)
    k.add_axis("p", n)
    places = k.argsort(direction, x, "j", k.axis("p"))
    k.write("places", "ip", places)
    k.write("y", "ip", k.load("x", (m, n), d, (k.axis("i"), places), 0))
    return k.build()


def largest(m, n, count, start=0, d="f32") -> Kernel:
    """Some of the largest of each row, as parts of their sum."""
    k = Zoo("largest", {"i": m, "j": n})
    x = k.read("x", "ij", d)
    p = k.add_axis("p", count)
    places = k.argsort("descending", x, "j", p + start)
    y = k.load("x", (m, n), d, (k.axis("i"), places), 0)
    k.write("places", "ip", places)
    k.write("y", "ip", k.div(y, k.add(k.reduce("sum", k.abs(y), ("p",)), 1.0)))
    return k.build()


def largest_places(m, n, count, d="f32") -> Kernel:
    """Where some of the largest of each row are."""
    k = Zoo("largest_places", {"i": m, "j": n})
    x = k.read("x", "ij", d)
    k.add_axis("p", count)
    k.write("y", "ip", k.argsort("descending", x, "j", k.axis("p")))
    return k.build()


def middle(m, n) -> Kernel:
    """Where the middle of each row is, without an axis of places."""
    k = Zoo("middle", {"i": m, "j": n})
    x = k.read("x", "ij")
    k.write("y", "i", k.argsort("ascending", x, "j", n // 2))
    return k.build()


def of_sums(n) -> Kernel:
    """One row, of what is computed on the way, with many equal ones among it."""
    k = Zoo("of_sums", {"j": n})
    x, w = k.read("x", "j"), k.read("w", "j", "i32")
    k.add_axis("p", n)
    places = k.argsort("ascending", k.add(k.rint(x), k.cast(w, dtype("f32"))), "j", k.axis("p"))
    k.write("y", "p", places)
    return k.build()


def shared(m, n) -> Kernel:
    """A row that is sorted once for all rows of the result."""
    k = Zoo("shared", {"i": m, "j": n})
    x, s = k.read("x", "j"), k.read("s", "i", int64)
    k.add_axis("p", n)
    k.write("y", "ip", k.add(k.argsort("descending", x, "j", k.axis("p")), s))
    return k.build()


SORTED: dict[str, Kernel] = {
    **{f"order_{d.name}": order(3, 21, d) for d in NARROW},
    **{f"order_down_{d.name}": order(2, 33, d, "descending") for d in NARROW},
    "order_columns": order(19, 3, over="i"), "order_of_one": order(4, 1), "order_of_none": order(3, 0),
    "order_of_no_row": order(0, 5),
    "of_several_axes": of_several_axes(2, 3, 18), "order_64": order(2, 64), "in_order": in_order(3, 17),
    "in_order_down": in_order(2, 40, "f32", "descending"), "largest": largest(3, 30, 4),
    "largest_but_one": largest(3, 9, 2, 1), "middle": middle(5, 24), "of_sums": of_sums(45), "shared": shared(3, 20),
}  # fmt: skip

WIDE: dict[str, Kernel] = {
    **{f"order_{d.name}": order(3, 21, d) for d in REAL if d not in NARROW},
    **{f"order_down_{d.name}": order(2, 33, d, "descending") for d in REAL if d not in NARROW},
    "columns_f64": order(19, 3, "f64", over="i"), "one_f64": order(4, 1, "f64"), "none_i64": order(3, 0, "i64"),
    "no_row_i64": order(0, 5, "i64"), "rows_of_i64": order(M, 9, "i64"), "in_order_f64": in_order(3, 17, "f64"),
    "largest_u64": largest_places(3, 30, 4, "u64"), "largest_but_one_f64": largest(3, 9, 2, 1, "f64"),
}  # fmt: skip

SYMBOLIC: dict[str, Kernel] = {
    **{f"order_{d.name}": order(M, N, d) for d in REAL},
    **{f"order_down_{d.name}": order(3, N, d, "descending") for d in REAL},
    "order_columns_MN": order(M, N, over="i"), "order_maybe_none": order(3, MAYBE_NONE), "in_order_MN": in_order(M, N),
    "of_sums_N": of_sums(N), "shared_MN": shared(M, N), "largest_M": largest(M, 70, 3),
    "of_several_axes_MKN": of_several_axes(M, K, N),
}  # fmt: skip
