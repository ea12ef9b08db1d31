"""Every target by its name."""

from collections.abc import Mapping
from typing import Final

from tests.fuzz import documents, files, logs, streams, tables
from tests.fuzz.target import Target

TARGETS: Final[Mapping[str, Target]] = {
    "flattened": streams.HEADS,
    "writer": streams.WRITER,
    "kdump": files.KDUMP,
    "vmcore": files.VMCORE,
    "vmcoreinfo": files.VMCOREINFO,
    "panic": logs.PANIC,
    "panic-lines": logs.PANIC_LINES,
    "log-lines": logs.LINES,
    "mountinfo": tables.MOUNTINFO,
    "uevent": tables.UEVENT,
    "makedumpfile": tables.MAKEDUMPFILE,
    "config": documents.CONFIG,
    "record": documents.RECORD,
    "names": documents.NAMES,
}
