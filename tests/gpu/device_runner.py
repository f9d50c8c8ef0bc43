"""One source on the device that tests run on: Triton's interpreter, or a GPU where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from braze.ir.configuration import configuration
from braze.ir.gpu import GpuTarget
from braze.ir.schedule import Source
from braze.runtime import devices, triton_interpreter
from braze.runtime.device import Frame
from braze.runtime.triton_compiler import HIDDEN_ARGUMENTS, Request
from braze.tracer.compare import BOUND


def target() -> GpuTarget:
    """What kernels are planned for: the facts of the device."""
    return devices.get("cuda").target


def assert_agree(got: np.ndarray, want: np.ndarray, name: str = "") -> None:
    """What the device gives is what the CPU gives: in the same bits on the simulated one, where NumPy computes, too; on
    a GPU within the bound on one operation.
    """
    assert (got.shape, got.dtype) == (want.shape, want.dtype), name
    if configuration.simulate_gpu:
        assert got.tobytes() == want.tobytes(), name
        return
    bound = BOUND.get(want.dtype.name, 0)
    kind = np.complex128 if want.dtype.kind == "c" else np.float64 if bound else want.dtype
    wide = want.astype(kind)
    largest = np.abs(wide[np.isfinite(wide)]).max(initial=0) if bound else 0
    np.testing.assert_allclose(got.astype(kind), wide, rtol=bound, atol=bound * largest, err_msg=name)


def run_source(source: Source, rooms: Sequence[np.ndarray], firsts: Sequence[int], sizes: Mapping[str, int]) -> None:
    """Run a source and what follows it, in place; its buffers begin at byte `first` of each room (an array of bytes).
    """
    workspace = source.facts.get("workspace", 0)
    if workspace:
        rooms, firsts = [*rooms, np.full(workspace, 0xAB, np.uint8)], [*firsts, 0]
    for part in source.chain:
        _run(part, rooms, firsts, sizes)


def _run(source: Source, rooms: Sequence[np.ndarray], firsts: Sequence[int], sizes: Mapping[str, int]) -> None:
    grid = triton_interpreter.grid_of(source, sizes)
    numbers = [sizes[name] for name, kind in source.facts["arguments"] if kind[0] != "*"]
    if configuration.simulate_gpu:
        addresses = [room.ctypes.data + first for room, first in zip(rooms, firsts)]
        triton_interpreter.Interpreted(source)(grid, [*addresses, *numbers])
        return
    device = devices.get("cuda")
    pads = [-first % 16 for first in firsts]
    memory = [device.from_host(np.concatenate([np.zeros(pad, np.uint8), room])) for pad, room in zip(pads, rooms)]
    addresses = [device.address(there) + pad + first for there, pad, first in zip(memory, pads, firsts)]
    (kernel,) = device.kernels([Request(source, device.target, tuple(n % 16 == 0 for n in numbers))])
    scratch = device.empty((kernel.scratch * int(np.prod(grid)),), np.dtype(np.uint8))
    words = [*addresses, *numbers, device.address(scratch), *[0] * (HIDDEN_ARGUMENTS - 1)]
    kernel.launch(grid, Frame(np.array(words, np.int64)), 0, device.stream())
    for room, pad, there in zip(rooms, pads, memory):
        room[...] = device.to_host(there)[pad:]
