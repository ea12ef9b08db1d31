"""The judgement on a machine: facts in, findings with remedies out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.machines import ARMED, DENIED, FAILED, GIB, LOADED, MIB, PERSIST, UNLOADED, with_facts

from kdumpd.config import Config, DumpSettings, StorageSettings
from kdumpd.dump.makedumpfile import Capabilities
from kdumpd.host.folder import Space
from kdumpd.host.mounts import Mount
from kdumpd.status import assess as status
from kdumpd.status import remedies
from kdumpd.status.assess import Status, assess, room_bytes
from kdumpd.status.files import Unknown

PROJECT = Path(__file__).parents[2]


def codes(judged: Status) -> list[str]:
    return [finding.code for finding in judged.reasons]


def warnings(judged: Status) -> list[str]:
    return [finding.code for finding in judged.warnings]


def test_armed() -> None:
    judged = assess(ARMED)
    assert (judged.armed, judged.reasons, judged.warnings) == (True, (), ())


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
        ({}, "nothing-loaded", "no capture kernel is loaded: /run/kdumpd/load has no result of this boot"),
        (
            {"load_result": LOADED},
            "nothing-loaded",
            "no capture kernel is loaded: one was, and has been unloaded",
        ),
        ({"loaded": Unknown(source="loaded", why=DENIED)}, "unknown", f"loaded: {DENIED}"),
        ({"command_line": Unknown(source="cmdline", why=DENIED)}, "unknown", f"cmdline: {DENIED}"),
        ({"reserved_bytes": Unknown(source="size", why=DENIED)}, "unknown", f"size: {DENIED}"),
    ],
)
def test_step_that_failed_is_the_one_reason(changes: dict[str, Any], code: str, text: str) -> None:
    (reason,) = with_facts(UNLOADED, **changes).reasons
    assert (reason.code, reason.text, reason.remedy) == (code, text, remedies.REASONS[code])


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


@pytest.mark.parametrize(
    ("filesystem", "line", "modules", "driver"),
    [
        ("zfs", "a nomodule", frozenset({"zfs"}), "zfs"),
        ("ext3", "nomodule", frozenset({"ext4"}), "ext4"),
        ("ext4", "a nomodule", frozenset({"zfs"}), None),
        ("zfs", "a xnomodule", frozenset({"zfs"}), None),
        ("zfs", "nomodule", Unknown(source="/proc/modules", why=DENIED), None),
    ],
)
def test_no_modules_for_a_persist_that_is_one_is_a_warning(
    filesystem: str, line: str, modules: frozenset[str] | Unknown, driver: str | None
) -> None:
    judged = with_facts(
        mount=attrs.evolve(PERSIST, filesystem=filesystem),
        load_result=attrs.evolve(LOADED, command_line=line),
        modules=modules,
    )
    assert judged.armed
    text = f"the capture kernel has nomodule, and {driver} of /persist is a module"
    assert [(one.code, one.text) for one in judged.warnings] == ([("nomodule", text)] if driver else [])


NO_CONFIG = Unknown(source="/proc/config.gz", why="not there")


@pytest.mark.parametrize(
    ("said", "default", "warned"),
    [
        ("", False, True),
        ("", True, False),
        ("", NO_CONFIG, True),
        ("init_on_free=1", False, False),
        ("init_on_free=on", False, False),
        ("init_on_free=Y", NO_CONFIG, False),
        ("init_on_free=0", True, True),
        ("init_on_free=off", True, True),
        ("init_on_free=0 init_on_free=1", False, False),
        ("init_on_free=1 init_on_free=0", True, True),
        ("-- init_on_free=1", False, True),
    ],
)
def test_freed_memory_that_is_not_cleared_is_a_warning(
    said: str, default: bool | Unknown, warned: bool
) -> None:
    judged = with_facts(command_line=f"quiet {said}", init_on_free_default=default)
    assert judged.armed
    assert warnings(judged) == (["freed-memory"] if warned else [])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"command_line": "quiet"}, "a dump may hold freed memory, which is not cleared"),
        (
            {"command_line": "quiet", "init_on_free_default": NO_CONFIG},
            "a dump may hold freed memory that was not cleared: /proc/config.gz: not there",
        ),
        (
            {"command_line": Unknown(source="/proc/cmdline", why="not there")},
            "a dump may hold freed memory that was not cleared: /proc/cmdline: not there",
        ),
    ],
)
def test_words_for_freed_memory(changes: dict[str, Any], text: str) -> None:
    (warning,) = with_facts(**changes).warnings
    assert (warning.text, warning.remedy) == (text, remedies.WARNINGS["freed-memory"])


@pytest.mark.parametrize(
    "changes",
    [
        {"config": Config(dump=DumpSettings(level=15))},
        {"config": Config(dump=DumpSettings(enabled=False))},
        {"in_capture_kernel": True},
    ],
)
def test_freed_memory_where_it_does_not_matter(changes: dict[str, Any]) -> None:
    assert with_facts(command_line="quiet", **changes).warnings == ()


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


FLOOR = 4352 * MIB


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


def test_what_must_stay_free_is_as_configured() -> None:
    settings = StorageSettings(min_free_bytes=20 * GIB)
    assert codes(with_facts(config=Config(storage=settings))) == ["no-space"]
    assert room_bytes(with_facts(config=Config(dump=DumpSettings(max_bytes=MIB))).facts) == MIB


def test_missing_makedumpfile() -> None:
    (reason,) = with_facts(makedumpfile=Unknown(source="makedumpfile", why="not there")).reasons
    assert (reason.code, reason.text) == ("no-makedumpfile", "makedumpfile does not run: not there")


def test_wanted_compression_that_is_not_built_in() -> None:
    lacking = Capabilities(version="1.7.2", compressions=frozenset({"zlib", "none", "lzo"}))
    judged = with_facts(makedumpfile=lacking, config=Config(dump=DumpSettings(compression="zstd")))
    assert judged.armed
    assert [(one.code, one.text) for one in judged.warnings] == [
        ("compression", "makedumpfile 1.7.2 has no zstd: lzo is used")
    ]
    assert with_facts(makedumpfile=lacking).warnings == ()


def test_who_wants_no_dump_needs_neither_room_nor_makedumpfile() -> None:
    judged = with_facts(
        config=Config(dump=DumpSettings(enabled=False, compression="zstd")),
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
    assert f' {remedies.RESERVATION}"\n' in (PROJECT / file).read_text()


def test_rows_are_those_of_the_reservation() -> None:
    rows = remedies.RESERVATION.removeprefix("crashkernel=").split(",")
    shown = {tuple(row.replace("-", ":").split(":")[::2]) for row in rows}
    assert {(f"{least // GIB}G", f"{size // MIB}M") for least, size in status._ROWS} == shown


def test_import_brings_nothing_heavy() -> None:
    code = "import sys, kdumpd.status.assess, kdumpd.status.report; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"trio", "pyudev", "drgn", "rich", "asyncio"} & set(done.stdout.split())
