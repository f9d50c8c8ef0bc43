"""What `import braze` costs: eager arithmetic needs neither the compiler nor anything heavy; the rest comes later."""

from __future__ import annotations

import ast
import subprocess
import sys

import braze
import pytest

HEAVY = ("triton", "llvmlite", "networkx", "scipy", "torch", "jax")
COMPILER = ("braze.passes", "braze.codegen", "braze.runtime.jit", "braze.tracer.specialise", "braze.tracer.trace",
            "braze.nn", "braze.optim")


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a process has imported after running some code."""
    text = f"import sys, braze\n{code}\nprint([m for m in {names!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd="/")
    return ast.literal_eval(out.stdout)


@pytest.mark.parametrize("code", [
    "",
    "x = braze.tensor([1.0, 2.0], requires_grad=True); (x * x).sum().backward()",
    "braze.compile(lambda x: x + 1)",
], ids=["import", "eager", "an uncalled compiled function"])
def test_neither_compiler_nor_heavy_modules(code):
    assert imported(code, HEAVY + COMPILER) == []


def test_names_that_are_left_out_are_there():
    for name in dir(braze):
        assert getattr(braze, name) is not None or name.startswith("__")
    assert braze.nn.Linear and braze.optim.AdamW and braze.random.Generator is braze.Generator


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        braze.nothing  # noqa: B018
