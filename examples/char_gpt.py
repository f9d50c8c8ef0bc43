"""A small GPT that learns to write like Python's own documentation, character by character: the text is in every
installation.

The training step (forward, backward, clipping, update) is one compiled program; the learning rate follows one cycle
without recompiling.
"""

import os
import pydoc_data.topics
import time

import braze
import numpy as np
from braze import nn, optim
from braze.nn import functional as F

QUICK = bool(os.environ.get("BRAZE_QUICK"))
STEPS = 30 if QUICK else 1000
BATCH, CONTEXT, WIDTH, HEADS, LAYERS = 16, 64, 96, 4, 2


class Attention(nn.Module):
    """Causal self-attention with several heads."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.reshape(n, t, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3) for part in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.permute(0, 2, 1, 3).reshape(n, t, WIDTH))


class Block(nn.Module):
    """Attention and a feed-forward network, normalised first."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.attn = Attention()
        self.feed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU("tanh"), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.feed(self.norm2(x))


class GPT(nn.Module):
    """Characters in, scores of the next character out."""

    def __init__(self, alphabet):
        super().__init__()
        self.token, self.place = nn.Embedding(alphabet, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.block = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH)
        self.head = nn.Linear(WIDTH, alphabet, bias=False)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens):
        x = self.token(tokens) + self.place(braze.arange(tokens.shape[1]))
        for b in self.block:
            x = b(x)
        return self.head(self.norm(x))


def load():
    """(text as numbers, the alphabet)."""
    lines = "\n".join(pydoc_data.topics.topics.values()).splitlines()
    prose = "\n".join(line for line in lines if not line.strip().startswith(("+", "|")))        # no tables
    text = "".join(c for c in prose if c.isascii())
    alphabet = sorted(set(text))
    number = {c: n for n, c in enumerate(alphabet)}
    return np.array([number[c] for c in text], np.int64), alphabet


def sample(model, alphabet, length, rng, temperature=0.7):
    """Text, one character at a time, each drawn from the model's distribution."""
    score = braze.compile(lambda tokens: model(tokens))
    tokens = np.zeros(CONTEXT, np.int64)
    out = []
    with braze.no_grad():
        for _ in range(length):
            known = min(len(out), CONTEXT)
            last = max(known - 1, 0)
            scores = np.asarray(score(braze.tensor(tokens[None])))[0, last].astype(np.float64) / temperature
            p = np.exp(scores - scores.max())
            out.append(int(rng.choice(len(p), p=p / p.sum())))
            if known < CONTEXT:
                tokens[known] = out[-1]
            else:
                tokens = np.append(tokens[1:], out[-1])
    return "".join(alphabet[n] for n in out)


def main():
    text, alphabet = load()
    rng = np.random.default_rng(0)
    braze.manual_seed(0)
    model = GPT(len(alphabet))
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS + 1)

    @braze.compile
    def step(tokens, following):
        loss = F.cross_entropy(model(tokens).reshape(-1, len(alphabet)), following.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    print(f"{len(text):,} characters, {len(alphabet)} different ones, {sum(p.size for p in model.parameters()):,} "
          "parameters\n")
    losses, begin = [], time.perf_counter()
    for n in range(STEPS):
        starts = rng.integers(0, len(text) - CONTEXT - 1, BATCH)[:, None] + np.arange(CONTEXT)
        losses.append(step(braze.tensor(text[starts]), braze.tensor(text[starts + 1])).item())
        schedule.step()
        if n % (STEPS // 6) == 0 or n == STEPS - 1:
            print(f"step {n:4}: loss {np.mean(losses[-20:]):.3f}   {time.perf_counter() - begin:6.1f} s")
    print(f"\n{len(step.compilations)} compilation. A sample:\n\n{sample(model, alphabet, 20 if QUICK else 400, rng)}")
    return losses


if __name__ == "__main__":
    main()
