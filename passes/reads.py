"""What a node of a group reads, and along which axes of the group: what fusion equates axes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..ir.graph import Value
from .dimension_maps import FREE, MOVED, ONE, Map


class Read(NamedTuple):
    """A value that a node reads; the axes of its dimensions (None: elsewhere), and those axes that the node reduces."""

    base: Value
    axes: tuple[int | None, ...] | None
    reduced: frozenset[int | None]


def renamed_read(read: Read, names: Mapping[int | None, int]) -> Read:
    """The read, some axes called otherwise."""
    if read.axes is None or not names:
        return read
    return Read(read.base, tuple([names.get(a, a) for a in read.axes]),
                frozenset([names.get(a, a) for a in read.reduced]))


def read_axes(inner: Map, outer: Map, result: tuple[int | None, ...],
              by_dim: dict[int, int | None]) -> tuple[int | None, ...] | None:
    """The axes of a base's dimensions, through what is inlined and the node's own map; None where it is read elsewhere.
    """
    out: list[int | None] = []
    for d in inner:
        if d == MOVED or (d >= 0 and outer[d] == MOVED):
            return None
        out.append(None if d == ONE or outer[d] == ONE else by_dim[d] if outer[d] == FREE else result[outer[d]])
    return tuple(out)


def one_each(reads: Iterable[Read]) -> list[Read]:
    """Of reads of one value, one for each tuple of axes."""
    return list({read.axes: read for read in reads}.values())
