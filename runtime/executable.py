"""`load` makes an `Executable` of a program: kernels compiled, memory planned, ready to be called on arrays or on pointers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from ..ir.errors import DTypeError, ShapeError
from ..ir.kernel import Kernel
from ..ir.program import Launch, Program, walk
from ..ir.schedule import Schedule, Source
from . import calls, jit, lowering, memory, native, stepped
from .layout import Layout, layout_of

Emit = Callable[[Kernel, Schedule], Source]


def load(program: Program, emit: Emit) -> Executable:
    """The program, ready to run. `emit` makes the source of a kernel; those of all kernels are compiled together."""
    launches = [s for s in walk(program.steps) if isinstance(s, Launch)]
    emitted: dict[tuple[int, int], Source] = {}
    for s in launches:
        if (id(s.kernel), id(s.schedule)) not in emitted:
            emitted[id(s.kernel), id(s.schedule)] = emit(s.kernel, s.schedule)
    return Executable(program, {s: emitted[id(s.kernel), id(s.schedule)] for s in launches})


class Executable:
    """A loaded program. Calls from several threads may overlap; each has temporaries and outputs of its own.

    `output_slots` names the outputs that a call allocates, each once; `layout(*sizes)` gives shapes and byte counts.
    """

    def __init__(self, program: Program, sources: Mapping[Launch, Source]):
        self.program = program
        self.sources = sources
        self.output_slots = lowering.outputs_of(program)
        self.layout = layout_of(program, self.output_slots, list(sources.values()))
        compiled = [s for s in sources.values() if s.language == "llvm"]
        addresses = iter(jit.compile_sources(compiled, [native.request()]) if compiled else ())
        self.kernels = {
            launch: lowering.Native(s, next(addresses) if s.language == "llvm" else 0) for launch, s in sources.items()}
        self.is_native = bool(compiled)
        self._input_slots = [program.slots[n] for n in program.inputs]
        self._dtypes = [program.slots[n].dtype.numpy for n in self.output_slots]
        places = {name: n for n, name in enumerate(program.inputs)}
        self._takes = [places.get(program.slots[n].takes) for n in self.output_slots]
        self._size_places = [(places.get(slot, -1), dimension) for slot, dimension in program.sizes.values()]

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
        if len(inputs) != len(self._input_slots):
            raise ShapeError(f"{self.program.name} takes {len(self._input_slots)} inputs, not {len(inputs)}")
        arrays = [_ready(a, slot.name) for a, slot in zip(inputs, self._input_slots)]
        values = self._sizes_of(arrays, sizes)
        layout = self.layout(*values)
        self._check(arrays, layout)
        made = [self._output(n, inputs, arrays, layout, donated) for n in range(len(self.output_slots))]
        call(*(calls.address(a) for a in arrays), *(at for _, at in made), *values)
        results = dict(zip(self.output_slots, (a for a, _ in made)))
        given = dict(zip(self.program.inputs, inputs))
        return [results[n] if n in results else np.array(given[n]) for n in self.program.outputs]

    def _sizes_of(self, arrays: Sequence[np.ndarray], sizes: Mapping[str, int] | None) -> tuple[int, ...]:
        if sizes is not None:
            return tuple(int(sizes[name]) for name in self.program.sizes)
        for n, dimension in self._size_places:
            if arrays[n].ndim <= dimension:
                raise ShapeError(f"{self._input_slots[n]} is given an array of shape {arrays[n].shape}")
        return tuple(arrays[n].shape[dimension] for n, dimension in self._size_places)

    def _check(self, arrays: Sequence[np.ndarray], layout: Layout) -> None:
        for array, shape, slot in zip(arrays, layout.inputs, self._input_slots):
            if array.shape != shape:
                raise ShapeError(f"{slot} is given an array of shape {array.shape}, where {shape} is meant")
            if array.dtype != slot.dtype.numpy:
                raise DTypeError(f"{slot} is given an array of {array.dtype}; convert it to {slot.dtype.long_name}")

    def _output(self, n: int, inputs: Sequence[np.ndarray], arrays: Sequence[np.ndarray], layout: Layout,
                donated: Sequence[bool] | None) -> tuple[np.ndarray, int]:
        giver = self._takes[n]
        if giver is not None and donated is not None and donated[giver]:
            array = inputs[giver]
            fits = array.shape == layout.outputs[n] and array.dtype == self._dtypes[n]
            if fits and array is arrays[giver] and array.flags.writeable:
                return array, calls.address(array)
        return memory.outputs(layout.outputs[n], self._dtypes[n]).take()

    # ---- on pointers ----

    def bind(self) -> Callable[..., None]:
        """A function of addresses of the inputs, then of the `output_slots`, then of the program's sizes: integers, by position.

        Nothing is checked: each address must be that of contiguous memory of its slot's type, aligned to the element.
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


def _ready(array: np.ndarray, name: str) -> np.ndarray:
    """The array, or a copy of it where it is not contiguous or not aligned."""
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"the input {name} is a {type(array).__name__}, not a NumPy array")
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, order="C")
