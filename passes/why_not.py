"""What fusion says where it stops: records for `fn.explain()`, put into words when they are shown."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import Node


@dataclass(frozen=True)
class WhyNot:
    """Why two neighbours are not one kernel: a `kind`, the two nodes, and what was in the way."""

    kind: str
    producer: Node
    consumer: Node
    facts: str = ""

    def __str__(self) -> str:
        words = {"circle": "another kernel stands between them", "axes": "they do not run over the same axes",
                 "reduction": "they reduce over different axes",
                 "moved": "the consumer reads at other places than are written",
                 "rows": "there are too few, too long rows to use a reduction's result at once",
                 "cost": "together they compute so much that memory does not matter",
                 "kind": "one of them is a kernel of its own"}
        return (f"{self.producer.op.name} ({self.producer.loc}) is not fused with {self.consumer.op.name} "
                f"({self.consumer.loc}): {words.get(self.kind, self.kind)}{'; ' + self.facts if self.facts else ''}")
