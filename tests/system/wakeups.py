"""How often trio's event loop wakes up, to find a watcher that spins."""

import trio


class Wakeups(trio.abc.Instrument):
    """Counts how often trio's loop woke up, while it is added as an instrument."""

    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1
