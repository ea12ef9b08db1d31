"""How long a kernel was up when it wrote its last line: a clock that nobody has to set."""

import re
from typing import Final

_TIME: Final = re.compile(rb"^(?:<\d{1,3}>)?\[ {0,12}(\d{1,12})\.(\d{6})\]", re.MULTILINE)
# A line has 1 KiB or less; a trace that another CPU writes into has its times too.
_SEARCHED_BYTES: Final = 64 << 10


def uptime_s(log: bytes) -> float | None:
    """The time of the last line that has one, in seconds since boot (CONFIG_PRINTK_TIME), or None."""
    times = _TIME.findall(log[-_SEARCHED_BYTES:])
    return float(b".".join(times[-1])) if times else None
