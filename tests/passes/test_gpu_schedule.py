"""Plans for a GPU: how many launches a kernel becomes, and how many programs each has."""

from __future__ import annotations

import kernel_zoo as zoo
import pytest
from braze.ir.build import GraphBuilder
from braze.ir.gpu import GpuTarget
from braze.ir.gpu_tiled import Tiled
from braze.ir.interpreter import interpreting
from braze.ir.ops import F
from braze.ir.types import TensorType, complex64, float32
from braze.passes.assemble import assemble
from braze.passes.gpu_schedule import plan
from braze.passes.simplify import simplify
from braze.passes.take_apart import take_apart
from braze.passes.walks import usual
from kernel_zoo import ZOO, M, N


def distance_to_the_top(n):
    """min(x - max(x)): a fold that needs another one over the same axis, and is all that is stored."""
    k = zoo.Zoo("distance", {"i": n})
    x = k.read("x", "i")
    k.write("y", "", k.reduce("min", k.sub(x, k.reduce("max", x, "i")), "i"))
    return k.build()


# name: (kernel, programs of each launch)
PLANS = {
    "pointwise": (zoo.pointwise_chain(1 << 20), [1024]),
    "a short row": (zoo.pointwise_chain(100), [1]),
    "rows side by side": (zoo.softmax(8192, 64), [256]),
    "a row a program": (zoo.softmax(8192, 4096), [8192]),
    "a row in turns": (zoo.softmax(8192, 40_000), [8192]),
    "few short rows": (zoo.softmax(64, 4096), [64]),
    "few very long rows are taken apart": (zoo.softmax(2, 1 << 20), [512, 1, 512, 1, 2048]),
    "an extreme and what depends on it, of few very long rows": (distance_to_the_top(1 << 20), [512, 1, 512, 1]),
    "places in a few very long rows are cut in two": (zoo.argmax(1, 128_256), [64, 1]),
    "places in some very long rows": (zoo.argmax(64, 100_000), [512, 1]),
    "places in many long rows": (zoo.argmax(8192, 40_000), [8192]),
    "a long sum is cut in two": (zoo.sum_long(1 << 24), [512, 1]),
    "scans of few long rows are cut in three": (zoo.running(2, 1 << 20), [512, 2, 512]),
    "a scan of one that is no multiple of its pieces": (zoo.cumsum_backwards(1_000_003), [489, 1, 489]),
    "scans of rows that others have": (zoo.running(512, 1 << 16), [512]),
    "columns": (zoo.softmax_columns(100, 64 * 200), [200]),
    "sums over both axes": (zoo.rms_norm_gradient(8192, 1024), [512, 512, 16]),
    "stores that share no axes": (zoo.concatenate(1000, 2000), [8, 16]),
    "a scatter": (zoo.embedding_gradient(8192, 50_000, 768), [768]),
    "sizes that are not known": (zoo.softmax(M, N), [512]),
}


@pytest.mark.parametrize("name", PLANS)
def test_launches_and_programs(name):
    kernel, programs = PLANS[name]
    assert [usual(s.programs(k)) for k, s in plan(kernel, GpuTarget())] == programs


@pytest.mark.parametrize("name", ZOO)
def test_every_plan_is_legal(name):
    for kernel, schedule in plan(ZOO[name], GpuTarget()):
        schedule.check(kernel)


def test_the_order_of_a_sum_does_not_depend_on_the_device():
    small, large = GpuTarget(processors=20), GpuTarget(processors=200)
    for name in ("softmax_wide", "layer_norm_MN", "sum_long", "variance_over_rows", "rms_norm_gradient"):
        mine, other = ([s for _, s in plan(ZOO[name], t)] for t in (small, large))
        assert all(isinstance(s, Tiled) for s in mine) and mine == other


@pytest.mark.parametrize("d, function", [(float32, lambda x, w, v: F.matmul(x, w) * F.sigmoid(F.matmul(x, v))),
                                         (complex64, lambda x, w, v: F.matmul(x, w) + v)], ids=["gate", "complex"])
def test_products_of_the_same_rows_are_kernels_of_their_own(d, function):
    """The tile of a GPU has room for one sum."""
    b = GraphBuilder("products")
    operands = [b.input(TensorType((512, 512), d), name) for name in "xwv"]
    with interpreting(b):
        graph = simplify(take_apart(b.build([function(*operands)])))
    products = [s for s in assemble(graph, GpuTarget()).steps if any(v.op == "reduce" for v in s.kernel.values)]
    assert sum("piece" not in s.kernel.axes or "k" in s.kernel.axes for s in products) == 2
    for s in products:
        s.schedule.check(s.kernel)
