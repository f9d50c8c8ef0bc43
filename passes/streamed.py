"""Recognising a kernel that streams (attention, its gradient), and choosing how it runs."""

from __future__ import annotations

from ..ir.errors import VerifyError
from ..ir.expr import product
from ..ir.kernel import Kernel, made_of
from ..ir.streamed import Product, Roles, Streamed, roles
from ..ir.target import Target
from . import dots
from .walks import contiguous_axis, strides, usual

TALL = 8                        # rows of the register tile: powers of two waste least where a mask cuts tiles
BLOCK = 64                      # rows of a unit
SPAN = 512                      # positions of the stream that pass by at once: a flat optimum
MANY_TURNS = 4                  # times that each thread should be given work
SHARED = 4                      # blocks of rows that share what is packed, at least


def match(kernel: Kernel) -> tuple[str, str, Roles] | None:
    """(row, stream, roles) if the kernel streams along some axis, else None."""
    folds = [v for v in kernel.values if v.op == "reduce"]
    if len(folds) < 2:
        return None
    streams = dict.fromkeys(v.over[0] for v in folds if len(v.over) == 1
                            and sum(w.over == v.over or v.over[0] in w.axes for w in folds) > 1)
    for stream in streams:
        for row in sorted(kernel.axes, key=lambda a: -usual(kernel.axes[a])):
            if row != stream and all(row in s.axes for s in kernel.stores):
                try:
                    return row, stream, roles(kernel, row, stream)
                except VerifyError:
                    continue
    return None


def schedule(kernel: Kernel, row: str, stream: str, found: Roles, target: Target) -> Streamed:
    """How it runs on a target."""
    size = found.inner[0].total.dtype.itemsize
    lanes = max(1, target.vector_bytes // size)
    vectors = 2 if lanes >= 8 else 4
    rows = max(1, min(TALL, (target.registers - 1 - vectors) // vectors))
    block = BLOCK // rows * rows
    span = SPAN // max(len(found.inner), len(found.outer)) * 4 // size
    blocks = (kernel.axes[row] + block - 1) // block
    units = product([*(kernel.axes[a] for a in found.g), blocks])
    share = usual(units) // (MANY_TURNS * target.threads)
    grain = max(1, usual(blocks) if share >= usual(blocks) else min(usual(blocks), max(share, SHARED)))
    return Streamed(
        units=units,
        grain=grain,
        row=row,
        stream=stream,
        rows=rows,
        vectors=vectors,
        lanes=lanes,
        block=block,
        span=span,
        packs=tuple("rows" if contiguous_axis(kernel, p.right) == p.axis else "columns" for p in found.inner),
        reads=tuple(_reading(kernel, p, vectors * lanes) for p in found.outer),
        inner_dots=tuple(dots.dot(p.total, p.left, p.right, target) for p in found.inner),
        outer_dots=tuple(_outer_dot(kernel, p, target) for p in found.outer),
    )


def _outer_dot(kernel: Kernel, p: Product, target: Target) -> str:
    """The dot product that a result may be made by: where what is weighed and what is stored are as narrow, weights may
    be rounded, too.
    """
    stored = [s.value.dtype for s in kernel.stores if p.total in made_of(s.value)]
    narrow = p.right.op == "cast" and all(d is p.right.args[0].dtype for d in stored)
    return dots.dot(p.total, p.right, p.right, target) if narrow and p.total.dtype.is_float else ""


def _reading(kernel: Kernel, p: Product, panel: int) -> str:
    """Can the register tile read the right side of an outer product where it lies?"""
    steps = strides(kernel, p.right) if p.right.op == "load" else None
    if steps is None or p.right.dtype is not p.total.dtype:
        return "columns"
    whole = steps.get(p.column) == 1 and kernel.axes[p.column] % panel == 0      # type: ignore[operator]
    return "direct" if whole and isinstance(steps.get(p.axis), int) else "columns"
