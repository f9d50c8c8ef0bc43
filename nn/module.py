"""`Module`: parameters, buffers and submodules under names, as PyTorch's users know it.

In a trace a call gives the nodes their scope (`block.3.attn`) and the parameters their names, and is watched: a change
of the module afterwards (`eval()`, another submodule) makes compiled functions look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..ir.errors import TraceError
from ..ir.interpreter import _current
from ..tracer.tensor import Tensor
from ..tracer.trace import Trace
from ..tracer.world import Watched
from . import placement
from .parameter import Parameter
from .state import load_state_dict

_REGISTRIES = ("_parameters", "_buffers", "_modules")


def current_trace() -> Trace | None:
    """The trace that is running, if any."""
    found = _current.get()
    return found if isinstance(found, Trace) else None


class Hook:
    """What `register_forward_hook` returns: `remove()` takes the hook off."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], function: Callable[..., Any]):
        self._hooks = hooks
        hooks[id(self)] = function

    def remove(self) -> None:
        """Take the hook off."""
        self._hooks.pop(id(self), None)


class Module(Watched):
    """The base of all layers and models. A subclass sets parameters and submodules as attributes and defines `forward`.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.layer(x).relu()
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = placement.on_its_device(cls.__init__)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__new__(cls)
        fresh = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_transient": set(), "_pre_hooks": {}, "_hooks": {},
                 "training": True}
        module.__dict__.update(fresh)
        trace = current_trace()
        if trace is not None:
            trace.born[id(module)] = module
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result: defined by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is None:
            return self._run(args, kwargs)
        trace.watch(self)
        trace.scopes.append(_path_in(trace, self))
        try:
            return self._run(args, kwargs)
        finally:
            trace.scopes.pop()

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in self._pre_hooks.values():
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in self._hooks.values():
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    # ---- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        trace = current_trace()
        if trace is not None and id(self) not in trace.born:
            self._set_in_trace(trace, name, value)
            return
        registry = self._registry_for(name, value)
        for other in (*(getattr(self, r) for r in _REGISTRIES), self.__dict__):
            if other is not registry:
                other.pop(name, None)
        registry[name] = value
        self._changed()

    def _registry_for(self, name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, Parameter):
            return self._parameters
        if isinstance(value, Module):
            return self._modules
        for registry, kind in ((self._parameters, Parameter), (self._buffers, Tensor), (self._modules, Module)):
            if name in registry:
                if value is not None and not isinstance(value, kind):
                    raise TypeError(f"{type(self).__name__}.{name} is a registered {kind.__name__}; assign one, or "
                                    f"None, not {type(value).__name__}")
                return registry
        return self.__dict__

    def _set_in_trace(self, trace: Trace, name: str, value: Any) -> None:
        """A tensor is set after each call (or written into the one like it that was there); anything else would be
        lost."""
        old = getattr(self, name, None)
        if isinstance(value, Tensor) and not isinstance(value, Parameter) and name not in self._parameters:
            trace.set_attribute(self, self._buffers if name in self._buffers else self.__dict__, name, value)
            return
        if old is value or (isinstance(value, (bool, int, float, str)) and type(old) is type(value) and old == value):
            return
        raise TraceError(f"{type(self).__name__}.{name} = {value!r} inside a compiled function would happen once, "
                         f"while it is traced, and not in each call; set it outside, or keep it a tensor")

    def __getattr__(self, name: str) -> Any:
        for registry in _REGISTRIES:
            found = self.__dict__.get(registry, ())
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (*(getattr(self, r) for r in _REGISTRIES), self.__dict__):
            if name in registry:
                del registry[name]
                self._changed()
                return
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _snapshot(self) -> Any:
        return {k: dict(v) if isinstance(v, dict) else v for k, v in self.__dict__.items() if k != "_stamp"}

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter under a name; None holds the place."""
        self._parameters[name] = parameter
        self._changed()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not learned; `persistent=False` keeps it out of `state_dict`."""
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)
        self._changed()

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name."""
        self._modules[name] = module
        self._changed()

    register_module = add_module

    # ---- walking

    def named_modules(self, prefix: str = "", memo: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below, each once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, memo)

    def modules(self) -> Iterator[Module]:
        """This module and all below, each once."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct submodules."""
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (m for _, m in self.named_children())

    def _named(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, t in getattr(module, registry).items():
                if t is not None and id(t) not in seen:
                    seen.add(id(t))
                    yield (f"{path}.{name}" if path else name), t

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer), each buffer once."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, path: str) -> Module:
        """The submodule at a dotted path."""
        module: Any = self
        for name in path.split(".") if path else ():
            module = getattr(module, name)
        return module

    # ---- state and modes

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """All parameters and persistent buffers by path, as they are now: later training does not change them."""
        out: dict[str, Tensor] = {}
        for path, module in self.named_modules():
            lead = prefix + (f"{path}." if path else "")
            for name, t in (*module._parameters.items(), *module._buffers.items()):
                if t is not None and name not in module._transient:
                    out[lead + name] = t.detach()
        return out

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Take over values by path; returns (missing, unexpected) paths, which are an error when `strict`."""
        return load_state_dict(self, state, strict)

    def train(self, mode: bool = True) -> Module:
        """Training mode (dropout drops, batch norm measures) for this module and all below."""
        for m in self.modules():
            if m.training is not mode:
                m.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode for this module and all below."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None if set_to_none or p.grad is None else p.grad * 0

    def requires_grad_(self, wanted: bool = True) -> Module:
        """Let all parameters require gradients, or not."""
        for p in self.parameters():
            p.requires_grad_(wanted)
        self._changed()
        return self

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call a function with each module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Module:
        """Parameters, buffers and gradients on a device, floating-point ones in a dtype: `to("cuda")`,
        `to(braze.bfloat16)`, `to("cuda", braze.bfloat16)`. In place; gradients are forgotten where the dtype changes.
        """
        placement.to(self, *placement.wanted(args, dtype, device))
        self._changed()
        return self

    def cuda(self, device: Any = None) -> Module:
        """Parameters, buffers and gradients on a GPU: the current one, or the one of this name or number."""
        return self.to(device="cuda" if device is None else device)

    def cpu(self) -> Module:
        """Parameters, buffers and gradients on the CPU."""
        return self.to(device="cpu")

    def float(self) -> Module:
        """Parameters and buffers in float32."""
        return self.to("float32")

    def double(self) -> Module:
        """Parameters and buffers in float64."""
        return self.to("float64")

    def half(self) -> Module:
        """Parameters and buffers in float16."""
        return self.to("float16")

    def bfloat16(self) -> Module:
        """Parameters and buffers in bfloat16."""
        return self.to("bfloat16")

    def register_forward_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call `hook(module, args, result)` after each call; what it returns, unless None, replaces the result."""
        self._changed()
        return Hook(self._hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Hook:
        """Call `hook(module, args)` before each call; what it returns, unless None, replaces the arguments."""
        self._changed()
        return Hook(self._pre_hooks, hook)

    def _compiled(self, compiled: Any) -> Module:
        """What `braze.compile(module)` returns."""
        from .compiled import CompiledModule

        return CompiledModule(self, compiled)

    # ---- printing

    def extra_repr(self) -> str:
        """What stands between the parentheses, besides submodules."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        head = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + lines) + "\n)"


def _path_in(trace: Trace, module: Module) -> str:
    """The module's path below the outermost module that was called; its tensors get their names on the way."""
    root = trace.root
    if id(module) not in root.paths:
        inside = trace.scopes[-1] if trace.scopes else ""
        for path, m in module.named_modules(inside):
            root.paths.setdefault(id(m), path)
        for path, t in (*module.named_parameters(inside), *module.named_buffers(inside)):
            root.names.setdefault(id(t), path)
    return root.paths[id(module)]
