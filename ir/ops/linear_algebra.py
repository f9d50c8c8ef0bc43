"""Products of tensors: written with permute, reshape and matmul. `einsum` reads its own little language."""

from __future__ import annotations

from ..errors import ShapeError
from .declare import composite, conjugate, element_count, same_size, show_shape
from .manipulation import along, one_axis
from .namespace import F


@composite
def dot(x, y):
    """NumPy's dot: the last axis of x with the last but one of y (or its only one); vectors give a number."""
    if not x.shape or not y.shape:
        return x * y
    return F.tensordot(x, y, ((len(x.shape) - 1,), (max(len(y.shape) - 2, 0),)))


@composite
def vecdot(x, y, axis=-1):
    """The sum of conj(x) * y along an axis."""
    product = conjugate(x) * y
    return F.sum(product, axes=(one_axis(axis, len(product.shape)),))


@composite
def matvec(a, x):
    """Matrices times vectors: the last dimension of both."""
    return F.squeeze(F.matmul(a, F.expand_dims(x, -1)), -1)


@composite
def outer(x, y):
    """All products of two vectors."""
    return F.expand_dims(x, -1) * y


@composite
def inner(x, y):
    """The sum of products over the last axes."""
    return F.tensordot(x, y, ((len(x.shape) - 1,), (len(y.shape) - 1,)))


@composite
def tensordot(x, y, axes=2):
    """The sum of products over pairs of axes: (axes of x, axes of y), or the last n of x with the first n of y."""
    if isinstance(axes, int):
        axes = (tuple(range(len(x.shape) - axes, len(x.shape))), tuple(range(axes)))
    mine = tuple(one_axis(a, len(x.shape)) for a in axes[0])
    theirs = tuple(one_axis(a, len(y.shape)) for a in axes[1])
    for a, b in zip(mine, theirs):
        if not same_size(x.shape[a], y.shape[b]):
            raise ShapeError(f"tensordot: axis {a} of {show_shape(x.shape)} and axis {b} of {show_shape(y.shape)} "
                             "differ in size")
    left = tuple(i for i in range(len(x.shape)) if i not in mine)
    right = tuple(i for i in range(len(y.shape)) if i not in theirs)
    summed = element_count([x.shape[a] for a in mine])
    a = F.reshape(F.permute(x, axes=(*left, *mine)), shape=(element_count([x.shape[i] for i in left]), summed))
    b = F.reshape(F.permute(y, axes=(*theirs, *right)), shape=(summed, element_count([y.shape[i] for i in right])))
    return F.reshape(F.matmul(a, b), shape=(*(x.shape[i] for i in left), *(y.shape[i] for i in right)))


@composite
def kron(x, y):
    """The Kronecker product."""
    rank = max(len(x.shape), len(y.shape))
    a, b = ((*(1 for _ in range(rank - len(t.shape))), *t.shape) for t in (x, y))
    rows, columns = (s for d in a for s in (d, 1)), (s for d in b for s in (1, d))
    wide = F.reshape(x, shape=tuple(rows)) * F.reshape(y, shape=tuple(columns))
    return F.reshape(wide, shape=tuple(m * n for m, n in zip(a, b)))


@composite
def cross(x, y, axis=-1):
    """The vector product of triples along an axis."""
    axis = one_axis(axis, len(x.shape))
    return F.roll(x, -1, axis) * F.roll(y, 1, axis) - F.roll(x, 1, axis) * F.roll(y, -1, axis)


# ---- einsum ----------------------------------------------------------------------------------------------------------


@composite
def einsum(equation, *operands):
    """Einstein's summation: "ij,jk->ik". Repeated indices of one operand are its diagonal; `...` are broadcast
    dimensions.

    Operands are taken from left to right; an index is summed as soon as nothing later needs it.
    """
    terms, output = read_equation(equation, [len(x.shape) for x in operands])
    done, index = _alone(operands[0], terms[0], _needed(terms[1:], output))
    for n in range(1, len(operands)):
        later = _needed(terms[n + 1:], output)
        other, other_index = _alone(operands[n], terms[n], [*later, *index])
        done, index = _pair(done, index, other, other_index, later)
    missing = [i for i in output if i not in index]
    if missing:
        raise ShapeError(f"einsum {equation!r}: the result's index {missing[0]!r} is in no operand")
    return F.permute(done, axes=tuple(index.index(i) for i in output))


def read_equation(equation, ranks):
    """The indices of each operand and of the result; an ellipsis is as many numbers, counted from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(ranks):
        raise ShapeError(f"einsum {equation!r} names {len(texts)} operands, {len(ranks)} are given")
    extra = [rank - len(t.replace("...", "")) for t, rank in zip(texts, ranks)]
    for t, rank, n in zip(texts, ranks, extra):
        if n < 0 or (n > 0 and "..." not in t):
            raise ShapeError(f"einsum {equation!r}: {t!r} does not fit an operand of {rank} dimensions")
    terms = [_indices(t, n, equation) for t, n in zip(texts, extra)]
    widest = list(range(max((n for t, n in zip(texts, extra) if "..." in t), default=0)))[::-1]
    if arrow:
        return terms, _indices(right, len(widest), equation)
    letters = [i for t in terms for i in t if isinstance(i, str)]
    return terms, [*widest, *sorted(i for i in set(letters) if letters.count(i) == 1)]


def _indices(text, extra, equation):
    before, dots, after = text.partition("...")
    if not (before + after).isalpha() and before + after:
        raise ShapeError(f"einsum {equation!r}: {text!r} has something else than letters and one '...'")
    return [*before, *(range(extra)[::-1] if dots else ()), *after]


def _needed(terms, output):
    return [*output, *(i for t in terms for i in t)]


def _alone(x, index, needed):
    """One operand with its repeated indices on the diagonal and what nobody needs summed out."""
    index = list(index)
    for i in [i for i in dict.fromkeys(index) if index.count(i) > 1]:
        while index.count(i) > 1:
            a = index.index(i)
            b = index.index(i, a + 1)
            x = F.diagonal(x, 0, a, b)
            index = [*(j for n, j in enumerate(index) if n not in (a, b)), i]
    return _sum_out(x, index, needed)


def _sum_out(x, index, needed):
    gone = tuple(n for n, i in enumerate(index) if i not in needed)
    return (F.sum(x, axes=gone) if gone else x), [i for i in index if i in needed]


def _is_one(d):
    return isinstance(d, int) and d == 1


def _pair(x, xi, y, yi, needed):
    """Two operands: shared indices are batches if they are needed on, else summed by a matmul."""
    size = {i: d for index, t in ((yi, y), (xi, x)) for i, d in zip(index, t.shape)}
    for index, t in ((xi, x), (yi, y)):
        for i, d in zip(index, t.shape):
            if not _is_one(d):
                size[i] = d
    shared = [i for i in xi if i in yi]
    for i in shared:
        a, b = x.shape[xi.index(i)], y.shape[yi.index(i)]
        if not (same_size(a, b) or _is_one(a) or _is_one(b)):
            raise ShapeError(f"einsum: the index {i!r} has the sizes {a} and {b}")
    summed = [i for i in shared if i not in needed]
    x, y = (_broadcast(t, index, size, summed) for t, index in ((x, xi), (y, yi)))
    batch = [i for i in shared if i in needed]
    rows, columns = [i for i in xi if i not in yi], [i for i in yi if i not in xi]
    if not summed:
        return _multiply(x, xi, y, yi, [*batch, *rows, *columns])
    a = _grouped(x, xi, batch, rows, summed)
    b = _grouped(y, yi, batch, summed, columns)
    out = [*batch, *rows, *columns]
    return F.reshape(F.matmul(a, b), shape=tuple(size[i] for i in out)), out


def _broadcast(t, index, size, wide):
    """t with its indices of size 1 repeated where they are summed."""
    shape = tuple(size[i] if i in wide else d for i, d in zip(index, t.shape))
    return t if shape == t.shape else F.broadcast_to(t, shape=shape)


def _multiply(x, xi, y, yi, out):
    def spread(t, index):
        order = tuple(index.index(i) for i in out if i in index)
        t, rest = F.permute(t, axes=order), iter([t.shape[a] for a in order])
        return F.reshape(t, shape=tuple(next(rest) if i in index else 1 for i in out))

    return spread(x, xi) * spread(y, yi), out


def _grouped(t, index, batch, first, second):
    """[*batch, product of first, product of second]."""
    t = F.permute(t, axes=tuple(index.index(i) for i in (*batch, *first, *second)))
    n, m = len(batch), len(batch) + len(first)
    return F.reshape(t, shape=(*t.shape[:n], element_count(t.shape[n:m]), element_count(t.shape[m:])))


@composite
def vander(x, count):
    """Powers 0 … count - 1 of a vector, as columns."""
    return F.pow(F.expand_dims(x, -1), F.astype(along(F.iota(size=count), 1, 2), x.dtype))
