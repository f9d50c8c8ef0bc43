"""Convolutions of images that are spread by zeros (transposed ones, gradients of strided ones), without the zeros; and
those of which only every so many-th position is read, with a stride.

With a spread of s, each s-th position of the result reads the same places of the window, the only ones that lie on
elements of the image: these are a *phase*, the convolution of the image itself with every so many-th slice of the
weights. Phases are interleaved. They multiply the same numbers, s times fewer along each dimension; what would have
been multiplied by zero is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from ..ir.expr import Dim, static
from ..ir.graph import Graph, Node, Value
from ..ir.interpreter import interpreting
from ..ir.ops.namespace import F
from .copying import PassBuilder, copy_inputs, copy_node, inline, map_regions
from .dce import dce

MOST_PHASES = 64  # kernels that one convolution may become


class Phase(NamedTuple):
    """Along one dimension: which slice of the weights, how far apart its taps lie on the image, and its padding."""

    first: int
    step: int
    taps: int
    dilation: int
    padding: tuple[int, int]


def split_phases(graph: Graph) -> Graph:
    """The graph with such convolutions taken apart; itself where there are none."""
    uses, outputs = graph.uses(), set(graph.outputs)
    spread = {n for n in graph.nodes if _is_spread(n)}
    skip = {n for n in graph.nodes if _skips(n) and n.operands[0] not in outputs and len(uses[n.operands[0]]) == 1}
    if not spread and not skip and not any(n.regions for n in graph.nodes):
        return graph
    builder = PassBuilder(graph.name)

    def emit(node: Node, operands: list[Value]) -> Sequence[Value]:
        builder.loc = node.loc
        if node in spread:
            return (_in_phases(node, _unspread(operands[0]), operands[1]),)
        if node in skip:
            return (_with_stride(node, *operands[0].node.operands),)  # type: ignore[union-attr]
        return copy_node(builder, node, operands, map_regions(node, split_phases) if node.regions else None)

    with interpreting(builder):
        results = inline(graph, copy_inputs(graph, builder), emit)
    return dce(builder.build(results))


# ---- positions that are not read -------------------------------------------------------------------------------------


def _skips(n: Node) -> bool:
    """Does a slice read only some positions of a convolution, of sizes that are known?"""
    whole = n.operands[0].node if n.op is F.slice else None
    if whole is None or whole.op is not F.conv:
        return False
    ends = [p for pair in whole.attrs["padding"] for p in pair]
    sizes = (*n.attrs["start"], *n.result.shape[2:], *whole.operands[0].shape[2:], *whole.operands[1].shape[2:], *ends)
    if not all(isinstance(d, int) for d in sizes) or 0 in n.result.shape:
        return False
    steps = n.attrs["step"]
    return n.attrs["start"][:2] == (0, 0) and n.result.shape[:2] == whole.result.shape[:2] and min(steps) > 0 and any(
        s > 1 for s in steps)


def _with_stride(n: Node, image: Value, weights: Value) -> Value:
    """The convolution at the positions that a slice reads."""
    whole = n.operands[0].node
    assert whole is not None
    stride, padding = [], []
    layout = zip(*(whole.attrs[name] for name in ("stride", "padding", "dilation")))
    for d, (apart, (low, _), dilation) in enumerate(layout, 2):
        stride.append(apart * n.attrs["step"][d])
        before = low - apart * n.attrs["start"][d]
        reach = stride[-1] * (static(n.result.shape[d]) - 1) + dilation * (static(weights.shape[d]) - 1) + 1
        padding.append((before, reach - static(image.shape[d]) - before))
    return F.conv(image, weights, **{**whole.attrs, "stride": tuple(stride), "padding": tuple(padding)})


# ---- zeros that are not multiplied -----------------------------------------------------------------------------------


def _is_spread(n: Node) -> bool:
    """Is it a convolution at every position of a spread image, of sizes that are known?"""
    if n.op is not F.conv or any(s != 1 for s in n.attrs["stride"]):
        return False
    views = _views_of_spread(n.operands[0])
    if not views:
        return False
    step, image, rank = views[-1].attrs["step"], views[-1].operands[0], len(n.attrs["stride"])
    ends = [p for pair in n.attrs["padding"] for p in pair]
    sizes = (*image.shape[-rank:], *n.operands[1].shape[2:], *n.result.shape[2:])
    known = all(isinstance(d, int) for d in (*sizes, *ends)) and 0 not in (*image.shape, *sizes)
    return known and math.prod(step[:-rank]) == 1 and 1 < math.prod(step) <= MOST_PHASES


def _views_of_spread(v: Value) -> list[Node]:
    """The nodes that order batch and channels of a spread image, and at the end the one that spreads it; none for
    other values.
    """
    found: list[Node] = []
    rank = len(v.shape) - 2
    while v.node is not None and v.node.op in (F.permute, F.reshape, F.dilate):
        n, x = v.node, v.node.operands[0]
        found.append(n)
        if n.op is F.dilate:
            return found
        positions = tuple(range(len(x.shape) - rank, len(x.shape)))
        in_place = n.attrs["axes"][-rank:] == positions if n.op is F.permute else x.shape[-rank:] == v.shape[-rank:]
        if not in_place:
            break
        v = x
    return []


def _unspread(v: Value) -> Value:
    """The image, in the order of batch and channels that it is read in."""
    *views, spread = _views_of_spread(v)
    (image,), rank = spread.operands, len(v.shape) - 2
    for n in reversed(views):
        if n.op is F.permute:
            image = F.permute(image, axes=n.attrs["axes"])
        else:
            image = F.reshape(image, shape=(*n.result.shape[:-rank], *image.shape[-rank:]))
    return image


def phases(size: int, window: int, result: int, stride: int, low: int, dilation: int) -> list[Phase | None]:
    """The phases along a dimension of an image of some size that is spread by a stride; None: it has no taps. Each
    gives the same number of positions, enough for the result.
    """
    common = math.gcd(stride, dilation)
    step, apart, length = stride // common, dilation // common, -(-result // stride)
    found: list[Phase | None] = []
    for at in range(stride):
        taps = [r for r in range(min(step, window)) if (at + r * dilation - low) % stride == 0]
        if not taps:
            found.append(None)
            continue
        first = taps[0]
        count = -(-(window - first) // step)
        before = (low - at - first * dilation) // stride
        found.append(Phase(first, step, count, apart, (before, length + apart * (count - 1) - size - before)))
    return found


def _in_phases(n: Node, image: Value, weights: Value) -> Value:
    """All phases, interleaved."""
    rank = len(n.attrs["stride"])
    steps = _views_of_spread(n.operands[0])[-1].attrs["step"][-rank:]
    sizes = zip(image.shape[2:], weights.shape[2:], n.result.shape[2:])
    lows = (low for low, _ in n.attrs["padding"])
    along = [
        phases(static(size), static(window), static(result), step, low, dilation)
        for (size, window, result), step, low, dilation in zip(sizes, steps, lows, n.attrs["dilation"])
    ]
    shape = (*n.result.shape[:2], *(-(-d // s) for d, s in zip(n.result.shape[2:], steps)))
    parts = [_phase(n, image, weights, each, shape) for each in product(*along)]
    return _interleaved(parts, steps, rank, n.result.shape)


def _phase(n: Node, image: Value, weights: Value, each: Sequence[Phase | None], shape: tuple[Dim, ...]) -> Value:
    """The convolution of one phase."""
    found = [p for p in each if p is not None]
    if len(found) < len(each):
        return F.broadcast_to(F.constant(value=0, dtype=image.dtype), shape=shape)
    outputs, channels = weights.shape[:2]
    part = F.slice(
        weights,
        start=(0, 0, *(p.first for p in found)),
        shape=(outputs, channels, *(p.taps for p in found)),
        step=(1, 1, *(p.step for p in found)),
    )
    return F.conv(
        image,
        part,
        stride=(1,) * len(found),
        padding=tuple(p.padding for p in found),
        dilation=tuple(p.dilation for p in found),
        groups=n.attrs["groups"],
    )


def _interleaved(parts: Sequence[Value], steps: Sequence[int], rank: int, shape: tuple[Dim, ...]) -> Value:
    """Equal parts, the last dimension's phases fastest, as one result."""
    batch, channels, *each = parts[0].shape
    stacked = F.concat(*(F.reshape(p, shape=(1, *p.shape)) for p in parts), axis=0)
    apart = F.reshape(stacked, shape=(*steps, batch, channels, *each))
    order = [a for d in range(rank) for a in (rank + 2 + d, d)]
    turned = F.permute(apart, axes=(rank, rank + 1, *order))
    whole = F.reshape(turned, shape=(batch, channels, *(d * s for d, s in zip(each, steps))))
    return F.slice(whole, start=(0,) * (rank + 2), shape=shape, step=(1,) * (rank + 2))


def is_put_together(v: Value) -> bool:
    """Is it made by views of parts that are put together, each a contraction? Then it is better read than put together
    again.
    """
    v = _viewed(v)
    parts = v.node.operands if v.node is not None and v.node.op is F.concat else ()
    makers = [_viewed(x).node for x in parts]
    return len(parts) > 1 and all(n is not None and n.op.kind == "contraction" for n in makers)


def _viewed(v: Value) -> Value:
    """What a value is a view of."""
    while v.node is not None and v.node.op.kind == "view" and len(v.node.operands) == 1:
        v = v.node.operands[0]
    return v
