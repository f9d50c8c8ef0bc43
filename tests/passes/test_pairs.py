"""Values of all pairs live in registers, in gradients too: memory grows with n, and the numbers are right."""

from __future__ import annotations

from math import prod

import braze
import numpy as np
import pytest
from braze.ir.parse import parse_graph
from braze.ir.verify import verify
from braze.passes.pairs import pairs_of_reductions, recompute_pairs

N = 230


def apart(x):
    return x[:, None] - x[None, :]


def squared(x):
    """Squared distances of the rows."""
    return (apart(x) ** 2).sum(-1)


def energy(xp, x, y, z, mass):
    distance = xp.sqrt(apart(x) ** 2 + apart(y) ** 2 + apart(z) ** 2 + 0.01)
    return -(mass[None, :] * mass[:, None] / distance).sum()


def kernel_sum(xp, x):
    return xp.exp(-squared(x)).sum()


def on_a_line(xp, x):
    return xp.exp(-apart(x) * apart(x)).sum()


def kernel_times_vector(xp, x, v):
    return ((xp.exp(-0.5 * squared(x)) @ v) ** 2).sum()


def kernel_times_columns(xp, x, columns):
    return ((xp.exp(-0.5 * squared(x)) @ columns) ** 2).sum()


def rows_times_kernel(xp, x, rows):
    return ((rows @ xp.exp(-0.5 * squared(x))) ** 2).sum()


def by_scalar_products(xp, x):
    s = (x * x).sum(-1)
    return xp.exp(-(s[:, None] + s[None, :] - 2 * (x @ x.mT))).sum()


def squared_forces(xp, x, y, z, mass):
    apart_ = [apart(a) for a in (x, y, z)]
    inverse = 1.0 / xp.sqrt(apart_[0] ** 2 + apart_[1] ** 2 + apart_[2] ** 2 + 0.01)
    pull = mass[None, :] * (inverse * inverse * inverse)
    return sum(((pull * a).sum(1) ** 2).sum() for a in apart_)


def made_first(xp, x, w):
    """The points are results themselves."""
    return kernel_sum(xp, xp.tanh(x @ w))


def twice(xp, x):
    """Pairs of what is a sum over pairs."""
    d = apart(x)
    forces = (d * xp.exp(-d * d)).sum(1)
    return xp.log(1 + apart(forces) ** 2).sum()


def soft_nearest(xp, x):
    """Reductions that need each other."""
    far = -squared(x)
    peak = far.max(1)
    return (peak + xp.log(xp.exp(far - peak[:, None]).sum(1))).sum()


PROGRAMS = {
    energy: ((N,),) * 4, kernel_sum: ((N, 3),), on_a_line: ((N,),), kernel_times_vector: ((N, 3), (N,)),
    kernel_times_columns: ((N, 2), (N, 4)), rows_times_kernel: ((N, 2), (3, N)), by_scalar_products: ((N, 8),),
    squared_forces: ((N,),) * 4, made_first: ((N, 3), (3, 3)), twice: ((N,),), soft_nearest: ((N, 3),),
}  # fmt: skip
ids = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)


def arrays(program) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.uniform(0.2, 1.2, shape) for shape in PROGRAMS[program]]


def gradient(program):
    count = len(PROGRAMS[program])
    return braze.compile(braze.grad(lambda *a: program(braze, *a), argnums=tuple(range(count))))


@ids
def test_gradients_agree_with_differences_in_float64(program):
    """Along a random direction: the definition, NumPy's, at either side."""
    given = arrays(program)
    random = np.random.default_rng(2)
    ways = [random.standard_normal(a.shape) for a in given]
    step = 1e-5
    ahead, behind = (program(np, *(a + s * w for a, w in zip(given, ways))) for s in (step, -step))
    found = gradient(program)(*map(braze.asarray, given))
    along = sum(float((np.asarray(g) * w).sum()) for g, w in zip(found, ways))
    np.testing.assert_allclose(along, (ahead - behind) / (2 * step), rtol=1e-5)


@ids
def test_memory_grows_with_n(program):
    """Nothing is stored that has an element for each pair, nor kept for a gradient that comes later."""
    given = [braze.asarray(a.astype(np.float32)) for a in arrays(program)]
    grad = gradient(program)
    wanted = [np.asarray(g) for g in gradient(program)(*map(braze.asarray, arrays(program)))]
    for g, w in zip(grad(*given), wanted):
        np.testing.assert_allclose(np.asarray(g), w, rtol=2e-3, atol=2e-4 * float(np.abs(w).max()))
    later = braze.compile(lambda *a: program(braze, *a))
    for a in given:
        a.requires_grad = True
    later(*given).backward()
    for a, w in zip(given, wanted):
        np.testing.assert_allclose(np.asarray(a.grad), w, rtol=2e-3, atol=2e-4 * float(np.abs(w).max()))
    programs = [grad.ir("fused")] + ([] if program is by_scalar_products else [later.ir("fused")])
    for p in programs:
        assert max((prod(s.shape) for s in p.slots.values()), default=0) <= 8 * N


def test_a_gradient_of_pairs_takes_two_kernels_at_most():
    for program in (energy, kernel_sum, on_a_line, kernel_times_vector, kernel_times_columns, squared_forces):
        compiled = gradient(program)
        compiled(*[braze.asarray(a.astype(np.float32)) for a in arrays(program)])
        assert len(compiled.ir("fused").kernels) <= 2, program.__name__


SUMS = """
graph @sums(%x: f32[300, 1], %y: f32[1, 300]) -> (f32[300], f32[300]) {
  %0 = sub %x, %y : f32[300, 300]
  %1 = exp %0 : f32[300, 300]
  %2 = sum %1 {axes=(0,)} : f32[300]
  %3 = sum %1 {axes=(1,)} : f32[300]
  return %2, %3
}
"""


def test_sums_along_different_axes_have_pairs_of_their_own():
    graph = parse_graph(SUMS)
    made = recompute_pairs(graph)
    verify(made)
    assert [n.op.name for n in made.nodes] == ["sub", "exp", "sum", "sub", "exp", "sum"]
    random = np.random.default_rng(0)
    given = random.standard_normal((300, 1)).astype(np.float32), random.standard_normal((1, 300)).astype(np.float32)
    for a, b in zip(graph.eval(*given), made.eval(*given)):
        assert a.tobytes() == b.tobytes()


def test_what_is_stored_anyway_is_read():
    text = SUMS.replace("(f32[300], f32[300])", "(f32[300, 300], f32[300], f32[300])").replace(
        "return", "return %1,")
    graph = parse_graph(text)
    assert str(recompute_pairs(graph)) == str(graph)
    assert {str(v.node.op.name) for v in pairs_of_reductions(graph)} == set()


def test_what_others_read_is_not_computed_again():
    """A product with many columns reads the exponentials from memory, and so do the sums."""
    text = SUMS.replace("%y: f32[1, 300])", "%y: f32[1, 300], %w: f32[300, 64])").replace(
        "(f32[300], f32[300])", "(f32[300], f32[300], f32[300, 64])").replace(
        "  return %2, %3", "  %4 = matmul %1, %w : f32[300, 64]\n  return %2, %3, %4")
    graph = parse_graph(text)
    assert str(recompute_pairs(graph)) == str(graph)


def test_few_pairs_and_large_operands_stay_as_they_are():
    for text in (SUMS.replace("300", "100"), SUMS.replace("%x: f32[300, 1]", "%x: f32[300, 300]")):
        graph = parse_graph(text)
        assert str(recompute_pairs(graph)) == str(graph)


def test_products_of_few_columns_become_sums_of_pairs():
    graph = parse_graph("""
graph @product(%x: f32[300, 1], %y: f32[1, 300], %v: f32[300, 1], %w: f32[2, 300]) -> (f32[300, 1], f32[2, 300]) {
  %0 = sub %x, %y : f32[300, 300]
  %1 = exp %0 : f32[300, 300]
  %2 = permute %1 {axes=(1, 0)} : f32[300, 300]
  %3 = matmul %2, %v : f32[300, 1]
  %4 = matmul %w, %1 : f32[2, 300]
  return %3, %4
}
""")
    made = recompute_pairs(graph)
    verify(made)
    assert "matmul" not in str(made)
    random = np.random.default_rng(0)
    given = [random.standard_normal(v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(graph.eval(*given), made.eval(*given)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
