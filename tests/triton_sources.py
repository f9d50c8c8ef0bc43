"""Hand-written Triton sources, so that compiler and devices are tested by themselves."""

from __future__ import annotations

from braze.ir.expr import Dim, floordiv, symbol
from braze.ir.schedule import Source

HEAD = "import triton\nimport triton.language as tl\n\n\n"


def source(text: str, arguments: dict[str, str], grid: tuple[Dim, ...] = (1, 1, 1), entry: str = "kernel",
           warps: int = 4) -> Source:
    """A source with these arguments (name to Triton type, the buffers first)."""
    facts = {"arguments": tuple(arguments.items()), "grid": grid, "warps": warps, "stages": 3}
    return Source(HEAD + text.strip() + "\n", entry, "triton", facts=facts)


SCALE = """
@triton.jit
def scale(x_ptr, y_ptr, n):
    i = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    tl.store(y_ptr + i, x * 2.0 + 1.0, mask=inside)
"""


def scale() -> Source:
    """y = 2 x + 1 over n elements."""
    grid = (floordiv(symbol("n", 0) + 1023, 1024), 1, 1)
    return source(SCALE, {"x_ptr": "*fp32", "y_ptr": "*fp32", "n": "i32"}, grid, "scale")


BAD = """
@triton.jit
def bad(x_ptr):
    tl.store(x_ptr, tl.no_such_function(3))
"""


def bad() -> Source:
    """What Triton refuses."""
    return source(BAD, {"x_ptr": "*fp32"}, entry="bad")
