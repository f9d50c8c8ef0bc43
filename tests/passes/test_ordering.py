"""The order of kernels: what frees memory comes early, and what takes an input's memory after all who read it."""

import braze
import numpy as np
from braze import nn
from braze.ir.program import Launch, walk

WIDTH, LAYERS = 64, 12


def training(optimiser):
    """A step that trains a deep chain of layers, compiled and called; and its parameters."""
    braze.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(LAYERS) for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh())])
    steps = optimiser(model.parameters())

    def step(x):
        loss = model(x).square().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        return loss

    return step, model


def sgd(parameters):
    return braze.optim.SGD(parameters, lr=0.1)


def adam(parameters):
    return braze.optim.AdamW(parameters, lr=0.1)


def test_weights_are_updated_as_soon_as_their_gradients_are_there():
    step, _ = training(adam)
    compiled = braze.compile(step)
    x = braze.randn(2048, WIDTH)
    compiled(x)
    program = compiled.ir("fused")
    kept = [s for s in program.slots.values() if s.role == "temporary" and s.bytes >= 4 * 2048 * WIDTH]
    activations = 4 * 2048 * WIDTH
    assert len(kept) >= 2 * LAYERS - 1, "activations and cotangents"
    assert program.arena <= (LAYERS + 6) * activations, "cotangents do not wait for the optimiser"


def test_updates_in_place_come_after_all_who_read_the_weights():
    step, _ = training(adam)
    compiled = braze.compile(step)
    compiled(braze.randn(256, WIDTH))
    program = compiled.ir("fused")
    launches = [s for s in walk(program.steps) if isinstance(s, Launch)]
    taken = {s.name: s.takes for s in program.slots.values() if s.takes}
    assert len(taken) >= 3 * 2 * LAYERS, "parameters and moments are updated in place"
    for output, source in taken.items():
        written = min(n for n, s in enumerate(launches) if output in s.arguments.values())
        assert all(n <= written for n, s in enumerate(launches) if source in s.arguments.values())


def test_the_order_changes_no_result():
    results = []
    for compiled in (True, False):
        step, model = training(sgd)
        run = braze.compile(step) if compiled else step
        x = braze.tensor(np.random.default_rng(0).standard_normal((300, WIDTH)).astype(np.float32))
        losses = [float(run(x)) for _ in range(4)]
        results.append([np.array(losses), *(np.asarray(p.detach()) for p in model.parameters())])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
