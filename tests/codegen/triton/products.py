"""Contractions and attention in the sizes of benchmarks, as the fuser makes them of bfloat16 graphs: what the tests of
machine code compile.
"""

from __future__ import annotations

from braze.ir.gpu import GpuTarget
from braze.ir.kernel import Kernel, Value
from braze.ir.types import bfloat16, float32
from kernel_zoo import Zoo

from ..contractions import matmul
from ..streams import attention, gradient

TARGETS = {
    "80": GpuTarget(arch="80", processors=108, shared_bytes=163 << 10, bandwidth=1500, flops=19_500, dot_flops=312_000,
                    precision="tf32"),
    "90": GpuTarget(precision="tf32"),
    "100": GpuTarget(arch="100", processors=148, precision="tf32"),
    "gfx942": GpuTarget("hip", "gfx942", 64, 304, 64 << 10, l2_bytes=4 << 20, precision="tf32"),
}
UNITS = {"80": "mma.sync", "90": "wgmma", "100": "tcgen05", "gfx942": "v_mfma"}


def linear(m: int, n: int, depth: int, activation=None, b: str = "jk") -> Kernel:
    """activation(x w + bias) of bfloat16."""
    k = Zoo("linear", {"i": m, "j": n, "k": depth})
    x, w = (k.cast(k.read(name, axes, "bf16"), float32) for name, axes in (("x", "ik"), ("w", b)))
    y = k.cast(k.reduce("sum", k.mul(x, w), "k"), bfloat16)
    y = k.add(y, k.read("bias", "j", "bf16"))
    k.write("y", "ij", activation(k, y) if activation else y)
    return k.build()


def batched_narrow(b: int, m: int, n: int, depth: int) -> Kernel:
    """A batch of products of bfloat16."""
    k = Zoo("batched", {"b": b, "i": m, "j": n, "k": depth})
    x, w = (k.cast(k.read(name, axes, "bf16"), float32) for name, axes in (("x", "bik"), ("w", "bkj")))
    k.write("y", "bij", k.cast(k.reduce("sum", k.mul(x, w), "k"), bfloat16))
    return k.build()


def gelu(k: Zoo, x: Value) -> Value:
    """x * (1 + erf(x / sqrt 2)) / 2, in float32 and rounded once."""
    x = k.cast(x, float32)
    y = k.mul(k.mul(x, 0.5), k.add(k.erf(k.mul(x, 0.7071067811865476)), 1.0))
    return k.cast(y, bfloat16)


def with_residual(k: Zoo, x: Value) -> Value:
    """x + residual."""
    return k.add(x, k.read("residual", "ij", "bf16"))


def image(n: int, size: int, c: int, o: int, window: int, step: int = 1, is_last: bool = True) -> Kernel:
    """A convolution with bias and relu of bfloat16, channels last or first."""
    out = (size - 1) // step + 1
    k = Zoo("image", {"n": n, "h": out, "w": out, "o": o, "r": window, "s": window, "c": c})
    at = {a: k.axis(a) for a in k.axes}
    y, x = (step * at[a] + at[b] - window // 2 for a, b in (("h", "r"), ("w", "s")))
    shape, index = ((n, size, size, c), (at["n"], y, x, at["c"]))
    if not is_last:
        shape, index = (n, c, size, size), (at["n"], at["c"], y, x)
    given = k.load("x", shape, "bf16", index, 0.0 if window > 1 else None)
    total = k.reduce("sum", k.mul(k.cast(given, float32), k.cast(k.read("f", "orsc", "bf16"), float32)), "rsc")
    y = k.add(k.cast(total, bfloat16), k.read("bias", "o", "bf16"))
    k.write("y", "nhwo" if is_last else "nohw", k.max(y, 0.0))
    return k.build()


def heads(d: int, part: str) -> Kernel:
    """Causal attention of 16 heads over 4096 positions, or a gradient of it."""
    sizes = (4, 16, 4096, 4096, d, d)
    return attention(*sizes, "bf16", 0, keeps=True) if part == "forward" else gradient(*sizes, part, "bf16", 0)


KERNELS = {
    "matmul 4096": linear(4096, 4096, 4096),
    "matmul 8192, right rows": linear(8192, 8192, 8192, b="kj"),
    "matmul 4096 f32": matmul(4096, 4096, 4096),
    "GPT-2: qkv": linear(8192, 2304, 768),
    "GPT-2: MLP, GELU": linear(8192, 3072, 768, gelu),
    "GPT-2: MLP, residual": linear(8192, 768, 3072, with_residual),
    "ResNet: 3x3, 64": image(32, 56, 64, 64, 3),
    "ResNet: 3x3, 512": image(32, 7, 512, 512, 3),
    "ResNet: 1x1, 64 to 256": image(32, 56, 64, 256, 1),
    "ResNet: 7x7, 3 to 64": image(32, 224, 3, 64, 7, 2),
    "ResNet: 3x3, channels first": image(32, 56, 64, 64, 3, is_last=False),
    **{f"attention {d}: {part}": heads(d, part) for d in (64, 128) for part in ("forward", "kv", "q")},
}
