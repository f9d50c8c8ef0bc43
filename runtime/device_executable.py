"""`load` makes a `DeviceExecutable` of a program: called on a device's arrays, it enqueues the kernels and returns the
results, which stay there; the host waits for nothing that it does not read. When a program is recorded, so that a call
costs one replay, is told in `device_calls.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ir.errors import CompileError
from ..ir.program import Launch, Program
from ..ir.schedule import Source
from . import device_scalars, lowering
from .device import Device
from .device_calls import Plan
from .device_inputs import HOST, Inputs
from .device_numpy import numpy_functions, substitutes
from .device_plan import Prepared, prepare
from .executable import Emit, sources_of
from .layout import layout_of, size_reader

MODES = ("default", "reduce-overhead", "max-autotune")
_PLANS_REMEMBERED = 64


def load(program: Program, emit: Emit, device: Device, mode: str = "default") -> DeviceExecutable:
    """The program, ready to run on a device. `emit` makes the source of a kernel; where no size is open, all kernels
    are compiled now, together.
    """
    if mode not in MODES:
        raise CompileError(f"there is no mode {mode!r}; use one of {', '.join(MODES)}")
    return DeviceExecutable(program, sources_of(program, emit), device, mode)


class DeviceExecutable:
    """A loaded program. Calls from several threads may overlap; each has temporaries and outputs of its own.

    `output_slots` names the outputs that a call allocates, each once; `layout(*sizes)` gives shapes and byte counts.
    """

    is_native = False

    def __init__(self, program: Program, sources: Mapping[Launch, Source], device: Device, mode: str = "default"):
        self.program = program
        self.sources = sources
        self.device = device
        self.mode = mode
        self.output_slots = lowering.outputs_of(program)
        self.layout = layout_of(program, self.output_slots, ())
        self.numpy_functions = numpy_functions(sources, device)
        self._inputs = Inputs(program, device)
        self._outputs = [program.slots[n] for n in self.output_slots]
        places = {name: n for n, name in enumerate(program.inputs)}
        self._givers = [places.get(slot.takes, -1) for slot in self._outputs]
        self._nothing_taken = (False,) * len(self._outputs)
        numbers = [n for n, name in enumerate(program.inputs) if not program.slots[name].shape]
        self._numbers = {n: place for place, n in enumerate(numbers)}
        self._sizes_of = size_reader(program)
        self._plans: dict[tuple[Any, ...], Plan] = {}
        if not program.sizes:
            self._plan((), self._nothing_taken)

    def __call__(self, inputs: Sequence[Any], sizes: Mapping[str, int] | None = None,
                 donated: Sequence[bool] | None = None) -> list[Any]:
        """The results on these inputs: arrays of the device, or NumPy's where a number is meant. Where an output may
        take the buffer of an input that is `donated`, it does.
        """
        values = self._sizes_of(inputs, sizes)
        layout = self.layout(*values)
        with self.device.activate():
            arrays, addresses = self._inputs.ready(inputs, layout.inputs)
            taken = self._nothing_taken if donated is None else tuple(
                [giver >= 0 and donated[giver] and arrays[giver] is inputs[giver] and addresses[giver] != HOST
                 and arrays[giver].shape == shape for giver, shape in zip(self._givers, layout.outputs)])
            plan = self._plans.get((values, taken)) or self._plan(values, taken)
            outputs, places = [], []
            for n, (giver, is_taken) in enumerate(zip(self._givers, taken)):
                output = arrays[giver] if is_taken else self._new(n, layout.outputs[n])
                outputs.append(output)
                places.append(addresses[giver] if is_taken else self.device.address(output))
            plan.run(arrays, addresses, places)
            results = dict(zip(self.output_slots, outputs))
            given = dict(zip(self.program.inputs, inputs))
            return [results[n] if n in results else self._inputs.copied(given[n]) for n in self.program.outputs]

    def _plan(self, values: tuple[int, ...], taken: tuple[bool, ...]) -> Plan:
        """The program for these sizes and for outputs that lie in inputs; remembered for when they come again."""
        sizes = dict(zip(self.program.sizes, values))
        takes = {slot.name: slot.takes for slot, is_taken in zip(self._outputs, taken) if is_taken}
        with self.device.activate():
            prepared = self._prepared(sizes, takes)
        if len(self._plans) >= _PLANS_REMEMBERED:
            self._plans.clear()
        written = frozenset(giver for giver, is_taken in zip(self._givers, taken) if is_taken)
        plan = self._plans[values, taken] = Plan(self.device, prepared, sizes, len(self.program.inputs), self._numbers,
                                                 written, self.mode)
        return plan

    def _prepared(self, sizes: Mapping[str, int], takes: Mapping[str, str]) -> Prepared:
        """The program for these sizes; what Triton does not compile becomes NumPy source."""
        def prepared() -> Prepared:
            return prepare(self.program, self.sources, self.numpy_functions, self.device, sizes, takes,
                           device_scalars.room(len(self._numbers)))

        try:
            return prepared()
        except CompileError:
            launches = [s for s, x in self.sources.items() if s not in self.numpy_functions and x.language == "triton"]
            found = substitutes(launches, self.sources, self.device, sizes)
            if not found:
                raise
            self.numpy_functions |= found
            return prepared()

    def _new(self, n: int, shape: tuple[int, ...]) -> Any:
        slot = self._outputs[n]
        return self.device.empty(shape, slot.dtype.numpy, f"{slot.dtype.long_name}{list(shape)}, a result of "
                                                          f"{self.program.name}")
