"""Recurrent layers beyond single figures (those are in test_golden.py): states, halves of a sequence, loops, errors."""

import math

import braze
import numpy as np
import pytest
from braze import nn
from braze.ir.program import Loop, walk

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
STEPS, BATCH, WIDTH, HIDDEN = 6, 2, 3, 4


def sequence(*shape):
    return braze.tensor(np.random.default_rng(0).standard_normal(shape or (STEPS, BATCH, WIDTH)))


def leaves(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", LAYERS)
def test_two_halves_are_the_whole(kind):
    layer, x = LAYERS[kind](WIDTH, HIDDEN, 2).double(), sequence()
    y, last = layer(x)
    first, state = layer(x[:2])
    second, end = layer(x[2:], state)
    np.testing.assert_allclose(braze.concat([first, second]).detach(), y.detach(), rtol=1e-12)
    for a, b in zip(leaves(end), leaves(last)):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_last_states_are_those_of_both_directions(kind):
    layer = LAYERS[kind](WIDTH, HIDDEN, 2, bidirectional=True).double()
    y, last = layer(sequence())
    h = leaves(last)[0]
    assert h.shape == (4, BATCH, HIDDEN)
    np.testing.assert_array_equal(h[2].detach(), y[-1, :, :HIDDEN].detach())
    np.testing.assert_array_equal(h[3].detach(), y[0, :, HIDDEN:].detach())


@pytest.mark.parametrize("kind", LAYERS)
def test_cells_are_steps_of_layers(kind):
    layer, cell = LAYERS[kind](WIDTH, HIDDEN).double(), getattr(nn, f"{kind}Cell")(WIDTH, HIDDEN).double()
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    x, state = sequence(), None
    y, last = layer(x)
    for row in x:
        state = cell(row, state)
    for a, b in zip(leaves(state), leaves(last)):
        np.testing.assert_allclose(a.detach(), b[0].detach(), rtol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_batch_first_is_a_permutation(kind):
    layer = LAYERS[kind](WIDTH, HIDDEN).double()
    other = LAYERS[kind](WIDTH, HIDDEN, batch_first=True).double()
    other.load_state_dict(layer.state_dict())
    y, _ = layer(sequence())
    z, _ = other(sequence().permute(1, 0, 2))
    np.testing.assert_array_equal(y.detach(), z.permute(1, 0, 2).detach())


@pytest.mark.parametrize("kind", LAYERS)
def test_compiles_to_one_loop_a_layer(kind):
    layer = LAYERS[kind](WIDTH, HIDDEN, 2).double()
    compiled = braze.compile(layer)
    y, _ = compiled(sequence())
    np.testing.assert_allclose(y.detach(), layer(sequence())[0].detach(), rtol=1e-10)
    program = compiled.ir("fused")
    assert sum(isinstance(s, Loop) for s in walk(program.steps)) == 2, program


def test_a_training_step_learns():
    braze.manual_seed(0)
    layer, head = nn.LSTM(WIDTH, 8, batch_first=True), nn.Linear(8, 1)
    optimiser = braze.optim.Adam([*layer.parameters(), *head.parameters()], lr=1e-2)
    x = braze.tensor(np.random.default_rng(1).standard_normal((8, STEPS, WIDTH)).astype(np.float32))
    wanted = x.sum((1, 2))

    @braze.compile
    def step(x, wanted):
        y, _ = layer(x)
        loss = (head(y[:, -1])[:, 0] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    losses = [float(step(x, wanted)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_between_layers_while_training():
    layer = nn.GRU(WIDTH, HIDDEN, 2, dropout=0.5).double()
    x = sequence()
    assert not np.array_equal(layer(x)[0].detach(), layer(x)[0].detach())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach(), layer(x)[0].detach())


def test_initial_values_are_uniform():
    layer = nn.LSTM(64, 256)
    for name, p in layer.named_parameters():
        values = np.asarray(p.detach())
        assert abs(values).max() <= 1 / math.sqrt(256), name
        assert abs(values.std() * math.sqrt(3 * 256) - 1) < 0.1, name


@pytest.mark.parametrize("call, words", [
    (lambda: nn.LSTM(3, 4, proj_size=4), "smaller than the hidden size"),
    (lambda: nn.RNN(3, 4, nonlinearity="sine"), "tanh, relu"),
    (lambda: nn.GRU(3, 4)(braze.ones(2, 3, 3, 3)), "steps, batch, features"),
    (lambda: nn.GRU(3, 4)(braze.ones(2, 3, 3), braze.ones(1, 3, 5)), r"\[1, batch, 4\]"),
    (lambda: nn.GRUCell(3, 4)(braze.ones(2, 5)), r"\[batch, 3\]"),
])  # fmt: skip
def test_errors(call, words):
    with pytest.raises((braze.errors.BrazeError, ValueError), match=words):
        call()
