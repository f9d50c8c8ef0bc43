"""Update rules: each reads like its paper. Elementwise per parameter, so that compiled steps update in place, in one
pass each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ir.ops import F
from ..tracer.tensor import Tensor
from .optimizer import Group, Optimizer


def _check(**limits: float) -> None:
    for name, value in limits.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, not {value}")


def _decayed(grad: Tensor, p: Tensor, weight_decay: Any) -> Tensor:
    """The gradient of the loss plus weight_decay / 2 * p^2."""
    return grad + p * weight_decay if not _is_zero(weight_decay) else grad


def _is_zero(number: Any) -> bool:
    """Is a hyperparameter zero? (In a trace one that is not is an input, a tensor.)"""
    return not isinstance(number, Tensor) and number == 0


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) in PyTorch's form: v = momentum * v + g, p -=
    lr * v."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0,
                 nesterov: bool = False, *, maximize: bool = False):
        _check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("Nesterov momentum needs a momentum and no dampening")
        super().__init__(params, {"lr": float(lr), "momentum": float(momentum), "dampening": float(dampening),
                                  "weight_decay": float(weight_decay), "nesterov": nesterov, "maximize": maximize})

    def slots_of(self, group: Group) -> tuple[str, ...]:
        """A momentum buffer, where there is momentum; with dampening a mark that the first step is over."""
        if group["momentum"] == 0:
            return ()
        return ("momentum_buffer",) if group["dampening"] == 0 else ("momentum_buffer", "begun")

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Tensor], h: Any, *factors: Tensor) -> None:
        """One step of one parameter."""
        grad = _decayed(grad, p, h.weight_decay)
        if not _is_zero(h.momentum):
            v = state["momentum_buffer"]
            v._assign(v * h.momentum + self._damped(grad, state, h))
            grad = grad + v * h.momentum if h.nesterov else v
        p._assign(p - grad * h.lr)

    @staticmethod
    def _damped(grad: Tensor, state: dict[str, Tensor], h: Any) -> Tensor:
        """The gradient's part in the momentum: whole in the first step."""
        if _is_zero(h.dampening):
            return grad
        begun = state["begun"]
        part = grad * (1.0 - begun * h.dampening)
        begun._assign(F.ones_like(begun))
        return part


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    slots = ("exp_avg", "exp_avg_sq")
    counts_steps = True
    decoupled = False

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False):
        _check(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0.0 <= b < 1.0 for b in betas):
            raise ValueError(f"betas must be in [0, 1), not {betas}")
        super().__init__(params, {"lr": float(lr), "betas": tuple(map(float, betas)), "eps": float(eps),
                                  "weight_decay": float(weight_decay), "amsgrad": amsgrad, "maximize": maximize})

    def slots_of(self, group: Group) -> tuple[str, ...]:
        """Averages of the gradient and of its square; with `amsgrad` the largest of the latter."""
        return (*self.slots, "max_exp_avg_sq") if group["amsgrad"] else self.slots

    def factors(self, h: Any, step: Tensor) -> tuple[Tensor, ...]:
        """The step size, corrected for the averages' beginning at zero, and the other correction."""
        beta1, beta2 = h.betas
        return h.lr / (1.0 - beta1 ** step), 1.0 / F.sqrt(1.0 - beta2 ** step)

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Tensor], h: Any, *factors: Tensor) -> None:
        """One step of one parameter."""
        size, correction = factors
        beta1, beta2 = h.betas
        before: Any = p
        if self.decoupled:
            before = p * (1.0 - h.lr * h.weight_decay) if not _is_zero(h.weight_decay) else p
        else:
            grad = _decayed(grad, p, h.weight_decay)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m._assign(m + (grad - m) * (1.0 - beta1))
        v._assign(v * beta2 + grad * grad * (1.0 - beta2))
        if h.amsgrad:
            top = state["max_exp_avg_sq"]
            v = top._assign(F.maximum(top, v))
        p._assign(before - m * size / (F.sqrt(v) * correction + h.eps))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    decoupled = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012), with PyTorch's momentum and centring."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0,
                 momentum: float = 0.0, centered: bool = False, *, maximize: bool = False):
        _check(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(params, {"lr": float(lr), "alpha": float(alpha), "eps": float(eps),
                                  "weight_decay": float(weight_decay),
                                  "momentum": float(momentum), "centered": centered, "maximize": maximize})

    def slots_of(self, group: Group) -> tuple[str, ...]:
        """The average square, and what momentum and centring need."""
        return ("square_avg", *["momentum_buffer"] * (group["momentum"] != 0), *["grad_avg"] * group["centered"])

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Tensor], h: Any, *factors: Tensor) -> None:
        """One step of one parameter."""
        grad = _decayed(grad, p, h.weight_decay)
        v = state["square_avg"]
        v._assign(v * h.alpha + grad * grad * (1.0 - h.alpha))
        spread: Any = v
        if h.centered:
            mean = state["grad_avg"]
            mean._assign(mean + (grad - mean) * (1.0 - h.alpha))
            spread = v - mean * mean
        move = grad / (F.sqrt(spread) + h.eps)
        if not _is_zero(h.momentum):
            move = state["momentum_buffer"]._assign(state["momentum_buffer"] * h.momentum + move)
        p._assign(p - move * h.lr)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011)."""

    slots = ("sum",)
    counts_steps = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
                 initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False):
        _check(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
        super().__init__(params, {"lr": float(lr), "lr_decay": float(lr_decay), "weight_decay": float(weight_decay),
                                  "eps": float(eps),
                                  "initial_accumulator_value": float(initial_accumulator_value), "maximize": maximize})

    def initial(self, name: str, group: Group) -> float:
        """The sum may begin above zero."""
        return group["initial_accumulator_value"]

    def factors(self, h: Any, step: Tensor) -> tuple[Tensor, ...]:
        """The decayed step size."""
        return (h.lr / (1.0 + (step - 1.0) * h.lr_decay),)

    def update(self, p: Tensor, grad: Tensor, state: dict[str, Tensor], h: Any, *factors: Tensor) -> None:
        """One step of one parameter."""
        grad = _decayed(grad, p, h.weight_decay)
        total = state["sum"]._assign(state["sum"] + grad * grad)
        p._assign(p - grad * factors[0] / (F.sqrt(total) + h.eps))
