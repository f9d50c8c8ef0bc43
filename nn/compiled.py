"""`CompiledModule`: what `braze.compile(module)` gives. A module with the same parameters under the same names, whose
calls are compiled."""

from __future__ import annotations

from typing import Any

from .module import _REGISTRIES, Module


class CompiledModule(Module):
    """A module whose calls run compiled. All state is the wrapped module's; `ir`, `explain`, `compilations`, … are the
    compiled function's."""

    def __init__(self, module: Module, compiled: Any):
        self.__dict__.update({name: getattr(module, name) for name in _REGISTRIES})
        self.__dict__.update(_transient=module._transient, _wrapped=module, compiled=compiled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped module, compiled."""
        return self.compiled(*args, **kwargs)

    def train(self, mode: bool = True) -> Module:
        """Training or evaluation mode of the wrapped module."""
        self._wrapped.train(mode)
        self.__dict__["training"] = mode
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._wrapped, name, value)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_wrapped" not in own:
            raise AttributeError(name)
        holder = own["compiled"] if hasattr(type(own["compiled"]),
                                            name) or name in own["compiled"].__dict__ else own["_wrapped"]
        return getattr(holder, name)

    def _snapshot(self) -> Any:
        return self._wrapped._snapshot()

    def __repr__(self) -> str:
        return f"Compiled({self._wrapped!r})"
