"""The status as text for a person's screen, and as JSON for a program."""

import json
import textwrap
from collections.abc import Iterator
from typing import Final

import attrs

from kdumpd.dump.makedumpfile import choose_compression
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.status.assess import Finding, Status, room_bytes
from kdumpd.status.facts import Facts, LoadResult
from kdumpd.status.files import Unknown
from kdumpd.status.lastcrash import LastCrash
from kdumpd.text import printable, size

SCHEMA: Final = 1

_WIDTH: Final = 80
# One line of the screen is the next prompt's.
_HEIGHT: Final = 23
_LABEL: Final = 12


def render(status: Status) -> str:
    """The status for a person: at most 23 lines of 80 columns, the reasons first."""
    facts = status.facts
    head = ["kdumpd: armed" if status.armed else "kdumpd: NOT ARMED"]
    rows = [
        *_row("kernel", _kernel_text(facts)),
        *_row("reserved", _reserved_text(facts)),
        *_row("persist", _persist_text(facts)),
        *_row("dump tool", _tool_text(facts)),
        *_row("last crash", _crash_text(facts), lines=3),
        *(_row("drill", f"passed, {facts.drill.text}") if facts.drill and facts.drill.passed else []),
        *(_row("reason file", _reboot_reason_text(facts)) if facts.reboot_reason else []),
    ]
    findings = [_finding_lines("reason", finding) for finding in status.reasons]
    findings += [_finding_lines("warning", finding) for finding in status.warnings]
    return "\n".join([*head, *_fit(findings, _HEIGHT - len(head) - len(rows)), *rows]) + "\n"


def _fit(findings: list[list[str]], height: int) -> Iterator[str]:
    """As many whole findings as fit, then how many are left."""
    for number, lines in enumerate(findings):
        height -= len(lines)
        is_last = number == len(findings) - 1
        if height < (0 if is_last else 1):
            yield f"  and {len(findings) - number} more: kdumpd status --json"
            return
        yield from lines


def _finding_lines(label: str, finding: Finding) -> list[str]:
    return [*_row(label, finding.text), *_row("  remedy", finding.remedy)]


def _row(label: str, text: str, *, lines: int = 2) -> list[str]:
    """A label and its text, wrapped beside it, and cut after this many lines."""
    indent = " " * _LABEL
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=indent,
        max_lines=lines,
        placeholder=" [...]",
    ) or [label]


def _kernel_text(facts: Facts) -> str:
    if facts.loaded is not True:
        return "no capture kernel" if facts.loaded is False else str(facts.loaded)
    name = facts.load_result.kernel if facts.load_result else "a capture kernel"
    forbidden = ", further kexec is forbidden" if facts.forbidden is True else ""
    return f"{name} is loaded{forbidden}{_modules_text(facts.load_result)}"


def _modules_text(result: LoadResult | None) -> str:
    return f"; modules {result.modules}" if result and result.modules else ""


def _reserved_text(facts: Facts) -> str:
    if isinstance(facts.reserved_bytes, Unknown):
        return str(facts.reserved_bytes)
    if isinstance(facts.memory_bytes, Unknown):
        return size(facts.reserved_bytes)
    memory = facts.memory_bytes + facts.reserved_bytes
    return f"{size(facts.reserved_bytes)} of {size(memory)} of memory"


def _persist_text(facts: Facts) -> str:
    mountpoint = facts.config.storage.mountpoint
    if not isinstance(facts.mount, Mount):
        return f"nothing mounted on {mountpoint}" if facts.mount is None else str(facts.mount)
    mounted = f"{facts.mount.filesystem} on {mountpoint}"
    if isinstance(facts.space, Unknown):
        return mounted
    room = room_bytes(facts)
    return f"{mounted}, {size(facts.space.free_bytes)} free" + (
        f", {size(room)} of it for a dump" if room is not None else ""
    )


def _tool_text(facts: Facts) -> str:
    if isinstance(facts.makedumpfile, Unknown):
        return str(facts.makedumpfile)
    compression = _compression(facts) or "not used: dump.enabled is false"
    return f"makedumpfile {facts.makedumpfile.version}, {compression}"


def _compression(facts: Facts) -> str | None:
    if isinstance(facts.makedumpfile, Unknown) or not facts.config.dump.enabled:
        return None
    return choose_compression(facts.config.dump.compression, facts.makedumpfile)[0]


def _crash_text(facts: Facts) -> str:
    crash = facts.last_crash
    if not isinstance(crash, LastCrash):
        return "none in the crash folder" if crash is None else str(crash)
    verdict = crash.reason or f"no record; {', '.join(crash.files)}"
    what = crash.title or crash.cause
    return f"{crash.stamp}: {what}; {verdict}" if what else f"{crash.stamp}: {verdict}"


def _reboot_reason_text(facts: Facts) -> str:
    crash = facts.last_crash
    if isinstance(crash, LastCrash) and crash.reason == facts.reboot_reason:
        return "the last crash's, not read by EVE yet"
    return f"not read by EVE yet: {facts.reboot_reason}"


def to_json(status: Status) -> str:
    """The status for a program, as docs/status.schema.json describes it; what is unknown is null."""
    facts = status.facts
    document = {
        "schema": SCHEMA,
        "armed": status.armed,
        "reasons": [_finding_json(finding) for finding in status.reasons],
        "warnings": [_finding_json(finding) for finding in status.warnings],
        "machine": {"architecture": facts.architecture, "memory_bytes": _known(facts.memory_bytes)},
        "capture_kernel": {
            "reserved_bytes": _known(facts.reserved_bytes),
            "loaded": _known(facts.loaded),
            "kexec_forbidden": _known(facts.forbidden),
            "kernel": facts.load_result.kernel if facts.load_result else None,
            "command_line": facts.load_result.command_line if facts.load_result else None,
            "modules": facts.load_result.modules or None if facts.load_result else None,
        },
        "storage": _storage_json(facts),
        "makedumpfile": _makedumpfile_json(facts),
        "last_crash": _crash_json(facts.last_crash),
        "drill": attrs.asdict(facts.drill) if facts.drill else None,
        "capture_missed": facts.boot.capture_missed if facts.boot else None,
        "reboot_reason": facts.reboot_reason,
    }
    return json.dumps(document, indent=2) + "\n"


def _known(value: object) -> object:
    return None if isinstance(value, Unknown) else value


def _finding_json(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "text": finding.text, "remedy": finding.remedy}


def _storage_json(facts: Facts) -> dict[str, object]:
    # Without a mount the numbers would be those of another file system.
    mount = facts.mount if isinstance(facts.mount, Mount) else None
    space = facts.space if mount and isinstance(facts.space, Space) else None
    return {
        "mountpoint": facts.config.storage.mountpoint,
        "filesystem": mount.filesystem if mount else None,
        "free_bytes": space.free_bytes if space else None,
        "total_bytes": space.total_bytes if space else None,
        "room_bytes": room_bytes(facts),
    }


def _makedumpfile_json(facts: Facts) -> dict[str, object] | None:
    if isinstance(facts.makedumpfile, Unknown):
        return None
    return {"version": facts.makedumpfile.version, "compression": _compression(facts)}


def _crash_json(crash: LastCrash | Unknown | None) -> dict[str, object] | None:
    if not isinstance(crash, LastCrash):
        return None
    return {
        "stamp": crash.stamp,
        "files": list(crash.files),
        "crash_time_s": crash.crash_time_s,
        "reason": crash.reason,
        "cause": crash.cause,
        "title": crash.title,
        "group_title": crash.group_title,
        "group": crash.group,
        "dump_state": crash.dump_state,
    }
