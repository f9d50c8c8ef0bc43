"""The text of a Triton module while it is written: one kernel function with its arguments, its lines, and the helper
functions that it asks for. Nothing here knows schedules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...ir import expr
from ...ir.expr import Dim
from ...ir.gpu import GpuSchedule
from ...ir.kernel import Kernel
from ...ir.schedule import Source
from .helpers import HELPERS, helper_text
from .indices import spell
from .names import POINTERS, RESERVED, Names

_PRELUDE = "import triton\nimport triton.language as tl\n"
_REACH = 1 << 31                 # offsets of 32 bits reach so far


class Function:
    """The kernel's function: `do` and `let` write lines, `indented` opens a block, `source` ends it.

    `is_wide` kernels may have an offset that 32 bits do not hold: their positions and sizes have 64. `counts` are the
    numbers of positions that are told apart by one number, if these are not all points of the kernel.
    """

    def __init__(self, kernel: Kernel, counts: Sequence[Dim] = ()):
        self.kernel = kernel
        counts = counts or (expr.product(kernel.axes.values()),)
        self.is_wide = not all(map(_is_short, (*counts, *(expr.product(b.shape) for b in kernel.buffers.values()))))
        self.names = Names((*RESERVED, *HELPERS))
        self.sizes = {s: self.names.fresh(s) for s in kernel.sizes}
        self.entry = self.names.fresh(kernel.name)
        self.buffers = {b: self.names.fresh(b) for b in kernel.buffers}
        self.numbers = {v: n for n, v in enumerate(kernel.values)}
        self.lines: list[str] = []
        self.helpers: dict[str, str] = {}
        self.depth = 1

    def do(self, text: str) -> None:
        """A line."""
        self.lines.append("    " * self.depth + text)

    def let(self, wish: str, text: str) -> str:
        """A line that names a result; the name."""
        name = self.names.fresh(wish)
        self.do(f"{name} = {text}")
        return name

    @contextmanager
    def indented(self, head: str) -> Iterator[None]:
        """What is written inside stands in the block that `head` opens."""
        self.do(head)
        self.depth += 1
        yield
        self.depth -= 1

    def use(self, helper: str) -> str:
        """The name of a helper function, which becomes part of the module."""
        if helper not in self.helpers:
            text, others = helper_text(helper)
            for other in others:
                self.use(other)
            self.helpers[helper] = text
        return helper

    def spell(self, x: Dim, positions: Mapping[str, str] | None = None) -> str:
        """A size, or an expression of positions that are spelled so."""
        return spell(x, {**self.sizes, **(positions or {})}, self.use)

    def program(self) -> str:
        """Names the number of this program."""
        return self.let("at", "tl.program_id(0).to(tl.int64)" if self.is_wide else "tl.program_id(0)")

    def pointer(self, buffer: str) -> tuple[str, str]:
        """A buffer as an argument: its name and type."""
        return self.buffers[buffer], POINTERS[self.kernel.buffers[buffer].dtype.name]

    def source(self, programs: Dim, schedule: GpuSchedule) -> Source:
        """The finished module; it runs as so many programs."""
        sizes = [(name, "i64" if self.is_wide else "i32") for name in self.sizes.values()]
        return self.module((*map(self.pointer, self.buffers), *sizes), programs, schedule)

    def module(self, arguments: tuple[tuple[str, str], ...], programs: Dim, schedule: GpuSchedule) -> Source:
        """The finished module, whose function takes these arguments."""
        head = f"@triton.jit\ndef {self.entry}({', '.join(name for name, _ in arguments)}):"
        origin = [f"    # {line}" for line in dict.fromkeys(str(o) for o in self.kernel.origin)]
        body = "\n".join([head, *origin, *self.lines])
        text = "\n\n".join([_PRELUDE, *(f"{h}\n" for h in self.helpers.values()), f"{body}\n"])
        facts = {"arguments": arguments, "grid": (programs, 1, 1), "warps": schedule.warps, "stages": schedule.stages}
        return Source(text, self.entry, "triton", units=programs, facts=facts)


def _is_short(n: Dim) -> bool:
    return expr.is_less(n, _REACH)
