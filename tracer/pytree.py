"""Arguments and results as trees: dict, list, tuple, namedtuple, dataclass, None (a tree without leaves); everything
else is a leaf.

`flatten(x) -> (leaves, structure)`, `unflatten(structure, leaves)`. Structures are hashable and compare by value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

_REGISTRY: dict[type, tuple[Callable[[Any], tuple[list[Any], Any]], Callable[[Any, list[Any]], Any]]] = {}
LEAF = "*"


def register(kind: type, flatten: Callable[[Any], tuple[list[Any], Any]],
             unflatten: Callable[[Any, list[Any]], Any]) -> None:
    """Teach trees a container: flatten(x) -> (children, static), unflatten(static, children)."""
    _REGISTRY[kind] = (flatten, unflatten)


register(list, lambda x: (list(x), None), lambda s, c: list(c))
register(tuple, lambda x: (list(x), None), lambda s, c: tuple(c))
register(type(None), lambda x: ([], None), lambda s, c: None)
register(dict, lambda x: (list(x.values()), tuple(x)), lambda s, c: dict(zip(s, c)))


def _entry(x: Any) -> Any:
    kind = type(x)
    found = _REGISTRY.get(kind)
    if found is not None:
        return found
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        register(kind, lambda v: (list(v), None), lambda s, c: kind(*c))
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = tuple(f.name for f in dataclasses.fields(x) if f.init)
        register(kind, lambda v: ([getattr(v, n) for n in names], None), lambda s, c: kind(**dict(zip(names, c))))
    else:
        return None
    return _REGISTRY[kind]


def opened(x: Any) -> tuple[list[Any], Any]:
    """The children of a container, and what is static about it."""
    return _REGISTRY[type(x)][0](x)


def closed(kind: type, static: Any, children: Iterable[Any]) -> Any:
    """The container with these children."""
    return _REGISTRY[kind][1](static, list(children))


def flatten(x: Any) -> tuple[list[Any], Any]:
    """The leaves in order, and the structure around them."""
    leaves: list[Any] = []
    return leaves, _flatten(x, leaves)


def _flatten(x: Any, leaves: list[Any]) -> Any:
    entry = _entry(x)
    if entry is None:
        leaves.append(x)
        return LEAF
    children, static = entry[0](x)
    return (type(x), static, tuple([_flatten(c, leaves) for c in children]))


def unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    """The tree with these leaves."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Any, leaves: Any) -> Any:
    if structure == LEAF:
        return next(leaves)
    kind, static, children = structure
    return _REGISTRY[kind][1](static, [_unflatten(c, leaves) for c in children])


def show(structure: Any, leaves: Iterable[Any]) -> str:
    """A structure for people: `(f32[3], {'n': i64[]})`."""
    return _show(structure, iter(leaves))


def _show(structure: Any, leaves: Any) -> str:
    if structure == LEAF:
        return str(next(leaves, "a value"))
    kind, static, children = structure
    if kind is type(None):
        return "None"
    parts = [_show(c, leaves) for c in children]
    if kind is dict:
        return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(static, parts)) + "}"
    if kind is list:
        return f"[{', '.join(parts)}]"
    name, end = ("", "," * (len(parts) == 1)) if kind is tuple else (kind.__name__, "")
    return f"{name}({', '.join(parts)}{end})"


def map_leaves(f: Callable[[Any], Any], x: Any) -> Any:
    """The tree with f applied to each leaf."""
    leaves, structure = flatten(x)
    return unflatten(structure, [f(v) for v in leaves])


def paths(x: Any, prefix: str = "") -> list[str]:
    """A name for each leaf, as Python would spell the way to it: `batch["x"]`, `state[0]`."""
    entry = _entry(x)
    if entry is None:
        return [prefix]
    children, static = entry[0](x)
    if dataclasses.is_dataclass(x):
        names = [f".{f.name}" for f in dataclasses.fields(x) if f.init]
    elif isinstance(x, dict):
        names = [f"[{k!r}]" for k in static]
    elif hasattr(x, "_fields"):
        names = [f".{n}" for n in x._fields]
    else:
        names = [f"[{i}]" for i in range(len(children))]
    return [p for n, c in zip(names, children) for p in paths(c, prefix + n)]
