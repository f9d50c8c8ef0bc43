"""`Parameter`: a tensor that a module learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.errors import TraceError
from ..ir.interpreter import _current
from ..tracer.creation import tensor
from ..tracer.devices import on_host
from ..tracer.tensor import Tensor


class Parameter(Tensor):
    """A tensor that requires gradients and that a module registers when it becomes one of its attributes."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        if _current.get() is not None:
            raise TraceError("a parameter was made inside a compiled function; make modules and parameters outside, "
                             "and use them inside")
        super().__init__(data._array if isinstance(data, Tensor) else tensor(data)._array)
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __reduce__(self) -> Any:
        return Parameter, (np.array(on_host(self._array)), self._requires_grad)
