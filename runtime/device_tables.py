"""What joined launches read beside their arguments: which part of the work each program does, and where the parts lie.

Both are copied to the device on the stream of the call, before the work that reads them, and kept for calls on the same
stream: places for good, as they depend on sizes alone, and addresses while they come again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.errors import CompileError
from .device import Device, Frame

_MOST_ROWS = 2**31                       # words of a table, which kernels count in 32 bits
_KEPT = 4                                # addresses of a table


@dataclass(frozen=True, eq=False)
class Table:
    """A joined launch's: its arguments begin at word `start` with the addresses of two arrays. The first has a row for
    each part, its extent and the addresses of its `slots`; the second the part and the piece of each program.
    """

    start: int
    extents: np.ndarray
    slots: np.ndarray
    places: np.ndarray

    @staticmethod
    def of(start: int, extents: Sequence[int], slots: Sequence[Sequence[int]], size: int, name: str) -> Table:
        """The table of parts with these extents, whose programs do `size` positions each."""
        pieces = -(-np.array(extents, np.int64) // size)
        if (1 + len(slots[0])) * len(slots) >= _MOST_ROWS or pieces.max() >= _MOST_ROWS:
            raise CompileError(f"kernel {name} is joined from {len(slots)} parts with up to {max(extents)} elements, "
                               "which are more than 32 bits count")
        parts = np.repeat(np.arange(len(extents)), pieces)
        within = np.arange(parts.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        return Table(start, np.array(extents, np.int64), np.array(slots, np.int64),
                     np.stack([parts, within], 1).astype(np.int32))

    @property
    def programs(self) -> int:
        """How many programs run."""
        return len(self.places)

    def rows(self, addresses: np.ndarray) -> np.ndarray:
        """The rows of its parts, for these addresses of slots."""
        return np.concatenate([self.extents[:, None], addresses[self.slots]], 1)


class TableFrame(Frame):
    """The arguments of a program's kernels for calls on one stream, with the tables of its joined launches."""

    def __init__(self, words: np.ndarray, tables: Sequence[Table], device: Device):
        super().__init__(words)
        self._tables, self._device = tables, device
        self._places: list[Any] = []
        self._rows: list[OrderedDict[bytes, Any]] = [OrderedDict() for _ in tables]

    def fill(self, addresses: np.ndarray) -> None:
        """Enqueue what brings the tables for these addresses of slots onto the device, on the current stream, where
        they are not yet; and say in the words where they are.
        """
        if len(self._places) < len(self._tables):
            self._places = [self._device.from_host(t.places) for t in self._tables]
        for table, places, kept in zip(self._tables, self._places, self._rows):
            rows = table.rows(addresses)
            key = rows.tobytes()
            there = kept.pop(key, None)
            if there is None:
                there = self._device.from_host(rows)
                if len(kept) >= _KEPT:
                    kept.popitem(last=False)
            kept[key] = there
            self.words[table.start] = self._device.address(there)
            self.words[table.start + 1] = self._device.address(places)
