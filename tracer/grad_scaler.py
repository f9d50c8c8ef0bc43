"""`GradScaler`: losses scaled up so that 16-bit gradients do not vanish, steps left out where they overflow.

Scale, growth and the check for infinities are tensors: a compiled step decides with them on the device and reads
nothing back.
"""

from __future__ import annotations

from typing import Any

from ..ir.errors import GradientError
from ..ir.interpreter import _current, interpreting
from ..ir.ops import F
from ..ir.types import float32, int32
from . import devices
from .creation import tensor
from .modes import no_grad
from .tensor import Tensor
from .world import Watched


class GradScaler(Watched):
    """Dynamic scaling of losses (Micikevicius et al. 2018), with PyTorch's figures.

    After `growth_interval` steps without an infinity the scale grows by `growth_factor`; with one the step is left out
    and the scale shrinks by `backoff_factor`.

    `scaler.scale(loss).backward(); scaler.step(opt); scaler.update()`, eager or inside a compiled function.
    """

    def __init__(self, device: Any = None, init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True):
        if not growth_factor > 1.0 or not 0.0 < backoff_factor < 1.0:
            raise ValueError(f"the growth factor must be above 1 and the backoff factor in (0, 1), not {growth_factor} "
                             f"and {backoff_factor}")
        self.growth_factor, self.backoff_factor = float(growth_factor), float(backoff_factor)
        self.growth_interval, self.enabled = int(growth_interval), enabled
        self._scale = tensor(float(init_scale), float32, device=device)
        self._growth_tracker = tensor(0, int32, device=device)
        self._found: dict[int, Tensor] = {}              # id(optimiser) -> was there an infinity, since the last update

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if not name.startswith("_"):
            self._changed()

    def _snapshot(self) -> Any:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def is_enabled(self) -> bool:
        """Does it scale at all?"""
        return self.enabled

    def get_scale(self) -> float:
        """The scale now."""
        return self._scale.item() if self.enabled else 1.0

    # ---- a step

    def scale(self, outputs: Any) -> Any:
        """A loss (or a list, tuple of them) times the scale."""
        if not self.enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(o) for o in outputs])
        self._used_on(outputs.device)
        return outputs * self._scale

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimiser's parameters by the scale, to clip them for instance; once a step."""
        if not self.enabled:
            return
        if id(optimizer) in self._found:
            raise GradientError("unscale_() was called already for this optimiser since the last update()")
        owners = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not owners:
            raise GradientError("no parameter of this optimiser has a gradient to unscale; call backward() first")
        self._used_on(owners[0].device)
        with no_grad():
            inverse = 1.0 / self._scale
            found: Any = None
            for p in owners:
                g = p.grad
                bad = F.any(F.logical_not(F.isfinite(g)), axes=tuple(range(g.ndim)))
                found = bad if found is None else F.logical_or(found, bad)
                p.grad = F.cast(g * inverse, dtype=g.dtype)
        self._found[id(optimizer)] = found

    def step(self, optimizer: Any, *args: Any, **named: Any) -> Any:
        """`optimizer.step()` with unscaled gradients, left out where one of them is infinite or NaN."""
        if not self.enabled:
            return optimizer.step(*args, **named)
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        found = self._found[id(optimizer)]
        if _current.get() is not None:
            return _step_unless(found, optimizer, args, named)
        return None if bool(found) else optimizer.step(*args, **named)

    def update(self, new_scale: Any = None) -> None:
        """Adjust the scale, after the step of every optimiser."""
        if not self.enabled:
            return
        found = list(self._found.values())
        self._found.clear()
        with no_grad():
            if new_scale is not None:
                self._scale.copy_(new_scale)
            elif found:
                self._adjust(found)
            else:
                raise GradientError("update() needs a step() or unscale_() before it")

    def _adjust(self, founds: list[Tensor]) -> None:
        trace = _current.get()
        if trace is not None:
            trace.watch(self)
        found = founds[0]
        for other in founds[1:]:
            found = F.logical_or(found, other)
        steps = self._growth_tracker + 1
        is_due = F.equal(steps, self.growth_interval)
        grown = self._scale * self.growth_factor
        grows = F.logical_and(is_due, F.isfinite(grown))
        kept = F.where(grows, grown, self._scale)
        restarts = F.logical_or(found, is_due)
        self._growth_tracker._assign(F.where(restarts, F.zeros_like(steps), steps))
        self._scale._assign(F.where(found, self._scale * self.backoff_factor, kept))

    def _used_on(self, where: devices.device) -> None:
        """The scale lives where the losses are."""
        for t in (self._scale, self._growth_tracker):
            if t.device != where and t._array is not None:
                with interpreting(None):
                    t._assign_traced(Tensor(devices.moved(t._array, where)))

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """The scale and its rule; empty if disabled."""
        if not self.enabled:
            return {}
        return {"scale": self.get_scale(), "growth_factor": self.growth_factor, "backoff_factor": self.backoff_factor,
                "growth_interval": self.growth_interval, "_growth_tracker": self._growth_tracker.item()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if not self.enabled:
            return
        self._scale.copy_(state["scale"])
        self._growth_tracker.copy_(state["_growth_tracker"])
        self.growth_factor, self.backoff_factor = float(state["growth_factor"]), float(state["backoff_factor"])
        self.growth_interval = int(state["growth_interval"])


def _step_unless(found: Tensor, optimizer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """In a trace both are computed: the step, and for each tensor that it changes the choice of the old value."""
    optimizer.prepare()
    changing = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    changing += {id(t): t for p in changing for t in optimizer.state.get(p, {}).values()}.values()
    with no_grad():
        before = [F.stop_gradient(t) for t in changing]
    result = optimizer.step(*args, **named)
    with no_grad():
        for t, old in zip(changing, before):
            t._assign(F.where(found, old, t))
    return result
