"""Transformers: causal attention, a block of GPT-2, BERT's encoder, one step of decoding, a training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from workload import Call, Program, Workload, normal

from .layers import EPSILON, Layered, Trained, gelu, jax_layer_norm, layer_norm, softmax

BLOCK = 12
"""Tensors of a block: scale and shift, query-key-value, projection; scale and shift, up, down, each with a bias."""


def block_arrays(random: np.random.Generator, width: int) -> list[np.ndarray]:
    """The weights of one block."""
    scales = [1 + normal(random, width, scale=0.1) for _ in range(2)]
    shifts = [normal(random, width, scale=0.1) for _ in range(2)]
    sizes = ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    linears = [[normal(random, *size, scale=size[1] ** -0.5), normal(random, size[0], scale=0.1)] for size in sizes]
    return [scales[0], shifts[0], *linears[0], *linears[1], scales[1], shifts[1], *linears[2], *linears[3]]


def block_elements(width: int) -> int:
    return 12 * width * width + 13 * width


def block_flops(rows: int, seen: float, width: int) -> int:
    """Products, attention over so many positions on average, softmax, two norms, GELU."""
    return int(rows * (24 * width * width + 4 * seen * width + 5 * seen * (width // 64) + (2 * 8 + 4 * 8 + 9) * width))


def split(weights: Sequence[Any]) -> list[Sequence[Any]]:
    """The weights of each block."""
    return [weights[n : n + BLOCK] for n in range(0, len(weights), BLOCK)]


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    """Attention in NumPy."""
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    return softmax(masked(np, scores) if causal else scores) @ v


def masked(xp: Any, scores: Any) -> Any:
    """Scores with what lies ahead hidden."""
    rows, columns = scores.shape[-2:]
    return xp.where(xp.arange(rows)[:, None] >= xp.arange(columns), scores, -math.inf)


def heads(x: Any, count: int) -> Any:
    """[B, T, C] as [B, heads, T, C / heads], by methods that NumPy and JAX share."""
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def block(library: ModuleType, F: ModuleType, x: Any, weights: Sequence[Any], count: int, causal: bool) -> Any:
    """A block with norms first, in Braze and torch."""
    scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = weights
    rows, length, width = x.shape
    qkv = F.linear(F.layer_norm(x, (width,), scale1, shift1), w_qkv, b_qkv)
    q, k, v = (t.reshape(rows, length, count, width // count).transpose(1, 2) for t in qkv.split(width, -1))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(rows, length, width)
    x = x + F.linear(y, w_out, b_out)
    hidden = F.gelu(F.linear(F.layer_norm(x, (width,), scale2, shift2), w_up, b_up), approximate="tanh")
    return x + F.linear(hidden, w_down, b_down)


def jax_block(jax: ModuleType, x: Any, weights: Sequence[Any], count: int, causal: bool) -> Any:
    """The same in JAX."""
    scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = weights
    qkv = jax_layer_norm(jax, x, scale1, shift1) @ w_qkv.T + b_qkv
    q, k, v = (heads(t, count) for t in jax.numpy.split(qkv, 3, -1))
    y = jax_attention(jax, q, k, v, causal).transpose(0, 2, 1, 3).reshape(x.shape)
    x = x + y @ w_out.T + b_out
    hidden = jax.nn.gelu(jax_layer_norm(jax, x, scale2, shift2) @ w_up.T + b_up)
    return x + hidden @ w_down.T + b_down


def jax_attention(jax: ModuleType, q: Any, k: Any, v: Any, causal: bool) -> Any:
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))
    return jax.nn.softmax(masked(jax.numpy, scores) if causal else scores) @ v


def onnx_block(model: Any, x: Any, weights: Sequence[Any], count: int, causal: bool) -> Any:
    """The same in ONNX."""
    scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = weights
    normed = model.LayerNormalization(x, scale1, shift1, axis=-1, epsilon=EPSILON)
    q, k, v = model.Split(model.linear(normed, w_qkv, b_qkv), results=3, axis=-1, num_outputs=3)
    y = model.Attention(q, k, v, is_causal=int(causal), q_num_heads=count, kv_num_heads=count)
    x = x + model.linear(y, w_out, b_out)
    normed = model.LayerNormalization(x, scale2, shift2, axis=-1, epsilon=EPSILON)
    return x + model.linear(model.Gelu(model.linear(normed, w_up, b_up), approximate="tanh"), w_down, b_down)


def block64(x: np.ndarray, weights: Sequence[np.ndarray], count: int, causal: bool) -> np.ndarray:
    """The same in NumPy, for references."""
    scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = weights
    q, k, v = (heads(t, count) for t in np.split(layer_norm(x, scale1, shift1) @ w_qkv.T + b_qkv, 3, -1))
    x = x + attention(q, k, v, causal).transpose(0, 2, 1, 3).reshape(x.shape) @ w_out.T + b_out
    return x + gelu(layer_norm(x, scale2, shift2) @ w_up.T + b_up) @ w_down.T + b_down


class Attention(Layered):
    """Causal attention of all heads."""

    name = "attention"
    title = "causal attention, [4, 12, 512, 64]"
    shape = 4, 12, 512, 64
    pairs = 4 * 12 * 512 * 513 // 2
    bytes = 4 * 4 * math.prod(shape)
    writes = 4 * math.prod(shape)
    flops = pairs * (4 * 64 + 5)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, *self.shape) for _ in range(3)]

    def reference(self, *qkv: np.ndarray) -> Any:
        return attention(*qkv, causal=True)

    @staticmethod
    def program(library: ModuleType, F: ModuleType, q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def jax(self, jax: ModuleType) -> Program:
        return lambda q, k, v: jax_attention(jax, q, k, v, causal=True)

    def onnx(self, model: Any, q: Any, k: Any, v: Any) -> Any:
        return model.Attention(q, k, v, is_causal=1)


class AttentionGradient(Attention):
    """Causal attention with its gradients by query, key and value."""

    name = "attention_grad"
    title = "causal attention with gradients, [4, 12, 512, 64]"
    bytes = 8 * 4 * math.prod(Attention.shape)
    writes = 4 * 4 * math.prod(Attention.shape)
    flops = Attention.pairs * (4 * 64 + 5 + 10 * 64 + 4)
    gradients = True
    onnx = Workload.onnx

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        return [normal(random, *self.shape) for _ in range(4)]

    def reference(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray) -> Any:
        """The textbook's gradient: through the values, the softmax, the scores."""
        scale = 1 / math.sqrt(q.shape[-1])
        weights = softmax(masked(np, q @ k.swapaxes(-1, -2) * scale))
        d_weights = g @ v.swapaxes(-1, -2)
        d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True)) * scale
        return weights @ v, d_scores @ k, d_scores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g

    def braze(self, braze: ModuleType) -> Program:
        program = self.written_with(braze, braze.nn.functional)

        def run(q: Any, k: Any, v: Any, g: Any) -> Any:
            y, pullback = braze.vjp(program, q, k, v)
            return y, *pullback(g)

        return run

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        qkv, g = [t.requires_grad_() for t in tensors[:3]], tensors[3]
        staged = stage(self.torch(torch))

        def call() -> Any:
            y = staged(*qkv)
            return y, *torch.autograd.grad(y, qkv, g)

        return call

    def jax(self, jax: ModuleType) -> Program:
        def run(q: Any, k: Any, v: Any, g: Any) -> Any:
            y, pullback = jax.vjp(lambda *qkv: jax_attention(jax, *qkv, causal=True), q, k, v)
            return y, *pullback(g)

        return run


class Encoder(Layered):
    """Some blocks of a transformer."""

    fed = 1

    def __init__(self, name: str, title: str, blocks: int, length: int, causal: bool) -> None:
        self.name, self.title, self.blocks, self.length, self.causal = name, title, blocks, length, causal
        self.width, self.count = 768, 12
        self.bytes = 4 * (2 * length * self.width + blocks * block_elements(self.width))
        self.writes = 4 * length * self.width
        self.flops = blocks * block_flops(length, (length + 1) / 2 if causal else length, self.width)

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        blocks = [array for _ in range(self.blocks) for array in block_arrays(random, self.width)]
        return [normal(random, 1, self.length, self.width), *blocks]

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        for each in split(weights):
            x = block64(x, each, self.count, self.causal)
        return x

    def program(self, library: ModuleType, F: ModuleType, x: Any, *weights: Any) -> Any:  # type: ignore[override]
        for each in split(weights):
            x = block(library, F, x, each, self.count, self.causal)
        return x

    def jax(self, jax: ModuleType) -> Program:
        def run(x: Any, *weights: Any) -> Any:
            for each in split(weights):
                x = jax_block(jax, x, each, self.count, self.causal)
            return x

        return run

    def onnx(self, model: Any, x: Any, *weights: Any) -> Any:
        for each in split(weights):
            x = onnx_block(model, x, each, self.count, self.causal)
        return x


class Decode(Workload):
    """One token through GPT-2 small with the keys and values of 511 before it; theirs are written into the caches in
    place.
    """

    name = "gpt_decode"
    title = "GPT-2 decode, one token, cache 512"
    blocks, length, width, count, vocabulary = 12, 512, 768, 12, 50257
    tolerance = 5e-5
    gradients = True  # the caches change
    fed = 1
    bytes = 4 * (blocks * (block_elements(width) + 2 * length * width) + (width + 1) * vocabulary)
    writes = 4 * (2 * blocks * width + vocabulary)
    flops = blocks * block_flops(1, length, width) + 2 * width * vocabulary

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        caches = [normal(random, self.count, self.length, 64) for _ in range(2 * self.blocks)]
        blocks = [array for _ in range(self.blocks) for array in block_arrays(random, self.width)]
        head = normal(random, self.vocabulary, self.width, scale=self.width**-0.5)
        return [normal(random, self.width), head, *caches, *blocks]

    def parts(self, tensors: Sequence[Any]) -> tuple[Any, Any, list[Any], list[Sequence[Any]]]:
        """The token, the head, the caches, the weights of each block."""
        middle = 2 + 2 * self.blocks
        return tensors[0], tensors[1], list(tensors[2:middle]), split(tensors[middle:])

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        x, head, caches, blocks = self.parts(arrays)
        for n, weights in enumerate(blocks):
            scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = weights
            qkv = layer_norm(x, scale1, shift1) @ w_qkv.T + b_qkv
            q, k, v = qkv.reshape(3, self.count, 1, 64)
            keys, values = caches[2 * n].copy(), caches[2 * n + 1].copy()
            keys[:, -1:], values[:, -1:] = k, v
            x = x + attention(q, keys, values, causal=False).reshape(self.width) @ w_out.T + b_out
            x = x + gelu(layer_norm(x, scale2, shift2) @ w_up.T + b_up) @ w_down.T + b_down
        return head @ x

    def written_with(self, library: ModuleType, F: ModuleType, caches: Sequence[Any]) -> Program:
        """The step in Braze and torch, which change the caches in place."""

        def run(x: Any, head: Any, *weights: Any) -> Any:
            for n, each in enumerate(split(weights)):
                scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = each
                qkv = F.linear(F.layer_norm(x, (self.width,), scale1, shift1), w_qkv, b_qkv)
                q, k, v = (qkv[i * self.width : (i + 1) * self.width].reshape(self.count, 1, 64) for i in range(3))
                keys, values = caches[2 * n], caches[2 * n + 1]
                keys[:, -1:] = k
                values[:, -1:] = v
                x = x + F.linear(F.scaled_dot_product_attention(q, keys, values).reshape(self.width), w_out, b_out)
                hidden = F.gelu(F.linear(F.layer_norm(x, (self.width,), scale2, shift2), w_up, b_up),
                                approximate="tanh")
                x = x + F.linear(hidden, w_down, b_down)
            return F.linear(x, head)

        return run

    def braze_call(self, braze: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        x, head, caches, blocks = self.parts(tensors)
        staged = stage(self.written_with(braze, braze.nn.functional, caches))
        weights = [t for each in blocks for t in each]
        return lambda: staged(x, head, *weights)

    def torch_call(self, torch: ModuleType, stage: Callable[[Program], Program], tensors: Sequence[Any]) -> Call:
        x, head, caches, blocks = self.parts(tensors)
        staged = stage(self.written_with(torch, torch.nn.functional, caches))
        weights = [t for each in blocks for t in each]

        def call() -> Any:
            with torch.no_grad():
                return staged(x, head, *weights)

        return call

    def jax_call(self, jax: ModuleType, stage: Callable[..., Program], tensors: Sequence[Any]) -> Call:
        x, head, caches, blocks = self.parts(tensors)

        def run(caches: list[Any], x: Any, head: Any, blocks: Sequence[Any]) -> Any:
            caches = list(caches)
            for n, each in enumerate(blocks):
                scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = each
                q, k, v = (w_qkv @ jax_layer_norm(jax, x, scale1, shift1) + b_qkv).reshape(3, self.count, 1, 64)
                caches[2 * n] = keys = caches[2 * n].at[:, -1:].set(k)
                caches[2 * n + 1] = values = caches[2 * n + 1].at[:, -1:].set(v)
                x = x + w_out @ jax_attention(jax, q, keys, values, causal=False).reshape(self.width) + b_out
                x = x + w_down @ jax.nn.gelu(w_up @ jax_layer_norm(jax, x, scale2, shift2) + b_up) + b_down
            return head @ x, caches

        staged = stage(run, donate_argnums=(0,))

        def call() -> Any:
            nonlocal caches
            y, caches = staged(caches, x, head, blocks)
            return y

        return call

    def onnx(self, model: Any, x: Any, *tensors: Any) -> Any:
        """With ONNX Runtime's own operator, which writes keys and values into the caches in place."""
        _, head, caches, blocks = self.parts((x, *tensors))
        last, length = np.full((1, 1), self.length - 1, np.int32), np.int32(self.length)
        x = model.Reshape(x, [1, 1, self.width])
        for n, each in enumerate(blocks):
            scale1, shift1, w_qkv, b_qkv, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = each
            normed = model.LayerNormalization(x, scale1, shift1, axis=-1, epsilon=EPSILON)
            q, k, v = model.Split(model.linear(normed, w_qkv, b_qkv), results=3, axis=-1, num_outputs=3)
            old = [model.state(model.constant(cache.array[None])) for cache in caches[2 * n : 2 * n + 2]]
            y, *new = model.GroupQueryAttention(
                q, k, v, *old, model.constant(last), model.constant(length),
                results=3, domain="com.microsoft", num_heads=self.count, kv_num_heads=self.count)
            for state, value in zip(old, new):
                model.update(state, value)
            x = x + model.linear(y, w_out, b_out)
            normed = model.LayerNormalization(x, scale2, shift2, axis=-1, epsilon=EPSILON)
            x = x + model.linear(model.Gelu(model.linear(normed, w_up, b_up), approximate="tanh"), w_down, b_down)
        return model.Reshape(x @ model.constant(head.array.T), [self.vocabulary])


class GPTTraining(Trained):
    """A training step of a small GPT, its head tied to the embedding."""

    name = "gpt_train"
    title = "GPT training step, 4 layers, C=256, T=256, B=8"
    blocks, width, count, length, batch, vocabulary, data = 4, 256, 8, 256, 8, 2048, 2
    elements = blocks * block_elements(width) + (vocabulary + length + 2) * width
    rows = batch * length
    bytes = 4 * 6 * elements + 16 * rows
    writes = 3 * 4 * elements
    flops = 3 * (blocks * block_flops(rows, (length + 1) / 2, width) + 2 * rows * width * vocabulary) + 15 * elements

    def inputs(self, random: np.random.Generator) -> list[np.ndarray]:
        tokens = [random.integers(0, self.vocabulary, (self.batch, self.length)) for _ in range(2)]
        blocks = [array for _ in range(self.blocks) for array in block_arrays(random, self.width)]
        embedding = normal(random, self.vocabulary, self.width, scale=0.02)
        positions = normal(random, self.length, self.width, scale=0.02)
        norm = [1 + normal(random, self.width, scale=0.1), normal(random, self.width, scale=0.1)]
        return [*tokens, embedding, positions, *norm, *blocks]

    def program(self, library: ModuleType, F: ModuleType, *tensors: Any) -> Any:  # type: ignore[override]
        tokens, following, embedding, positions, scale, shift, *weights = tensors
        x = F.embedding(tokens, embedding) + positions
        for each in split(weights):
            x = block(library, F, x, each, self.count, causal=True)
        logits = F.linear(F.layer_norm(x, (self.width,), scale, shift), embedding)
        return F.cross_entropy(logits.reshape(-1, self.vocabulary), following.reshape(-1))

    def jax_loss(self, jax: ModuleType) -> Callable[..., Any]:
        def loss(tokens: Any, following: Any, embedding: Any, positions: Any, scale: Any, shift: Any,
                 *weights: Any) -> Any:
            x = embedding[tokens] + positions
            for each in split(weights):
                x = jax_block(jax, x, each, self.count, causal=True)
            logits = jax_layer_norm(jax, x, scale, shift) @ embedding.T
            log_p = jax.nn.log_softmax(logits)
            return -jax.numpy.take_along_axis(log_p, following[..., None], -1).mean()

        return loss
