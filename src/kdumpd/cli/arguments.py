"""The command line: which commands and options there are.

What is read has the names that the functions behind the commands give their parameters.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpd.version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser; what it reads has the command's name in ``command``."""
    parser = argparse.ArgumentParser(prog="kdumpd", description="Kernel-dump collector for EVE-OS.")
    parser.add_argument("--version", action="version", version=f"kdumpd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_run,
        _add_status,
        _add_drill,
        _add_list,
        _add_show,
        _add_prune,
        _add_export,
        _add_decrypt,
        _add_analyze,
    ):
        add(commands)
    return parser


def _add_run(commands: "Commands") -> None:
    parser = commands.add_parser("run", help="collect the crash of a capture kernel, then restart")
    _add_config(parser)
    parser.add_argument(
        "--no-reboot",
        action="store_true",
        help="do everything but unmount and restart; exit 0 complete, 1 not",
    )


def _add_status(commands: "Commands") -> None:
    parser = _add(commands, "status", "is this machine armed, and if not why")
    parser.add_argument("--metrics", action="store_true", help="gauges in the Prometheus text format")
    _add_config(parser)


def _add_drill(commands: "Commands") -> None:
    text = "crash this machine on purpose; the next status says how far the capture came"
    parser = commands.add_parser("drill", help=text, description=text)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _add_config(parser)


def _add_list(commands: "Commands") -> None:
    parser = _add(commands, "list", "the crashes in a folder or bundle")
    parser.add_argument(
        "location", nargs="?", type=Path, metavar="LOCATION", help="default: the crash folder"
    )


def _add_show(commands: "Commands") -> None:
    _add_crash(_add(commands, "show", "one crash in full"))


def _add_prune(commands: "Commands") -> None:
    parser = _add(commands, "prune", "remove the oldest dumps and logs, as after a run")
    parser.add_argument("location", nargs="?", type=Path, metavar="FOLDER", help="default: the crash folder")
    for what in ("dumps", "logs"):
        parser.add_argument(
            f"--{what}", type=_count, metavar="N", help=f"{what} that stay; default: as configured"
        )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _add_export(commands: "Commands") -> None:
    parser = _add(commands, "export", "one crash as a bundle, .tar.zst or .tar")
    _add_crash(parser)
    parser.add_argument("target", type=Path, metavar="FILE", help="the bundle to write")


def _add_decrypt(commands: "Commands") -> None:
    parser = _add(commands, "decrypt", "a dump from its encrypted stream, checked")
    _add_crash(parser)
    parser.add_argument(
        "--identity", type=Path, required=True, metavar="KEY", help="the file with the private key of age"
    )
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="FILE", help="the dump to write; default: beside the stream"
    )


def _add_analyze(commands: "Commands") -> None:
    parser = _add(commands, "analyze", "what a dump tells, with source lines")
    _add_crash(parser)
    parser.add_argument(
        "--debug",
        type=Path,
        required=True,
        metavar="PATH",
        help="the kernel's debug symbols: kernel-debug.tar, a vmlinux, or a folder with one",
    )
    parser.add_argument(
        "--with", dest="reader", choices=("drgn", "crash"), default="drgn", help="what reads the dump"
    )
    parser.add_argument("--shell", action="store_true", help="open the dump and leave the rest to you")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report as one self-contained page"
    )


def _add(commands: "Commands", name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", dest="as_json", action="store_true", help="for programs")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: /etc/kdumpd.toml if it is there"
    )


def _add_crash(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="CRASH",
        help="a name from `kdumpd list`, or `latest`; or a path: of a file of the crash, a folder, a bundle",
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where names are looked up")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)
