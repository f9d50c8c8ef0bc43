"""Train a small convolutional network on scikit-learn's digits, twice: eagerly and with the whole training step
compiled.

The same initial values, the same batches, the same learning rates; then the two are compared. Run it with `make demo`.
"""

import copy
import os
import time

import braze
import numpy as np
from braze import nn, optim
from braze.nn import functional as F
from sklearn.datasets import load_digits

QUICK = bool(os.environ.get("BRAZE_QUICK"))
EPOCHS = 2 if QUICK else 12
BATCH = 64


class Net(nn.Module):
    """Two convolutions with pooling, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.GELU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.GELU(), nn.MaxPool2d(2),
            nn.Flatten())  # fmt: skip
        self.head = nn.Sequential(nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.head(self.features(x))


def load():
    """Training and test images, in a fixed order."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order].astype(np.int64)
    return images[:1437], labels[:1437], images[1437:], labels[1437:]


class Training:
    """A model with its optimiser, schedule and history."""

    def __init__(self, model, compiled):
        self.model = model
        self.optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
        self.schedule = optim.lr_scheduler.CosineAnnealingLR(self.optimizer, EPOCHS)
        self.step = braze.compile(self.plain_step) if compiled else self.plain_step
        self.losses, self.seconds = [], []

    def plain_step(self, x, y):
        """Forward, backward, update: compiled as one program."""
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def epoch(self, images, labels, order):
        """All whole batches in this order."""
        for at in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[at:at + BATCH]
            x, y = braze.tensor(images[rows]), braze.tensor(labels[rows])
            begin = time.perf_counter()
            loss = self.step(x, y)
            self.seconds.append(time.perf_counter() - begin)
            self.losses.append(loss.item())
        self.schedule.step()

    def accuracy(self, images, labels):
        """The share of images whose digit is recognised."""
        self.model.eval()
        with braze.no_grad():
            predicted = self.model(braze.tensor(images)).argmax(1)
        self.model.train()
        return float((np.asarray(predicted) == labels).mean())


def main():
    images, labels, test_images, test_labels = load()
    braze.manual_seed(0)
    model = Net()
    eager, compiled = Training(model, False), Training(copy.deepcopy(model), True)
    rng = np.random.default_rng(1)
    print(f"{len(images)} training images, {sum(p.size for p in model.parameters()):,} parameters, batches of "
          f"{BATCH}\n")
    print("epoch   loss eager   loss compiled   accuracy eager   compiled")
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        for training in (eager, compiled):
            training.epoch(images, labels, order)
        steps = len(order) // BATCH
        left, right = (np.mean(t.losses[-steps:]) for t in (eager, compiled))
        scores = [t.accuracy(test_images, test_labels) for t in (eager, compiled)]
        print(f"{epoch + 1:5}{left:13.4f}{right:16.4f}{scores[0]:17.1%}{scores[1]:11.1%}")
    report(eager, compiled, images, labels)
    return scores


def report(eager, compiled, images, labels):
    """Time, memory and differences."""
    pairs = list(zip(eager.model.parameters(), compiled.model.parameters()))
    distance = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)
    first = max(abs(a - b) for a, b in zip(eager.losses[:10], compiled.losses[:10]))
    last = max(abs(a - b) for a, b in zip(eager.losses, compiled.losses))
    slow, fast = (1e3 * float(np.median(t.seconds[1:])) for t in (eager, compiled))
    batch = braze.tensor(images[:BATCH]), braze.tensor(labels[:BATCH])
    memory = braze.compare(compiled.step, *batch, search=False)
    print(f"\n{'':10}{'time per step':>15}{'peak memory':>14}")
    print(f"{'eager':10}{slow:12.3f} ms{memory.eager_bytes / 2**20:11.2f} MB")
    print(f"{'compiled':10}{fast:12.3f} ms{memory.compiled_bytes / 2**20:11.2f} MB")
    print(f"\n{slow / fast:.1f} times as fast; compiled {len(compiled.step.compilations)} time in "
          f"{compiled.seconds[0]:.2f} s, for {len(compiled.seconds)} steps with {EPOCHS} learning rates")
    print(f"largest difference of the loss: {first:.1e} in the first 10 steps, {last:.1e} in all; of a parameter at "
          f"the end: {distance:.1e}")


if __name__ == "__main__":
    main()
