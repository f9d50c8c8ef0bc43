"""Loading a state: by path, with all that does not fit said at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import ShapeError
from ..tracer.modes import no_grad
from ..tracer.tensor import Tensor

if TYPE_CHECKING:
    from .module import Module


def load_state_dict(module: Module, state: dict[str, Any], strict: bool) -> tuple[list[str], list[str]]:
    """Copy values into the module's parameters and buffers in place; nothing is changed when something does not fit."""
    own = _targets(module)
    missing = [path for path in own if path not in state]
    unexpected = [path for path in state if path not in own]
    misshapen = [f"{path}: {list(np.shape(state[path]))} for {list(t.shape)}" for path, t in own.items()
                 if path in state and tuple(np.shape(state[path])) != t.shape]
    problems = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unexpected", unexpected))
                if names and strict] + ([f"of another shape: {', '.join(misshapen)}"] if misshapen else [])
    if problems:
        raise ShapeError(f"the state does not fit {type(module).__name__}; " + "; ".join(problems))
    with no_grad():
        for path, t in own.items():
            if path in state:
                value = state[path]
                t.copy_(value.to(t.device) if isinstance(value, Tensor) else value)
    return missing, unexpected


def _targets(module: Module) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for path, m in module.named_modules():
        for name, t in (*m._parameters.items(), *m._buffers.items()):
            if t is not None and name not in m._transient:
                out[f"{path}.{name}" if path else name] = t
    return out
