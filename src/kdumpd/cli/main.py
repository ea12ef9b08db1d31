"""Exit codes, and what a command loads: it is imported when the command runs. The only place that exits."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from kdumpd.cli.arguments import make_parser
from kdumpd.errors import ConfigError, KdumpError

if TYPE_CHECKING:
    from kdumpd.config import Config

OK: Final = 0
DEGRADED: Final = 1
WRONG: Final = 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    try:
        code = _run(vars(make_parser().parse_args(argv)))
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


def _run(options: dict[str, Any]) -> int:
    command = options.pop("command")
    if command == "run":
        return _collect(**options)
    if command == "status":
        return _tell_status(**options)
    if command == "drill":
        return _drill(**options)
    return _answer(command, options)


def _collect(*, config: Path | None, no_reboot: bool) -> int:
    from kdumpd.config import load_anyway

    settings, mistakes = load_anyway(config)
    if not Path(settings.vmcore.path).exists():
        from kdumpd.cli.armed import tell_armed

        print(tell_armed(settings, mistakes))
        return OK
    if mistakes and no_reboot:
        raise ConfigError(mistakes[0])
    with suppress(OSError):  # be the last process that the OOM killer takes
        Path("/proc/self/oom_score_adj").write_text("-1000")
    # None may end a run before its reboot; while there is something to cut short, `_supervise` listens.
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if no_reboot:
        return _supervise(settings, reboot=False, warnings=mistakes)
    from kdumpd.host.reboot import restart

    try:
        return _supervise(settings, reboot=True, warnings=mistakes)
    finally:
        # Whatever happened above, also a bug of ours: the machine comes back.
        print(f"kdumpd: the restart failed: {restart(settings.reboot.method)}", file=sys.stderr)


def _tell_status(*, config: Path | None, as_json: bool, metrics: bool) -> int:
    from kdumpd.config import load_config
    from kdumpd.status.assess import read_status
    from kdumpd.status.metrics import to_metrics
    from kdumpd.status.report import render, to_json

    found = read_status(load_config(config))
    text = to_metrics(found) if metrics else to_json(found) if as_json else render(found)
    print(text, end="")
    return OK if found.armed else DEGRADED


def _drill(*, config: Path | None, yes: bool) -> int:
    from kdumpd.cli.drill import drill
    from kdumpd.config import load_config

    print(drill(load_config(config), yes=yes))
    return DEGRADED


def _answer(command: str, options: dict[str, Any]) -> int:
    from kdumpd.cli.commands import COMMANDS

    answer = COMMANDS[command](**options)
    if answer is not None:
        print(answer)
    return OK


def _supervise(config: "Config", *, reboot: bool, warnings: Sequence[str]) -> int:
    """Run the supervisor; SIGTERM and SIGINT cut the dump short, and what is there is made durable."""
    import trio

    from kdumpd.run.finish import describe_only, restart_machine
    from kdumpd.run.supervisor import supervise

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
                    warnings=warnings,
                )
                code = OK if outcome.complete else DEGRADED
                nursery.cancel_scope.cancel()
        return code

    return trio.run(run)
