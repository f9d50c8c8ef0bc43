"""The same training step on the CPU and on the GPU: how long it takes, and how far the results are apart.

The step (forward, backward and update of a small transformer block) is compiled whole for each device. Without a GPU,
BRAZE_TRITON_INTERPRET=1 runs it on a simulated one, which shows that it works, not how fast.
"""

import os
import time

import braze
import numpy as np
from braze import nn, optim

SIMULATED = os.environ.get("BRAZE_TRITON_INTERPRET") == "1"
SMALL = SIMULATED or bool(os.environ.get("BRAZE_QUICK"))
BATCH, LENGTH, WIDTH, HEADS, STEPS = (2, 8, 16, 2, 3) if SMALL else (32, 256, 512, 8, 20)


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a short cut, and a loss."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attend(self, x):
        parts = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        return self.out(y.permute(0, 2, 1, 3).reshape(x.shape))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def train(device):
    """(losses, final parameters in NumPy, median seconds of a step)."""
    braze.manual_seed(0)
    model = Block()
    data = [(braze.randn(BATCH, LENGTH, WIDTH), braze.randn(BATCH, LENGTH, WIDTH)) for _ in range(STEPS)]
    model.to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    @braze.compile
    def step(x, target):
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    losses, seconds = [], []
    for x, target in data:
        x, target = x.to(device), target.to(device)
        begin = time.perf_counter()
        losses.append(step(x, target).item())            # item() waits for the device
        seconds.append(time.perf_counter() - begin)
    print(f"{device!s:8} first step {seconds[0]:7.2f} s (compiles), then {1e3 * np.median(seconds[1:]):9.2f} ms; "
          f"loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    return losses, [p.cpu().detach().numpy() for p in model.parameters()], float(np.median(seconds[1:]))


def main():
    """The largest difference of the final parameters, or None without a GPU."""
    if not braze.cuda.is_available():
        print("There is no GPU here. BRAZE_TRITON_INTERPRET=1 runs this example on a simulated one.")
        return None
    print(f"{braze.cuda.get_device_name()}; {BATCH} x {LENGTH} x {WIDTH}, {STEPS} steps")
    _, ours, slow = train(braze.device("cpu"))
    _, theirs, fast = train(braze.device("cuda"))
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs))
    ratio = "(simulated: no comparison of times)" if SIMULATED else f"the GPU is {slow / fast:.1f} times as fast"
    print(f"largest difference of the parameters after {STEPS} steps: {worst:.1e}; {ratio}")
    return worst


if __name__ == "__main__":
    main()
