"""Control flow, gradients and markers: ops that hold sub-graphs or stand for a transformation."""

from __future__ import annotations

from .declare import DTYPES, general


def _no_evaluate(xp, *operands, **attrs):
    raise AssertionError("evaluated by ir/evaluate.py, which knows regions")


def control(name, *, parameters, infer, doc, vjp=None):
    """An op with sub-graphs among its attributes; `ir/evaluate.py`, the tracer and the lowering know how each runs."""
    return general(name, "control", _no_evaluate, infer=infer, arity=None, dtypes=DTYPES, parameters=parameters,
                   results=-1, vjp=vjp, doc=doc)


def region_types(graph):
    """The types of a region's outputs."""
    return tuple(v.type for v in graph.outputs)


gradient = control(
    "gradient", parameters=("count",), infer=lambda types, count: types[2:],
    doc="operands: output, cotangent, then `count` values; the gradients of the output with respect to them. Expanded "
        "by passes/autodiff.py.")

custom_vjp = control(
    "custom_vjp", parameters=("count", "backward"), infer=lambda types, count, backward: types[:count],
    doc="operands: `count` results, then inputs, then what the backward region needs besides; the results themselves. "
        "Their cotangents and those further operands are the inputs of the region `backward`, whose outputs are the "
        "cotangents of the inputs.")

cond = control("cond", parameters=("then", "otherwise"), infer=lambda types, then, otherwise: region_types(then),
               doc="operands: a 0-d bool, then the inputs of both regions. Runs one of them.")

loop = control(
    "loop", parameters=("body", "carried", "scanned", "reverse"),
    infer=lambda types, body, carried, scanned, reverse: _loop_types(
        types, body, carried, scanned),
    doc="operands: the number of turns (0-d int64), `carried` values, `scanned` sequences, then invariants. The region "
        "takes (turn, carried, one element of each sequence, invariants) and gives (carried, elements); results: the "
        "last carried values, the stacked elements.")

while_loop = control(
    "while_loop", parameters=("test", "body", "carried"), infer=lambda types, test, body, carried: types[:carried],
    doc="operands: `carried` values, then invariants. `test` and `body` take all of them; runs while `test` gives "
        "true.")

barrier = control("barrier", parameters=(), infer=lambda types: types,
                  doc="The operands themselves; recomputation stops here (checkpoint).")


def _loop_types(types, body, carried, scanned):
    from ..types import TensorType

    outs = region_types(body)
    turns = types[1 + carried].shape[0] if scanned else None
    stacked = []
    for t in outs[carried:]:
        length = turns if turns is not None else body_length(body)
        stacked.append(TensorType((length, *t.shape), t.dtype, t.device))
    return (*outs[:carried], *stacked)


def body_length(body):
    """The number of turns that a body without sequences was traced for, written in its notes."""
    length = body.notes.get("length")
    return int(length) if length is not None and str(length).isdigit() else length
