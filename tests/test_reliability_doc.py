"""docs/reliability.md: every row names a test that is there, and every test of a fault has its row."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\|.*\| `(test_\w+)(?:\[.*\])?` \|$", re.MULTILINE)
FAULT = re.compile(r"^@fault\(.*?^(?:async )?def (test_\w+)", re.MULTILINE | re.DOTALL)


def sources() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))


def test_every_row_names_a_test() -> None:
    rows = ROW.findall((ROOT / "docs" / "reliability.md").read_text())
    assert len(rows) >= 45
    text = sources()
    assert [name for name in rows if f"def {name}(" not in text] == []


def test_every_fault_has_a_row() -> None:
    rows = set(ROW.findall((ROOT / "docs" / "reliability.md").read_text()))
    assert [name for name in FAULT.findall(sources()) if name not in rows] == []
