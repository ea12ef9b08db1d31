"""Arguments and exit codes. The only place that exits; what a command needs is imported when it runs."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from kdumpd.errors import KdumpError
from kdumpd.version import __version__

if TYPE_CHECKING:
    from kdumpd.config import Config

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Handler = Callable[[argparse.Namespace], int]

OK: Final = 0
DEGRADED: Final = 1
WRONG: Final = 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    try:
        code = _run(_parser().parse_args(argv))
    except KdumpError as error:
        print(f"kdumpd: {error}", file=sys.stderr)
        code = WRONG
    except BrokenPipeError:
        # The reader of our output is gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DEGRADED
    except Exception as error:
        print(f"kdumpd: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        code = DEGRADED
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kdumpd", description="Kernel-dump collector for EVE-OS.")
    parser.add_argument("--version", action="version", version=f"kdumpd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="collect the crash of a capture kernel, then restart")
    run.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/kdumpd.toml if it is there")
    run.add_argument(
        "--no-reboot",
        action="store_true",
        help="do everything but unmount and restart; exit 0 complete, 1 not",
    )
    run.set_defaults(handler=_run_command)
    _add_status(commands)
    _add_list(commands)
    _add_show(commands)
    _add_prune(commands)
    _add_export(commands)
    _add_analyze(commands)
    return parser


def _add_status(commands: "Commands") -> None:
    parser = _add(commands, "status", "is this machine armed, and if not why", _status_command)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: /etc/kdumpd.toml if it is there"
    )


def _add_list(commands: "Commands") -> None:
    parser = _add(commands, "list", "the crashes in a folder or bundle", _list_command)
    parser.add_argument("place", nargs="?", type=Path, metavar="PLACE", help="default: the crash folder")


def _add_show(commands: "Commands") -> None:
    parser = _add(commands, "show", "one crash in full", _show_command)
    _add_crash(parser)


def _add_prune(commands: "Commands") -> None:
    parser = _add(commands, "prune", "remove the oldest dumps and logs", _prune_command)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="default: the crash folder")
    for what in ("dumps", "logs"):
        parser.add_argument(
            f"--{what}", type=_count, metavar="N", help=f"{what} that stay; default: as configured"
        )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _add_export(commands: "Commands") -> None:
    parser = _add(commands, "export", "one crash as a bundle, .tar.zst or .tar", _export_command)
    _add_crash(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="the bundle to write")


def _add_analyze(commands: "Commands") -> None:
    parser = _add(commands, "analyze", "what a dump tells, with source lines", _analyze_command)
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


def _add(commands: "Commands", name: str, text: str, handler: "Handler") -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=handler)
    return parser


def _add_crash(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "crash",
        metavar="CRASH",
        help="a name from `kdumpd list`, or `latest`; or a path: of a file of the crash, a folder, a bundle",
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where names are looked up")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    code: int = arguments.handler(arguments)
    return code


def _run_command(arguments: argparse.Namespace) -> int:
    config = _config_for_run(arguments)
    if not Path(config.vmcore.path).exists():
        print(f"kdumpd: no {config.vmcore.path}: not a capture kernel, nothing to collect")
        return OK
    with suppress(OSError):  # be the last process that the OOM killer takes
        Path("/proc/self/oom_score_adj").write_text("-1000")
    # None may end a run before its reboot; while there is something to cut short, `_supervise` listens.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if arguments.no_reboot:
        return _supervise(config, reboot=False)
    from kdumpd.reboot import restart

    try:
        return _supervise(config, reboot=True)
    finally:
        # Whatever happened above, also a bug of ours: the machine comes back.
        print(f"kdumpd: the restart failed: {restart(config.reboot.method)}", file=sys.stderr)


def _status_command(arguments: argparse.Namespace) -> int:
    from kdumpd import statusreport
    from kdumpd.config import load_config
    from kdumpd.status import read_status

    found = read_status(load_config(arguments.config))
    print(statusreport.to_json(found) if arguments.json else statusreport.render(found))
    return OK if found.armed else DEGRADED


def _list_command(arguments: argparse.Namespace) -> int:
    from kdumpd import commands

    print(commands.list_crashes(arguments.place, as_json=arguments.json))
    return OK


def _show_command(arguments: argparse.Namespace) -> int:
    from kdumpd import commands

    print(commands.show(arguments.crash, arguments.folder, as_json=arguments.json))
    return OK


def _prune_command(arguments: argparse.Namespace) -> int:
    from kdumpd import commands

    done = commands.prune(
        arguments.folder,
        dumps=arguments.dumps,
        logs=arguments.logs,
        dry_run=arguments.dry_run,
        as_json=arguments.json,
    )
    print(done)
    return OK


def _export_command(arguments: argparse.Namespace) -> int:
    from kdumpd import commands

    print(commands.export(arguments.crash, arguments.folder, arguments.file, as_json=arguments.json))
    return OK


def _analyze_command(arguments: argparse.Namespace) -> int:
    from kdumpd import commands

    told = commands.analyze(
        arguments.crash,
        arguments.folder,
        debug=arguments.debug,
        reader=arguments.reader,
        shell=arguments.shell,
        html=arguments.html,
        as_json=arguments.json,
    )
    if told is not None:
        print(told)
    return OK


def _config_for_run(arguments: argparse.Namespace) -> "Config":
    """The configuration; in a real capture kernel a wrong one is said and the defaults are used.

    Nobody is there to mend it, and a crash that is not collected for a typing error is lost.
    """
    from kdumpd.config import Config, load_config

    try:
        return load_config(arguments.config)
    except KdumpError as error:
        config = Config()
        if arguments.no_reboot or not Path(config.vmcore.path).exists():
            raise
        print(f"kdumpd: {error}: using the defaults", file=sys.stderr)
        return config


def _supervise(config: "Config", *, reboot: bool) -> int:
    """Run the supervisor; SIGTERM and SIGINT cut the dump short, and what is there is made durable."""
    import trio

    from kdumpd.ending import describe_only, restart_machine
    from kdumpd.supervisor import supervise

    async def run() -> int:
        code = DEGRADED
        with (
            trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
            trio.CancelScope() as work,
        ):
            async with trio.open_nursery() as nursery:

                async def cancel_on_signal() -> None:
                    await anext(aiter(signals))
                    work.cancel()

                nursery.start_soon(cancel_on_signal)
                outcome = await supervise(
                    config,
                    finish=restart_machine if reboot else describe_only,
                    on_deadline=None if reboot else lambda: os._exit(DEGRADED),
                )
                code = OK if outcome.complete else DEGRADED
                nursery.cancel_scope.cancel()
        return code

    return trio.run(run)
