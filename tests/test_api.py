"""The public API: its listing is checked in, its names are real, and importing it is cheap."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import kdumpd
import kdumpd.testing

LISTING = Path(__file__).with_name("api.txt")


def test_the_listing_is_the_api() -> None:
    """A change of the API is announced: `.venv/bin/python -m tests.test_api` writes the listing anew."""
    assert LISTING.read_text() == listing()


def listing() -> str:
    """Every public name, and what a caller can do with it."""
    lines = []
    for module in (kdumpd, kdumpd.testing):
        for name in sorted(module.__all__):
            lines += described(f"{module.__name__}.{name}", getattr(module, name))
    # In which file a type stands is nobody's business.
    return re.sub(r"\bkdumpd\.(?!testing\.)(?:[a-z_]+\.)+(?=[A-Z])", "kdumpd.", "\n".join([*lines, ""]))


def described(name: str, value: object) -> list[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        members = [line for member in public_members(value) for line in member]
        return [f"class {name}({bases})" if bases else f"class {name}", *members]
    if inspect.isfunction(value):
        keyword = "async def" if inspect.iscoroutinefunction(value) else "def"
        return [f"{keyword} {name}{signature(value)}"]
    if name.endswith("__version__"):
        return [name]
    return [f"{name}: {value if isinstance(value, int) else type(value).__name__}"]


def public_members(kind: type) -> list[list[str]]:
    if attrs.has(kind):
        fields = [f"    {field.name}: {annotation(field.type)}" for field in attrs.fields(kind) if field.init]
    else:
        own = vars(kind).get("__init__")
        fields = [f"    __init__{signature(own)}"] if inspect.isfunction(own) else []
    lines = [fields]
    for name, value in sorted(vars(kind).items()):
        if name.startswith("_") or (attrs.has(kind) and name in attrs.fields_dict(kind)):
            continue
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if inspect.isfunction(plain):
            keyword = "async def" if inspect.iscoroutinefunction(plain) else "def"
            lines.append([f"    {keyword} {name}{signature(plain)}"])
        elif isinstance(value, property):
            lines.append([f"    {name}: property"])
    return lines


def signature(function: Callable[..., object]) -> str:
    """Names, types and defaults; a default that is a function has no text that stays the same."""
    whole = inspect.signature(function)
    parameters = [
        parameter.replace(default=_Ellipsis()) if inspect.isfunction(parameter.default) else parameter
        for parameter in whole.parameters.values()
        if parameter.name != "task_status"
    ]
    return str(whole.replace(parameters=parameters))


class _Ellipsis:
    def __repr__(self) -> str:
        return "..."


def annotation(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


@pytest.mark.parametrize("name", kdumpd.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(kdumpd, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
        assert "TODO" not in value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(kdumpd.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(imported) == sorted(kdumpd.__all__)
    for name, (module, original) in imported.items():
        assert getattr(kdumpd, name) is getattr(sys.modules[str(module)], original)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'kdumpd' has no attribute 'collect'"):
        getattr(kdumpd, "collect")  # noqa: B009 mypy knows that it is not there


def test_dir_lists_the_api_and_nothing_else() -> None:
    assert dir(kdumpd) == sorted(kdumpd.__all__)


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import kdumpd", {"trio", "attrs", "pyudev", "kdumpd.run.supervisor"}),
        (
            "import kdumpd; kdumpd.supervise",
            {"drgn", "kdumpd.analysis", "kdumpd.testing", "pytest", "pyudev"},
        ),
        ("import kdumpd.testing", {"pytest", "drgn", "kdumpd.analysis"}),
        ("import kdumpd.pytest_plugin", {"trio", "kdumpd.testing.machine"}),
    ],
)
def test_what_an_import_loads(statement: str, not_loaded: set[str]) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not not_loaded & set(done.stdout.split())


if __name__ == "__main__":
    LISTING.write_text(listing())
