"""README.md does what it says: its blocks run as they are printed, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINKS = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", README, re.MULTILINE))


def test_every_block_is_found() -> None:
    """As many as there are fences that open one."""
    assert len(BLOCKS) == README.count("```python") >= 6


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs_as_printed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, in an empty folder: what it uses, it imports."""
    block = BLOCKS[number]
    if "QiskitBackend" in block:
        pytest.importorskip("qiskit_ibm_runtime")
    if "pennylane" in block:
        pytest.importorskip("pennylane")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, f"README.md, block {number + 1}", "exec"), {"__name__": "readme"})


def test_links() -> None:
    """All addresses stand together at the end; each is used, and what is in the repository is there."""
    used = re.findall(r"\]\[([^\]]+)\]", README)
    assert set(used) == set(LINKS)
    assert not re.findall(r"\]\([^)]*\)", README)
    for address in LINKS.values():
        path, _, heading = address.partition("#")
        assert (ROOT / path).is_file(), address
        if heading:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            assert heading in {h.lower().replace(" ", "-") for h in headings}, address
