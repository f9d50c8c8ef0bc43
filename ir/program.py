"""A program: kernels with their schedules, host calls, loops and branches, on planned memory. What the runtime
executes.

A `Slot` is a piece of memory with a role. Steps run in order and name slots. Loops and branches hold steps of their
own; inside a loop the turn is a size symbol, so that a kernel reads `xs[t, i]` and writes `ys[t, i]` with no copying.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Union

from .errors import VerifyError
from .expr import Dim
from .kernel import Kernel
from .schedule import Schedule, Tiles
from .types import DType


@dataclass(frozen=True)
class Slot:
    """Row-major contiguous memory. `role` is "input", "output" or "temporary".

    `takes` (output): the input whose buffer this output may be written into, when the caller donates it.
    `offset` (temporary): its place in the arena, in bytes, a multiple of 64; the same for all that share memory.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: DType
    role: str
    takes: str = ""
    offset: Dim = 0

    @property
    def bytes(self) -> Dim:
        """Its size in bytes."""
        n: Dim = self.dtype.itemsize
        for d in self.shape:
            n = d * n
        return n

    def __str__(self) -> str:
        extra = f" takes {self.takes}" if self.takes else f" at {self.offset}" if self.role == "temporary" else ""
        return f"{self.role} {self.name}: {self.dtype.name}[{', '.join(map(str, self.shape))}]{extra}"


@dataclass(frozen=True, eq=False)
class Launch:
    """Run a kernel. `arguments` maps each of its buffers to a slot; `zeroed` slots are cleared first (scatter-add)."""

    kernel: Kernel
    schedule: Schedule
    arguments: Mapping[str, str]
    zeroed: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[Mapping[str, str], ...]:
        """The slots of all its buffers, for each time that the kernel runs: once."""
        return (self.arguments,)


@dataclass(frozen=True)
class Part:
    """Memory that a joined launch works on: slots for those buffers that its parts do not share, and the extent of the
    kernel's axis.
    """

    arguments: Mapping[str, str]
    extent: Dim


@dataclass(frozen=True, eq=False)
class JoinedLaunch(Launch):
    """Run a kernel on several parts in one launch, in any order; `arguments` are what all parts share. The kernel's one
    size is the extent of a part.
    """

    parts: tuple[Part, ...] = ()

    @cached_property
    def runs(self) -> tuple[Mapping[str, str], ...]:
        """The slots of all its buffers, for each time that the kernel runs: once for each part."""
        return tuple({**self.arguments, **p.arguments} for p in self.parts)

    def check(self) -> None:
        """Raise VerifyError where the parts do not fit the kernel, or one of them touches what another one writes."""
        self.schedule.check(self.kernel)
        for why in self._objections():
            raise VerifyError(f"kernel {self.kernel.name} cannot run on {len(self.parts)} parts at once: {why}")

    def _objections(self) -> Iterator[str]:
        kernel = self.kernel
        for a in self.runs:
            if a.keys() != kernel.buffers.keys():
                yield f"{sorted(a)} are not the kernel's buffers"
                return
        users = Counter(slot for a in self.runs for slot in {*a.values()})
        for a in self.runs:
            for b in kernel.outputs:
                if users[a[b.name]] > 1 or [*a.values()].count(a[b.name]) > 1:
                    yield f"{a[b.name]} is written, and used elsewhere"
        if self.zeroed:
            yield "memory would have to be cleared first"


@dataclass(frozen=True, eq=False)
class HostCall:
    """Call `function(*input arrays) -> tuple of arrays` in Python and copy the results into the output slots.

    What has no kernel: library routines (sort, linear algebra), callbacks. Where it `takes_namespace`,
    `function(*arrays, xp=...)` computes on the arrays of another device in that device's namespace. `origin` has the
    user's lines.
    """

    name: str
    function: Callable[..., tuple[Any, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    takes_namespace: bool = False
    origin: tuple[Any, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Carry:
    """A loop-carried value: `initial` is read in the first turn; each turn reads `current` and writes `following`,
    and the last one is found in `result`. `current` and `following` are names for whichever buffer is meant in a turn:
    the runtime alternates between the memory of `result` and of `spare` so that the last turn writes into `result`.
    With no turns, `initial` is copied to `result`.

    A carry may be `behind` another one: its `following` is that one's `current`, what was there a turn ago, which the
    turn then overwrites. It has no `spare`, and is copied to `result` where it is elsewhere in the end."""

    initial: str
    current: str
    following: str
    result: str
    spare: str

    @property
    def is_behind(self) -> bool:
        """Is it what another carry was a turn ago?"""
        return not self.spare


@dataclass(frozen=True, eq=False)
class Loop:
    """`for counter in range(trips)`: `trips` is a size or the name of a 0-d i64 slot; `counter` becomes a size symbol
    in `steps`.

    `condition` (while_loop): a b1 slot that the steps in `test` write before each turn; the loop ends when it is false.
    By `tiles`, the steps may run through many turns on a part of their arrays (`ir/skewed.py`).
    """

    counter: str
    trips: Dim | str | None
    carries: tuple[Carry, ...]
    steps: tuple[Step, ...]
    test: tuple[Step, ...] = ()
    condition: str = ""
    tiles: Tiles | None = None


@dataclass(frozen=True, eq=False)
class Branch:
    """Run `then` if the 0-d b1 slot `condition` is true, else `otherwise`; both write the same slots."""

    condition: str
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True)
class Copy:
    """Copy one slot to another of the same size."""

    source: str
    target: str


Step = Union[Launch, HostCall, Loop, Branch, Copy]


@dataclass(frozen=True, eq=False)
class Program:
    """`steps` on `slots`. `sizes` says where each symbolic size is read: (input slot, dimension)."""

    name: str
    slots: Mapping[str, Slot]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    arena: Dim = 0                   # bytes of the temporaries together
    notes: tuple[Any, ...] = ()      # WhyNot records of fusion

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels, those inside loops and branches too."""
        return tuple(s.kernel for s in walk(self.steps) if isinstance(s, Launch))

    def __str__(self) -> str:
        lines = [f"program {self.name} arena {self.arena} bytes {{"]
        lines += [f"  {s}" for s in self.slots.values()]
        lines += _lines(self.steps, "  ")
        return "\n".join([*lines, "}"])


def walk(steps: tuple[Step, ...]):
    """All steps, depth first."""
    for s in steps:
        yield s
        for inner in (s.test, s.steps) if isinstance(s, Loop) else (s.then, s.otherwise) if isinstance(s,
                                                                                                       Branch) else ():
            yield from walk(inner)


def _lines(steps: tuple[Step, ...], indent: str) -> list[str]:
    out: list[str] = []
    for s in steps:
        if isinstance(s, Launch):
            out.append(f"{indent}launch {s.kernel.name}({_arguments(s.arguments)}) by {s.schedule}")
            if isinstance(s, JoinedLaunch):
                out += [f"{indent}  part of {p.extent}: {_arguments(p.arguments)}" for p in s.parts]
            out += [f"{indent}  {line}" for line in str(s.kernel).splitlines()]
        elif isinstance(s, HostCall):
            out.append(f"{indent}{', '.join(s.outputs)} = host {s.name}({', '.join(s.inputs)})")
        elif isinstance(s, Loop):
            carried = ", ".join(f"{c.current} from {c.initial} to {c.result}" for c in s.carries)
            head = f"while {s.condition}" if s.condition else f"for {s.counter} in {s.trips}"
            head += f" by {s.tiles}" if s.tiles else ""
            out += [f"{indent}{head} carrying {carried} {{", *_lines(s.test + s.steps, indent + "  "), f"{indent}}}"]
        elif isinstance(s, Branch):
            out += [f"{indent}if {s.condition} {{", *_lines(s.then, indent + "  "), f"{indent}}} else {{",
                    *_lines(s.otherwise, indent + "  "), f"{indent}}}"]
        else:
            out.append(f"{indent}copy {s.source} to {s.target}")
    return out


def _arguments(arguments: Mapping[str, str]) -> str:
    return ", ".join(f"{b} = {n}" if b != n else n for b, n in arguments.items())
