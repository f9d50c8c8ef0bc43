"""`braze.testing`: gradients against finite differences, tensors against tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import pytree
from .arguments import lift
from .autograd import grad
from .tensor import Tensor

# Relative and absolute tolerances by dtype, those of torch.testing.assert_close.
TOLERANCE = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def assert_close(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
                 equal_nan: bool = False) -> None:
    """Raise AssertionError, with the worst element, unless two trees of tensors agree in structure, shape, dtype and
    value.
    """
    ours, one = pytree.flatten(actual)
    theirs, other = pytree.flatten(expected)
    if one != other:
        raise AssertionError(f"the structures differ: {one} and {other}")
    for n, (a, b) in enumerate(zip(ours, theirs)):
        a, b = np.asarray(a), np.asarray(b)
        where = f" (leaf {n})" if len(ours) > 1 else ""
        if a.shape != b.shape or a.dtype != b.dtype:
            raise AssertionError(f"{a.dtype}{list(a.shape)} is not {b.dtype}{list(b.shape)}{where}")
        relative, absolute = TOLERANCE.get(str(a.dtype), (0.0, 0.0))
        relative, absolute = relative if rtol is None else rtol, absolute if atol is None else atol
        wide = np.complex128 if a.dtype.kind == "c" else np.float64
        x, y = a.astype(wide), b.astype(wide)
        good = np.isclose(x, y, rtol=relative, atol=absolute, equal_nan=equal_nan)
        if not good.all():
            with np.errstate(all="ignore"):
                gap = np.where(good, 0, np.abs(x - y))
            spot = np.unravel_index(int(np.nanargmax(np.where(np.isnan(gap), np.inf, gap))), gap.shape)
            raise AssertionError(f"{int((~good).sum())} of {good.size} elements differ{where}; the worst at "
                                 f"{list(map(int, spot))}: {a[spot]} against {b[spot]} (relative {relative}, absolute "
                                 f"{absolute} allowed)")


def gradcheck(function: Callable[..., Any], inputs: Tensor | Sequence[Tensor], eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3) -> bool:
    """Compare the gradients of a function of float64 tensors with central differences; raise AssertionError where they
    differ.

    >>> x = braze.tensor([0.3, 0.7], dtype="float64", requires_grad=True)
    >>> gradcheck(lambda x: braze.sin(x), x)
    True
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wanted = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise AssertionError("gradcheck needs an input with requires_grad=True")
    for t in wanted:
        if t.dtype.name not in ("f64", "c128"):
            raise AssertionError(f"gradcheck needs float64 inputs, not {t.dtype.long_name}: float32 is too coarse for "
                                 "finite differences")
    outputs = [y for y in _outputs(function(*given)) if y.dtype.is_inexact]
    for n, y in enumerate(outputs):
        seed = np.random.default_rng(n).standard_normal(y.shape)
        found = grad(y, wanted, lift(seed), retain_graph=True, allow_unused=True)
        for m, (t, g) in enumerate(zip(wanted, found)):
            ours = np.zeros(t.shape) if g is None else np.asarray(g)
            numeric = _numeric(function, given, t, n, seed, eps)
            if not np.allclose(ours, numeric, rtol=rtol, atol=atol):
                raise AssertionError(f"gradient of output {n} with respect to input {m}: {ours} by backward, {numeric} "
                                     "by differences")
    return True


def _outputs(out: Any) -> list[Tensor]:
    return [t for t in pytree.flatten(out)[0] if isinstance(t, Tensor)]


def _numeric(function: Callable[..., Any], given: list[Any], t: Tensor, n: int, seed: Any, eps: float) -> Any:
    base = np.array(t)
    out = np.zeros(base.shape)

    def value(x: Any) -> float:
        moved = [lift(x) if u is t else u for u in given]
        y = [y for y in _outputs(function(*moved)) if y.dtype.is_inexact][n]
        return float((np.asarray(y) * seed).sum())

    for i in np.ndindex(*base.shape):
        up, down = base.copy(), base.copy()
        up[i] += eps
        down[i] -= eps
        out[i] = (value(up) - value(down)) / (2 * eps)
    return out
