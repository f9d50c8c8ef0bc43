"""Writing ONNX models as Python: a `Model` whose methods are operators, on values that add and multiply.

A workload's `onnx` method receives a model and its tensors, and returns results. The tensors that are fed at each call
are the model's inputs, the others its constants, as users of ONNX Runtime have them: it may fold and pack those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OPSETS = {"": 23, "com.microsoft": 1}


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a model: its name, and its array where it is known."""

    model: Model
    name: str
    array: np.ndarray | None = None

    def __add__(self, other: Any) -> Value:
        return self.model.Add(self, other)

    def __sub__(self, other: Any) -> Value:
        return self.model.Sub(self, other)

    def __mul__(self, other: Any) -> Value:
        return self.model.Mul(self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.model.Div(self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.model.MatMul(self, other)


class Model:
    """A model under construction: `model.Softmax(x, axis=-1)` appends a node and returns its result."""

    def __init__(self, onnx: Any, fed: Sequence[np.ndarray]) -> None:
        self.helper, self.from_array = onnx.helper, onnx.numpy_helper.from_array
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.fed = {f"input{n}": array for n, array in enumerate(fed)}
        self.inputs = [Value(self, name) for name in self.fed]
        self.updates: dict[str, Value] = {}

    def state(self, constant: Value) -> Value:
        """A tensor that the model reads and writes in place: what it becomes is handed to `update`."""
        assert constant.array is not None
        name = f"state{len(self.fed)}"
        self.fed[name] = constant.array
        return Value(self, name)

    def update(self, state: Value, value: Value) -> None:
        """Write a result of the model over a state: an operator that can takes the same memory for both."""
        self.updates[state.name] = value

    def constant(self, array: Any) -> Value:
        """A constant; it becomes part of the model where a node uses it."""
        return Value(self, "", np.asarray(array))

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        def append(*operands: Any, results: int = 1, domain: str = "", **attributes: Any) -> Any:
            names = [f"v{len(self.nodes)}_{n}" for n in range(results)]
            given = [self.name_of(operand) for operand in operands]
            self.nodes.append(self.helper.make_node(operator, given, names, domain=domain, **attributes))
            values = [Value(self, name) for name in names]
            return values[0] if results == 1 else values

        return append

    def name_of(self, operand: Any) -> str:
        """The name of an operand: a value, None for one that is left out, or numbers (float32, or int64)."""
        if operand is None:
            return ""
        if isinstance(operand, Value) and operand.array is None:
            return operand.name
        array = operand.array if isinstance(operand, Value) else numbers(operand)
        name = f"c{id(array)}"
        if name not in self.constants:
            self.constants[name] = self.from_array(np.ascontiguousarray(array), name), array  # the array lives on
        return name

    def linear(self, x: Value, weight: Value, bias: Value) -> Value:
        """x times the transposed weight, plus the bias: the transposition is done once."""
        assert weight.array is not None
        return self.MatMul(x, self.constant(weight.array.T)) + bias

    def finish(self, results: Sequence[Value]) -> bytes:
        """The model as the file that a session loads."""
        element = self.helper.np_dtype_to_tensor_dtype
        inputs = [self.helper.make_tensor_value_info(name, element(array.dtype), array.shape)
                  for name, array in self.fed.items()]
        outputs = [self.helper.make_empty_tensor_value_info(value.name)
                   for value in (*results, *self.updates.values())]
        initializers = [tensor for tensor, _ in self.constants.values()]
        graph = self.helper.make_graph(self.nodes, "workload", inputs, outputs, initializers)
        opsets = [self.helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return self.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def numbers(values: Any) -> np.ndarray:
    """Python numbers as ONNX takes them: float32, and int64."""
    array = np.asarray(values)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
