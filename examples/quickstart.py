"""Braze in one page: tensors, gradients, compilation, a model that learns."""

import braze
import numpy as np
from braze import nn, optim

# Tensors work like NumPy's arrays.
x = braze.linspace(-3, 3, 200).reshape(200, 1)
noise = 0.1 * braze.randn(200, 1)
y = braze.sin(2 * x) + noise
print(f"x: {x.type}, mean {x.mean().item():.3f}; y: mean {y.mean().item():.3f}")

# Gradients: of tensors, or of functions.
w = braze.tensor([1.0, 2.0, 3.0], requires_grad=True)
(w**2).sum().backward()
print("w.grad =", w.grad)
print("derivative of sin at 0 and pi:", braze.grad(lambda t: braze.sin(t).sum())(braze.tensor([0.0, np.pi])))


# Compilation: the function is traced, fused and run as native code.
@braze.compile
def normalised(t):
    return (t - t.mean()) / (t.std() + 1e-6)


print("compiled:", normalised(y)[:3].reshape(-1), f"({len(normalised.compilations)} compilation)")

# A model and its training step, compiled whole: forward, backward and update.
braze.manual_seed(0)
model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = optim.Adam(model.parameters(), lr=1e-2)


@braze.compile
def step(x, y):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


for epoch in range(1001):
    loss = step(x, y)
    if epoch % 250 == 0:
        print(f"step {epoch:4}: loss {loss.item():.4f}")

print(braze.compare(lambda t: nn.functional.gelu(t * 2 + 1).sum(0), braze.randn(1000, 1000)))
