"""The lines with which the kernel's reports begin, and what its "Kernel panic" line says of them."""

import re
from typing import Final

from kdumpd.dmesg.lines import PREFIX

_EXCEPTIONS: Final = (
    r"(?:divide[_ ]error|overflow|bounds|invalid opcode|device not available|double fault|invalid TSS"
    r"|segment not present|stack[- ]segment(?: fault)?|alignment check|int3|debug|coprocessor\w*[_ ]\w+"
    r"|(?:x87 )?fpu exception|simd exception|iret exception|spurious[- ]interrupt bug"
    r"|control protection fault"
    r"|coprocessor segment overrun|unknown exception|#VC exception|virtualization exception"
    r"|(?:segment-related )?general protection fault)"
)

# The first words of a report, by kind. A kind is the name of its cause, but for "fault", which stands for
# four of them, "end" and "boot".
_WORDS: Final = {
    "panic": r"Kernel panic - not syncing",
    # oops_exit(), kernel/panic.c
    "end": r"---\[ end trace",
    # init/version.c, arch/arm64/kernel/setup.c: another boot, in a log that went over a serial line
    "boot": r"Linux version \d{1,3}\.",
    # kernel/hung_task.c
    "hung_task": r"INFO: task [^\n]{1,64}? (?:<[^\n>]{0,40}> )?blocked (?:in I/O wait )?for more than",
    # kernel/watchdog.c
    "soft_lockup": r"(?:NMI )?(?:watchdog: )?BUG: soft lockup",
    "hard_lockup": r"(?:NMI )?(?:watchdog: )?(?:CPU ?\d{1,6}: )?"
    r"(?:Watchdog detected hard LOCKUP|CPU ?\d{1,6} Hard LOCKUP|BUG: NMI Watchdog detected LOCKUP)",
    # kernel/rcu/tree_stall.h
    "rcu_stall": r"(?:rcu: )?INFO: rcu_\w{1,30} (?:self-)?detected (?:expedited )?stall",
    # mm/oom_kill.c
    "out_of_memory": r"[^\n]{1,16}? invoked oom-killer:",
    # arch/x86/kernel/nmi.c
    "nmi": r"Uhhuh\. NMI received|NMI: (?:PCI system|IOCK|Memory parity)",
    # arch/x86/kernel/cpu/mce/core.c, drivers/acpi/apei/ghes.c, arch/arm64/kernel/traps.c
    "machine_check": r"(?:mce: )?\[Hardware Error\]: CPU \d{1,6}: Machine Check Exception"
    r"|\{\d{1,10}\}\[Hardware Error\]: Hardware error from APEI|SError Interrupt on CPU",
    # drivers/tty/sysrq.c
    "sysrq": r"(?:sysrq: )?(?:SysRq ?: )?Trigger a crash",
    # lib/bug.c; die(), fault.c, traps.c and dumpstack.c of each architecture
    "fault": r"BUG: (?:kernel NULL pointer|[Uu]nable to handle|stack guard page|(?:TASK|IRQ|\#DF) stack)"
    r"|(?:Oops|Internal error)\b[^\n]{0,160}?\[\#\d|[Kk]ernel BUG at "
    r"|general protection fault[^\n]{0,120}?\[\#"
    r"|Internal error: |(?:CPU \d{1,6} )?Unable to handle kernel|Unhandled fault: |Insufficient stack space"
    r"|(?:traps: )?PANIC: double fault|Unhandled [^\n]{1,40}? exception on CPU"
    r"|Bad mode in [^\n]{1,60}? detected"
    r"|Unexpected kernel BRK|" + _EXCEPTIONS + r"(?:,[^\n]{0,80}?)?: [0-9a-f]{1,8} \[\#",
    # __warn(), kernel/panic.c; KASAN, UBSAN and the like panic with it under panic_on_warn
    "warning": r"WARNING: |BUG: |UBSAN: ",
}
HEAD: Final = re.compile(
    "^(?=[^\n]{5})"  # no head is shorter; most of the lines of a log full of lines are
    + PREFIX
    + "(?:"
    + "|".join(f"(?P<{kind}>{words})" for kind, words in _WORDS.items())
    + ")",
    re.ASCII | re.MULTILINE,
)
"""A line that begins a report; the name of the group that matches is its kind."""

FATAL_ALONE: Final = frozenset(
    {"fault", "hung_task", "soft_lockup", "hard_lockup", "rcu_stall", "nmi", "machine_check", "sysrq"}
)
"""Kinds that make a crash of a log even without a "Kernel panic" line; the others are often survived."""

TITLED_BY_PANIC: Final = frozenset({"out_of_memory", "nmi", "machine_check", "sysrq", "panic"})
"""Kinds of which the "Kernel panic" line says more than the first line."""

_MESSAGE: Final = re.compile(
    r"Kernel panic - not syncing: .{0,200}?(?:"
    r"(?P<fault>Fatal exception|Aiee, killing interrupt handler|Attempted to kill the idle task"
    r"|Machine halted|kernel stack overflow|Unhandled exception|bad mode)"
    r"|(?P<killed_init>Attempted to kill init)"
    r"|(?P<hung_task>hung_task:)"
    r"|(?P<soft_lockup>softlockup:)"
    r"|(?P<hard_lockup>hard LOCKUP|Hard LOCKUP|NMI Watchdog detected LOCKUP)"
    r"|(?P<rcu_stall>RCU Stall)"
    r"|(?P<out_of_memory>[Oo]ut of memory|System is deadlocked on memory)"
    r"|(?P<machine_check>[Mm]achine [Cc]heck|[Hh]ardware error|broadcast exception handler|SError Interrupt)"
    r"|(?P<nmi>NMI)"
    r"|(?P<sysrq>sysrq triggered crash)"
    r"|(?P<warning>panic_on_warn set|panic_on_kmsan set)"
    r"|(?P<atomic>scheduling while atomic))"
)


def kind_of_message(body: str) -> str:
    """Tell from a "Kernel panic" line what kind of report belongs to it."""
    said = _MESSAGE.match(body)
    return str(said.lastgroup) if said else "panic"
