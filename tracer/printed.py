"""Prints the function that serves the calls of one specialisation: it takes the arguments apart, checks them, finds
memory, runs.

The text is one condition and straight code behind it. `v{leaf}` is a leaf of the arguments, `z{n}` a symbolic size,
`o{n}` and `p{n}` an output's array and its address, `t{n}` its tensor. All constants are globals of the function;
`world` and `miss` change later.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from ctypes import addressof, c_double
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import expr
from ..ir.expr import Dim, Expr
from ..ir.interpreter import _current
from . import pytree, world
from .autograd import TapeNode
from .devices import CPU
from .dispatch import intern, prepare
from .modes import _grad_enabled, ambient
from .tensor import Tensor

if TYPE_CHECKING:
    from .signature import Call
    from .specialise import Specialisation

ABSENT = type("Absent", (), {"__slots__": ()})()
_MOST_PLANS = 256


class Unprintable(Exception):
    """The general path must serve these calls."""


def printed(spec: Specialisation, call: Call, miss: Callable[..., Any]) -> Callable[..., Any] | None:
    """The function for calls like this one; what it does not know goes to `miss`. None where there can be none."""
    try:
        return _Printer(spec, call).function(miss)
    except Unprintable:
        return None


class _Printer:
    def __init__(self, spec: Specialisation, call: Call):
        self.spec, self.call = spec, call
        self.space: dict[str, Any] = {
            "Tensor": Tensor, "prepare": prepare, "current": _current.get, "grad": _grad_enabled.get,
            "count": sys.getrefcount,
            "W": world.WORLD, "ndarray": np.ndarray, "absent": ABSENT, "c_double": c_double, "addressof": addressof,
            "TapeNode": TapeNode, "miss": None, "world": world.WORLD[0] if world.is_steady() else None,
        }  # fmt: skip
        self.tests: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []
        self.pointers: list[str] = []
        self.sizes = {name: f"z{n}" for n, name in spec.symbols}
        self.made: set[int] = set()

    def constant(self, prefix: str, x: Any) -> str:
        """A global of the function."""
        name = f"{prefix}_{len(self.space)}"
        self.space[name] = x
        return name

    # ---- arguments

    def function(self, miss: Callable[..., Any]) -> Callable[..., Any]:
        """Print and make it."""
        spec = self.spec
        if not spec.stages.executable.is_native and spec.device == CPU:
            raise Unprintable
        positional, named = self.call.structure[2]
        parameters = [f"a{n}" for n in range(len(positional[2]))]
        self._arguments(parameters, positional, named)
        self._guards()
        body = self._native() if spec.stages.executable.is_native else self._on_device()
        keys = named[1]
        self.tests.insert(0, "not more" + (" and not named" if not keys else f" and len(named) == {len(keys)}"))
        if parameters:
            self.tests.insert(1, f"{parameters[-1]} is not absent")
        given = f"*[a for a in ({', '.join(parameters)},) if a is not absent], " if parameters else ""
        head = ", ".join([*(f"{p}=absent" for p in parameters), *(["/"] if parameters else []), "*more", "**named"])
        lines = [f"def fast({head}):", f"    if {' and '.join(self.tests)}:",
                 *(f"        {line}" for line in body),
                 f"    return miss({given}*more, **named)"]
        self.space.update(renew=self._renewal(), miss=miss)
        exec("\n".join(lines), self.space)
        return self.space["fast"]

    def _native(self) -> list[str]:
        """One call of the program's entry, with addresses."""
        self._inputs()
        self._outputs()
        result = self._result()
        self.space["call"] = self.spec.stages.executable.bind()
        lines = [*self.before, f"call({', '.join(self.pointers)})", *self.after, f"return {result}"]
        if self.spec.context is None:
            return lines
        return [f"with {self.constant('turn', self.spec.context)}:", *(f"    {line}" for line in lines)]

    def _on_device(self) -> list[str]:
        """The specialisation's own call, behind the same tests."""
        for kind, x in self.spec.inputs:
            if kind == "capture" and isinstance(x, Tensor):
                self._capture(x)
            elif kind == "gradient":
                self._gradient(x)
        spec, given = self.spec, self.spec.call
        numbers = [self.sizes.get(f"n{m}", str(n)) for m, n in enumerate(given.numbers)]

        def serve(leaves: list[Any], numbers: tuple[int, ...]) -> Any:
            return spec(replace(given, leaves=leaves, numbers=numbers))

        self.space["serve"] = serve
        leaves = ", ".join(f"v{n}" for n in range(len(given.leaves)))
        return [f"return serve([{leaves}], ({''.join(f'{n}, ' for n in numbers)}))"]

    def _capture(self, x: Tensor) -> str:
        """The name of a captured tensor, which must be what it was."""
        meta, holder = self.constant("meta", self._meta(x)), self.constant("capture", x)
        self.tests.append(f"({holder}._meta is {meta} or prepare({holder}) is {meta})")
        return holder

    def _gradient(self, owner: Tensor) -> str:
        """The name of the .grad of a tensor, which must be of the type that it was of."""
        type, needs = next((type, needs) for t, type, needs in self.spec.gradients if t is owner)
        was = intern(type.shape, type.dtype, needs, type.device)       # it may be gone after the call
        meta, g = self.constant("meta", was), f"g{len(self.tests)}"
        self.tests.append(f"({g} := {self.constant('grad', owner)}._grad) is not None and "
                          f"({g}._meta is {meta} or prepare({g}) is {meta})")
        return g

    def _renewal(self) -> Callable[[], bool]:
        space, watches, usual = self.space, self.spec.watches, self.spec.ambient

        def renew() -> bool:
            """Something has changed: nothing that this specialisation depends on?"""
            now = world.WORLD[0]
            if ambient() != usual or not all(w.holds() for w in watches):
                return False
            if world.is_steady():
                space["world"] = now
            return True

        return renew

    def _arguments(self, parameters: list[str], positional: Any, named: Any) -> None:
        leaves = iter(range(len(self.call.leaves)))
        for text, structure in zip(parameters, positional[2]):
            self._tree(text, structure, leaves)
        for key, structure in zip(named[1], named[2]):
            value = f"k{len(self.tests)}"
            self.tests.append(f"({value} := named.get({key!r}, absent)) is not absent")
            self._tree(value, structure, leaves)

    def _tree(self, text: str, structure: Any, leaves: Any) -> None:
        """Tests that a value is the tree that it was, and names for its leaves."""
        if structure == pytree.LEAF:
            self._leaf(text, next(leaves))
            return
        kind, static, children = structure
        if kind is type(None):
            self.tests.append(f"{text} is None")
            return
        self.tests.append(f"type({text}) is {self.constant('type', kind)}")
        if kind is dict:
            keys = self.constant("keys", static)
            self.tests.append(f"tuple({text}) == {keys}")
            parts = [f"{text}[{keys}[{n}]]" for n in range(len(static))]
        else:
            if kind is not list and kind is not tuple:
                opened = f"b{len(self.tests)}"
                self.tests.append(f"({opened} := {self.constant('open', pytree.opened)}({text}))[1] == "
                                  f"{self.constant('static', static)}")
                text = f"{opened}[0]"
            self.tests.append(f"len({text}) == {len(children)}")
            parts = [f"{text}[{n}]" for n in range(len(children))]
        for part, child in zip(parts, children):
            if child == pytree.LEAF:
                self._tree(part, child, leaves)
            else:
                value = f"b{len(self.tests)}"
                self.tests.append(f"({value} := {part}) is not absent")
                self._tree(value, child, leaves)

    def _leaf(self, text: str, n: int) -> None:
        kind, x = self.call.kinds[n], self.call.leaves[n]
        v = f"v{n}"
        if kind == "float":
            self.tests.append(f"type({v} := {text}) is float")
        elif kind == "int":
            self.tests.append(f"type({v} := {text}) is int")
            self.tests += self._numbers(n, lambda d: v)
        elif kind[0] == "static":
            same = isinstance(x, str) and type(x) is str
            constant = self.constant("static", x)
            self.tests.append(f"type({v} := {text}) is str and {v} == {constant}" if same
                              else f"({v} := {text}) is {constant}")
        else:
            self._tensor_argument(v, text, n)

    def _tensor_argument(self, v: str, text: str, n: int) -> None:
        x = self.call.leaves[n]
        meta = self._meta(x)
        self.tests.append(f"type({v} := {text}) is {self.constant('kind', type(x))}")
        if not any(self.spec.pattern[m] is None for m, (leaf, _) in enumerate(self.call.owners) if leaf == n):
            name = self.constant("meta", meta)
            self.tests.append(f"({v}._meta is {name} or prepare({v}) is {name})")
            return
        self.tests.append(f"(m{n} := {v}._meta or prepare({v})) is not None and m{n}.family is "
                          f"{self.constant('family', meta.family)}")
        self.tests += self._numbers(n, lambda d: f"m{n}.shape[{d}]")

    def _numbers(self, leaf: int, text: Callable[[int], str]) -> list[str]:
        """Tests of a leaf's sizes, or of its value; those that are open get names."""
        found = []
        for m, (owner, d) in enumerate(self.call.owners):
            if owner == leaf:
                fixed, least = self.spec.pattern[m], self.spec.least[m]
                found.append(f"{text(d)} == {fixed}" if fixed is not None
                             else f"(z{m} := {text(d)}) is not absent" if least is None
                             else f"(z{m} := {text(d)}) >= {least}")
        return found

    @staticmethod
    def _meta(t: Tensor) -> Any:
        meta = prepare(t)
        if meta is None:
            raise Unprintable
        return meta

    def _guards(self) -> None:
        spec = self.spec
        for relation, a, b, answer in spec.guards:
            self.tests.append(f"({self._size(a)} {relation} {self._size(b)}) is {answer}")
        for t, had in spec.had_grad:
            self.tests.append(f"{self.constant('grad', t)}._grad is {'not ' * had}None")
        for t, x in spec.changed:
            self.tests.append(f"{self.constant('grad', t)}._grad is {self.constant('changed', x)}")
        if len(spec.traced.outside):
            self.tests.append(f"{self.constant('outside', spec.traced.outside.check)}()")
        self.tests += ["(W[0] == world or renew())", "grad()" if spec.call.key[2] else "not grad()",
                       "current() is None"]

    def _size(self, x: Dim) -> str:
        try:
            return expr.as_python(x, self.sizes.__getitem__)
        except KeyError:
            raise Unprintable from None

    # ---- what the program reads and writes

    def _inputs(self) -> None:
        self.holders: list[str] = []                     # of each input: its tensor, or the number that is passed
        for n, (kind, x) in enumerate(self.spec.inputs):
            if kind == "argument" and self.call.kinds[x] == "float":
                self._number(f"v{x}", n)
            elif kind == "argument":
                self._pointer(f"v{x}")
            elif kind == "gradient":
                self._pointer(self._gradient(x))
            elif isinstance(x, Tensor):
                self._pointer(self._capture(x))
            else:
                self._number(f"{self.constant('read', x)}()", n)

    def _pointer(self, holder: str) -> None:
        self.holders.append(holder)
        self.pointers.append(f"{holder}._array")

    def _number(self, text: str, n: int) -> None:
        self.before.append(f"f{n} = c_double({text})")
        self.holders.append(f"f{n}")
        self.pointers.append(f"addressof(f{n})")

    def _outputs(self) -> None:
        spec, executable, traced = self.spec, self.spec.stages.executable, self.spec.traced
        names = executable.program.outputs
        if len(set(names)) != len(names) or set(names) != set(executable.output_slots):
            raise Unprintable
        self._take(executable)
        writes = {n: t for t, n in traced.writes}
        position = {name: n for n, name in enumerate(executable.program.inputs)}
        for slot in executable.output_slots:
            n = names.index(slot)
            giver = position.get(executable.program.slots[slot].takes)
            if giver is not None and n in writes and spec.inputs[giver][1] is writes[n]:
                self._take_over(n, self.holders[giver], writes[n])
            else:
                self.before.append(f"o{n}, p{n} = take{n}()")
            self.pointers.append(f"p{n}")
        self.pointers += [self.sizes[name] for name in executable.program.sizes]
        self._deliver()

    def _take(self, executable: Any) -> None:
        """Where memory for outputs comes from, and the metas of their tensors: known, or looked up by the sizes of the
        call.
        """
        from ..runtime import memory

        program, count = executable.program, len(self.spec.traced.graph.outputs)
        order = [program.outputs.index(slot) for slot in executable.output_slots]
        dtypes = [program.slots[slot].dtype for slot in executable.output_slots]
        needs = [bool(self.spec.wrt) and n in self.spec.traced.differentiable for n in order]

        def plan(*sizes: int) -> tuple[Any, ...]:
            found: list[Any] = []
            for shape, d, n, requires_grad in zip(executable.layout(*sizes).outputs, dtypes, order, needs):
                found += [memory.outputs(shape, d.numpy).take, intern(shape, d, requires_grad) if n < count else None]
            return tuple(found)

        targets = [f"{letter}{n}" for n in order for letter in ("take", "l")]
        if not program.sizes:
            self.space.update(zip(targets, plan()))
            return
        if not set(program.sizes) <= self.sizes.keys():
            raise Unprintable
        sizes = ", ".join(self.sizes[name] for name in program.sizes)
        if targets:
            remembered = functools.lru_cache(maxsize=_MOST_PLANS)(plan)
            self.before.append(f"{', '.join(targets)}, = {self.constant('plan', remembered)}({sizes})")

    def _take_over(self, n: int, holder: str, t: Tensor) -> None:
        """Memory with one holder is written in place (2 references: the attribute and the argument of count).

        What is not alone gets memory outside the pools, which a later call can write in place.
        """
        from ..runtime import memory

        assert t._array is not None
        fresh = self.constant("fresh", functools.partial(memory.empty, t._array.shape, t._array.dtype))
        self.before.append(f"x = {holder}._array")
        self.before.append(f"o{n}, p{n} = (None, x) if count(x) == 3 and type(x.base) is not ndarray and "
                           f"x.flags.writeable else {fresh}()")

    # ---- what the call leaves behind

    def _deliver(self) -> None:
        traced = self.spec.traced
        written = {n for _, n in traced.writes}
        if self.spec.wrt:
            self._record()
        for t, n in traced.writes:
            holder = self.constant("written", t)
            self._meta(t)
            self.after.append(f"if o{n} is not None: {holder}._array = o{n}")
        for leaf, n in traced.argument_writes:
            self.after.append(f"v{leaf}._assign_traced({self._tensor(n)})")
        for t, output in traced.grads:
            value = "None" if output is None else self._tensor(output)
            self.after.append(f"{self.constant('owner', t)}._grad = {value}")
        for holder, name, n in traced.attributes:
            self.after.append(f"setattr({self.constant('holder', holder)}, {name!r}, {self._tensor(n)})")
        if any(kind == "output" and x in written for kind, x in traced.leaves):
            raise Unprintable

    def _tensor(self, n: int) -> str:
        if n not in self.made:
            self.made.add(n)
            self.after += [f"t{n} = Tensor(o{n})", f"t{n}._meta = l{n}"]
        return f"t{n}"

    def _record(self) -> None:
        """One tape node for the whole call, as `Specialisation._record` makes it."""
        from .differentiate import CompiledPullback

        spec, count = self.spec, len(self.spec.traced.graph.outputs)
        sizes = ", ".join(f"{name!r}: {z}" for name, z in self.sizes.items())
        number = self.constant("number", lambda f: np.asarray(f.value, np.float64))
        arrays = [f"{number}({h})" if h.startswith("f") and h[1:].isdigit() else f"{h}._array" for h in self.holders]
        wrt = [self.holders[n] for n in spec.wrt]
        residuals = [f"o{n}" for n in range(count, count + spec.residuals)]
        edges = [*(f"({h}._node, {h}._slot) if {h}._node is not None else {h} if {h}._requires_grad else None"
                   for h in wrt),
                 *("None" for _ in residuals)]
        saved = [*(arrays[n] for n in spec.wrt), *residuals]
        results = [f"o{n}" for n in range(count)]
        pullback = self.constant("pullback", functools.partial(CompiledPullback, spec))
        self.after.append(f"node = TapeNode({pullback}([{', '.join(arrays)}], {{{sizes}}}, "
                          f"({', '.join(self.holders)},)), {{}}, ({', '.join(edges)},), ({', '.join(saved)},), "
                          f"({', '.join(results)},))")
        for n in spec.traced.differentiable:
            self.after.append(f"{self._tensor(n)}._node = node")
            self.after.append(f"t{n}._slot = {n}")

    def _result(self) -> str:
        return self._built(self.spec.traced.result, iter([self._part(kind, x) for kind, x in self.spec.traced.leaves]))

    def _built(self, structure: Any, parts: Iterator[str]) -> str:
        """An expression for the tree."""
        if structure == pytree.LEAF:
            return next(parts)
        kind, static, children = structure
        if kind is type(None):
            return "None"
        inner = [self._built(c, parts) for c in children]
        if kind is dict:
            keys = self.constant("keys", static)
            return f"{{{', '.join(f'{keys}[{n}]: {x}' for n, x in enumerate(inner))}}}"
        if kind is list:
            return f"[{', '.join(inner)}]"
        listed = f"({''.join(f'{x}, ' for x in inner)})"
        if kind is tuple:
            return listed
        close, what = self.constant("closed", pytree.closed), self.constant("kind", kind)
        return f"{close}({what}, {self.constant('static', static)}, {listed})"

    def _part(self, kind: str, x: Any) -> str:
        if kind == "output":
            return self._tensor(x)
        if kind == "argument":
            return f"v{x}"
        return self._size(x) if kind == "size" and isinstance(x, (int, Expr)) else self.constant("value", x)
