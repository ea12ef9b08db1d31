"""The reason files: what the next boot is told. The texts of the reason line, and the set of three written.

The line comes first in worth and last in order: EVE's reader acts on a ``reboot-reason`` that is not empty,
so where it is present the other two are there. Where room is short the stack gives way, never the line.
"""

import errno
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kdumpd.dmesg.lines import tail
from kdumpd.dump.verdict import Verdict
from kdumpd.host.folder import Folder

BOOT_REASON: Final = b"BootReasonKernel\n"

# EVE's reader returns an empty string for a longer reboot-reason or reboot-stack (pkg/pillar, agentlog).
REASON_BYTES: Final = 16384
STACK_BYTES: Final = 524288

REASONS_BYTES: Final = 32 << 10
"""Room for the reason files without the log in them."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""What a write says where there is no room for it."""

# The lengths that are tried where the whole stack does not fit. EVE's controller gets the last 1600
# characters.
_SHORTER_BYTES: Final = (128 << 10, 32 << 10, 4 << 10)


@frozen(kw_only=True)
class Reasons:
    """What the next boot is told.

    Attributes:
        stack: the content of ``reboot-stack``; None leaves the file as it is.
        line: the content of ``reboot-reason``, without its newline.
        crash_time_s: the modification time of ``boot-reason``, which EVE takes for the last reboot's time.
    """

    stack: bytes | None
    line: str
    crash_time_s: int | None


def reason_line(
    verdict: Verdict,
    *,
    dump_path: str,
    log_path: str | None,
    dump_wanted: bool,
    why_no_log: Sequence[str] = (),
) -> str:
    """The line of ``reboot-reason``, without its newline.

    Args:
        verdict: what became of the dump.
        dump_path: where it is, if there is one.
        log_path: where the log was saved; None where it was not.
        dump_wanted: whether a dump belongs to a complete run.
        why_no_log: what went wrong with the log.
    """
    if verdict.state != "none":
        line = f"kernel panic, kdump collected: {dump_path}"
        return line if verdict.state == "complete" else f"{line} (incomplete: {verdict.why})"
    if log_path is not None:
        line = f"kernel panic, dmesg collected: {log_path}"
        return f"{line} (no kdump: {verdict.why})" if dump_wanted else line
    whys = [*why_no_log, *([verdict.why] if dump_wanted and verdict.why else [])]
    return f"kernel panic, nothing collected: {'; '.join(dict.fromkeys(whys)) or 'no log was found'}"


def commit_reasons(folder: Folder, reasons: Reasons) -> int | None:
    """Write the reason files: stack first, boot-reason second, reboot-reason last.

    A reboot-reason of an earlier panic is removed before anything else, so that it never stands beside a
    newer stack. What ``Folder.reserve`` holds is the stack's, but for the line's part, which is held until it
    is written.

    Returns:
        The length of the stack where it had to be shorter; None where it is whole, or was left as it is.

    Raises:
        OSError: as the file system says.
    """
    line = reasons.line.encode()[: REASON_BYTES - 1] + b"\n"
    shorter = None
    if reasons.stack is not None:
        folder.remove("reboot-reason")
        folder.sync()
        folder.reserve(REASONS_BYTES)
        shorter = _write_stack(folder, tail(reasons.stack, STACK_BYTES))
        folder.release()
        folder.write("boot-reason", BOOT_REASON, mode=0o644, mtime_s=reasons.crash_time_s)
    folder.release()
    folder.write("reboot-reason", line, mode=0o644)
    return shorter


def _write_stack(folder: Folder, stack: bytes) -> int | None:
    for limit in (len(stack), *(size for size in _SHORTER_BYTES if size < len(stack))):
        try:
            folder.write("reboot-stack", tail(stack, limit), mode=0o644)
            return limit if limit < len(stack) else None
        except OSError as error:
            if error.errno not in FULL:
                raise
    # Not even a name fits, or there is no inode for it: what is held for the line has one.
    folder.release()
    folder.write("reboot-stack", b"", mode=0o644)
    return 0
