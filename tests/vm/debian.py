"""Debian's packages of any suite, from wherever this machine's own apt gets them."""

import platform
from collections.abc import Iterable
from pathlib import Path

from .command import run, step

# Where Debian keeps its archives' keys, of more releases than apt is told to trust by default.
KEYS = "/usr/share/keyrings"
USELESS = ("doc", "man", "locale", "i18n", "info")


def install(what: str, suite: str, root: Path, packages: Iterable[str]) -> None:
    """Make a small Debian root with these packages in a new folder; `what` it is is shown. Needs root."""
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in USELESS]
    _mmdebstrap(what, "--variant=essential", *excludes, suite=suite, root=root, packages=packages)


def unpack(what: str, suite: str, root: Path, packages: Iterable[str]) -> None:
    """Unpack packages and all that they depend on in a new folder; nothing in it is run."""
    _mmdebstrap(what, "--variant=extract", suite=suite, root=root, packages=packages)


def download(what: str, suite: str, package: str, folder: Path) -> Path:
    """Fetch a suite's package into a new folder, whatever this machine's own lists of packages know."""
    folder.mkdir()
    (folder / "sources.list").write_text("".join(f"{line}\n" for line in _sources(suite)))
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    places = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::TrustedParts": KEYS,
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Status-Fd": 1,
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in places.items() for word in ("--option", f"{key}={value}")]
    step(f"{what}: lists of packages", "apt-get", *options, "--quiet", "update", cwd=folder)
    step(what, "apt-get", *options, "--quiet", "download", package, cwd=folder)
    (file,) = folder.glob("*.deb")
    return file


def _mmdebstrap(what: str, *options: str, suite: str, root: Path, packages: Iterable[str]) -> None:
    include = f"--include={','.join(packages)}"
    # initramfs-tools comes with a kernel; the initramfs that it would make is not used
    step(
        what,
        "mmdebstrap",
        "--verbose",
        *options,
        *_apt_options(),
        include,
        suite,
        str(root),
        *_sources(suite),
        INITRD="No",
        DEBIAN_FRONTEND="noninteractive",
    )


def _apt_options() -> list[str]:
    """How this machine reaches an archive, and how old that may be."""
    keys = ("Acquire::Check-Valid-Until", "Acquire::http", "Acquire::https")
    return [f"--aptopt={line}" for key in keys for line in run("apt-config", "dump", key).splitlines()]


def _sources(suite: str) -> list[str]:
    """apt's source lines for a suite, from where this machine's own comes; none if apt knows none."""
    own = platform.freedesktop_os_release()["VERSION_CODENAME"]
    origin = ("Created-By: Packages", "Origin: Debian", "Component: main")
    targets = run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", *origin)
    urls = dict(line.split() for line in targets.splitlines())
    pockets = [pocket for pocket in ("", "-updates", "-security") if own + pocket in urls]
    return [f"deb {urls[own + pocket]} {suite}{pocket} main" for pocket in pockets]
