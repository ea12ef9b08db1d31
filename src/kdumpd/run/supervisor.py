"""One run in the capture kernel: the nursery of three tasks, then the final phase, whatever happened.

Storage, the dump and the panic text are three tasks at once. A task that fails ends with a warning and
takes nobody with it. When the three are done, or a budget or a cancel ended them, the final phase
commits the reason files and the record, and hands over to ``finish``, which normally restarts the
machine.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import trio

from kdumpd.config import AUTO, Config
from kdumpd.dmesg.lines import last_lines
from kdumpd.dump.verdict import Verdict
from kdumpd.errors import KdumpError
from kdumpd.host import watchdog
from kdumpd.host.background import background
from kdumpd.host.console import Console
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Deadline, Machine
from kdumpd.run.collector import Collector
from kdumpd.run.finish import Ending, Finish, Outcome, restart_machine
from kdumpd.run.state import Evidence
from kdumpd.storage.gate import Gate, Storage

BEGIN: Final = "-------- BEGIN kernel panic --------"
END: Final = "-------- END kernel panic --------"

# What it takes to say one line, where nothing hangs.
_LAST_LINE_S: Final = 1.0

# What is shown of a log in which no panic was recognised.
_LAST_LINES: Final = 40


async def supervise(
    config: Config,
    *,
    machine: Machine | None = None,
    finish: Finish = restart_machine,
    on_deadline: Callable[[], object] | None = None,
    warnings: Iterable[str] = (),
) -> Outcome:
    """Collect a crash and end the run.

    Args:
        config: the settings.
        machine: the machine to run on; a simulated one in tests.
        finish: the last step.
        on_deadline: what a thread outside trio does when all budgets are over and the run is not;
            it restarts the machine unless told otherwise.
        warnings: what is known before the run, such as mistakes in the settings; said and recorded.

    Returns:
        The outcome, if ``finish`` returns. Cancelled, the final phase still runs before the cancel goes
        on. The evidence is made final in at most ``budget.grace_s``, and ``finish`` has as long again.
    """
    supervisor = Supervisor(config, machine or LinuxMachine())
    for text in warnings:
        supervisor.warn(text)
    return await supervisor.run(finish, on_deadline)


def _innermost(error: Exception) -> Exception:
    """The first error inside the groups that nurseries put around errors."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


class Supervisor:
    """The state of one run; see ``supervise``."""

    def __init__(self, config: Config, machine: Machine) -> None:
        self._config = config
        self._machine = machine
        self._evidence = Evidence(
            folder=f"{config.storage.mountpoint.rstrip('/')}/{config.dump.directory}",
            dump_wanted=config.dump.enabled,
        )
        self._console = Console(
            machine.consoles() if config.console.targets == AUTO else config.console.targets,
            write=machine.write_line,
            line_delay_s=config.console.line_delay_s,
        )
        self._lease = watchdog.Lease()
        self._budget = trio.CancelScope(deadline=trio.current_time() + config.budget.total_s)
        self._collector = Collector(
            config,
            machine=machine,
            evidence=self._evidence,
            lease=self._lease,
            say=self._console.say,
            why_cut=self._why_cut,
        )
        self._storage: Storage | None = None
        self._outcome: Outcome | None = None
        self._trouble: str | None = None
        self._storage_known = trio.Event()

    def warn(self, text: str) -> None:
        """Note a warning and say it."""
        self._collector.warn(text)

    async def run(self, finish: Finish, on_deadline: Callable[[], object] | None) -> Outcome:
        """Collect, conclude, finish."""
        config, machine = self._config, self._machine
        deadline = machine.arm_deadline(
            config.budget.total_s + config.budget.grace_s,
            on_deadline or (lambda: machine.restart(config.reboot.method)),
        )
        try:
            async with self._services():
                return await self._collect_and_end(finish, deadline)
        finally:
            deadline.close()

    async def _collect_and_end(self, finish: Finish, deadline: Deadline) -> Outcome:
        try:
            await self._collect_in_budget()
            await self._settle(within_s=self._left_s())
            await self._drain_console()
        except* trio.Cancelled:  # alone, or in a nursery's group
            grace_s = self._config.budget.grace_s
            await self._settle(within_s=grace_s)  # noqa: ASYNC102 it shields itself
            with trio.move_on_after(grace_s, shield=True):
                await self._finish(finish, deadline)
            raise
        return await self._finish(finish, deadline)

    @asynccontextmanager
    async def _services(self) -> AsyncIterator[None]:
        """Console and watchdog: they outlive a cancel, since the final phase needs them."""
        self._lease.renew(self._config.budget.grace_s)
        scope = trio.CancelScope(shield=True)

        async def serve() -> None:
            with scope:
                async with trio.open_nursery() as services:
                    services.start_soon(self._console.run)
                    services.start_soon(self._pet_watchdog)

        async with background() as nursery:
            nursery.start_soon(serve)  # noqa: ASYNC113 nothing waits for it: lines queue until it runs
            try:
                yield
            finally:
                scope.cancel()

    async def _pet_watchdog(self) -> None:
        await watchdog.pet(
            self._config.watchdog.device,
            self._lease,
            self._console.say,
            open_device=self._machine.open_watchdog,
        )

    async def _collect_in_budget(self) -> None:
        with self._budget:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._wait_for_storage)
                nursery.start_soon(self._guard, self._collect)
                nursery.start_soon(self._guard, self._show_panic)
        if self._budget.cancelled_caught:
            self._evidence.budgets_spent.append("total")

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of the three; what it did not foresee must not cost the others' evidence."""
        try:
            await task()
        except Exception as error:
            name = getattr(task, "__name__", "task").strip("_")
            cause = _innermost(error)
            expected = isinstance(cause, KdumpError)
            self._trouble = str(cause) if expected else f"{name}: {type(cause).__name__}: {cause}"
            self._collector.warn(self._trouble)

    def _why_cut(self) -> str:
        if self._trouble is not None:
            return self._trouble
        if self._budget.cancel_called:
            return f"total budget of {self._config.budget.total_s:g} s ran out"
        return "interrupted"

    async def _wait_for_storage(self) -> None:
        """Task 1: the gate."""
        settings = self._config.storage
        gate = Gate(settings, machine=self._machine, tell=self._console.say)
        self._lease.renew(settings.wait_s + self._config.budget.grace_s)
        try:
            with self._evidence.phase("storage"), trio.move_on_after(settings.wait_s) as wait:
                storage = await gate.wait()
                free = f"{storage.space.free_bytes >> 20} MiB free"
                self._console.say(f"{settings.mountpoint} is ready: {storage.mount.source}, {free}")
            if wait.cancelled_caught:
                self._evidence.budgets_spent.append("storage")
                self._collector.warn(f"{gate.missing} (waited {settings.wait_s:g} s)")
        finally:
            self._storage = gate.storage
            self._storage_known.set()

    async def _collect(self) -> None:
        """Task 2: the log at once; everything else when the gate opens."""
        await self._collector.read_crash()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collector.prepare)
            await self._storage_known.wait()
            nursery.cancel_scope.cancel()
        if self._storage is None:
            self._evidence.dump = Verdict(state="none", why="there was no storage to write to")
        else:
            await self._collector.save(self._storage)

    async def _show_panic(self) -> None:
        """Task 3: the panic text, as soon as the log is in memory."""
        await self._collector.log_read.wait()
        found = self._evidence.panic
        lines = found.text if found else last_lines(self._evidence.log.data, _LAST_LINES)
        self._console.show([BEGIN, *(lines or ["no log could be read"]), END])

    async def _settle(self, *, within_s: float) -> None:
        """Make the evidence on disk final, once; no cancel comes between."""
        if self._outcome is not None:
            return
        with trio.move_on_after(within_s, shield=True):
            self._lease.renew(2 * self._config.budget.grace_s)
            await self._collector.settle(self._storage)
        self._outcome = Outcome(
            reason=self._evidence.reason(),
            record=self._evidence.record(),
            complete=self._evidence.complete,
        )
        self._console.say(self._outcome.reason)
        if self._collector.crashes is not None:
            self._collector.crashes.close()

    async def _finish(self, finish: Finish, deadline: Deadline) -> Outcome:
        assert self._outcome is not None

        def extend(seconds: float | None) -> None:
            deadline.move(seconds)
            self._lease.renew(float("inf") if seconds is None else seconds)

        await finish(
            Ending(
                outcome=self._outcome,
                config=self._config,
                machine=self._machine,
                say=self._console.say,
                extend=extend,
            )
        )
        await self._drain_console()
        return self._outcome

    async def _drain_console(self) -> None:
        """Let paced lines out before the restart, within what is left of the total budget."""
        with trio.move_on_after(self._left_s()):
            self._lease.renew(self._left_s())
            await self._console.drain()

    def _left_s(self) -> float:
        """What is left of total budget and grace, less a moment to say the outcome in."""
        end = self._budget.deadline + self._config.budget.grace_s
        return max(0.0, end - _LAST_LINE_S - trio.current_time())
