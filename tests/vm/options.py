"""The demo's command line. Standard library alone: it is read before anything is installed."""

import argparse
from pathlib import Path

TRIGGERS = sorted(file.name for file in (Path(__file__).parent / "guest/triggers").iterdir())
DESCRIPTION = """\
Crash a real kernel in QEMU and watch kdumpd collect it: the serial console with the time since power-on, what
/persist holds then, and the crash as `kdumpd show` tells it. The first time Debian and Python packages are
downloaded and an image and a guest built from them, which are kept in ~/.cache/kdumpd."""


def parser() -> argparse.ArgumentParser:
    """The parser of `scripts/demo`."""
    made = argparse.ArgumentParser(prog="scripts/demo", description=DESCRIPTION, allow_abbrev=False)
    add = made.add_argument
    add(
        "--analyze",
        action="store_true",
        help="with the kernel's debug symbols, 283 MB once: name the line that crashed, as text and page",
    )
    add(
        "--keep",
        type=_new_folder,
        metavar="DIR",
        help="where the crash folder is kept (default: ~/.cache/kdumpd/demo, the last three)",
    )
    add(
        "--memory", type=_count, default=2048, metavar="MIB", help="RAM of the machine (default: %(default)s)"
    )
    add(
        "--crashkernel",
        default="128M",
        metavar="SIZE",
        help="RAM kept for the capture kernel; 64 GiB of RAM take 256M (default: %(default)s)",
    )
    add(
        "--storage-delay",
        type=float,
        default=15,
        metavar="S",
        help="until P3 is there (default: %(default)s)",
    )
    add("--trigger", default="sysrq-c", choices=TRIGGERS, help="how to crash (default: %(default)s)")
    add("--suite", default="bookworm", help="Debian release of the guest (default: %(default)s)")
    add("--config", type=_file, metavar="FILE", help="a kdumpd.toml for the capture kernel")
    return made


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of MiB")
    return int(text)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def _new_folder(text: str) -> Path:
    path = Path(text)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise argparse.ArgumentTypeError(f"{text} is there and is not an empty folder")
    return path.absolute()


if __name__ == "__main__":
    parser().parse_args()
