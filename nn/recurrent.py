"""Recurrent layers and their cells: RNN, LSTM, GRU. Names, weights and numerics are PyTorch's.

A layer multiplies the whole sequence by its input weights at once and scans the results, so that it compiles to one
native loop whose step is the product with the hidden state and the gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..ir.errors import ShapeError
from ..tracer.arguments import lift
from ..tracer.control import scan
from ..tracer.creation import zeros
from ..tracer.manipulation import concat, permute_dims, split, stack
from ..tracer.products import matmul
from ..tracer.tensor import Tensor
from . import init
from .activations import relu, sigmoid, tanh
from .dropout import dropout
from .linear import linear
from .module import Module
from .parameter import Parameter

State = tuple[Tensor, ...]              # the hidden state, and the cell's where there is one


# ---- what one step makes of the state and of its inputs' share in the gates ------------------------------------------


def _plain(nonlinearity: Callable[[Any], Tensor]) -> Callable[..., State]:
    def step(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        return (nonlinearity(given + linear(state[0], weight, bias)),)

    return step


def _lstm(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    h, c = state
    i, f, g, o = split(given + linear(h, weight, bias), c.shape[-1], -1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """Cho et al. 2014, the reset gate applied after the product, as cuDNN has it."""
    (h,) = state
    r, z, n = split(given, h.shape[-1], -1)
    r_h, z_h, n_h = split(linear(h, weight, bias), h.shape[-1], -1)
    n = tanh(n + sigmoid(r + r_h) * n_h)
    return (n + sigmoid(z + z_h) * (h - n),)


_PLAIN = {"tanh": _plain(tanh), "relu": _plain(relu)}


def _uniform(module: Module, size: int) -> None:
    for p in module.parameters():
        init.uniform_(p, -1 / math.sqrt(size), 1 / math.sqrt(size))


# ---- layers ----------------------------------------------------------------------------------------------------------


class _Recurrent(Module):
    """Layers of one kind on top of each other, each in one direction or in both."""

    gates = 1
    states = 1                              # tensors of a state

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None):
        super().__init__()
        if not 0 <= proj_size < hidden_size:
            raise ShapeError(f"a projection to {proj_size} must be smaller than the hidden size {hidden_size}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.proj_size = proj_size
        out = proj_size or hidden_size
        for suffix, size in self._parts():
            rows = self.gates * hidden_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, size), "weight_hh": (rows, out)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for name, shape in shapes.items():
                setattr(self, f"{name}_{suffix}", Parameter(zeros(*shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        _uniform(self, self.hidden_size)

    @property
    def directions(self) -> int:
        """Two if it runs in both directions."""
        return 2 if self.bidirectional else 1

    def _parts(self) -> list[tuple[str, int]]:
        """The ending of the parameters' names, and the size of the input, for each layer and direction."""
        inner = (self.proj_size or self.hidden_size) * self.directions
        return [(f"l{layer}{ending}", inner if layer else self.input_size) for layer in range(self.num_layers)
                for ending in ("", "_reverse")[:self.directions]]

    def _step(self, given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Any]:
        """(the last layer's hidden states of all steps, the last states of all layers); `hx` are the first ones."""
        x = lift(input)
        if x.ndim not in (2, 3):
            raise ShapeError(f"{type(self).__name__} takes [steps, batch, features] or [steps, features], not "
                             f"{list(x.shape)}")
        alone = x.ndim == 2
        if alone:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = permute_dims(x, 1, 0, 2)
        y, last = self._layers(x, self._first(x, hx, alone))
        if alone:
            y, last = y.squeeze(1), tuple(t.squeeze(1) for t in last)
        elif self.batch_first:
            y = permute_dims(y, 1, 0, 2)
        return y, last if self.states > 1 else last[0]

    def _first(self, x: Tensor, hx: Any, alone: bool) -> State:
        """The states to begin with, all layers' stacked."""
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[:self.states]
        if hx is None:
            return tuple(zeros(self.num_layers * self.directions, x.shape[1], n, device=x.device, dtype=x.dtype)
                         for n in sizes)
        given = tuple(lift(t) for t in (hx if self.states > 1 else (hx,)))
        first = tuple(t.unsqueeze(1) if alone else t for t in given)
        for t, n in zip(first, sizes):
            if t.ndim != 3 or t.shape[0] != self.num_layers * self.directions or t.shape[2] != n:
                raise ShapeError(f"{type(self).__name__} begins with states "
                                 f"[{self.num_layers * self.directions}, batch, {n}], not {list(t.shape)}")
        return first

    def _layers(self, x: Tensor, first: State) -> tuple[Tensor, State]:
        lasts: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = dropout(x, self.dropout)
            made = []
            for ending in ("", "_reverse")[:self.directions]:
                state = tuple(t[len(lasts)] for t in first)
                y, last = self._direction(x, state, f"l{layer}{ending}", bool(ending))
                made.append(y)
                lasts.append(last)
            x = made[0] if len(made) == 1 else concat(made, -1)
        return x, tuple(stack(list(column)) for column in zip(*lasts))

    def _direction(self, x: Tensor, state: State, suffix: str, reverse: bool) -> tuple[Tensor, State]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        w_ih, w_hh, b_ih, b_hh, w_hr = [getattr(self, f"{name}_{suffix}", None) for name in names]
        assert w_ih is not None and w_hh is not None       # biases and projection are options

        def turn(state: State, given: Tensor) -> tuple[State, Tensor]:
            state = self._step(given, state, w_hh, b_hh)
            if w_hr is not None:
                state = (matmul(state[0], w_hr.T), *state[1:])
            return state, state[0]

        last, y = scan(turn, state, linear(x, w_ih, b_ih), reverse=reverse)
        return y, last

    def extra_repr(self) -> str:
        """Sizes, and what is not the default."""
        options = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
                   "proj_size": 0}
        said = [f"{n}={getattr(self, n)}" for n, default in options.items() if getattr(self, n) != default]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *said])


class RNN(_Recurrent):
    """Elman's layers (1990): h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device,
                         dtype=dtype)
        self.nonlinearity = _known(nonlinearity)

    def _step(self, given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        return _PLAIN[self.nonlinearity](given, state, weight, bias)


class LSTM(_Recurrent):
    """Long short-term memory. Gates i, f, g, o lie one after the other in the weights; a state is (h, c)."""

    gates, states = 4, 2
    _step = staticmethod(_lstm)


class GRU(_Recurrent):
    """Gated recurrent units. Gates r, z, n lie one after the other in the weights."""

    gates = 3
    _step = staticmethod(_gru)

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device,
                         dtype=dtype)


# ---- cells -----------------------------------------------------------------------------------------------------------


class _Cell(Module):
    """One step of a layer."""

    gates = 1
    states = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(zeros(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(zeros(rows, hidden_size, device=device, dtype=dtype))
        self.bias_ih = Parameter(zeros(rows, device=device, dtype=dtype)) if bias else None
        self.bias_hh = Parameter(zeros(rows, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        _uniform(self, self.hidden_size)

    def _step(self, given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The state after one step from `hx`, or from zero."""
        x = lift(input)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{type(self).__name__} takes [batch, {self.input_size}] or [{self.input_size}], not "
                             f"{list(x.shape)}")
        if hx is None:
            first = zeros(*x.shape[:-1], self.hidden_size, device=x.device, dtype=x.dtype)
            state: State = (first,) * self.states
        else:
            state = tuple(lift(t) for t in hx) if self.states > 1 else (lift(hx),)
        state = self._step(linear(x, self.weight_ih, self.bias_ih), state, self.weight_hh, self.bias_hh)
        return state if self.states > 1 else state[0]

    def extra_repr(self) -> str:
        """input_size, hidden_size, and bias where there is none."""
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias_ih is not None else ', bias=False'}"


class RNNCell(_Cell):
    """One step of an `RNN`."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = _known(nonlinearity)

    def _step(self, given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
        return _PLAIN[self.nonlinearity](given, state, weight, bias)


class LSTMCell(_Cell):
    """One step of an `LSTM`: (h, c)."""

    gates, states = 4, 2
    _step = staticmethod(_lstm)


class GRUCell(_Cell):
    """One step of a `GRU`."""

    gates = 3
    _step = staticmethod(_gru)


def _known(nonlinearity: str) -> str:
    if nonlinearity not in _PLAIN:
        raise ValueError(f"{nonlinearity!r} is no nonlinearity of an RNN; use one of {', '.join(_PLAIN)}")
    return nonlinearity
