"""Is this machine armed, and if not why: facts are gathered, judged without touching anything, and shown.

Armed means that a crash now would leave a dump: a capture kernel is loaded, persist can take a dump, and
makedumpfile is there. Everything is only read, and what cannot be read is unknown, not an error.
"""

import errno
import json
import os
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from kdumpd.commit import Space, trouble
from kdumpd.config import Config
from kdumpd.errors import KdumpError
from kdumpd.makedumpfile import Capabilities, choose_compression, parse_version, version_argv
from kdumpd.mounts import Mount, find_mount, read_mounts
from kdumpd.retention import Artefact, find_artefacts

SCHEMA: Final = 1

# Left by etc/init.d/000-kexec, which describes its lines.
LOAD_RESULT: Final = "/run/kdumpd/load"

ARCHITECTURE: Final = "x86_64"
RESERVATION: Final = "crashkernel=2G-16G:128M,16G-128G:256M,128G-:512M"
# The rows of that table: from so much memory on, so much is reserved; largest first.
_ROWS: Final = ((128 << 30, 512 << 20), (16 << 30, 256 << 20), (2 << 30, 128 << 20))

# Less than this is no dump that any tool would open.
_LEAST_DUMP_BYTES: Final = 1 << 20
# A dump at level 31 was 4.5 % of memory without compression (183 MB of 4 GiB): a sixteenth is enough.
_DUMP_SHARE: Final = 16

_ABSENT: Final = "not there"
_DENIED: Final = "unknown, needs root"

_SMALL_FILE_BYTES: Final = 64 << 10
_RECORD_BYTES: Final = 4 << 20
_VERSION_S: Final = 10.0

# Every reason why a machine is not armed, and its remedy.
REASONS: Final = {
    "architecture": "none: kdumpd collects dumps on x86_64 with kvm only",
    "capture-kernel": "let kdumpd finish and restart the machine",
    "no-kexec": "boot a kernel with CONFIG_KEXEC and CONFIG_CRASH_DUMP",
    "no-crashkernel": f"add {RESERVATION} in the boot loader, restart",
    "reservation-failed": "see `dmesg | grep -i crashkernel`; ask for a size that fits: crashkernel=128M",
    "load-failed": "mend the cause and restart: 000-kexec loads once per boot",
    "nothing-loaded": "have /etc/init.d/000-kexec run at boot; `dmesg | grep kdumpd` has its words",
    "unknown": "run `kdumpd status` as root, where /proc and /sys are mounted",
    "not-mounted": "mount persist; `dmesg` tells why its disk is missing",
    "wrong-filesystem": "mount a real persist there, or name the type in storage.filesystems",
    "read-only": "mount it read-write; a file system with errors turns read-only, see `dmesg`",
    "no-space": "free space there, or lower storage.min_free_bytes",
    "no-makedumpfile": "install makedumpfile, or set dump.makedumpfile to where it is",
}
# What does not keep a machine from being armed, and its remedy.
WARNINGS: Final = {
    "kexec-allowed": "have /etc/init.d/000-kexec run at boot: it forbids kexec after its own load",
    "reservation-small": f"use {RESERVATION}",
    "little-space": "free space there: a dump that does not fit is cut short",
    "compression": "set dump.compression to one that is built in, or to auto",
    "crashes-unknown": "run `kdumpd status` as root; it must be a folder",
}


@frozen(kw_only=True)
class Unknown:
    """A fact that could not be had: what was asked, and why it did not answer."""

    source: str
    why: str

    @property
    def absent(self) -> bool:
        """Whether the source is not there at all, which can be an answer in itself."""
        return self.why == _ABSENT

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


@frozen(kw_only=True)
class LoadResult:
    """What ``000-kexec`` left about its run in this boot.

    Attributes:
        result: ``loaded``, ``not-wanted`` or ``failed``.
        cause: why it is not ``loaded``.
        kernel: path of the capture kernel's file.
        command_line: the capture kernel's command line; empty if there was none to make.
    """

    result: str
    cause: str
    kernel: str
    command_line: str


@frozen(kw_only=True)
class LastCrash:
    """The newest crash in the crash folder; what has no record is known by its files' names alone.

    Attributes:
        stamp: the time part of its files' names.
        files: their names.
        reason: its line of ``reboot-reason``.
        cause: the kind of crash.
        title: the line of the log that names it.
        dump_state: ``complete``, ``incomplete`` or ``none``.
    """

    stamp: str
    files: tuple[str, ...]
    reason: str | None = None
    cause: str | None = None
    title: str | None = None
    dump_state: str | None = None


@frozen(kw_only=True)
class Facts:
    """What a machine says of itself; sizes in bytes.

    Attributes:
        config: the settings that the facts are judged by.
        architecture: as uname has it.
        xen_guest_type: of a machine under Xen; ``PV`` and ``PVH`` are those whose kexec is Xen's.
        in_capture_kernel: whether there is a vmcore.
        command_line: of the running kernel.
        memory_bytes: what the kernel manages, without the reservation.
        reserved_bytes: for the capture kernel.
        loaded: whether there is a capture kernel.
        forbidden: whether any further kexec is.
        load_result: what ``000-kexec`` said, if it ran in this boot.
        mount: what is mounted on persist's mount point.
        space: the room on it.
        makedumpfile: what it can do.
        last_crash: the newest in the crash folder.
        reboot_reason: the line that waits for EVE's reader, if it still does.
    """

    config: Config
    architecture: str
    xen_guest_type: str | None
    in_capture_kernel: bool
    command_line: str | Unknown
    memory_bytes: int | Unknown
    reserved_bytes: int | Unknown
    loaded: bool | Unknown
    forbidden: bool | Unknown
    load_result: LoadResult | None
    mount: Mount | Unknown | None
    space: Space | Unknown
    makedumpfile: Capabilities | Unknown
    last_crash: LastCrash | Unknown | None
    reboot_reason: str | None


@frozen(kw_only=True)
class Finding:
    """One reason or warning: a stable code, what was found, and what to do about it."""

    code: str
    text: str
    remedy: str


@frozen(kw_only=True)
class Status:
    """The judgement on a machine, and the facts that it was made from."""

    reasons: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    facts: Facts

    @property
    def armed(self) -> bool:
        """Whether a crash now would leave a dump."""
        return not self.reasons


# ---- Judging ----------------------------------------------------------------------------------------------


def assess(facts: Facts) -> Status:
    """Judge a machine by its facts."""
    # Of the steps to a loaded kernel only the first that failed is a reason; the rest follow from it.
    steps = (_unsupported, _not_reserved, _not_loaded)
    kernel = next((finding for step in steps if (finding := step(facts))), None)
    reasons = [kernel, _storage_reason(facts), _space_reason(facts), _makedumpfile_reason(facts)]
    warnings = [
        _kexec_allowed(facts),
        _reservation_small(facts),
        _little_space(facts),
        _other_compression(facts),
        _crashes_unknown(facts),
    ]
    return Status(
        reasons=tuple(finding for finding in reasons if finding),
        warnings=tuple(finding for finding in warnings if finding),
        facts=facts,
    )


def read_status(config: Config, *, root: Path = Path("/")) -> Status:
    """Gather the facts of a machine and judge them. Blocking: it reads files and runs ``makedumpfile -v``.

    Args:
        config: the settings that a run would have.
        root: where the machine's root is seen.
    """
    return assess(gather(config, root=root))


def _reason(code: str, text: object) -> Finding:
    return Finding(code=code, text=str(text), remedy=REASONS[code])


def _warning(code: str, text: object) -> Finding:
    return Finding(code=code, text=str(text), remedy=WARNINGS[code])


def _unsupported(facts: Facts) -> Finding | None:
    if facts.architecture != ARCHITECTURE:
        return _reason("architecture", f"architecture {facts.architecture} is not supported")
    if facts.xen_guest_type in ("PV", "PVH"):
        return _reason("architecture", "Xen is not supported: the hypervisor owns kexec")
    if facts.in_capture_kernel:
        return _reason("capture-kernel", f"this is the capture kernel: {facts.config.vmcore.path} is there")
    if isinstance(facts.loaded, Unknown) and facts.loaded.absent:
        return _reason("no-kexec", f"this kernel cannot kexec: there is no {facts.loaded.source}")
    return None


def _not_reserved(facts: Facts) -> Finding | None:
    if facts.loaded is True:
        return None
    if isinstance(facts.command_line, Unknown):
        return _reason("unknown", facts.command_line)
    wanted = _crashkernel(facts.command_line)
    if not wanted:
        return _reason("no-crashkernel", "no crashkernel= on the kernel command line")
    if isinstance(facts.reserved_bytes, Unknown):
        return _reason("unknown", facts.reserved_bytes)
    if facts.reserved_bytes == 0:
        return _reason("reservation-failed", f"the kernel reserved no memory for {wanted}")
    return None


def _crashkernel(command_line: str) -> str:
    words = command_line.partition(" -- ")[0].split()
    return " ".join(word for word in words if word.startswith("crashkernel="))


def _not_loaded(facts: Facts) -> Finding | None:
    if isinstance(facts.loaded, Unknown):
        return _reason("unknown", facts.loaded)
    if facts.loaded:
        return None
    if facts.load_result is None:
        return _reason(
            "nothing-loaded", f"no capture kernel is loaded: {LOAD_RESULT} tells nothing of this boot"
        )
    if facts.load_result.result == "loaded":
        return _reason("nothing-loaded", "no capture kernel is loaded: it was, and was unloaded since")
    return _reason("load-failed", f"the capture kernel was not loaded: {facts.load_result.cause}")


def _storage_reason(facts: Facts) -> Finding | None:
    settings = facts.config.storage
    if isinstance(facts.mount, Unknown):
        return _reason("unknown", facts.mount)
    if facts.mount is None:
        return _reason("not-mounted", f"{settings.mountpoint} is not mounted")
    if facts.mount.filesystem not in settings.filesystems:
        wanted = ", ".join(settings.filesystems)
        text = f"{settings.mountpoint} is {facts.mount.filesystem}, not one of {wanted}"
        return _reason("wrong-filesystem", text)
    if facts.mount.read_only:
        return _reason("read-only", f"{settings.mountpoint} is mounted read-only")
    return None


def _room_bytes(facts: Facts) -> int | None:
    """How long a dump could get on persist; None when that does not matter or is not known.

    What a dump must leave free is ``storage.min_free_bytes``; auto is the smaller of 4 GiB and a quarter
    of the volume.
    """
    if isinstance(facts.space, Unknown) or not facts.config.dump.enabled or _storage_reason(facts):
        return None
    floor = facts.config.storage.min_free_bytes
    if not isinstance(floor, int):
        floor = min(4 << 30, facts.space.total_bytes // 4)
    return max(0, facts.space.free_bytes - floor)


def _space_reason(facts: Facts) -> Finding | None:
    if isinstance(facts.space, Unknown):
        return None if _storage_reason(facts) else _reason("unknown", facts.space)
    room = _room_bytes(facts)
    if room is None or room >= _LEAST_DUMP_BYTES:
        return None
    text = f"no room for a dump on {facts.config.storage.mountpoint}: {_size(facts.space.free_bytes)} free"
    return _reason("no-space", text)


def _makedumpfile_reason(facts: Facts) -> Finding | None:
    if not isinstance(facts.makedumpfile, Unknown) or not facts.config.dump.enabled:
        return None
    return _reason("no-makedumpfile", f"{facts.makedumpfile.source} does not run: {facts.makedumpfile.why}")


def _kexec_allowed(facts: Facts) -> Finding | None:
    if facts.loaded is not True or facts.forbidden is True:
        return None
    if isinstance(facts.forbidden, Unknown):
        return _warning("kexec-allowed", facts.forbidden)
    return _warning("kexec-allowed", "further kexec is not forbidden: the capture kernel can be replaced")


def _reservation_small(facts: Facts) -> Finding | None:
    if isinstance(facts.reserved_bytes, Unknown) or isinstance(facts.memory_bytes, Unknown):
        return None
    memory = facts.memory_bytes + facts.reserved_bytes
    fitting = next((size for least, size in _ROWS if memory >= least), 0)
    if not 0 < facts.reserved_bytes < fitting:
        return None
    text = f"{_size(facts.reserved_bytes)} reserved, {_size(fitting)} fits {_size(memory)} of memory"
    return _warning("reservation-small", text)


def _little_space(facts: Facts) -> Finding | None:
    room = _room_bytes(facts)
    if room is None or room < _LEAST_DUMP_BYTES or isinstance(facts.memory_bytes, Unknown):
        return None
    if room >= facts.memory_bytes // _DUMP_SHARE:
        return None
    mountpoint = facts.config.storage.mountpoint
    return _warning("little-space", f"room for only {_size(room)} of dump on {mountpoint}")


def _other_compression(facts: Facts) -> Finding | None:
    if isinstance(facts.makedumpfile, Unknown) or not facts.config.dump.enabled:
        return None
    _, warning = choose_compression(facts.config.dump.compression, facts.makedumpfile)
    return _warning("compression", warning) if warning else None


def _crashes_unknown(facts: Facts) -> Finding | None:
    return _warning("crashes-unknown", facts.last_crash) if isinstance(facts.last_crash, Unknown) else None


# ---- Gathering --------------------------------------------------------------------------------------------


def gather(config: Config, *, root: Path = Path("/")) -> Facts:
    """Read the facts of the machine whose files are under ``root``; only makedumpfile is always the host's.

    Never raises for what it cannot read.
    """
    mountpoint = config.storage.mountpoint
    return Facts(
        config=config,
        architecture=os.uname().machine,
        xen_guest_type=_text_or_none(root, "/sys/hypervisor/guest_type"),
        in_capture_kernel=_under(root, config.vmcore.path).exists(),
        command_line=_read(root, "/proc/cmdline"),
        memory_bytes=_memory_bytes(root),
        reserved_bytes=_number(root, "/sys/kernel/kexec_crash_size"),
        loaded=_flag(root, "/sys/kernel/kexec_crash_loaded"),
        forbidden=_flag(root, "/proc/sys/kernel/kexec_load_disabled"),
        load_result=_load_result(root),
        mount=_mount(root, mountpoint),
        space=_space(root, mountpoint),
        makedumpfile=_makedumpfile(config.dump.makedumpfile),
        last_crash=_last_crash(root, f"{mountpoint}/{config.dump.directory}"),
        reboot_reason=_text_or_none(root, f"{config.reasons_directory}/reboot-reason") or None,
    )


def _under(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _read(root: Path, path: str, limit: int = _SMALL_FILE_BYTES) -> str | Unknown:
    try:
        with _under(root, path).open("rb") as file:
            return file.read(limit).decode("utf-8", "replace").strip()
    except OSError as error:
        return _unknown(path, error)


def _unknown(source: str, error: OSError) -> Unknown:
    known = {errno.EACCES: _DENIED, errno.EPERM: _DENIED, errno.ENOENT: _ABSENT}
    return Unknown(source=source, why=known.get(error.errno or 0) or trouble(error))


def _text_or_none(root: Path, path: str) -> str | None:
    text = _read(root, path)
    return None if isinstance(text, Unknown) else text


def _number(root: Path, path: str) -> int | Unknown:
    text = _read(root, path)
    if isinstance(text, Unknown):
        return text
    return int(text) if text.isdecimal() else Unknown(source=path, why="not a number")


def _flag(root: Path, path: str) -> bool | Unknown:
    number = _number(root, path)
    return number if isinstance(number, Unknown) else number != 0


def _memory_bytes(root: Path) -> int | Unknown:
    text = _read(root, "/proc/meminfo")
    if isinstance(text, Unknown):
        return text
    total = [line.split()[1] for line in text.splitlines() if line.startswith("MemTotal: ")]
    if not total or not total[0].isdecimal():
        return Unknown(source="/proc/meminfo", why="it has no MemTotal")
    return int(total[0]) << 10


def _load_result(root: Path) -> LoadResult | None:
    text = _text_or_none(root, LOAD_RESULT) or ""
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    boot = _text_or_none(root, "/proc/sys/kernel/random/boot_id")
    if "result" not in said or not boot or said.get("boot") != boot:
        return None
    return LoadResult(
        result=said["result"],
        cause=said.get("cause", ""),
        kernel=said.get("kernel", ""),
        command_line=said.get("command_line", ""),
    )


def _mount(root: Path, mountpoint: str) -> Mount | Unknown | None:
    path = "/proc/self/mountinfo"
    try:
        return find_mount(read_mounts(str(_under(root, path))), mountpoint)
    except KdumpError as error:
        return Unknown(source=path, why=str(error))


def _space(root: Path, mountpoint: str) -> Space | Unknown:
    try:
        room = os.statvfs(_under(root, mountpoint))
    except OSError as error:
        return _unknown(mountpoint, error)
    return Space(free_bytes=room.f_bavail * room.f_frsize, total_bytes=room.f_blocks * room.f_frsize)


def _makedumpfile(program: str) -> Capabilities | Unknown:
    try:
        done = subprocess.run(
            version_argv(program),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_S,
            check=False,
        )
        return parse_version(done.stdout + done.stderr)
    except OSError as error:
        return _unknown(program, error)
    except subprocess.TimeoutExpired:
        return Unknown(source=program, why="it hangs")
    except KdumpError as error:
        return Unknown(source=program, why=str(error))


def _last_crash(root: Path, directory: str) -> LastCrash | Unknown | None:
    try:
        artefacts = find_artefacts(os.listdir(_under(root, directory)))
    except OSError as error:
        return None if error.errno == errno.ENOENT else _unknown(directory, error)
    if not artefacts:
        return None
    newest = [artefact for artefact in artefacts if artefact.stamp == artefacts[-1].stamp]
    record = next((_read_record(root, directory, one) for one in newest if one.kind == "record"), {})
    dump = record.get("dump")
    return LastCrash(
        stamp=newest[-1].stamp,
        files=tuple(artefact.name for artefact in newest),
        reason=_text(record.get("reason")),
        cause=_text(record.get("cause")),
        title=_text(record.get("title")),
        dump_state=_text(dump.get("state")) if isinstance(dump, dict) else None,
    )


def _read_record(root: Path, directory: str, artefact: Artefact) -> dict[str, Any]:
    """The record's keys; none of them when the file is damaged, which the names outlive."""
    text = _read(root, f"{directory}/{artefact.name}", limit=_RECORD_BYTES)
    try:
        record = None if isinstance(text, Unknown) else json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


# ---- Showing ----------------------------------------------------------------------------------------------

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
        *(_row("reason file", _reboot_reason_text(facts)) if facts.reboot_reason else []),
    ]
    findings = [_finding_lines("reason", finding) for finding in status.reasons]
    findings += [_finding_lines("warning", finding) for finding in status.warnings]
    return "\n".join([*head, *_fit(findings, _HEIGHT - len(head) - len(rows)), *rows]) + "\n"


def _fit(findings: list[list[str]], height: int) -> Iterator[str]:
    """As many whole findings as there are lines for, and how many are left."""
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
    """A label and its text, wrapped beside it and cut after so many lines."""
    indent = " " * _LABEL
    return textwrap.wrap(
        _printable(text),
        _WIDTH,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=indent,
        max_lines=lines,
        placeholder=" [...]",
    ) or [label]


def _printable(text: str) -> str:
    """The text without what a crashed kernel's log could tell a terminal to do."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _kernel_text(facts: Facts) -> str:
    if facts.loaded is not True:
        return "no capture kernel" if facts.loaded is False else str(facts.loaded)
    name = facts.load_result.kernel if facts.load_result else "a capture kernel"
    return f"{name} is loaded" + (", further kexec is forbidden" if facts.forbidden is True else "")


def _reserved_text(facts: Facts) -> str:
    if isinstance(facts.reserved_bytes, Unknown):
        return str(facts.reserved_bytes)
    if isinstance(facts.memory_bytes, Unknown):
        return _size(facts.reserved_bytes)
    memory = facts.memory_bytes + facts.reserved_bytes
    return f"{_size(facts.reserved_bytes)} of {_size(memory)} of memory"


def _persist_text(facts: Facts) -> str:
    mountpoint = facts.config.storage.mountpoint
    if not isinstance(facts.mount, Mount):
        return f"nothing mounted on {mountpoint}" if facts.mount is None else str(facts.mount)
    mounted = f"{facts.mount.filesystem} on {mountpoint}"
    if isinstance(facts.space, Unknown):
        return mounted
    room = _room_bytes(facts)
    return f"{mounted}, {_size(facts.space.free_bytes)} free" + (
        f", {_size(room)} of it for a dump" if room is not None else ""
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


def _size(size_bytes: int) -> str:
    if size_bytes >= 1 << 30:
        return f"{size_bytes / (1 << 30):.1f} GiB"
    return f"{size_bytes >> 20} MiB"


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
        },
        "storage": _storage_json(facts),
        "makedumpfile": _makedumpfile_json(facts),
        "last_crash": _crash_json(facts.last_crash),
        "reboot_reason": facts.reboot_reason,
    }
    return json.dumps(document, indent=2) + "\n"


def _known(value: object) -> object:
    return None if isinstance(value, Unknown) else value


def _finding_json(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "text": finding.text, "remedy": finding.remedy}


def _storage_json(facts: Facts) -> dict[str, object]:
    # Without a mount the numbers would be another file system's.
    mount = facts.mount if isinstance(facts.mount, Mount) else None
    space = facts.space if mount and isinstance(facts.space, Space) else None
    return {
        "mountpoint": facts.config.storage.mountpoint,
        "filesystem": mount.filesystem if mount else None,
        "free_bytes": space.free_bytes if space else None,
        "total_bytes": space.total_bytes if space else None,
        "room_bytes": _room_bytes(facts),
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
        "reason": crash.reason,
        "cause": crash.cause,
        "title": crash.title,
        "dump_state": crash.dump_state,
    }
