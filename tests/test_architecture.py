"""The rooms of docs/architecture.md are those of the code, and imports between them point down only."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/kdumpd"

# What a room may import: the rooms below it. These are open to all.
OPEN = {"config", "errors", "sources", "text", "version"}
PURE = {"vmcore", "dmesg"}
BELOW = {
    "vmcore": set[str](),
    "dmesg": set[str](),
    "host": PURE,
    "storage": {"host", *PURE},
    "dump": {"host", *PURE},
    "crashes": {"dump", "storage", "host", *PURE},
    "run": {"crashes", "dump", "storage", "host", *PURE},
    "status": {"crashes", "dump", "storage", "host", *PURE},
    "analysis": {"crashes", "dump", "storage", "host", *PURE},
    "cli": {"run", "status", "analysis", "crashes", "dump", "storage", "host", *PURE},
    "testing": {"host", *PURE},
}
# Files that are no room: the package itself, and what names something for others.
PLAIN_FILES = {"__init__", "__main__", "pytest_plugin", *OPEN}
MOST_ENTRIES = 20
MOST_LINES = 350


def room_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else file.stem


def imported(file: Path) -> Iterator[str]:
    """The rooms and files of this package that a module imports, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "kdumpd":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdumpd."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("kdumpd."))


def test_the_rooms_are_those_of_the_picture() -> None:
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    shown = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE)
    assert rooms == BELOW.keys()
    assert sorted(shown) == sorted(rooms)
    assert {file.stem for file in PACKAGE.glob("*.py")} == PLAIN_FILES


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_what_is_below_it(room: str) -> None:
    arrows = {(file.name, other) for file in (PACKAGE / room).rglob("*.py") for other in imported(file)}
    assert {(name, other) for name, other in arrows if other not in BELOW[room] | OPEN | {room}} == set()


def test_what_is_open_to_all_imports_nothing_above_it() -> None:
    arrows = {(name, other) for name in OPEN for other in imported(PACKAGE / f"{name}.py")}
    assert {(name, other) for name, other in arrows if other not in OPEN} == set()


@pytest.mark.parametrize("room", sorted(PURE))
def test_a_pure_room_imports_no_trio(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        names = {name for node in ast.walk(ast.parse(file.read_text())) for name in top_level_names(node)}
        assert not names & {"trio", "pyudev", "subprocess", "threading"}, file


def top_level_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("room", BELOW)
def test_a_room_says_what_it_is_for_and_re_exports_nothing(room: str) -> None:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    assert "mported by" in str(ast.get_docstring(tree)), "who may import it?"
    if room != "testing":  # its names are public: kdumpd.testing is what embedders import
        assert len(tree.body) == 1


def test_the_listing_is_read_at_a_glance() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES
    long = {str(file.relative_to(PACKAGE)): lines(file) for file in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in long.items() if count > MOST_LINES} == {}


def lines(file: Path) -> int:
    return file.read_text().count("\n")


@pytest.mark.parametrize(
    ("module", "not_loaded"),
    [
        ("kdumpd.crashes.record", {"trio", "pyudev", "kdumpd.host.watchdog", "kdumpd.host.reboot"}),
        ("kdumpd.crashes.inventory", {"trio", "pyudev"}),
        ("kdumpd.cli.commands", {"trio", "pyudev", "drgn"}),
    ],
)
def test_reading_a_record_costs_no_event_loop(module: str, not_loaded: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not not_loaded & set(done.stdout.split())


MAP = (ROOT / "docs/architecture.md").read_text()


def test_the_map_names_files_that_are_there() -> None:
    inside = re.findall(rf"(?<!tests/)\b(?:{'|'.join(BELOW)})/\w+\.py\b", MAP)
    beside = re.findall(r"`((?:etc|docs|tests)/[\w./-]+)`", MAP)
    assert len(inside) > 30
    paths = [*(PACKAGE / name for name in inside), *(ROOT / name for name in beside)]
    assert [path for path in paths if not path.exists()] == []


def test_the_map_names_functions_that_are_there() -> None:
    named = re.findall(r"`(\w+)`,? (?:of|in) `(\w+/\w+\.py)`", MAP)
    assert len(named) > 5
    assert [name for name, file in named if f"def {name}(" not in (PACKAGE / file).read_text()] == []
