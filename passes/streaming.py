"""Groups that pass squares of numbers to one another are merged into groups that stream (attention, its gradient).

A contraction of weights that are made of other contractions (`softmax(q @ k^T) @ v`) takes these over, and what lies
between: what is as large as the weights is computed in its kernel, tile by tile, as often as it is read, and never
stored. With a softmax, the maximum and the sum come along; where these are known already (in a gradient) they are read.
What is merged is lowered on trial: it stays merged if the kernel is one that `passes/streamed.py` can schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..ir import expr
from ..ir.expr import Dim
from ..ir.gpu import GpuTarget
from ..ir.graph import Graph, Node, Value
from ..ir.ops.namespace import F
from ..ir.streamed import Roles
from ..ir.target import Target
from . import gpu_rows, streamed
from .dimension_maps import FREE, MOVED, ONE, compose, operand_map
from .fuse import Fusion, Group
from .inlining import cost_of
from .lower import Place, lower_group
from .walks import usual

FEW_ROWS = 16                   # a contraction of fewer rows is bound by reading what they share
SMALLEST = 1 << 18              # bytes of weights that are cheaper to store
MOST_COST = 6.0                 # of one element of a bias, in additions: computing it again is cheaper than reading
SMALLEST_ON_GPU = 1 << 14       # the same where each kernel more costs microseconds


@dataclass(eq=False)
class _Candidate:
    """A group that would stream instead of the old ones; `taken` are the nodes that it computes besides theirs.

    `weights` are the axes of what it sums, `products` how many contractions its weights are made of.
    """

    old: tuple[Group, ...]
    new: Group
    taken: list[Node]
    weights: tuple[int | None, ...]
    products: int

    @property
    def stream(self) -> tuple[int, ...]:
        """How many dimensions its weights have, and which of them it sums along."""
        return len(self.weights), *(n for n, a in enumerate(self.weights) if a in self.new.summed.values())


def stream(graph: Graph, fusion: Fusion, target: Target | GpuTarget) -> Fusion:
    """The same decisions, with groups that stream where they can."""
    finder = _Finder(graph, fusion, isinstance(target, GpuTarget))
    alone = [c for g in fusion.groups if g.kind == "contraction" for c in [finder.candidate(g)] if c is not None]
    for found in (finder.paired(alone), alone):
        while found:
            merged = _merged(graph, fusion, found)
            if merged is None:
                break
            stored = {base for g in merged.groups for base in outside(g, merged)} | set(graph.outputs)
            kept = [c for c in found if not any(r in stored and r in finder.large for n in c.taken for r in n.results)]
            if len(kept) == len(found):
                return merged
            found = kept
    return fusion


def never_stored(graph: Graph) -> set[Node]:
    """The contractions that attention's weights are made of, which is computed again in its gradient."""
    return {m for made in weighing(graph).values() for m in made}


def weighing(graph: Graph) -> dict[Node, list[Node]]:
    """The products of attention's weights, each with the contractions that its weights are made of."""
    found: dict[Node, list[Node]] = {}
    for n in graph.nodes:
        for weights in n.operands if n.op is F.matmul else ():
            if _are_many(weights):
                made = _as_large(weights)
                if _has_softmax(made):
                    found[n] = [m for m in made if m.op.kind == "contraction"]
    return {n: made for n, made in found.items() if made}


def _are_many(weights: Value) -> bool:
    """Are there so many weights that they should not be stored?"""
    return _bytes(weights) >= SMALLEST and len(weights.shape) >= 2 and not _has_few_rows(weights)


def _has_few_rows(weights: Value) -> bool:
    return min(usual(d) for d in weights.shape[-2:]) < FEW_ROWS


def _bytes(v: Value) -> int:
    return usual(expr.product(v.shape)) * v.dtype.itemsize


def _has_softmax(nodes: Iterable[Node]) -> bool:
    """Is there an exponential of what is left above one number for each row? (Layers in a row are better stored.)"""
    exponents = (n.operands[0].node for n in nodes if n.op is F.exp)
    return any(x is not None and x.op is F.sub and not _have_as_many(*x.operands) for x in exponents)


def _have_as_many(a: Value, b: Value) -> bool:
    """Have they as many elements? Sizes that differ as expressions may be equal: a guard says so where it matters."""
    m, n = expr.product(a.shape), expr.product(b.shape)
    return m == n or not isinstance(m, int) and not isinstance(n, int) and usual(m) == usual(n)


def _is_bias(v: Value, weights: Value) -> bool:
    """Is it a matrix that several matrices of weights share, made by a little arithmetic?"""
    n = v.node
    if n is None or n.op.kind != "pointwise" or cost_of(n) > MOST_COST or _have_as_many(v, weights):
        return False
    return len(v.shape) >= 2 and v.shape[-2:] == weights.shape[-2:] and all(d != 1 for d in v.shape[-2:])


def _as_large(v: Value) -> set[Node]:
    """The nodes that v is made of, up to contractions, whose results have as many elements."""
    found: set[Node] = set()
    todo = [v]
    while todo:
        x = todo.pop()
        if x.node is not None and x.node not in found and _have_as_many(x, v):
            found.add(x.node)
            if x.node.op.kind in ("pointwise", "view"):
                todo += x.node.operands
    return found


class _Finder:
    def __init__(self, graph: Graph, fusion: Fusion, on_gpu: bool):
        self.fusion, self.outputs, self.on_gpu = fusion, set(graph.outputs), on_gpu
        self.match = gpu_rows.match if on_gpu else streamed.match
        self.readers: dict[Value, list[Group]] = {}
        for g in fusion.groups:
            for base in dict.fromkeys(outside(g, fusion)):
                self.readers.setdefault(base, []).append(g)
        self.position = {n: i for i, n in enumerate(graph.nodes)}
        self.fresh = max((a for g in fusion.groups for a in g.extents), default=0)
        self.large: set[Value] = set()                      # what is not to be stored

    def candidate(self, group: Group) -> _Candidate | None:
        """The group with what its weights are made of, if that streams."""
        roots = [n for n in group.nodes if n.op.kind == "contraction"]
        if len(roots) != 1 or roots[0].op is not F.matmul:
            return None
        for side, v in enumerate(roots[0].operands):
            bases = self.fusion.reach[v]
            if len(bases) == 1 and self.is_worth_it(bases[0][0]):
                for online in (True, False)[:1 if _has_few_rows(bases[0][0]) else 2]:
                    found = self.attempt(group, roots[0], side, online)
                    if found is not None:
                        return found
        return None

    def is_worth_it(self, weights: Value) -> bool:
        """Are the weights computed from a contraction, and so many that they should not be stored?"""
        if weights.node is None or weights.node.op.kind not in ("pointwise", "contraction"):
            return False
        if self.on_gpu:                                     # few rows share what passes by, too
            return len(weights.shape) >= 2 and _bytes(weights) >= SMALLEST_ON_GPU
        return _are_many(weights)

    # ---- what is taken over -----------------------------------------------------------------------------------------

    def taken(self, group: Group, weights: Value, online: bool) -> list[Node]:
        """The nodes that the weights are made of, if as large, and what is the same for several of their matrices and
        soon computed; with the reductions of a softmax if `online`.
        """
        found: dict[Node, None] = {}
        asked: dict[Value, bool] = {}

        def visit(v: Value) -> None:
            todo = [(v, False)]
            while todo:
                x, has_bases = todo.pop()
                if x.node is None:
                    continue
                if has_bases:                                   # what it is made of has been asked
                    asked[x] = any(asked.get(b, False) for b in self.bases(x.node))
                    found.update({x.node: None} if asked[x] else {})
                    continue
                if x in asked or x.literal is not None:
                    continue
                asked[x] = _have_as_many(x, weights)
                if asked[x] or _is_bias(x, weights):
                    found[x.node] = None
                elif online and x.node.op.kind in ("reduction", "pointwise", "view"):
                    todo.append((x, True))
                else:
                    continue
                if x.node.op.kind != "contraction" or not asked[x]:
                    todo += [(b, False) for b in self.bases(x.node)]

        visit(weights)
        for n in self.fusion.group_of[weights].nodes:       # a sum that the result is divided by, what a gradient reads
            visit(n.results[0])
        return sorted((n for n in found if n not in group.nodes), key=self.position.__getitem__)

    def bases(self, n: Node) -> Iterator[Value]:
        return (b for v in n.operands for b, _ in self.fusion.reach[v])

    def attempt(self, group: Group, root: Node, side: int, online: bool) -> _Candidate | None:
        """The merged group, if its kernel streams."""
        (weights, inner), = self.fusion.reach[root.operands[side]]
        taken = self.taken(group, weights, online)
        products = sum(n.op.kind == "contraction" for n in taken)
        if products == 0 or online and products > 1 or not _has_softmax(taken):
            return None
        shared = self.fresh + 1
        sizes = root.operands[side].shape
        along = len(sizes) - 1 if side == 0 else len(sizes) - 2
        axes = self.axes_of(weights, inner, self.operand_axes(group, root, side, shared))
        if axes is None:
            return None
        reductions = self.reductions(taken, weights, axes, shared)
        if reductions is None or online != any(n.op.kind == "reduction" for n in taken):
            return None
        own_axes, reduced = reductions
        if any(t != (shared,) for t in reduced.values()):
            return None
        nodes = sorted([*taken, *group.nodes], key=self.position.__getitem__)
        new = Group(group.number, "streamed", nodes, {**own_axes, **group.axes},
                    {**group.extents, shared: sizes[along]}, {**reduced, **group.reduced}, {root: shared})
        roles = self.trial(new, (group,))
        if roles is None:
            return None
        self.fresh = shared
        self.large |= {r for n in taken for r in n.results if _have_as_many(r, weights)}
        return _Candidate((group,), new, taken, axes, len(roles.inner))

    # ---- pairs ------------------------------------------------------------------------------------------------------

    def paired(self, alone: Sequence[_Candidate]) -> list[_Candidate]:
        """The candidates, those as one that share what their weights are made of (gradients of keys and values)."""
        out: list[_Candidate] = []
        for c in alone:
            pairs = ((n, self.pair(other, c)) for n, other in enumerate(out))
            n, pair = next(((n, pair) for n, pair in pairs if pair is not None), (0, None))
            if pair is None:
                out.append(c)
            else:
                out[n] = pair
        return out

    def pair(self, a: _Candidate, b: _Candidate) -> _Candidate | None:
        """Both as one, if they then make no product twice."""
        shared = any(n.op.kind == "contraction" and n in a.taken for n in b.taken)
        if not shared or a.new.reduced or b.new.reduced or a.stream != b.stream or len(b.old) > 1:
            return None
        names = dict(zip(b.weights, a.weights))
        new = Group(b.new.number, "streamed",
                    sorted({*a.new.nodes, *b.new.nodes}, key=self.position.__getitem__),
                    {**a.new.axes, **{v: tuple(names.get(x, x) for x in t) for v, t in b.new.axes.items()}},
                    {**a.new.extents, **{x: e for x, e in b.new.extents.items() if x not in names}}, {},
                    {**a.new.summed, **{n: names.get(x, x) for n, x in b.new.summed.items()}})  # type: ignore[misc]
        old = (*a.old, *b.old)
        roles = self.trial(new, old)
        if roles is None or len(roles.inner) > max(a.products, b.products):
            return None
        taken = [n for n in new.nodes if not any(n in g.nodes for g in old)]
        return _Candidate(old, new, taken, a.weights, len(roles.inner))

    def operand_axes(self, group: Group, root: Node, side: int, shared: int) -> tuple[int | None, ...]:
        """The axis of each dimension of a factor of a matrix product."""
        result = group.axes[root.results[0]]
        shape = root.operands[side].shape
        batch = result[len(result) - len(shape):-2]
        own = [None if isinstance(d, int) and d == 1 else a for a, d in zip(batch, shape)]
        return (*own, result[-2], shared) if side == 0 else (*own, shared, result[-1])

    def axes_of(self, weights: Value, inner: Sequence[int],
                operand: Sequence[int | None]) -> tuple[int | None, ...] | None:
        """The axis of each dimension of the weights, through the views between them and the product."""
        if any(d == MOVED for d in inner):
            return None
        return tuple(None if d == ONE else operand[d] for d in inner)

    def reductions(self, taken: list[Node], weights: Value, axes: tuple[int | None, ...],
                   shared: int) -> tuple[dict, dict] | None:
        """The axes of reductions and of what is made of them, and what they reduce; None if not the weights' axes."""
        source = self.fusion.group_of[weights]
        names = {**dict(zip(source.axes[weights], axes)), None: None}
        known = {weights: axes}
        reduced: dict[Node, tuple[int, ...]] = {}
        for n in reversed(taken):                            # from the weights to what they are made of
            (v, *_) = n.results
            if _is_bias(v, weights):
                continue
            if v not in known and v in source.axes and set(source.axes[v]) <= set(names):
                known[v] = tuple(names[a] for a in source.axes[v])
            if v not in known:
                return None
            if n.op.kind == "contraction":
                continue
            if n.op.kind == "reduction":
                reduced[n] = tuple(shared for d in n.attrs["axes"] if n.operands[0].shape[d] != 1)
            for base, found in self.seen_from(n, known[v], shared):
                if known.setdefault(base, found) != found:
                    return None
        few = [n.results[0] for n in taken if not _have_as_many(n.results[0], weights)]
        return {v: known[v] for v in few if not _is_bias(v, weights)}, reduced

    def seen_from(self, n: Node, axes: tuple[int | None, ...],
                  shared: int) -> Iterator[tuple[Value, tuple[int | None, ...]]]:
        """What a node with these axes reads in place, and along which axes."""
        for i, v in enumerate(n.operands):
            outer = operand_map(n, i)
            for base, inner in self.fusion.reach[v]:
                dims = compose(inner, outer)
                if MOVED not in dims and base.literal is None:
                    yield base, tuple(None if d == ONE else shared if d == FREE else axes[d] for d in dims)

    # ---- the trial --------------------------------------------------------------------------------------------------

    def trial(self, new: Group, old: Sequence[Group]) -> Roles | None:
        """What the parts of the merged group's kernel are, if it streams."""
        read = dict.fromkeys(outside(new, self.fusion))
        places: dict[Value, Place | Dim] = {b: Place(f"x{i}", b.shape, b.dtype) for i, b in enumerate(read)}
        written = [r for g in old for n in g.nodes for r in n.results if r in self.outputs or r in self.readers]
        targets = {r: [Place(f"y{i}", r.shape, r.dtype)] for i, r in enumerate(written)}
        found = self.match(lower_group(new, self.fusion, places, written, targets, "trial"))
        return None if found is None else found[2]


def outside(group: Group, fusion: Fusion) -> Iterator[Value]:
    """What a group reads that it does not compute."""
    mine = {r for n in group.nodes for r in n.results}
    for n in group.nodes:
        for v in n.operands:
            for base, _ in fusion.reach[v]:
                if base not in mine and base.literal is None:
                    yield base


def _merged(graph: Graph, fusion: Fusion, found: Iterable[_Candidate]) -> Fusion | None:
    """The fusion with some groups replaced, and without those not needed; None if groups then need each other."""
    instead = {g: c.new for c in found for g in c.old}
    group_of = {v: instead.get(g, g) for v, g in fusion.group_of.items()}
    for c in found:
        for v in c.new.axes:                                # the maximum and the sum of a softmax, too
            group_of[v] = c.new
    groups = _in_order(dict.fromkeys(instead.get(g, g) for g in fusion.groups), fusion, group_of)
    if groups is None:
        return None
    needed, live = set(graph.outputs), []
    for g in reversed(groups):
        if g.kind == "host" or any(r in needed and group_of[r] is g for n in g.nodes for r in n.results):
            live.append(g)
            needed.update(outside(g, fusion))
    together = [set(c.new.nodes) for c in found]
    notes = [x for x in fusion.notes if not any(x.producer in nodes and x.consumer in nodes for nodes in together)]
    return Fusion(live[::-1], fusion.inlined, fusion.reach, group_of, notes)


def _in_order(groups: Iterable[Group], fusion: Fusion, group_of: Mapping[Value, Group]) -> list[Group] | None:
    """Groups so that each comes after those it reads; None if that cannot be."""
    out: list[Group] = []
    placed: dict[Group, bool] = {}                              # False while what it reads is being placed
    for first in groups:
        todo = [first]
        while todo:
            g = todo[-1]
            if placed.get(g, False):
                todo.pop()
                continue
            before = dict.fromkeys(group_of[base] for base in outside(g, fusion) if base in group_of)
            missing = [other for other in before if not placed.get(other, False)]
            if any(other in placed for other in missing):
                return None                                     # a circle
            if missing:
                placed[g] = False
                todo.append(missing[0])
            else:
                placed[g] = True
                out.append(todo.pop())
    return out
