"""Why a kernel crashed, and for each cause, in one table, all that is particular to it.

A new cause is a member here and a line in the table (and a word in docs/crash-record.schema.json);
``tests/dmesg/test_causes.py`` holds that none is forgotten.
"""

import enum
from collections.abc import Mapping
from typing import Final, Literal

from attrs import frozen


class Cause(enum.StrEnum):
    """Why the kernel crashed. The values go into crash records and stay as they are."""

    OOPS = "oops"
    NULL_DEREFERENCE = "null-dereference"
    BUG = "bug"
    GENERAL_PROTECTION_FAULT = "general-protection-fault"
    PANIC = "panic"
    WARNING = "warning"
    HUNG_TASK = "hung-task"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    RCU_STALL = "rcu-stall"
    OUT_OF_MEMORY = "out-of-memory"
    NMI = "nmi"
    MACHINE_CHECK = "machine-check"
    SYSRQ = "sysrq"
    KILLED_INIT = "killed-init"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Traits:
    """What is particular to a cause.

    Attributes:
        group: the words for it in a group's title; causes with the same words are one class of fault.
        culprit: where the function that did it is looked for: in the report's own trace (``trace``), in
            the task that hangs (``waits``), on the CPU that does not answer (``stalls``), or nowhere:
            what ran has nothing to do with it (``outside``).
        message: the panic's message tells two faults of one path apart.
    """

    group: str
    culprit: Literal["trace", "waits", "stalls", "outside"] = "trace"
    message: bool = False


TRAITS: Final[Mapping[Cause, Traits]] = {
    Cause.OOPS: Traits(group="bad access"),
    Cause.NULL_DEREFERENCE: Traits(group="bad access"),
    Cause.GENERAL_PROTECTION_FAULT: Traits(group="bad access"),
    Cause.BUG: Traits(group="bug"),
    Cause.PANIC: Traits(group="panic", message=True),
    Cause.WARNING: Traits(group="warning"),
    Cause.HUNG_TASK: Traits(group="hung task", culprit="waits"),
    Cause.SOFT_LOCKUP: Traits(group="stall", culprit="stalls"),
    Cause.HARD_LOCKUP: Traits(group="stall", culprit="stalls"),
    Cause.RCU_STALL: Traits(group="stall", culprit="stalls"),
    Cause.OUT_OF_MEMORY: Traits(group="out of memory", culprit="outside"),
    Cause.NMI: Traits(group="nmi", culprit="outside"),
    Cause.MACHINE_CHECK: Traits(group="machine check", culprit="outside"),
    Cause.SYSRQ: Traits(group="sysrq"),
    Cause.KILLED_INIT: Traits(group="init killed"),
    Cause.UNKNOWN: Traits(group="unknown", message=True),
}
