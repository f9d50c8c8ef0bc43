"""The house: who may import whom, that the package list is the folders, that imports are light, that ops are spelled in
one place.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [{"ir"}, {"passes", "codegen"}, {"runtime"}, {"tracer"}, {"nn", "optim", "data"},
          {"interop", "quantization", "distributed"}]
ROOMS = sorted({room for floor in FLOORS for room in floor if (ROOT / room).is_dir()})
MODULES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def floor(room: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a module imports from, inside functions too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            target = [*base, *(node.module.split(".") if node.module else [])]
            found |= {target[0]} if target else {a.name for a in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_downwards_only(path):
    mine = path.relative_to(ROOT).parts[0]
    for theirs in imported_rooms(path):
        if theirs in ROOMS and theirs != mine:
            assert floor(theirs) < floor(mine), f"{path.relative_to(ROOT)} imports from {theirs}/"


def test_package_list_is_the_folders():
    text = (ROOT / "pyproject.toml").read_text()
    folders = {"braze"} | {".".join(("braze", *p.parent.relative_to(ROOT).parts)) for room in ROOMS
                           for p in (ROOT / room).rglob("__init__.py")}
    listed = text[text.index("packages = [") : text.index("]", text.index("packages = ["))]
    assert {name for name in folders if f'"{name}"' not in listed} == set()
    assert listed.count('"') == 2 * len(folders)


def test_no_file_is_too_long():
    long = {str(p.relative_to(ROOT)): n for p in MODULES if (n := p.read_text().count("\n")) > 460}
    assert long == {}


def test_import_is_light():
    heavy = ("triton", "llvmlite", "networkx", "scipy", "torch", "jax")
    code = f"import sys, braze; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"
