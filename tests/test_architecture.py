"""The map in docs/architecture.md is true: it lists every file, and imports point down it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAP = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE)
FILES = {file.stem: file for file in (ROOT / "src/kdumpd").glob("*.py")}
# What the package itself is made of, and what only names something for others.
NO_NOUNS = {"__init__", "__main__", "version", "pytest_plugin"}


def imported(file: Path) -> Iterator[str]:
    """The modules of this package that a module imports when it is imported."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "kdumpd":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdumpd."):
            yield str(node.module).split(".")[1]


def test_each_file_and_each_room_is_on_the_map_once() -> None:
    rooms = {file.parent.name for file in (ROOT / "src/kdumpd").glob("*/__init__.py")}
    assert sorted(MAP) == sorted((FILES.keys() - NO_NOUNS) | rooms)


@pytest.mark.parametrize("name", sorted(FILES.keys() & set(MAP)))
def test_imports_point_down(name: str) -> None:
    below = MAP[MAP.index(name) + 1 :]
    assert [other for other in imported(FILES[name]) if other not in {*below, "version"}] == []
