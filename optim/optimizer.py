"""`Optimizer`: groups of parameters with their hyperparameters, state tensors, and the walk of `step()`.

In a compiled step every float hyperparameter is an input of the program (a scheduler may set it a thousand times, and
nothing is compiled again), and state tensors are captured, like the parameters. Whether a float is zero is a property
of the program: `weight_decay=0` costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..ir.errors import GradientError, ShapeError, TraceError
from ..ir.interpreter import _current, interpreting
from ..ir.ops import F
from ..ir.types import float32, float64
from ..tracer.creation import full, tensor, zeros
from ..tracer.devices import copied, device
from ..tracer.modes import enable_grad, no_grad
from ..tracer.tensor import Tensor
from ..tracer.trace import Trace
from ..tracer.world import Watched


class Group(dict[str, Any]):
    """A parameter group: {"params": [...], "lr": ..., ...}. Setting anything but a float's value is noted as a
    change."""

    def __init__(self, owner: Optimizer, values: dict[str, Any]):
        super().__init__(values)
        self.owner = owner

    def __setitem__(self, name: str, value: Any) -> None:
        if _current.get() is not None:
            raise TraceError(f"setting {name!r} of a parameter group (a scheduler's step?) inside a compiled function "
                             f"would happen once, while it is traced; do it outside")
        old = self.get(name)
        super().__setitem__(name, value)
        if _role(name, old) != _role(name, value):
            self.owner._changed()

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _role(name: str, value: Any) -> Any:
    """What of a hyperparameter a program depends on: of a float only whether it is zero, of the learning rate
    nothing."""
    if isinstance(value, float):
        return "zero" if value == 0 and name != "lr" else "float"
    if isinstance(value, tuple):
        return tuple([_role(name, v) for v in value])
    return value


class Optimizer(Watched):
    """The base of all optimisers: `params` are parameters, (name, parameter) pairs, or dicts of groups.

    A subclass names its state tensors in `slots` and defines `update`.
    """

    slots: tuple[str, ...] = ()
    counts_steps = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.param_groups: list[Group] = []
        given = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__} got no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with hyperparameters of their own."""
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise GradientError(f"an optimiser needs leaf tensors, not {p!r}")
            if id(p) in known:
                raise ValueError("a parameter is in two groups")
        values = {**self.defaults, **{k: _as_float(v, self.defaults.get(k)) for k, v in group.items()},
                  "params": params}
        self.param_groups.append(Group(self, values))
        self._changed()

    def _snapshot(self) -> Any:
        return [{k: list(v) if k == "params" else _role(k, v) for k, v in g.items()} for g in self.param_groups]

    # ---- a step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have gradients. A closure computes the loss (and the gradients) first, and is
        returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        trace = _current.get()
        if isinstance(trace, Trace):
            trace.watch(self)
        with no_grad():
            for number, group in enumerate(self.param_groups):
                active = [p for p in group["params"] if p.grad is not None]
                if active:
                    self._step_group(number, group, active)
        return loss

    def prepare(self) -> None:
        """Make the state of all parameters that have gradients, as their first step would."""
        for group in self.param_groups:
            fresh: dict[str, Tensor] = {}
            for p in group["params"]:
                if p.grad is not None:
                    self._state_of(p, group, fresh)

    def _step_group(self, number: int, group: Group, active: Sequence[Tensor]) -> None:
        h = _Hyperparameters(group, number)
        fresh: dict[str, Tensor] = {}
        states = [self._state_of(p, group, fresh) for p in active]
        factors: dict[Any, Any] = {}
        if self.counts_steps:
            self._separate_steps(group, active)
            for step in {id(s["step"]): s["step"] for s in states}.values():
                step += 1.0
        for p, state in zip(active, states):
            grad = p.grad
            assert grad is not None
            if h.maximize:
                grad = -grad
            if self.counts_steps:
                key = (id(state["step"]), p.dtype)
                if key not in factors:
                    factors[key] = tuple(F.astype(f, p.dtype)
                                         for f in self.factors(h, F.astype(state["step"], float64)))
                self.update(p, grad, state, h, *factors[key])
            else:
                self.update(p, grad, state, h)

    def factors(self, h: Any, step: Tensor) -> tuple[Tensor, ...]:
        """What depends on the number of steps alone: computed once a step, in float64, and given to `update`."""
        return ()

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Tensor], h: Any, *factors: Tensor) -> None:
        """Change one parameter and its state in place."""
        raise NotImplementedError

    def slots_of(self, group: Group) -> tuple[str, ...]:
        """The names of the state tensors that parameters of a group have."""
        return self.slots

    # ---- state

    def _state_of(self, p: Tensor, group: Group, fresh: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state of a parameter, made at its first step: outside of any trace, which then captures it."""
        state = self.state.get(p)
        if state is None:
            with interpreting(None):
                state = {name: full(p.shape, self.initial(name, group), p.dtype, device=p.device)
                         for name in self.slots_of(group)}
                if self.counts_steps:             # parameters that start together count together
                    state["step"] = fresh.setdefault(p.device, zeros((), device=p.device))
            self.state[p] = state
            self._name(p, state)
        return state

    def initial(self, name: str, group: Group) -> float:
        """What a state tensor is filled with at the beginning."""
        return 0.0

    @staticmethod
    def _name(p: Tensor, state: dict[str, Tensor]) -> None:
        trace = _current.get()
        if isinstance(trace, Trace):
            for name, t in state.items():
                trace.root.names.setdefault(id(t), f"{trace.root.names.get(id(p), 'parameter')}.{name}"
                                            if name != "step" else "step")

    def _separate_steps(self, group: Group, active: Sequence[Tensor]) -> None:
        """A parameter without a gradient does not step: it gets a counter of its own."""
        shared = {id(self.state[p]["step"]) for p in active}
        moving = {id(p) for p in active}
        for p in group["params"]:
            state = self.state.get(p)
            if id(p) not in moving and state is not None and id(state["step"]) in shared:
                with interpreting(None):
                    state["step"] = Tensor(copied(state["step"]._array))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else F.zeros_like(p.grad)

    def state_dict(self) -> dict[str, Any]:
        """Groups and state, parameters by number: {"state": {0: {...}}, "param_groups": [...]}."""
        numbers = {p: n for n, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [{**g, "params": [numbers[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": {numbers[p]: {k: t.detach() for k, t in s.items()} for p, s in self.state.items()},
                "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over hyperparameters and state; the parameters must be as many, in the same groups."""
        sizes, given = [len(g["params"]) for g in self.param_groups], [len(g["params"]) for g in state["param_groups"]]
        if sizes != given:
            raise ShapeError(f"the state is of groups with {given} parameters; this optimiser has {sizes}")
        for group, values in zip(self.param_groups, state["param_groups"]):
            for name, value in values.items():
                if name != "params":
                    group[name] = _as_float(value, group.get(name))
        params = [p for g in self.param_groups for p in g["params"]]
        steps: dict[Any, Tensor] = {}
        self.state = {params[n]: {k: _own(k, v, params[n].device, steps) for k, v in s.items()}
                      for n, s in state["state"].items()}
        self._changed()

    def __repr__(self) -> str:
        lines = [f"  group {n}: {len(g['params'])} parameters, " + ", ".join(f"{k}={v}"
                                                                             for k, v in g.items() if k != "params")
                 for n, g in enumerate(self.param_groups)]
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


def _own(name: str, value: Any, where: device, steps: dict[Any, Tensor]) -> Tensor:
    """A copy of a loaded state tensor on its parameter's device; equal step counters become one."""
    array = np.array(value.cpu() if isinstance(value, Tensor) else value)
    if name == "step":
        return steps.setdefault((float(array), where), tensor(array, float32, device=where))
    return tensor(array, device=where)


def _as_float(value: Any, default: Any) -> Any:
    """`lr=1` means 1.0 where a float is expected, so that `lr=0.5` later is no other kind of value."""
    return float(value) if isinstance(default, float) and isinstance(value, int) and not isinstance(value,
                                                                                                    bool) else value


class _Hyperparameters:
    """A group's hyperparameters as attributes: Python values, but in a trace floats other than 0 are inputs of the
    program."""

    def __init__(self, group: Group, number: int):
        self._group, self._number = group, number

    def __getattr__(self, name: str) -> Any:
        value = self._group.get(name)
        if isinstance(value, tuple):
            value = tuple(self._input(f"{name}{i}", v, self._reader(name, i)) for i, v in enumerate(value))
        else:
            value = self._input(name, value, lambda: self._group[name])
        setattr(self, name, value)
        return value

    def _reader(self, name: str, i: int) -> Callable[[], float]:
        return lambda: self._group[name][i]

    def _input(self, name: str, value: Any, read: Callable[[], float]) -> Any:
        trace = _current.get()
        if _role(name, value) != "float" or not isinstance(trace, Trace):
            return value
        label = name if self._number == 0 else f"{name}_{self._number}"
        return trace.scalar(read, label, key=(id(self._group), name))
