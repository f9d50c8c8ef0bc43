"""Text in, text out: each .ir file names passes in its first line and holds a graph, `----`, and what they make of it.

`pytest tests/passes/test_golden.py --update-golden` writes the present results into the files; read the diff.
"""

from pathlib import Path

import pytest
from braze.ir.parse import parse_graph
from braze.ir.text import print_graph
from braze.ir.verify import verify
from braze.passes.autodiff import differentiate, expand_gradients
from braze.passes.dce import dce
from braze.passes.forward import jvp
from braze.passes.partition import partition
from braze.passes.prepare import prepare
from braze.passes.simplify import simplify, strip_markers
from braze.passes.take_apart import take_apart

FILES = sorted(Path(__file__).parent.glob("*.ir"))
PASSES = {
    "dce": lambda g: [dce(g)],
    "simplify": lambda g: [simplify(g)],
    "take_apart": lambda g: [take_apart(g)],
    "strip_markers": lambda g: [strip_markers(g)],
    "expand_gradients": lambda g: [expand_gradients(g)],
    "differentiate": lambda g: [differentiate(g, range(len(g.inputs)))],
    "jvp": lambda g: [jvp(g, range(len(g.inputs)))],
    "prepare": lambda g: [(cut := prepare(g, range(1, len(g.inputs)))).first, cut.main],
    "partition": lambda g: [(halves := partition(g, 1)).forward, halves.backward],
}


def run(first, text):
    """The graphs after the passes of a file's first line, as text."""
    graphs = [parse_graph(text)]
    for name in first.removeprefix("# passes:").split(","):
        graphs = [made for g in graphs for made in PASSES[name.strip()](g)]
    for g in graphs:
        verify(g)
    return "\n\n".join(print_graph(g) for g in graphs)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden(path, request):
    first, _, rest = path.read_text().partition("\n")
    text, _, expected = rest.partition("\n----\n")
    got = run(first, text)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{first}\n{text}\n----\n{got}\n")
    else:
        assert got == expected.rstrip("\n")


def test_there_are_golden_files():
    assert len(FILES) > 5
