"""What a function reads from outside, found in its source: chains such as `self.cfg["heads"]`, through local names and
loops.

`reads_of(code)` is asked once for each code object that runs in a trace; guards.py follows the chains to values. A
function without source (typed at a prompt of old Pythons, made by `exec`) is read by the names in its code, which finds
a little too much.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np

from ..ir.location import is_internal

Step = tuple[str, Any]                 # ("attribute", name), ("item", constant), ("each", None)
Path = tuple[str, bool, tuple[Step, ...]]
EACH: Step = ("each", None)
_FOREIGN = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(np.__file__) + os.sep, "<frozen")
_SITE = tuple({p + os.sep for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")})
# what gives a container's elements again
_THROUGH = {"list", "tuple", "reversed", "sorted", "iter", "set", "next"}
_DEEPEST = 6


@dataclass(frozen=True)
class Read:
    """A chain: from a name of the frame by steps. `late`: the name is a local variable, seen when the frame returns.

    `whole`: what it leads to is used itself, and not only steps on from it: a container's elements all count.
    """

    root: str
    late: bool
    steps: tuple[Step, ...]
    whole: bool = True


_known: dict[CodeType, tuple[Read, ...]] = {}
_files: dict[str, tuple[list[str], dict[tuple[str, int], list[Any]]]] = {}


def reads_of(code: CodeType) -> tuple[Read, ...]:
    """The chains that this code reads; none for Braze's own code, the standard library and NumPy."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = () if is_foreign(code) else _analyse(code)
    return found


def is_foreign(code: CodeType) -> bool:
    """Is this code not the user's?"""
    file = code.co_filename
    return is_internal(code) or (file.startswith(_FOREIGN) and not (file.startswith(_SITE)
                                                                    and "numpy" not in file)) or (
        code.co_name.startswith("<") and code.co_name not in ("<lambda>", "<module>"))


def _analyse(code: CodeType) -> tuple[Read, ...]:
    nodes = _functions_in(code.co_filename).get((code.co_name, code.co_firstlineno), [])
    if not nodes:
        return tuple(_by_names(code))
    reader = _Reader(code)
    for owner, node in nodes:
        reader.owner = owner
        for _ in range(2):                     # once more: what a loop binds at its end is read at its start
            reader.run(node)
    return tuple(Read(*path, uses > 0) for path, uses in reader.found.items())


def _functions_in(file: str) -> dict[tuple[str, int], list[Any]]:
    lines = linecache.getlines(file)
    known = _files.get(file)
    if known is not None and known[0] == lines:
        return known[1]
    index: dict[tuple[str, int], list[Any]] = {}
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        tree = ast.Module([], [])
    _index(tree, "", index)
    _files[file] = lines, index
    return index


def _index(node: ast.AST, owner: str, index: dict[tuple[str, int], list[Any]]) -> None:
    """Enter the functions below a node by name and first line, with the class they stand in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([d.lineno for d in child.decorator_list], default=child.lineno)
            index.setdefault((child.name, first), []).append((owner, child))
        elif isinstance(child, ast.Lambda):
            index.setdefault(("<lambda>", child.lineno), []).append((owner, child))
        _index(child, child.name if isinstance(child, ast.ClassDef) else owner, index)


def _by_names(code: CodeType) -> Iterable[Read]:
    """Without source: every name, and every attribute that is named, on everything up to two steps deep."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for root in (*code.co_names, *code.co_freevars, *arguments):
        yield Read(root, False, ())
        for a in code.co_names:
            yield Read(root, False, (("attribute", a),))
            yield from (Read(root, False, (("attribute", a), ("attribute", b))) for b in code.co_names)


class _Reader:
    """Walks a function's syntax; `names` holds the chains that each local name may stand for."""

    def __init__(self, code: CodeType):
        self.local = {*code.co_varnames, *code.co_cellvars}
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        self.names: dict[str, set[Path]] = {a: {(a, False, ())} for a in code.co_varnames[:count]}
        self.owner = ""                                # the class, for private names
        self.found: dict[Path, int] = {}               # how often each is used other than for a step on from it

    def run(self, node: Any) -> None:
        """Read the body of a function."""
        if isinstance(node, ast.Lambda):
            self.value(node.body)
            return
        for statement in node.body:
            self.statement(statement)

    # ---- statements

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node.target, node.value)
        elif isinstance(node, ast.AugAssign):
            self.value(node.target)
            self.value(node.value)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self.bind_elements(node.target, node.iter)
            self.block((*node.body, *node.orelse))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for e in (*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)):
                self.value(e)
            self.bind(node.name, set())
        else:
            self.children(node)

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for s in statements:
            self.statement(s)

    def children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.expr):
                self.value(child)
            elif isinstance(child, ast.withitem):
                self.value(child.context_expr)
                if child.optional_vars is not None:
                    self.target(child.optional_vars, set())
            elif not isinstance(child, (ast.expr_context, ast.operator)):
                self.children(child)

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value,
                                                                    (ast.Tuple,
                                                                     ast.List)) and len(target.elts) == len(value.elts):
            for t, v in zip(target.elts, value.elts):
                self.assign(t, v)
            return
        self.target(target, self.value(value))

    def target(self, target: ast.expr, paths: set[Path]) -> None:
        """Bind a target to what chains lead to; none: something unknown."""
        if isinstance(target, ast.Name):
            self.bind(target.id, paths)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for n, t in enumerate(target.elts):
                self.target(t.value if isinstance(t, ast.Starred) else t,
                            self.extend(paths, EACH if _has_star(target) else ("item", n)))
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            self.value(target.value)

    def bind(self, name: str, paths: set[Path]) -> None:
        if name in self.local:
            self.names.setdefault(name, set()).update(paths or {(name, True, ())})
            self.use(paths, -1)                        # uses of the name count, not its binding

    def bind_elements(self, target: ast.expr, source: ast.expr) -> None:
        """`for target in source`."""
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
        name = source.func.id if isinstance(source, ast.Call) and isinstance(source.func, ast.Name) else ""
        if isinstance(source, ast.Call) and len(parts) == 2 and name == "enumerate" and source.args:
            self.target(parts[0], set())
            self.bind_elements(parts[1], source.args[0])
        elif isinstance(source, ast.Call) and name == "zip" and len(parts) == len(source.args):
            for t, s in zip(parts, source.args):
                self.bind_elements(t, s)
        elif isinstance(source, ast.Call) and len(parts) == 2 and _method(source) == "items":
            self.target(parts[0], set())
            self.target(parts[1], self.extend(self.value(source), EACH))
        else:
            self.target(target, self.extend(self.value(source), EACH))

    # ---- expressions

    def value(self, node: ast.expr) -> set[Path]:
        """The chains that an expression may stand for; what it reads is noted."""
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.Attribute):
            private = self.owner and node.attr.startswith("__") and not node.attr.endswith("__")
            return self.extend(self.value(node.value), ("attribute",
                                                        f"_{self.owner.lstrip('_')}{node.attr}" if private
                                                        else node.attr))
        if isinstance(node, ast.Subscript):
            return self.extend(self.value(node.value), self.key(node.slice))
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.IfExp):
            self.value(node.test)
            return self.value(node.body) | self.value(node.orelse)
        if isinstance(node, ast.BoolOp):
            return set().union(*(self.value(v) for v in node.values))
        if isinstance(node, ast.NamedExpr):
            paths = self.value(node.value)
            self.target(node.target, paths)
            return paths
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            self.comprehension(node)
        elif isinstance(node, ast.Compare):
            self.compare(node)
        elif not isinstance(node, ast.Lambda):          # a lambda is a function of its own
            self.children(node)
        return set()

    def name(self, name: str) -> set[Path]:
        if name in self.local and name not in self.names:
            return set()
        return self.use(self.names.get(name) or {(name, False, ())}, 1)

    def extend(self, paths: set[Path], step: Step) -> set[Path]:
        self.use(paths, -1)
        return self.use({(root, late, (*steps, step)) for root, late, steps in paths if len(steps) < _DEEPEST}, 1)

    def use(self, paths: set[Path], count: int) -> set[Path]:
        for p in sorted(paths, key=str):
            self.found[p] = self.found.get(p, 0) + count
        return paths

    def key(self, node: ast.expr) -> Step:
        try:
            constant = ast.literal_eval(node)
            hash(constant)
        except (ValueError, TypeError):
            self.children(node) if isinstance(node, ast.Slice) else self.value(node)
            return EACH
        return ("item", constant)

    def call(self, node: ast.Call) -> set[Path]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        method = _method(node)
        for a in (*node.args[1:], *(k.value for k in node.keywords)):
            self.value(a)
        first = self.value(node.args[0]) if node.args else set()
        if name in ("getattr", "hasattr") and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            return self.extend(first, ("attribute", node.args[1].value))
        if name in _THROUGH:
            return self.extend(first, EACH) if name == "next" else first
        if method in ("items", "values", "keys") and not node.args:
            return self.value(node.func.value)                     # type: ignore[attr-defined]
        if method == "get" and node.args:
            return self.extend(self.value(node.func.value), self.key(node.args[0]))      # type: ignore[attr-defined]
        self.value(node.func)
        return set()

    def compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for n, op in enumerate(node.ops):
            if isinstance(op, (ast.In, ast.NotIn)):
                self.extend(self.value(operands[n + 1]), self.key(operands[n]))
        for x in operands:
            self.value(x)

    def comprehension(self, node: Any) -> None:
        names, local = {k: set(v) for k, v in self.names.items()}, set(self.local)
        for g in node.generators:
            bound = {n.id for n in ast.walk(g.target) if isinstance(n, ast.Name)}
            self.local |= bound
            for n in bound:
                self.names.pop(n, None)
            self.bind_elements(g.target, g.iter)
            for test in g.ifs:
                self.value(test)
        for e in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.value(e)
        self.names, self.local = names, local


def _method(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _has_star(target: Any) -> bool:
    return any(isinstance(t, ast.Starred) for t in target.elts)
