"""docs/reliability.md: every row names a test that is there, and every fault's row is as its test has it."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "reliability.md").read_text()
ROW = re.compile(r"^\| (.*?) \| (.*?) \|.*\| `(test_\w+)(?:\[.*\])?` \|$", re.MULTILINE)
MODULES = [
    f"tests.system.{path.stem}" for path in sorted((ROOT / "tests" / "system").glob("test_faults_*.py"))
]


def rows() -> list[tuple[str, ...]]:
    """Fault, injection and test of each row."""
    return ROW.findall(DOC)


def faults(module: str) -> Iterator[tuple[str, str, str]]:
    """The same of each test that is marked with a fault, by itself or in a table of parameters."""
    for name, value in vars(importlib.import_module(module)).items():
        for mark in getattr(value, "pytestmark", []) if name.startswith("test_") else []:
            if mark.name == "parametrize":
                cases = [case for case in mark.args[1] if hasattr(case, "marks")]
                yield from ((*inner.args, name) for case in cases for inner in case.marks)
            elif mark.name == "fault":
                yield (*mark.args, name)


def test_every_row_names_a_test() -> None:
    assert len(rows()) >= 45
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for *_, name in rows() if f"def {name}(" not in text] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_fault_has_its_row(module: str) -> None:
    found = list(faults(module))
    assert len(found) > 10
    assert [fault for fault in found if fault not in rows()] == []
