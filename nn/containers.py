"""Modules that hold modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module, current_trace
from .parameter import Parameter


def _watched(container: Module, kept: str) -> dict[str, Any]:
    """What a container holds. A trace that asks depends on it: nobody calls a list, so nobody else would notice."""
    trace = current_trace()
    if trace is not None and id(container) not in trace.born:
        trace.watch(container)
    return getattr(container, kept)


class _List(Module):
    """A list whose elements are registered under their positions."""

    _kept = "_modules"

    @property
    def _items(self) -> dict[str, Any]:
        return _watched(self, self._kept)

    def __init__(self, items: Iterable[Any] = ()):
        super().__init__()
        self.extend(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items.values())

    def __getitem__(self, index: Any) -> Any:
        found = list(self._items.values())[index]
        return type(self)(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, item: Any) -> None:
        setattr(self, list(self._items)[index], item)

    def __delitem__(self, index: Any) -> None:
        kept = list(self._items.values())
        del kept[index]
        self._items.clear()
        self._changed()
        self.extend(kept)

    def append(self, item: Any) -> Any:
        """Add one at the end; returns self."""
        setattr(self, str(len(self)), item)
        return self

    def extend(self, items: Iterable[Any]) -> Any:
        """Add several at the end; returns self."""
        for item in items:
            self.append(item)
        return self

    def insert(self, index: int, item: Any) -> None:
        """Put one before a position."""
        kept = list(self._items.values())
        kept.insert(index, item)
        self._items.clear()
        self.extend(kept)


class ModuleList(_List):
    """A list of modules that are registered."""


class ParameterList(_List):
    """A list of parameters that are registered."""

    _kept = "_parameters"

    def append(self, item: Any) -> Any:
        """Add one at the end (a tensor becomes a parameter); returns self."""
        return super().append(item if isinstance(item, Parameter) else Parameter(item))


class Sequential(_List):
    """Modules that are called one after the other. Takes modules, or one dict of them."""

    def __init__(self, *modules: Any):
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else None
        single = modules[0] if len(modules) == 1 and isinstance(modules[0], list) else None
        super().__init__(() if named is not None else modules if single is None else single)
        for name, module in (named or {}).items():
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        """The modules applied in order."""
        for module in self:
            x = module(x)
        return x


class _Dict(Module):
    """A dict whose values are registered under their keys."""

    _kept = "_modules"

    @property
    def _items(self) -> dict[str, Any]:
        return _watched(self, self._kept)

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        super().__init__()
        self.update(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, item: Any) -> None:
        self._items[key] = item
        self._changed()

    def __delitem__(self, key: str) -> None:
        del self._items[key]
        self._changed()

    def update(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add or replace several."""
        for key, item in dict(items).items():
            self[key] = item

    def keys(self) -> Any:
        """The keys."""
        return self._items.keys()

    def values(self) -> Any:
        """The values."""
        return self._items.values()

    def items(self) -> Any:
        """(key, value) pairs."""
        return self._items.items()


class ModuleDict(_Dict):
    """A dict of modules that are registered."""


class ParameterDict(_Dict):
    """A dict of parameters that are registered."""

    _kept = "_parameters"

    def __setitem__(self, key: str, item: Any) -> None:
        super().__setitem__(key, item if isinstance(item, Parameter) else Parameter(item))
