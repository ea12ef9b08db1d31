"""The consoles that the kernel writes to, as /proc/consoles has them: often a screen and a serial line."""

import re
from pathlib import Path
from typing import Final

CONSOLES: Final = Path("/proc/consoles")
FALLBACK: Final = "/dev/console"

# `ttyS0                -W- (EC p a)    4:64`: name, what it can do, flags, device number
# (show_console_dev() in fs/proc/consoles.c). One without a device, such as netconsole, cannot be opened.
_LINE: Final = re.compile(r"(\w[\w.-]*)\s+\S*W\S*\s+\([^)]*E[^)]*\)\s+\d+:\d+")


def parse_consoles(text: str) -> tuple[str, ...]:
    """The device files of the consoles that are enabled and can be written; /dev/console if there is none."""
    found = [match[1] for line in text.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    return tuple(f"/dev/{name}" for name in found) or (FALLBACK,)


def find_consoles(path: Path = CONSOLES) -> tuple[str, ...]:
    """The consoles of the running kernel; /dev/console if they cannot be read."""
    try:
        return parse_consoles(path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return (FALLBACK,)
