"""Every document's code runs and prints what the document says, each in a process of its own; links between documents
lead somewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_document.py")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if "```python" in p.read_text()], ids=name_of)
def test_code_prints_what_the_document_says(path, tmp_path):
    settings = {**os.environ, "BRAZE_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", str(RUNNER), str(path)],
                          capture_output=True, text=True, cwd=tmp_path, env=settings)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_are_named_exist(path):
    """`folder/file.py` in backquotes is a path from the root."""
    named = re.findall(r"`((?:[a-z_.]+/)+(?:[a-z_]+\.(?:py|md|ir))?)`", path.read_text())
    missing = [n for n in named if not (ROOT / n).exists()]
    assert missing == []
