"""One run in the capture kernel: the nursery of three tasks, then the final phase, whatever happened.

Storage, the dump and the panic text are three tasks at once. A task that fails ends with a warning and
takes nobody with it. When the three are done, or a budget or a cancel ended them, the final phase
commits the reason files and the record, and hands over to ``finish``, which normally restarts the
machine.

The final phase is a plain ``finally`` under a shield. An error that nobody foresaw, a cancel, or both in one
group, which ``except`` would have to take apart, end the collecting and nothing else; they go on when the
machine did not restart. The clock bounds it all, and knows of a cancel from a task that does nothing but wait
for one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from kdumpd.config import AUTO, Config
from kdumpd.dmesg.lines import last_lines
from kdumpd.errors import KdumpError, innermost
from kdumpd.host import watchdog
from kdumpd.host.background import background
from kdumpd.host.console import Console
from kdumpd.host.linux import LinuxMachine
from kdumpd.host.machine import Machine
from kdumpd.run.clock import Clock
from kdumpd.run.collector import Collector
from kdumpd.run.crashfolder import CrashFolder
from kdumpd.run.finish import Finish, FinishContext, Outcome, restart_machine
from kdumpd.run.state import RunState
from kdumpd.storage.gate import Gate

BEGIN: Final = "-------- BEGIN kernel panic --------"
END: Final = "-------- END kernel panic --------"

# What it takes to say the last lines, where nothing hangs.
_LAST_LINES_S: Final = 1.0

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
        on: the evidence is final within ``budget.grace_s``, and ``finish`` has as long again.
    """
    supervisor = Supervisor(config, machine or LinuxMachine())
    for text in warnings:
        supervisor.warn(text)
    return await supervisor.run(finish, on_deadline)


class Supervisor:
    """One run; see ``supervise``."""

    def __init__(self, config: Config, machine: Machine) -> None:
        self._config = config
        self._machine = machine
        self._clock = Clock(config.budget)
        self._state = RunState(config=config)
        self._console = Console(
            machine.consoles() if config.console.targets == AUTO else config.console.targets,
            write=machine.write_line,
            line_delay_s=config.console.line_delay_s,
            blocks_s=min(5.0, config.budget.grace_s / 3),
        )
        self._collector = Collector(
            config,
            machine=machine,
            state=self._state,
            clock=self._clock,
            say=self._console.say,
            cancel_reason=self._cancel_reason,
        )
        self._folder: CrashFolder | None = None
        self._storage_known = trio.Event()
        self._outcome: Outcome | None = None
        self._trouble: str | None = None
        self._restarting = False

    def warn(self, text: str) -> None:
        """Note a warning and say it."""
        self._collector.warn(text)

    async def run(self, finish: Finish, on_deadline: Callable[[], object] | None) -> Outcome:
        """Collect, settle, finish."""
        config, machine = self._config, self._machine
        deadline = machine.arm_deadline(
            config.budget.total_s + config.budget.grace_s,
            on_deadline or (lambda: machine.restart(config.reboot.method)),
        )
        self._clock.arm(deadline)
        try:
            async with self._services():
                try:
                    await self._collect_in_budget()
                finally:
                    self._clock.notice_cancel()
                    with self._clock.final:
                        await self._end(finish)  # noqa: ASYNC102 the clock's scope is a shield, and bounded
        finally:
            deadline.close()
        assert self._outcome is not None
        return self._outcome

    async def _end(self, finish: Finish) -> None:
        """The final phase."""
        try:
            with self._clock.settling():
                await self._settle()
        finally:
            self._conclude()
        await self._drain(self._clock.budget.deadline - trio.current_time())
        await finish(self._finish_context())
        await self._drain(_LAST_LINES_S)

    @asynccontextmanager
    async def _services(self) -> AsyncIterator[None]:
        """Console and watchdog: they outlive a cancel, since the final phase needs them, and end no run."""
        scope = trio.CancelScope(shield=True)

        async def serve() -> None:
            with scope:
                async with trio.open_nursery() as services:
                    services.start_soon(self._guard_service, self._console.run)
                    services.start_soon(self._guard_service, self._pet_watchdog)

        async with background() as nursery:
            nursery.start_soon(serve)  # noqa: ASYNC113 nothing waits for it: lines queue until it runs
            nursery.start_soon(self._wait_for_cancel)  # noqa: ASYNC113 nothing waits for it
            try:
                yield
            finally:
                scope.cancel()

    async def _wait_for_cancel(self) -> NoReturn:
        try:
            await trio.sleep_forever()
        finally:
            self._clock.cut()

    async def _pet_watchdog(self) -> None:
        await watchdog.pet(
            self._config.watchdog.device,
            lambda: self._clock.allowed,
            self._console.say,
            open_device=self._machine.open_watchdog,
            keep_running=lambda: self._restarting,
        )

    async def _collect_in_budget(self) -> None:
        with self._clock.budget:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._wait_for_storage)
                nursery.start_soon(self._guard, self._collect)
                nursery.start_soon(self._guard, self._show_panic)
        if self._clock.budget.cancelled_caught:
            self._state.budgets_spent.append("total")

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of the three; what it did not foresee is why its evidence is missing; the others go on."""
        self._trouble = await self._guard_service(task) or self._trouble

    async def _guard_service(self, task: Callable[[], Awaitable[None]]) -> str | None:
        """Run a task to its end; an error ends it alone, with a warning, which is returned."""
        try:
            await task()
        except Exception as error:
            name = getattr(task, "__name__", "task").strip("_")
            cause = innermost(error)
            expected = isinstance(cause, KdumpError)
            trouble = str(cause) if expected else f"{name}: {type(cause).__name__}: {cause}"
            self._collector.warn(trouble)
            return trouble
        return None

    def _cancel_reason(self) -> str:
        if self._trouble is not None:
            return self._trouble
        if self._clock.budget.cancel_called and not self._clock.was_cut:
            return f"total budget of {self._config.budget.total_s:g} s ran out"
        return "interrupted"

    async def _wait_for_storage(self) -> None:
        """Task 1: the gate."""
        settings = self._config.storage
        gate = Gate(settings, machine=self._machine, tell=self._console.say)
        try:
            with self._state.phase("storage"), self._clock.step(settings.wait_s) as wait:
                storage = await gate.wait()
                free = f"{storage.space.free_bytes >> 20} MiB free"
                self._console.say(f"{settings.mountpoint} is ready: {storage.mount.source}, {free}")
            if wait.cancelled_caught:
                self._state.budgets_spent.append("storage")
                self._collector.warn(f"{gate.missing} (waited {settings.wait_s:g} s)")
        finally:
            if gate.storage is not None:
                self._folder = CrashFolder(gate.storage, self._config, self._machine, self._clock)
            self._storage_known.set()

    async def _collect(self) -> None:
        """Task 2: the log at once; everything else when the gate opens."""
        await self._collector.read_crash()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collector.prepare)
            await self._storage_known.wait()
            nursery.cancel_scope.cancel()
        if self._folder is None:
            self._state.why_no_dump = "there was no storage to write to"
        else:
            await self._collector.save(self._folder)

    async def _show_panic(self) -> None:
        """Task 3: the panic text, as soon as the log is in memory."""
        await self._collector.log_read.wait()
        found = self._state.panic
        lines = found.text if found else last_lines(self._state.log.data, _LAST_LINES)
        self._console.show([BEGIN, *(lines or ["no log could be read"]), END])

    async def _settle(self) -> None:
        """Make the evidence on disk final."""
        self._collector.explain()
        if self._folder is not None:
            for target, why in self._console.lost.items():
                self._state.warn(f"console {target}: {why}")
            await self._collector.settle(self._folder)

    def _conclude(self) -> None:
        """Say what came of it; the file system is let go of, so that it can be unmounted."""
        self._outcome = Outcome(
            reason=self._state.reason(), record=self._state.record(), complete=self._state.complete
        )
        self._console.say(self._outcome.reason)
        if self._folder is not None:
            self._folder.close()

    def _finish_context(self) -> FinishContext:
        assert self._outcome is not None
        return FinishContext(
            outcome=self._outcome,
            config=self._config,
            machine=self._machine,
            say=self._console.say,
            extend=self._clock.extend,
            leaving=self._clock.leaving,
            drain=lambda: self._drain(_LAST_LINES_S),
            restarting=self._note_restart,
        )

    def _note_restart(self) -> None:
        self._restarting = True

    async def _drain(self, within_s: float) -> None:
        """Let queued lines out; a target that blocks is not waited for."""
        with self._clock.draining(within_s):
            await self._console.drain()
