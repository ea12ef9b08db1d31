"""The one clock of a run: what each step may take, and everything that acts when it takes longer.

A run has two walls. Up to the first, evidence is collected; between the two it is made final. Each step asks
for an allowance. The allowance is at once the step's deadline and the lease on the hardware watchdog: it is
petted while some step is within its allowance, however long that is, and not a moment longer. Behind the
second wall stands the deadline thread, outside trio, which restarts the machine whatever the event loop does.

With the total budget T and the grace G, a run that nothing cuts short has these walls (in a run with
little time, T < 4 G, a quarter of T stands for G in the first):

    0                            T - G      T - G/2       T            T + G
    |  storage, log, dump, ...     |  seal     |  settle   |  finish     |
    |------------- collect --------|---------- final phase --------------|
                               first wall                           second wall

A signal puts the first wall at the moment it comes, and the second one 2 G behind it. docs/architecture.md
has the table of steps.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import trio

from kdumpd.config import BudgetSettings
from kdumpd.host.machine import Deadline

# The parts of the final phase by which a dump is sealed, and by which everything on disk is final.
_SEALED_BY: Final = 1 / 4
_SETTLED_BY: Final = 1 / 2
# The shares of what is left when lines are let out, and when file systems are left clean.
_DRAINED_BY: Final = 1 / 4
_LEFT_BY: Final = 3 / 4


class Clock:
    """The time of one run, in seconds of trio's clock.

    Args:
        budget: the settings; the run begins now.

    Attributes:
        began: when the run began.
        budget: a cancel scope around all that collects; it ends at the first wall.
        end: the second wall.
        was_cut: a signal, or whoever cancelled the run, ended the collecting.
    """

    def __init__(self, budget: BudgetSettings) -> None:
        self.began = trio.current_time()
        self.end = self.began + budget.total_s + budget.grace_s
        self.budget = trio.CancelScope(
            deadline=self.began + budget.total_s - min(budget.grace_s, budget.total_s / 4)
        )
        self._grace_s = budget.grace_s
        self._allowed_until = self.began + budget.grace_s
        self._deadline: Deadline | None = None
        # Whoever cancelled the run has the last word: for them it ends a moment before the deadline thread
        # acts.
        self._margin_s = min(1.0, budget.grace_s / 4)
        self._final = trio.CancelScope(shield=True)
        self._cancelled = False
        self._extended = False
        self._final_began: float | None = None
        self._final_steps: dict[trio.CancelScope, float] = {}
        self.was_cut = False

    # Collecting.

    @property
    def allowed(self) -> bool:
        """True while some step is within its allowance: the watchdog may be petted."""
        return trio.current_time() < self._allowed_until

    def allow(self, seconds: float) -> None:
        """Allow the step that begins, or that has just advanced, so many seconds from now."""
        self._allowed_until = max(self._allowed_until, min(trio.current_time() + seconds, self.end))

    @contextmanager
    def step(self, allowance_s: float) -> Iterator[trio.CancelScope]:
        """A step with its allowance; ``cancelled_caught`` of what it yields says that it was spent."""
        self.allow(allowance_s)
        with trio.move_on_after(allowance_s) as scope:
            yield scope

    # The final phase.

    def arm(self, deadline: Deadline) -> None:
        """Give it the deadline thread, which acts at the second wall."""
        self._deadline = deadline

    def cut(self) -> None:
        """Put the first wall where we are, if it is not behind us: collecting is over."""
        now = trio.current_time()
        self._cancelled = True
        if self.budget.deadline > now:
            self.was_cut = True
            self.budget.deadline = now
        if not self._extended:
            self._move_end(min(self.end, now + 2 * self._grace_s))
        for scope, share in self._final_steps.items():
            scope.deadline = min(scope.deadline, now + share * (self.end - now))

    def extend(self, seconds: float | None) -> None:
        """Put the second wall so many seconds from now; None is for ever, or until a signal comes."""
        self._extended = seconds is not None
        self._move_end(float("inf") if seconds is None else trio.current_time() + seconds)
        self.allow(float("inf"))

    def _move_end(self, end: float) -> None:
        self.end = end
        if self._cancelled:
            self._final.deadline = end - self._margin_s
        if self._deadline is not None:
            self._deadline.move(None if end == float("inf") else max(0.0, end - trio.current_time()))

    @property
    def final(self) -> trio.CancelScope:
        """The scope of the final phase: no cancel comes into it. In a run that was cancelled it has an end.

        In any other it has none but the deadline thread: a run that hangs is restarted, not let go on.
        """
        return self._final

    @contextmanager
    def final_step(self, allowance_s: float, *, share: float) -> Iterator[trio.CancelScope]:
        """A step of the final phase. A signal that comes meanwhile leaves it a share of what is left then."""
        self.allow(allowance_s)
        with trio.move_on_after(max(0.0, allowance_s)) as scope:
            self._final_steps[scope] = share
            try:
                yield scope
            finally:
                del self._final_steps[scope]

    def settling(self) -> AbstractContextManager[trio.CancelScope]:
        """The step that makes everything on disk final: what is left of the budget, at least its share."""
        left_s = self.budget.deadline - trio.current_time()
        return self.final_step(max(self.settle_s(), left_s), share=_SETTLED_BY)

    def draining(self, most_s: float) -> AbstractContextManager[trio.CancelScope]:
        """The step that lets queued lines out, of so many seconds at most."""
        return self.final_step(most_s, share=_DRAINED_BY)

    def leaving(self, most_s: float) -> AbstractContextManager[trio.CancelScope]:
        """The step that leaves the file systems clean; a quarter of what is left is the restart's."""
        left_s = self.end - trio.current_time()
        return self.final_step(min(most_s, _LEFT_BY * left_s), share=_LEFT_BY)

    def notice_cancel(self) -> None:
        """Call ``cut`` where the caller was cancelled from outside.

        A cancel comes to all tasks at once, and to the one that waits for it perhaps last.
        """
        if trio.current_effective_deadline() == float("-inf") and trio.current_time() < self.budget.deadline:
            self.cut()

    def seal_s(self) -> float:
        """How long a dump that was cut may still be sealed and checked."""
        self.notice_cancel()
        return self._left_s(_SEALED_BY)

    def settle_s(self) -> float:
        """How long settling may still take: to its wall, at least a quarter of what is left."""
        return max(self._left_s(_SETTLED_BY), min((self.end - trio.current_time()) / 4, 2 * self._grace_s))

    def _left_s(self, part: float) -> float:
        """What is left of a part of the final phase.

        It begins at the first wall; or later, where the event loop was starved of CPU or memory until then,
        and would find its share gone.
        """
        now = trio.current_time()
        if self._final_began is None and now >= self.budget.deadline:
            self._final_began = now
        began = self.budget.deadline if self._final_began is None else self._final_began
        return max(0.0, began + part * (min(self.end, began + 2 * self._grace_s) - began) - now)
