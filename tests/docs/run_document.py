"""Runs the Python of a Markdown file and compares what it prints with the file's own output.

    python tests/docs/run_document.py README.md

All ```python blocks of a file run in one namespace, in order. A ```text block that follows one is its output: runs of
white space count as one, and `...` stands for anything. Code runs under the file's name and lines, so that dumps point
into the document.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(r"^```(\w*)\s*$")


class Block(NamedTuple):
    """A fenced block: its language, the number of its first line, and its text."""

    language: str
    line: int
    text: str


def blocks(markdown: str) -> Iterator[Block]:
    """The fenced blocks of a document."""
    language, start, lines = "", 0, []
    for number, line in enumerate(markdown.splitlines(), 1):
        fence = FENCE.match(line)
        if fence and not start:
            language, start, lines = fence[1], number + 1, []
        elif fence:
            yield Block(language, start, "\n".join(lines))
            start = 0
        elif start:
            lines.append(line)


def matches(expected: str, printed: str) -> bool:
    """Is this the output, up to white space and `...`?"""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in expected.split("...")]
    return re.fullmatch(r"\s*" + r"[\s\S]*".join(r"\s*" + p + r"\s*" for p in parts) + r"\s*", printed) is not None


def run(path: Path) -> list[str]:
    """What is wrong with the document: an entry for each output that differs."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed, wrong = "", []
    for block in blocks(path.read_text()):
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec", dont_inherit=True)
            with redirect_stdout(io.StringIO()) as output:
                exec(code, namespace)
            printed = output.getvalue()
        elif block.language == "text" and not matches(block.text, printed):
            wrong.append(f"{path.name}:{block.line}: the document says\n{block.text}\n\nand the code prints\n{printed}")
    return wrong


if __name__ == "__main__":
    found = [message for name in sys.argv[1:] for message in run(Path(name))]
    print("\n".join(found))
    sys.exit(bool(found))
