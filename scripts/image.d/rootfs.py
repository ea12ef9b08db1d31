"""Furnish the image's root: programs and their libraries, the modules that kdumpd can reach, licences, SBOM.

Runs in the build container, with the folder that pip installed to and the new root as arguments.
"""

import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from modulefinder import ModuleFinder
from pathlib import Path

import sbom

# ldconfig: how pyudev finds libudev
PROGRAMS = (
    *("/usr/bin/python3", "/usr/bin/makedumpfile", "/usr/sbin/vmcore-dmesg", "/usr/bin/age"),
    "/usr/sbin/ldconfig",
)
LIBUDEV = "libudev.so.1"
# Modules that no import statement names: Python's own start, and the pyudev of a late import.
ROOTS = ("site", "encodings.ascii", "encodings.latin_1", "encodings.utf_8", "kdumpd.__main__")
# What modules import for tests, for help() and for protocols that kdumpd does not speak.
UNREACHED = (
    *("_pyrepl", "_testcapi", "_testinternalcapi", "asyncio", "doctest", "email", "ftplib", "http", "netrc"),
    *("multiprocessing", "pdb", "pydoc", "readline", "rlcompleter", "test", "unittest", "zipfile"),
    "urllib.request",
)
# Ours, for other machines.
ELSEWHERE = ("kdumpd.analysis", "kdumpd.testing")
STDLIB = Path(sysconfig.get_path("stdlib"))
MODULES = Path("/usr/lib/python3/dist-packages")
LICENCES = Path("/usr/share/common-licenses")
FOLDERS = ("dev", "proc", "sys", "persist", "run", "run/kdumpd", "tmp", "etc")
KDUMPD = """#!/usr/bin/python3 -I
from kdumpd.cli.main import main

main()
"""


class Root:
    """The folder being filled, and the Debian files that went into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: set[Path] = set()
        for name in ("bin", "lib", "lib64", "sbin"):
            self.at(f"usr/{name}").mkdir(parents=True)
            self.at(name).symlink_to(f"usr/{name}")
        for name in FOLDERS:
            self.at(name).mkdir()

    def at(self, path: Path | str) -> Path:
        """Where a path of the image lies during the build."""
        return self.path / str(path).lstrip("/")

    def take(self, file: str | Path) -> None:
        """Copy one of Debian's files to where it is in Debian, with what a symbolic link leads to."""
        source = Path(os.path.realpath(Path(file).parent)) / Path(file).name
        if source in self.taken:
            return
        self.taken.add(source)
        self.at(source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.at(source), follow_symlinks=False)
        if source.is_symlink():
            self.take(source.parent / source.readlink())

    def take_program(self, file: str | Path) -> None:
        """Copy a program or a library, with the libraries that it is linked with."""
        self.take(file)
        listed = subprocess.run(["ldd", str(file)], check=False, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            self.take(library)

    def write(self, path: Path | str, text: str, mode: int = 0o644) -> None:
        """Write a file of our own."""
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)
        self.at(path).chmod(mode)


def reachable(modules: Path) -> list[Path]:
    """The files of the modules that some import statement, executed or not, leads to."""
    path = [str(modules), str(STDLIB), str(STDLIB / "lib-dynload")]
    finder = ModuleFinder(path, excludes=UNREACHED + ELSEWHERE)
    for name in ROOTS:
        finder.import_hook(name)
    for name in UNREACHED:
        if any(importer.startswith("kdumpd") for importer in finder.badmodules.get(name, ())):
            sys.exit(f"kdumpd imports {name}: take it out of UNREACHED")
    files = (vars(module)["__file__"] for module in finder.modules.values())
    return sorted(Path(file) for file in files if file)


def add_modules(root: Root, modules: Path) -> None:
    """Add the standard library's part and the installed packages', byte-compiled, without source."""
    for file in reachable(modules):
        if file.suffix == ".so":
            root.take_program(file)
        elif file.is_relative_to(modules):
            compile_module(root, file, MODULES / file.relative_to(modules))
        else:
            compile_module(root, file, file)
            root.taken.add(file)
    root.at(STDLIB / "lib-dynload").mkdir(exist_ok=True)


def compile_module(root: Root, source: Path, place: Path) -> None:
    """Compile a file for its place in the image; a hash and not a time ties it to its source."""
    code = root.at(place.with_suffix(".pyc"))
    code.parent.mkdir(parents=True, exist_ok=True)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(code), str(place), doraise=True, invalidation_mode=mode)


def add_metadata(root: Root, modules: Path) -> None:
    """Keep who made each installed package and under which licence."""
    of_pip = shutil.ignore_patterns("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
    for folder in sorted(modules.glob("*.dist-info")):
        shutil.copytree(folder, root.at(MODULES / folder.name), ignore=of_pip)


def add_licences(root: Root, packages: list[str]) -> None:
    """Add each Debian package's copyright file and the licence texts that it refers to."""
    texts = set()
    for package in packages:
        file = Path("/usr/share/doc", package, "copyright")
        root.write(file, file.read_text())
        texts |= set(re.findall(rf"{LICENCES}/([\w.-]*\w)", file.read_text()))
    for name in sorted(texts):
        root.write(LICENCES / name, (LICENCES / name).read_text())


def main() -> None:
    modules, root = Path(sys.argv[1]).resolve(), Root(Path(sys.argv[2]))
    for program in PROGRAMS:
        root.take_program(program)
    root.take_program(Path(sysconfig.get_config_var("LIBDIR"), LIBUDEV))
    add_modules(root, modules)
    add_metadata(root, modules)
    packages = sbom.owners(root.taken)
    add_licences(root, packages)
    root.write("usr/share/doc/kdumpd/NOTICE", Path("NOTICE").read_text())
    root.write("usr/share/sbom/kdumpd.spdx.json", sbom.document(packages, modules))
    root.write("etc/kdumpd.toml", Path("etc/kdumpd.toml").read_text())
    root.write("usr/bin/kdumpd", KDUMPD, 0o755)
    subprocess.run(["ldconfig", "-X", "-r", str(root.path)], check=True)
    shutil.rmtree(root.at("var"), ignore_errors=True)


if __name__ == "__main__":
    main()
