"""`load` makes an `Executable` of a program: kernels compiled, memory planned, ready to be called on arrays or on
pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from ..ir.errors import DTypeError, ShapeError
from ..ir.kernel import Kernel
from ..ir.program import Launch, Loop, Program, walk
from ..ir.schedule import Schedule, Source
from ..ir.skewed import check_tiles
from . import calls, jit, lowering, memory, native, stepped
from .layout import Layout, layout_of, size_reader

Emit = Callable[[Kernel, Schedule], Source]


_AS_NEEDED = 0x1 | 0x100                 # NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_ALIGNED
_PLANS_REMEMBERED = 256


def load(program: Program, emit: Emit) -> Executable:
    """The program, ready to run. `emit` makes the source of a kernel; those of all kernels are compiled together."""
    return Executable(program, sources_of(program, emit))


def sources_of(program: Program, emit: Emit) -> dict[Launch, Source]:
    """The source of each launch's kernel."""
    emitted: dict[tuple[int, ...], Source] = {}
    sources = {}
    for s in walk(program.steps):
        if isinstance(s, Loop) and s.tiles is not None:
            check_tiles(s)
        if isinstance(s, Launch):        # kernels that differ in nothing but their origin share values and stores
            key = id(s.kernel.values), id(s.kernel.stores), id(s.schedule)
            if key not in emitted:
                emitted[key] = emit(s.kernel, s.schedule)
            sources[s] = emitted[key]
    return sources


class Executable:
    """A loaded program. Calls from several threads may overlap; each has temporaries and outputs of its own.

    `output_slots` names the outputs that a call allocates, each once; `layout(*sizes)` gives shapes and byte counts.
    """

    def __init__(self, program: Program, sources: Mapping[Launch, Source], entries: Sequence[int] | None = None):
        """`entries` are the addresses of the sources' machine code, where that is loaded already."""
        self.program = program
        self.sources = sources
        self.output_slots = lowering.outputs_of(program)
        self.layout = layout_of(program, self.output_slots, list(sources.values()))
        compiled = [s for s in sources.values() if s.language == "llvm"]
        if entries is None:
            entries = jit.compile_sources(compiled, [native.request()]) if compiled else ()
        addresses = iter(entries)
        self.kernels = {
            launch: lowering.Native(s, next(addresses) if s.language == "llvm" else 0) for launch, s in sources.items()}
        self.is_native = bool(compiled)
        self._input_slots = [program.slots[n] for n in program.inputs]
        self._dtypes = [slot.dtype.numpy for slot in self._input_slots]
        places = {name: n for n, name in enumerate(program.inputs)}
        self._takes = [places.get(program.slots[n].takes) for n in self.output_slots]
        self._sizes_of = size_reader(program)
        self._returns_outputs = program.outputs == self.output_slots
        self._plans: dict[tuple[int, ...], tuple[Layout, list[memory.OutputPool]]] = {}

    # ---- on arrays ----

    def __call__(self, inputs: Sequence[np.ndarray], sizes: Mapping[str, int] | None = None,
                 donated: Sequence[bool] | None = None) -> list[np.ndarray]:
        """The results on these inputs. Where an output may take the buffer of an input that is `donated`, it does."""
        return self._called(self._call, inputs, sizes, donated)

    def walk(self, inputs: Sequence[np.ndarray], kernels: Mapping[Launch, stepped.KernelFunction],
             sizes: Mapping[str, int] | None = None) -> list[np.ndarray]:
        """The results, by steps in Python with these functions for the kernels (for measuring and for tests)."""
        return self._called(calls.stepped_call(self, kernels), inputs, sizes, None)

    def _called(self, call: Callable[..., None], inputs: Sequence[np.ndarray], sizes: Mapping[str, int] | None,
                donated: Sequence[bool] | None) -> list[np.ndarray]:
        values = self._sizes_of(inputs, sizes)
        plan = self._plans.get(values) or self._plan(values)
        layout, pools = plan
        arrays = self._ready(inputs, layout)
        outputs = [pool.take()[0] for pool in pools] if donated is None else self._outputs(inputs, arrays, plan,
                                                                                           donated)
        call(*arrays, *outputs, *values)
        if self._returns_outputs:
            return outputs
        results = dict(zip(self.output_slots, outputs))
        given = dict(zip(self.program.inputs, inputs))
        return [results[n] if n in results else np.array(given[n]) for n in self.program.outputs]

    def _plan(self, values: tuple[int, ...]) -> tuple[Layout, list[memory.OutputPool]]:
        """Shapes for these sizes, and the pools that the outputs come from; remembered for sizes that come again."""
        layout = self.layout(*values)
        dtypes = [self.program.slots[n].dtype.numpy for n in self.output_slots]
        plan = layout, [memory.outputs(shape, d) for shape, d in zip(layout.outputs, dtypes)]
        if len(self._plans) >= _PLANS_REMEMBERED:
            self._plans.clear()
        self._plans[values] = plan
        return plan

    def _ready(self, inputs: Sequence[np.ndarray], layout: Layout) -> list[np.ndarray]:
        """The inputs, checked; copies of those that are not contiguous or not aligned."""
        arrays = list(inputs)
        for n, (array, shape, dtype) in enumerate(zip(arrays, layout.inputs, self._dtypes)):
            if type(array) is not np.ndarray:
                array = arrays[n] = self._plain(array, n)
            if array.shape != shape:
                raise ShapeError(f"{self._input_slots[n]} is given an array of shape {array.shape}, where {shape} is "
                                 "meant")
            if array.dtype is not dtype and array.dtype != dtype:
                raise DTypeError(f"{self._input_slots[n]} is given an array of {array.dtype}; "
                                 f"convert it to {self._input_slots[n].dtype.long_name}")
            if array.flags.num & _AS_NEEDED != _AS_NEEDED:
                arrays[n] = np.array(array, order="C")
        return arrays

    def _plain(self, array: object, n: int) -> np.ndarray:
        if not isinstance(array, np.ndarray):
            raise DTypeError(f"{self._input_slots[n]} is given a {type(array).__name__}, not a NumPy array")
        return array.view(np.ndarray)

    def _outputs(self, inputs: Sequence[np.ndarray], arrays: Sequence[np.ndarray],
                 plan: tuple[Layout, list[memory.OutputPool]], donated: Sequence[bool]) -> list[np.ndarray]:
        outputs = []
        for giver, shape, pool in zip(self._takes, plan[0].outputs, plan[1]):
            if giver is not None and donated[giver] and inputs[giver] is arrays[giver]:
                array = arrays[giver]
                if array.shape == shape and array.dtype == pool.dtype and array.flags.writeable:
                    outputs.append(array)
                    continue
            outputs.append(pool.take()[0])
        return outputs

    # ---- unchecked ----

    def bind(self) -> Callable[..., None]:
        """A function of the inputs, then of the `output_slots`, then of the program's sizes, by position.

        Memory is given as NumPy arrays or as addresses. Nothing is checked: each must be contiguous memory of its
        slot's type, aligned to the element, and writeable for an output.
        For a program without temporaries and host calls it is a builtin that costs some 30 ns beside the work.
        """
        return self._call

    @cached_property
    def _call(self) -> Callable[..., None]:
        if not self.is_native:
            return calls.stepped_call(self, self.numpy_kernels)
        if self.lowered.host_steps:
            return calls.host_call(self)
        return calls.native_call(self)

    @cached_property
    def lowered(self) -> lowering.Lowered:
        """The program as step records for the native runner."""
        return lowering.lower(self.program, self.kernels)

    @cached_property
    def numpy_kernels(self) -> dict[Launch, stepped.KernelFunction]:
        """The functions of the kernels that are NumPy source."""
        functions: dict[int, stepped.KernelFunction] = {}
        for s in self.sources.values():
            if s.language == "numpy" and id(s) not in functions:
                functions[id(s)] = stepped.numpy_kernel(s)
        return {launch: functions[id(s)] for launch, s in self.sources.items() if s.language == "numpy"}
