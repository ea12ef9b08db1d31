"""A package of somebody else, in an environment of its own with nothing but kdumpd's built wheel."""

import ast
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import kdumpd
import kdumpd.testing

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parents[1]
SAMPLE = Path(__file__).parent / "sample_service"


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and the sample package."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*install, "-c", ROOT / "constraints.txt", f"kdumpd[testing] @ {wheel.as_uri()}", "mypy", cwd=folder)
    run(*install, "hatchling", "-c", ROOT / "constraints.txt", cwd=folder)
    run(*install, "--no-index", "--no-deps", "--no-build-isolation", SAMPLE, cwd=folder)
    return python


def test_the_wheel_has_what_it_needs_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"kdumpd/py.typed", "kdumpd/testing/machine.py", "kdumpd/pytest_plugin.py"} <= set(names)
    looks = {path.name for path in (ROOT / "src/kdumpd/analysis/templates").iterdir()}
    assert {f"kdumpd/analysis/templates/{name}" for name in looks} <= set(names)
    assert {"page.html", "page.css", "page.js"} <= looks
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("kdumpd/", "kdumpd-")) for name in names)


def test_the_kdumpd_under_test_is_the_wheels(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import kdumpd; print(kdumpd.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_the_sample_passes_its_own_tests(python: Path, tmp_path: Path) -> None:
    options: list[str | Path] = ["-q", "-p", "no:cacheprovider", "-c", SAMPLE / "pyproject.toml"]
    said = run(python, "-m", "pytest", *options, SAMPLE / "tests", cwd=tmp_path)
    assert re.search(r"^6 passed in", said, re.MULTILINE), said


def test_the_sample_type_checks_strictly(python: Path, tmp_path: Path) -> None:
    options: list[str | Path] = ["--config-file", SAMPLE / "pyproject.toml", "--cache-dir", tmp_path]
    run(python, "-m", "mypy", *options, SAMPLE / "src", SAMPLE / "tests", cwd=tmp_path)


def test_the_command_runs(python: Path, tmp_path: Path) -> None:
    assert run(python.parent / "kdumpd", "--version", cwd=tmp_path) == f"kdumpd {kdumpd.__version__}\n"


def test_the_sample_uses_public_names_only() -> None:
    public = {"kdumpd": set(kdumpd.__all__), "kdumpd.testing": set(kdumpd.testing.__all__)}
    for file in SAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names if alias.name.startswith("kdumpd")}
                assert imported <= {"kdumpd"}, file
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdumpd"):
                assert {alias.name for alias in node.names} <= public[str(node.module)], file
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "kdumpd" or node.attr in public["kdumpd"], (file, node.attr)
