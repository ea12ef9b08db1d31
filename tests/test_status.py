"""Facts in, judgement out; and a folder that stands for a machine, from which facts are gathered."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import jsonschema
import pytest

from kdumpd import status, storage
from kdumpd.commit import Space
from kdumpd.config import Config, Dump, Storage, parse_config
from kdumpd.dump import Verdict
from kdumpd.makedumpfile import Capabilities
from kdumpd.mounts import Mount
from kdumpd.record import CrashRecord, Log
from kdumpd.status import Facts, LastCrash, LoadResult, Status, Unknown, assess, gather, render, to_json

PROJECT = Path(__file__).parents[1]
SCHEMA = json.loads((PROJECT / "docs/status.schema.json").read_text())

MIB = 1 << 20
GIB = 1 << 30
DENIED = "unknown, needs root"

PERSIST = Mount(
    mount_id=30,
    parent_id=1,
    device="253:9",
    root="/",
    mountpoint="/persist",
    options=frozenset({"rw"}),
    filesystem="ext4",
    source="/dev/sda9",
    super_options=frozenset({"rw"}),
)
LOADED = LoadResult(result="loaded", cause="", kernel="/boot/kernel", command_line="root=/dev/sda2 nr_cpus=1")
CRASH = LastCrash(
    stamp="20261123T014039Z",
    files=("crash-20261123T014039Z.json", "dmesg-20261123T014039Z.log", "kdump-20261123T014039Z.dump"),
    reason="kernel panic, kdump collected: /persist/kcrashes/kdump-20261123T014039Z.dump",
    cause="sysrq",
    title="sysrq: Trigger a crash",
    dump_state="complete",
)
ARMED = Facts(
    config=Config(),
    architecture="x86_64",
    xen_guest_type=None,
    in_capture_kernel=False,
    command_line="root=/dev/sda2 crashkernel=2G-16G:128M,16G-128G:256M,128G-:512M quiet",
    memory_bytes=4 * GIB - 128 * MIB,
    reserved_bytes=128 * MIB,
    loaded=True,
    forbidden=True,
    load_result=LOADED,
    mount=PERSIST,
    space=Space(free_bytes=20 * GIB, total_bytes=50 * GIB),
    makedumpfile=Capabilities(version="1.7.8", compressions=frozenset({"zlib", "none", "lzo", "zstd"})),
    last_crash=None,
    reboot_reason=None,
)
# Nothing is loaded: the facts that the steps to a loaded kernel are told apart by.
UNLOADED = attrs.evolve(ARMED, loaded=False, load_result=None)


def with_facts(facts: Facts = ARMED, /, **changes: Any) -> Status:
    return assess(attrs.evolve(facts, **changes))


def codes(judged: Status) -> list[str]:
    return [finding.code for finding in judged.reasons]


def warnings(judged: Status) -> list[str]:
    return [finding.code for finding in judged.warnings]


def test_armed() -> None:
    judged = assess(ARMED)
    assert (judged.armed, judged.reasons, judged.warnings) == (True, (), ())


FAILED = LoadResult(
    result="failed", cause="kernel file /boot/kernel is missing", kernel="/boot/kernel", command_line="a"
)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"architecture": "aarch64"}, "architecture", "architecture aarch64 is not supported"),
        ({"xen_guest_type": "PV"}, "architecture", "Xen is not supported: the hypervisor owns kexec"),
        ({"xen_guest_type": "PVH"}, "architecture", "Xen is not supported: the hypervisor owns kexec"),
        (
            {"in_capture_kernel": True},
            "capture-kernel",
            "this is the capture kernel: /proc/vmcore is there",
        ),
        (
            {"loaded": Unknown(source="/sys/kernel/kexec_crash_loaded", why="not there")},
            "no-kexec",
            "this kernel cannot kexec: there is no /sys/kernel/kexec_crash_loaded",
        ),
        ({"command_line": "root=/dev/sda2"}, "no-crashkernel", "no crashkernel= on the kernel command line"),
        (
            {"command_line": "a -- crashkernel=128M"},
            "no-crashkernel",
            "no crashkernel= on the kernel command line",
        ),
        (
            {"command_line": "crashkernel=256M,high a crashkernel=64M,low", "reserved_bytes": 0},
            "reservation-failed",
            "the kernel reserved no memory for crashkernel=256M,high crashkernel=64M,low",
        ),
        (
            {"load_result": FAILED},
            "load-failed",
            "the capture kernel was not loaded: kernel file /boot/kernel is missing",
        ),
        ({}, "nothing-loaded", "no capture kernel is loaded: /run/kdumpd/load tells nothing of this boot"),
        (
            {"load_result": LOADED},
            "nothing-loaded",
            "no capture kernel is loaded: it was, and was unloaded since",
        ),
        ({"loaded": Unknown(source="loaded", why=DENIED)}, "unknown", f"loaded: {DENIED}"),
        ({"command_line": Unknown(source="cmdline", why=DENIED)}, "unknown", f"cmdline: {DENIED}"),
        ({"reserved_bytes": Unknown(source="size", why=DENIED)}, "unknown", f"size: {DENIED}"),
    ],
)
def test_step_that_failed_is_the_one_reason(changes: dict[str, Any], code: str, text: str) -> None:
    (reason,) = with_facts(UNLOADED, **changes).reasons
    assert (reason.code, reason.text, reason.remedy) == (code, text, status.REASONS[code])


def test_first_failed_step_hides_those_that_follow_from_it() -> None:
    changes: dict[str, Any] = {"reserved_bytes": 0, "load_result": FAILED}
    assert codes(with_facts(UNLOADED, **changes)) == ["reservation-failed"]
    changes["command_line"] = "quiet"
    assert codes(with_facts(UNLOADED, **changes)) == ["no-crashkernel"]
    changes["architecture"] = "riscv64"
    assert codes(with_facts(UNLOADED, **changes)) == ["architecture"]


def test_loaded_kernel_needs_no_further_explanation() -> None:
    unread = Unknown(source="x", why=DENIED)
    judged = with_facts(load_result=None, command_line=unread, reserved_bytes=unread, memory_bytes=unread)
    assert judged.armed
    assert with_facts(command_line="quiet").armed


def test_full_guest_of_xen_is_an_ordinary_machine() -> None:
    assert with_facts(xen_guest_type="HVM").armed


@pytest.mark.parametrize(
    ("mount", "code", "text"),
    [
        (None, "not-mounted", "/persist is not mounted"),
        (
            attrs.evolve(PERSIST, filesystem="tmpfs"),
            "wrong-filesystem",
            "/persist is tmpfs, not one of ext3, ext4, zfs",
        ),
        (attrs.evolve(PERSIST, options=frozenset({"ro"})), "read-only", "/persist is mounted read-only"),
        (
            attrs.evolve(PERSIST, super_options=frozenset({"ro"})),
            "read-only",
            "/persist is mounted read-only",
        ),
        (Unknown(source="mountinfo", why=DENIED), "unknown", f"mountinfo: {DENIED}"),
    ],
)
def test_persist_that_is_not_ready(mount: Mount | Unknown | None, code: str, text: str) -> None:
    judged = with_facts(mount=mount, space=Space(free_bytes=0, total_bytes=0))
    assert [(reason.code, reason.text) for reason in judged.reasons] == [(code, text)]


def test_space_of_a_persist_that_is_not_there_does_not_matter() -> None:
    assert codes(with_facts(mount=None, space=Unknown(source="/persist", why="not there"))) == ["not-mounted"]


def test_unknown_space() -> None:
    assert codes(with_facts(space=Unknown(source="/persist", why=DENIED))) == ["unknown"]


FLOOR = 4 * GIB


@pytest.mark.parametrize(
    ("free_bytes", "reasons", "warned"),
    [
        (0, ["no-space"], []),
        (FLOOR + MIB - 1, ["no-space"], []),
        (FLOOR + MIB, [], ["little-space"]),
        (FLOOR + 248 * MIB - 1, [], ["little-space"]),
        (FLOOR + 248 * MIB, [], []),
    ],
)
def test_space_is_what_the_floor_leaves(free_bytes: int, reasons: list[str], warned: list[str]) -> None:
    judged = with_facts(space=Space(free_bytes=free_bytes, total_bytes=50 * GIB))
    assert (codes(judged), warnings(judged)) == (reasons, warned)


@pytest.mark.parametrize("total_bytes", [0, 3, GIB, 16 * GIB, 16 * GIB + 4, 100 * GIB])
@pytest.mark.parametrize("setting", ["auto", 0, 5 * GIB])
def test_floor_is_the_storage_gates(total_bytes: int, setting: int | str) -> None:
    settings = Storage(min_free_bytes=setting)
    space = Space(free_bytes=200 * GIB, total_bytes=total_bytes)
    judged = with_facts(config=Config(storage=settings), space=space)
    room = json.loads(to_json(judged))["storage"]["room_bytes"]
    assert room == space.free_bytes - storage.floor_bytes(settings, space)


def test_missing_makedumpfile() -> None:
    (reason,) = with_facts(makedumpfile=Unknown(source="makedumpfile", why="not there")).reasons
    assert (reason.code, reason.text) == ("no-makedumpfile", "makedumpfile does not run: not there")


def test_wanted_compression_that_is_not_built_in() -> None:
    lacking = Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"}))
    judged = with_facts(makedumpfile=lacking, config=Config(dump=Dump(compression="zstd")))
    assert judged.armed
    assert [(one.code, one.text) for one in judged.warnings] == [
        ("compression", "makedumpfile 1.7.2 has no zstd: lzo is used")
    ]
    assert with_facts(makedumpfile=lacking).warnings == ()


def test_who_wants_no_dump_needs_neither_room_nor_makedumpfile() -> None:
    judged = with_facts(
        config=Config(dump=Dump(enabled=False, compression="zstd")),
        space=Space(free_bytes=0, total_bytes=GIB),
        makedumpfile=Unknown(source="makedumpfile", why="not there"),
    )
    assert (judged.armed, judged.warnings) == (True, ())
    lacking = Capabilities(version="1.7.2", compressions=frozenset({"zlib"}))
    assert assess(attrs.evolve(judged.facts, makedumpfile=lacking)).warnings == ()


@pytest.mark.parametrize(
    ("forbidden", "text"),
    [
        (False, "further kexec is not forbidden: the capture kernel can be replaced"),
        (Unknown(source="/proc/sys/x", why=DENIED), f"/proc/sys/x: {DENIED}"),
    ],
)
def test_kexec_that_is_not_forbidden_is_a_warning(forbidden: bool | Unknown, text: str) -> None:
    judged = with_facts(forbidden=forbidden)
    assert judged.armed
    assert [(one.code, one.text) for one in judged.warnings] == [("kexec-allowed", text)]
    assert warnings(with_facts(UNLOADED, forbidden=forbidden)) == []


@pytest.mark.parametrize(
    ("memory_bytes", "reserved_bytes", "warned"),
    [
        (GIB, 64 * MIB, False),
        (2 * GIB - 64 * MIB, 64 * MIB, True),
        (2 * GIB - 64 * MIB - 1, 64 * MIB, False),
        (2 * GIB, 128 * MIB, False),
        (16 * GIB - 129 * MIB, 128 * MIB, False),
        (16 * GIB - 128 * MIB, 128 * MIB, True),
        (16 * GIB, 256 * MIB, False),
        (128 * GIB, 256 * MIB, True),
        (128 * GIB, 512 * MIB, False),
    ],
)
def test_reservation_that_is_small_for_the_memory(
    memory_bytes: int, reserved_bytes: int, warned: bool
) -> None:
    judged = with_facts(memory_bytes=memory_bytes, reserved_bytes=reserved_bytes)
    assert judged.armed
    assert warnings(judged) == (["reservation-small"] if warned else [])


def test_reservation_that_failed_is_not_called_small() -> None:
    assert warnings(with_facts(UNLOADED, reserved_bytes=0)) == []


def test_crash_folder_that_needs_root() -> None:
    judged = with_facts(last_crash=Unknown(source="/persist/kcrashes", why=DENIED))
    assert judged.armed
    assert [one.text for one in judged.warnings] == [f"/persist/kcrashes: {DENIED}"]


@pytest.mark.parametrize("file", ["etc/grub/kdumpd.cfg", "etc/grub/default-grub.cfg"])
def test_reservation_is_the_one_of_the_boot_loader(file: str) -> None:
    assert f' {status.RESERVATION}"\n' in (PROJECT / file).read_text()


def test_rows_are_those_of_the_reservation() -> None:
    rows = status.RESERVATION.removeprefix("crashkernel=").split(",")
    shown = {tuple(row.replace("-", ":").split(":")[::2]) for row in rows}
    assert {(f"{least // GIB}G", f"{size // MIB}M") for least, size in status._ROWS} == shown


# ---- JSON -------------------------------------------------------------------------------------------------

EVERYTHING_UNKNOWN = Facts(
    config=Config(),
    architecture="x86_64",
    xen_guest_type=None,
    in_capture_kernel=False,
    command_line=Unknown(source="/proc/cmdline", why=DENIED),
    memory_bytes=Unknown(source="/proc/meminfo", why=DENIED),
    reserved_bytes=Unknown(source="/sys/kernel/kexec_crash_size", why=DENIED),
    loaded=Unknown(source="/sys/kernel/kexec_crash_loaded", why=DENIED),
    forbidden=Unknown(source="/proc/sys/kernel/kexec_load_disabled", why=DENIED),
    load_result=None,
    mount=Unknown(source="/proc/self/mountinfo", why=DENIED),
    space=Unknown(source="/persist", why=DENIED),
    makedumpfile=Unknown(source="makedumpfile", why="it hangs"),
    last_crash=Unknown(source="/persist/kcrashes", why=DENIED),
    reboot_reason=None,
)
MANY_WARNINGS = attrs.evolve(
    ARMED,
    config=Config(dump=Dump(compression="zstd")),
    forbidden=False,
    reserved_bytes=64 * MIB,
    space=Space(free_bytes=5 * GIB, total_bytes=50 * GIB),
    memory_bytes=64 * GIB,
    makedumpfile=Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"})),
    last_crash=Unknown(source="/persist/kcrashes", why=DENIED),
)
SAMPLES = {
    "armed": ARMED,
    "crashed": attrs.evolve(ARMED, last_crash=CRASH, reboot_reason=CRASH.reason),
    "unloaded": UNLOADED,
    "failed": attrs.evolve(UNLOADED, load_result=FAILED, mount=None, space=Unknown(source="/", why="x")),
    "unknown": EVERYTHING_UNKNOWN,
    "warned": MANY_WARNINGS,
    # More and longer findings than a screen has lines, above rows that are full as well.
    "worst": attrs.evolve(
        MANY_WARNINGS,
        loaded=Unknown(source="/sys/" + "long path " * 20, why=DENIED),
        space=Space(free_bytes=MIB, total_bytes=50 * GIB),
        config=Config(storage=Storage(mountpoint="/" + "long path " * 20)),
        makedumpfile=Unknown(source="/" + "long path " * 20, why="it hangs"),
        last_crash=attrs.evolve(CRASH, title="BUG: " + "x" * 300, reason="kernel panic, " + "why " * 100),
        reboot_reason="nuclear power plant " * 50,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_json_follows_its_schema(name: str) -> None:
    document = json.loads(to_json(assess(SAMPLES[name])))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["armed"] is not bool(document["reasons"])


def test_schema_is_a_schema_and_knows_every_code() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["properties"]
    assert properties["reasons"]["items"]["properties"]["code"]["enum"] == list(status.REASONS)
    assert properties["warnings"]["items"]["properties"]["code"]["enum"] == list(status.WARNINGS)
    assert properties["schema"]["const"] == status.SCHEMA


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("armed"),
        lambda d: d.update(more=1),
        lambda d: d["reasons"].append({"code": "unknown", "text": "x", "remedy": "y", "more": 1}),
        lambda d: d["warnings"].append({"code": "no-space", "text": "x", "remedy": "y"}),
        lambda d: d["storage"].update(free_bytes=-1),
    ],
)
def test_schema_refuses_what_is_not_a_status(damage: Callable[[Any], object]) -> None:
    document = json.loads(to_json(assess(ARMED)))
    damage(document)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_json_of_a_machine_that_crashed() -> None:
    assert json.loads(to_json(assess(SAMPLES["crashed"]))) == {
        "schema": 1,
        "armed": True,
        "reasons": [],
        "warnings": [],
        "machine": {"architecture": "x86_64", "memory_bytes": 4 * GIB - 128 * MIB},
        "capture_kernel": {
            "reserved_bytes": 128 * MIB,
            "loaded": True,
            "kexec_forbidden": True,
            "kernel": "/boot/kernel",
            "command_line": "root=/dev/sda2 nr_cpus=1",
        },
        "storage": {
            "mountpoint": "/persist",
            "filesystem": "ext4",
            "free_bytes": 20 * GIB,
            "total_bytes": 50 * GIB,
            "room_bytes": 16 * GIB,
        },
        "makedumpfile": {"version": "1.7.8", "compression": "zstd"},
        "last_crash": attrs.asdict(CRASH) | {"files": list(CRASH.files)},
        "reboot_reason": CRASH.reason,
    }


def test_json_has_no_numbers_of_another_file_system() -> None:
    document = json.loads(to_json(with_facts(mount=None)))
    assert document["storage"] == {
        "mountpoint": "/persist",
        "filesystem": None,
        "free_bytes": None,
        "total_bytes": None,
        "room_bytes": None,
    }


# ---- Human form -------------------------------------------------------------------------------------------


def test_armed_machine_on_the_screen() -> None:
    assert render(assess(SAMPLES["crashed"])) == (
        "kdumpd: armed\n"
        "kernel      /boot/kernel is loaded, further kexec is forbidden\n"
        "reserved    128 MiB of 4.0 GiB of memory\n"
        "persist     ext4 on /persist, 20.0 GiB free, 16.0 GiB of it for a dump\n"
        "dump tool   makedumpfile 1.7.8, zstd\n"
        "last crash  20261123T014039Z: sysrq: Trigger a crash; kernel panic, kdump\n"
        "            collected: /persist/kcrashes/kdump-20261123T014039Z.dump\n"
        "reason file the last crash's, not read by EVE yet\n"
    )


def test_machine_that_is_not_armed_on_the_screen() -> None:
    facts = attrs.evolve(SAMPLES["failed"], reboot_reason="something else")
    assert render(assess(facts)) == (
        "kdumpd: NOT ARMED\n"
        "reason      the capture kernel was not loaded: kernel file /boot/kernel is\n"
        "            missing\n"
        "  remedy    mend the cause and restart: 000-kexec loads once per boot\n"
        "reason      /persist is not mounted\n"
        "  remedy    mount persist; `dmesg` tells why its disk is missing\n"
        "kernel      no capture kernel\n"
        "reserved    128 MiB of 4.0 GiB of memory\n"
        "persist     nothing mounted on /persist\n"
        "dump tool   makedumpfile 1.7.8, zstd\n"
        "last crash  none in the crash folder\n"
        "reason file not read by EVE yet: something else\n"
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_human_form_fits_a_screen(name: str) -> None:
    text = render(assess(SAMPLES[name]))
    lines = text.splitlines()
    assert text.endswith("\n")
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80


def test_what_does_not_fit_is_counted() -> None:
    judged = assess(SAMPLES["worst"])
    text = render(judged)
    shown = text.count("reason   ") + text.count("warning   ")
    findings = len(judged.reasons) + len(judged.warnings)
    assert f"  and {findings - shown} more: kdumpd status --json\n" in text
    assert 0 < shown < findings


@pytest.mark.parametrize(
    ("height", "shown"),
    [
        (5, ["a", "a2", "b", "c", "c2"]),
        (4, ["a", "a2", "b", "  and 1 more: kdumpd status --json"]),
        (3, ["a", "a2", "  and 2 more: kdumpd status --json"]),
        (2, ["  and 3 more: kdumpd status --json"]),
        (1, ["  and 3 more: kdumpd status --json"]),
    ],
)
def test_findings_are_whole_and_fill_the_lines_there_are(height: int, shown: list[str]) -> None:
    assert list(status._fit([["a", "a2"], ["b"], ["c", "c2"]], height)) == shown


def test_all_that_is_unknown_fits() -> None:
    text = render(assess(EVERYTHING_UNKNOWN))
    assert text.count("needs root") > 5
    assert "kernel      /sys/kernel/kexec_crash_loaded: unknown, needs root\n" in text


def test_crashed_kernels_log_cannot_command_the_terminal() -> None:
    text = render(with_facts(last_crash=attrs.evolve(CRASH, title="\x1b[2J\x07\u202e")))
    assert "20261123T014039Z: ?[2J??; kernel" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_crash_without_a_record_on_the_screen() -> None:
    bare = LastCrash(stamp="20260101T000000Z", files=("dmesg-20260101T000000Z.log",))
    assert "last crash  20260101T000000Z: no record; dmesg-20260101T000000Z.log\n" in render(
        with_facts(last_crash=bare)
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"load_result": None, "forbidden": False}, "kernel      a capture kernel is loaded\n"),
        ({"memory_bytes": Unknown(source="m", why="x")}, "reserved    128 MiB\n"),
        ({"memory_bytes": GIB - 128 * MIB}, "reserved    128 MiB of 1.0 GiB of memory\n"),
        ({"memory_bytes": GIB - 129 * MIB}, "reserved    128 MiB of 1023 MiB of memory\n"),
        ({"space": Unknown(source="s", why="x")}, "persist     ext4 on /persist\n"),
        (
            {"config": Config(dump=Dump(enabled=False))},
            "dump tool   makedumpfile 1.7.8, not used: dump.enabled is false\n",
        ),
        (
            {"config": Config(dump=Dump(enabled=False))},
            "persist     ext4 on /persist, 20.0 GiB free\n",
        ),
    ],
)
def test_rows_of_the_human_form(changes: dict[str, Any], line: str) -> None:
    assert line in render(with_facts(**changes))


# ---- Gathering --------------------------------------------------------------------------------------------

MOUNTINFO = "1 0 253:1 / / rw - squashfs /dev/root ro\n30 1 253:9 / /persist rw,noatime - ext4 /dev/sda9 rw\n"
VERSION = (
    "makedumpfile: version 1.7.2 (released on 16 Nov 2022)\nlzo\tenabled\nsnappy\tdisabled\nzstd\tdisabled\n"
)
BOOT = "5e0d5a6c-0000-4000-8000-000000000000"
LOAD = f"""result=loaded
cause=
kernel=/boot/kernel
initrd=
command_line=root=/dev/sda2 a=b irqpoll
boot={BOOT}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def furnish(root: Path) -> None:
    """Put down the files of an armed machine."""
    files = {
        "proc/cmdline": "root=/dev/sda2 crashkernel=128M\n",
        "proc/meminfo": "MemTotal:        4000000 kB\nMemFree:  1 kB\n",
        "proc/self/mountinfo": MOUNTINFO,
        "proc/sys/kernel/kexec_load_disabled": "1\n",
        "proc/sys/kernel/random/boot_id": BOOT + "\n",
        "sys/kernel/kexec_crash_size": "134217728\n",
        "sys/kernel/kexec_crash_loaded": "1\n",
        "run/kdumpd/load": LOAD,
    }
    for name, text in files.items():
        put(root, name, text)
    (root / "persist").mkdir()


def put(root: Path, name: str, text: str | bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)


def program(root: Path, body: str) -> str:
    put(root, "makedumpfile", f"#!/bin/sh\n{body}\n")
    (root / "makedumpfile").chmod(0o755)
    return str(root / "makedumpfile")


def facts_of(root: Path, body: str = f"printf '{VERSION}' >&2") -> Facts:
    return gather(Config(dump=Dump(makedumpfile=program(root, body))), root=root)


def test_gathers_the_facts_of_an_armed_machine(root: Path) -> None:
    facts = facts_of(root)
    room = os.statvfs(root)
    assert attrs.evolve(facts, config=Config(), space=Space(free_bytes=0, total_bytes=0)) == Facts(
        config=Config(),
        architecture=os.uname().machine,
        xen_guest_type=None,
        in_capture_kernel=False,
        command_line="root=/dev/sda2 crashkernel=128M",
        memory_bytes=4_000_000 << 10,
        reserved_bytes=128 * MIB,
        loaded=True,
        forbidden=True,
        load_result=LoadResult(
            result="loaded", cause="", kernel="/boot/kernel", command_line="root=/dev/sda2 a=b irqpoll"
        ),
        mount=facts.mount,
        space=Space(free_bytes=0, total_bytes=0),
        makedumpfile=Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"})),
        last_crash=None,
        reboot_reason=None,
    )
    assert isinstance(facts.mount, Mount)
    assert (facts.mount.filesystem, facts.mount.mountpoint) == ("ext4", "/persist")
    assert isinstance(facts.space, Space)
    assert facts.space.total_bytes == room.f_blocks * room.f_frsize


def test_gathering_writes_nothing(root: Path) -> None:
    body = f"printf '{VERSION}'"
    program(root, body)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    gather(Config(dump=Dump(makedumpfile=str(root / "makedumpfile"))), root=root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_empty_machine_is_unknown_and_not_an_error(tmp_path: Path) -> None:
    facts = gather(Config(dump=Dump(makedumpfile="no-such-makedumpfile")), root=tmp_path)
    absent = {
        "command_line": "/proc/cmdline",
        "memory_bytes": "/proc/meminfo",
        "reserved_bytes": "/sys/kernel/kexec_crash_size",
        "loaded": "/sys/kernel/kexec_crash_loaded",
        "forbidden": "/proc/sys/kernel/kexec_load_disabled",
        "space": "/persist",
        "makedumpfile": "no-such-makedumpfile",
    }
    assert {name: getattr(facts, name) for name in absent} == {
        name: Unknown(source=source, why="not there") for name, source in absent.items()
    }
    assert isinstance(facts.mount, Unknown)
    assert (facts.load_result, facts.last_crash, facts.reboot_reason) == (None, None, None)
    judged = assess(attrs.evolve(facts, architecture="x86_64"))
    assert codes(judged) == ["no-kexec", "unknown", "no-makedumpfile"]
    assert len(render(judged).splitlines()) <= 23


@pytest.mark.parametrize(
    ("file", "text", "fact"),
    [
        ("sys/kernel/kexec_crash_size", "many", "reserved_bytes"),
        ("sys/kernel/kexec_crash_loaded", "", "loaded"),
        ("proc/meminfo", "MemFree: 1 kB\n", "memory_bytes"),
        ("proc/meminfo", "MemTotal: lots kB\n", "memory_bytes"),
        ("proc/self/mountinfo", "not a mount table\n", "mount"),
    ],
)
def test_nonsense_is_unknown(root: Path, file: str, text: str, fact: str) -> None:
    put(root, file, text)
    assert isinstance(getattr(facts_of(root), fact), Unknown)


def test_xen_and_the_capture_kernel_are_recognised(root: Path) -> None:
    put(root, "sys/hypervisor/guest_type", "PV\n")
    put(root, "proc/vmcore", "")
    facts = facts_of(root)
    assert (facts.xen_guest_type, facts.in_capture_kernel) == ("PV", True)


@pytest.mark.parametrize(
    "text", [LOAD.replace(BOOT, "another boot"), "boot=" + BOOT, "result=loaded\n", "", "="]
)
def test_load_result_that_does_not_count(root: Path, text: str) -> None:
    put(root, "run/kdumpd/load", text)
    assert facts_of(root).load_result is None


def test_load_result_needs_to_know_this_boot(root: Path) -> None:
    put(root, "proc/sys/kernel/random/boot_id", "")
    put(root, "run/kdumpd/load", "result=loaded\nboot=\n")
    assert facts_of(root).load_result is None


def test_load_result_of_the_init_script_is_understood(root: Path) -> None:
    put(root, "sys/kernel/kexec_crash_loaded", "0\n")
    put(root, "proc/sys/kernel/kexec_load_disabled", "0\n")
    paths = {
        "ARCHITECTURE": "x86_64",
        "KERNEL": "/no/such/kernel",
        "CMDLINE": root / "proc/cmdline",
        "VMCORE": root / "proc/vmcore",
        "CRASH_SIZE": root / "sys/kernel/kexec_crash_size",
        "CRASH_LOADED": root / "sys/kernel/kexec_crash_loaded",
        "LOAD_DISABLED": root / "proc/sys/kernel/kexec_load_disabled",
        "XEN_GUEST_TYPE": root / "none",
        "BOOT_ID": root / "proc/sys/kernel/random/boot_id",
        "KMSG": root / "kmsg",
        "STATE_DIR": root / "run/kdumpd",
    }
    settings = {f"KDUMPD_{name}": str(path) for name, path in paths.items()}
    (root / "run/kdumpd/load").unlink()
    subprocess.run(
        [PROJECT / "etc/init.d/000-kexec"], env={"PATH": os.defpath} | settings, check=True, timeout=20
    )
    judged = assess(attrs.evolve(facts_of(root), architecture="x86_64"))
    assert "the capture kernel was not loaded: kernel file /no/such/kernel is missing" in [
        reason.text for reason in judged.reasons
    ]
    assert judged.facts.forbidden is True


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo something else", "the program does not name itself as makedumpfile does"),
        ("exit 1", "the program does not name itself as makedumpfile does"),
    ],
)
def test_makedumpfile_that_is_none(root: Path, body: str, why: str) -> None:
    makedumpfile = facts_of(root, body).makedumpfile
    assert isinstance(makedumpfile, Unknown)
    assert makedumpfile.why == why


def test_makedumpfile_that_may_not_be_run(root: Path) -> None:
    put(root, "makedumpfile", "no program")
    facts = gather(Config(dump=Dump(makedumpfile=str(root / "makedumpfile"))), root=root)
    assert facts.makedumpfile == Unknown(source=str(root / "makedumpfile"), why=DENIED)


def test_makedumpfile_that_hangs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_VERSION_S", 0.05)
    makedumpfile = facts_of(root, "exec sleep 20").makedumpfile
    assert isinstance(makedumpfile, Unknown)
    assert makedumpfile.why == "it hangs"


STAMP = "20261123T014039Z"
RECORD = {
    "schema": 1,
    "stamp": STAMP,
    "reason": CRASH.reason,
    "cause": "sysrq",
    "title": "sysrq: Trigger a crash",
    "dump": {"state": "complete"},
}


def crashes(root: Path, *names: str, record: str | bytes = json.dumps(RECORD)) -> LastCrash | Unknown | None:
    for name in names:
        put(root, f"persist/kcrashes/{name}", record if name.endswith(".json") else "")
    return facts_of(root).last_crash


def test_last_crash_is_what_its_record_says(root: Path) -> None:
    assert crashes(root, *CRASH.files) == CRASH


def test_record_as_kdumpd_writes_it_is_understood(root: Path) -> None:
    written = CrashRecord(
        stamp=STAMP,
        crash_time_s=None,
        reason="why",
        cause="oops",
        title="BUG",
        log=Log(name=None, size_bytes=0, tool=None),
        dump_name=None,
        dump=Verdict(state="incomplete"),
    )
    found = crashes(root, f"crash-{STAMP}.json", record=written.to_json())
    assert isinstance(found, LastCrash)
    assert (found.reason, found.cause, found.title, found.dump_state) == ("why", "oops", "BUG", "incomplete")


def test_newest_crash_counts_although_it_has_no_record(root: Path) -> None:
    newer = "dmesg-20261124T000000Z.log"
    assert crashes(root, *CRASH.files, newer, "zzz.txt") == LastCrash(
        stamp="20261124T000000Z", files=(newer,)
    )


def test_second_crash_of_the_same_second_is_the_last(root: Path) -> None:
    found = crashes(root, *CRASH.files, f"dmesg-{STAMP}-2.log")
    assert found == LastCrash(stamp=f"{STAMP}-2", files=(f"dmesg-{STAMP}-2.log",))


def test_names_that_eve_gave_count(root: Path) -> None:
    found = crashes(root, "dmesg-2027-01-01T00:00:00+00:00.log", *CRASH.files)
    assert isinstance(found, LastCrash)
    assert found.stamp == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        b"\xff\xfe",
        "[1]",
        "null",
        "[" * 100_000,
        '{"dump": [], "reason": 7, "cause": null, "title": {}}',
        '{"dump": {"state": 1}}',
    ],
)
def test_damaged_record_leaves_the_names(root: Path, record: str | bytes) -> None:
    assert crashes(root, *CRASH.files, record=record) == LastCrash(stamp=STAMP, files=CRASH.files)


def test_empty_crash_folder(root: Path) -> None:
    assert crashes(root, "note.txt") is None


def test_crash_folder_that_is_none(root: Path) -> None:
    put(root, "persist/kcrashes", "")
    assert facts_of(root).last_crash == Unknown(source="/persist/kcrashes", why="Not a directory")


def test_reboot_reason_that_eve_has_not_read(root: Path) -> None:
    put(root, "persist/reboot-reason", f"{CRASH.reason}\n")
    assert facts_of(root).reboot_reason == CRASH.reason
    put(root, "persist/reboot-reason", "")
    assert facts_of(root).reboot_reason is None


def test_settings_name_the_places(root: Path) -> None:
    text = '[storage]\nmountpoint = "/data"\n[dump]\ndirectory = "c"\n[reasons]\ndirectory = "/why"\n'
    put(root, "data/c/dmesg-20261124T000000Z.log", "")
    put(root, "why/reboot-reason", "because")
    facts = gather(parse_config(text), root=root)
    assert facts.mount is None
    assert isinstance(facts.last_crash, LastCrash)
    assert facts.reboot_reason == "because"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without root's rights, if the test has them."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_without_root_what_cannot_be_read_is_unknown() -> None:
    # Not tmp_path, which only its owner may enter.
    with TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        furnish(root)
        put(root, f"persist/kcrashes/dmesg-{STAMP}.log", "")
        locked = [root / "sys/kernel/kexec_crash_loaded", root / "persist/kcrashes"]
        for path in locked:
            path.chmod(0)
        with unprivileged():
            facts = gather(Config(), root=root)
        for path in locked:
            path.chmod(0o700)
    assert facts.loaded == Unknown(source="/sys/kernel/kexec_crash_loaded", why=DENIED)
    assert facts.last_crash == Unknown(source="/persist/kcrashes", why=DENIED)
    judged = assess(
        attrs.evolve(facts, architecture="x86_64", makedumpfile=ARMED.makedumpfile, space=ARMED.space)
    )
    assert [reason.text for reason in judged.reasons] == [f"/sys/kernel/kexec_crash_loaded: {DENIED}"]
    assert [warning.text for warning in judged.warnings] == [f"/persist/kcrashes: {DENIED}"]


IMPORTS = """
import sys
import kdumpd.mounts
before = set(sys.modules)
import kdumpd.status
print(*sorted({"trio", "pyudev", "drgn", "rich", "asyncio"} & (set(sys.modules) - before)))
"""


def test_import_brings_nothing_heavy_beyond_the_mount_table() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
