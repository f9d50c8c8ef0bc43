"""The hit path: a function printed for one specialisation that checks a call's arguments, finds memory and calls the native entry.

A tensor's type, layout and need for gradients are interned in one object, its `_meta`, so that a guard is one comparison by identity.
What the printed function does not know (other signatures, trees, gradients to be recorded) goes to `miss`.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import expr
from ..ir.interpreter import _current
from ..ir.types import DType
from . import world
from .modes import _grad_enabled
from .tensor import Tensor, dtype_of_array

if TYPE_CHECKING:
    from .signature import Call
    from .specialise import Specialisation

MOST_CAPTURES = 2000


class Meta:
    """One for each (shape, dtype, needs gradients) of a contiguous tensor on the CPU."""

    __slots__ = ("shape", "dtype", "requires_grad")

    def __init__(self, shape: tuple[int, ...], dtype: DType, requires_grad: bool):
        self.shape, self.dtype, self.requires_grad = shape, dtype, requires_grad


_interned: dict[Any, Meta] = {}


def intern(shape: tuple[int, ...], dtype: DType, requires_grad: bool) -> Meta:
    """The Meta of this type."""
    key = (shape, dtype, requires_grad)
    found = _interned.get(key)
    if found is None:
        found = _interned.setdefault(key, Meta(shape, dtype, requires_grad))
    return found


def prepare(t: Tensor) -> Meta | None:
    """Give a tensor its `_meta` and `_pointer`; None if its memory cannot be passed as it is."""
    if t._meta is None:
        array = t._array
        if array is None or not array.flags.c_contiguous or not array.flags.aligned:
            return None
        t._pointer = array.__array_interface__["data"][0]
        t._meta = intern(array.shape, dtype_of_array(array), t.requires_grad)
    return t._meta


def build(spec: Specialisation, call: Call, miss: Any) -> Any:
    """The printed function for calls like this one; None where the general path must do."""
    traced = spec.traced
    kinds = call.kinds
    flat = call.structure[2][0]
    if spec.symbols or spec.wrt or traced.attributes or traced.argument_writes or spec.backward or not spec.stages.executable.is_native:
        return None
    if call.structure[2][1] != (dict, (), ()) or any(c != "*" for c in flat[2]) or len(spec.captures) > MOST_CAPTURES:
        return None
    if any(k != "float" and k != "int" and k[0] == "static" and not isinstance(k[2], (bool, str, type(None))) for k in kinds):
        return None
    printer = _Printer(spec, call)
    return printer.function(miss) if printer.possible else None


class _Printer:
    def __init__(self, spec: Specialisation, call: Call):
        self.spec, self.call = spec, call
        self.space: dict[str, Any] = {"Tensor": Tensor, "prepare": prepare, "current": _current.get, "grad": _grad_enabled.get,
                                      "count": sys.getrefcount, "W": world.WORLD, "new": Tensor.__new__, "ndarray": np.ndarray}
        self.tests: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []
        self.pointers: list[str] = []
        self.possible = True
        self._arguments()
        self._inputs()
        self._outputs()

    def _arguments(self) -> None:
        for n, (kind, x) in enumerate(zip(self.call.kinds, self.call.leaves)):
            if kind == "float":
                self.tests.append(f"type(a{n}) is float")
            elif kind == "int":
                self.tests.append(f"type(a{n}) is int and a{n} == {x}")
            elif kind[0] == "static":
                self.space[f"S{n}"] = x
                self.tests.append(f"type(a{n}) is {type(x).__name__} and a{n} == S{n}" if x is not None else f"a{n} is None")
                self.space.setdefault(type(x).__name__, type(x))
            else:
                meta = prepare(x)
                self.possible &= meta is not None
                self.space[f"M{n}"] = meta
                self.tests.append(f"type(a{n}) is Tensor and a{n}._meta is M{n}")

    def _inputs(self) -> None:
        for n, (kind, x) in enumerate(self.spec.inputs):
            if kind == "argument":
                self.pointers.append(self._float(f"a{x}", n) if self.call.kinds[x] == "float" else f"a{x}._pointer")
            elif isinstance(x, Tensor):
                meta = prepare(x)
                self.possible &= meta is not None
                self.space[f"C{n}"], self.space[f"N{n}"] = x, meta
                self.tests.append(f"C{n}._meta is N{n}")
                self.pointers.append(f"C{n}._pointer")
            else:
                self.space[f"R{n}"] = x
                self.pointers.append(self._float(f"R{n}()", n))
        for n, (t, had) in enumerate(self.spec.had_grad):
            self.space[f"G{n}"] = t
            self.tests.append(f"G{n}._grad is {'not ' * had}None")

    def _float(self, text: str, n: int) -> str:
        from ctypes import addressof, c_double

        self.space.update(c_double=c_double, addressof=addressof)
        self.before.append(f"f{n} = c_double({text})")
        return f"addressof(f{n})"

    def _outputs(self) -> None:
        from ..runtime import memory

        executable, traced = self.spec.stages.executable, self.spec.traced
        layout = executable.layout()
        writes = {n: t for t, n in traced.writes}
        position = {name: n for n, name in enumerate(self.spec.stages.program.inputs)}
        names = self.spec.stages.program.outputs
        self.possible &= len(set(names)) == len(names)
        first: dict[str, int] = {}
        for n, name in enumerate(names):
            first.setdefault(name, n)
        for k, slot in enumerate(executable.output_slots):
            n = first[slot]
            shape, dtype = layout.outputs[k], executable.program.slots[slot].dtype
            pool = memory.outputs(shape, dtype.numpy)
            self.space[f"take{n}"] = pool.take
            giver = position.get(executable.program.slots[slot].takes)
            if giver is not None and n in writes and self.spec.inputs[giver][1] is writes[n]:
                # memory with one holder is written in place (2 references: the attribute and the argument of count); what is not
                # gets memory outside the pool, which a later call can write in place
                self.space[f"take{n}"] = functools.partial(memory.empty, shape, dtype.numpy)
                self.before.append(f"x = C{giver}._array")
                self.before.append(f"o{n}, p{n} = (None, C{giver}._pointer) if count(x) == 3 and type(x.base) is not ndarray and "
                                   f"x.flags.writeable else take{n}()")
            else:
                self.before.append(f"o{n}, p{n} = take{n}()")
            self.pointers.append(f"p{n}")
        made: set[int] = set()
        for t, n in traced.writes:
            self.space[f"T{n}"], self.space[f"O{n}"] = t, prepare(t)
            self.after.append(f"if o{n} is not None: T{n}._array, T{n}._pointer = o{n}, p{n}")
        for m, (t, output) in enumerate(traced.grads):
            self.space[f"H{m}"] = t
            if output is None:
                self.after.append(f"H{m}._grad = None")
            else:
                self._tensor(output, made)
                self.after.append(f"H{m}._grad = t{output}")
        for kind, x in traced.leaves:
            if kind == "output":
                self._tensor(x, made)
                self.possible &= x not in writes

    def _tensor(self, n: int, made: set[int]) -> None:
        if n in made:
            return
        made.add(n)
        type_ = self.spec.traced.graph.outputs[n].type
        self.space[f"L{n}"] = intern(tuple(map(expr.static, type_.shape)), type_.dtype, False)
        self.after += [f"t{n} = Tensor(o{n})", f"t{n}._meta = L{n}", f"t{n}._pointer = p{n}"]

    def function(self, miss: Any) -> Any:
        """Print and make it."""
        from . import pytree

        spec = self.spec
        names = [f"a{n}" for n in range(len(self.call.leaves))]
        out = []
        for n, (kind, x) in enumerate(spec.traced.leaves):
            if kind == "value":
                self.space[f"V{n}"] = x
            out.append(f"t{x}" if kind == "output" else f"a{x}" if kind == "argument" else f"V{n}" if kind == "value" else str(x))
        result = spec.traced.result
        if result == pytree.LEAF:
            text = out[0]
        elif result[0] is tuple and all(c == pytree.LEAF for c in result[2]):
            text = f"({', '.join(out)}{',' if len(out) == 1 else ''})"
        else:
            self.space.update(unflatten=pytree.unflatten, structure=result)
            text = f"unflatten(structure, ({', '.join(out)}{',' if len(out) == 1 else ''}))"
        self.space.update(miss=miss, outside=spec.traced.outside.check, call=spec.stages.executable.bind(), world=world.WORLD[0])
        prepared = "".join(f"prepare(a{n}), " for n, k in enumerate(self.call.kinds) if k != "float" and k != "int" and k[0] == "tensor")
        mode = "grad()" if spec.call.key[2] else "not grad()"
        tests = " and ".join([*self.tests, *["outside()"] * bool(len(spec.traced.outside)), "W[0] == world", f"{mode}", "current() is None"])
        body = [*self.before, f"call({', '.join(self.pointers)})", *self.after, f"return {text}"]
        lines = [f"def fast({', '.join([*names, '*more'])}, **named):", f"    if not more and not named and {tests}:",
                 *(f"        {line}" for line in body), f"    return miss({', '.join([*names, '*more'])}, **named)"]
        self.space["prepared"] = prepared
        exec("\n".join(lines), self.space)
        return self.space["fast"]
