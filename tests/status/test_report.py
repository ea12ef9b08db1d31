"""The status as a person and as a program get it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
from tests.machines import ARMED, CRASH, EVERYTHING_UNKNOWN, GIB, MIB, SAMPLES, with_facts

from kdumpd.config import Config, DumpSettings
from kdumpd.status import remedies, report
from kdumpd.status.assess import assess
from kdumpd.status.files import Unknown
from kdumpd.status.lastcrash import LastCrash
from kdumpd.status.report import render, to_json

PROJECT = Path(__file__).parents[2]
SCHEMA = json.loads((PROJECT / "docs/status.schema.json").read_text())


# JSON


@pytest.mark.parametrize("name", SAMPLES)
def test_json_follows_its_schema(name: str) -> None:
    document = json.loads(to_json(assess(SAMPLES[name])))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["armed"] is not bool(document["reasons"])


def test_schema_is_a_schema_and_knows_every_code() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["properties"]
    assert properties["reasons"]["items"]["properties"]["code"]["enum"] == list(remedies.REASONS)
    assert properties["warnings"]["items"]["properties"]["code"]["enum"] == list(remedies.WARNINGS)
    assert properties["schema"]["const"] == report.SCHEMA


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
            "modules": "on: zfs is a module of this kernel",
        },
        "storage": {
            "mountpoint": "/persist",
            "filesystem": "ext4",
            "free_bytes": 20 * GIB,
            "total_bytes": 50 * GIB,
            "room_bytes": 20 * GIB - (4352 << 20),
        },
        "makedumpfile": {"version": "1.7.8", "compression": "zstd"},
        "last_crash": attrs.asdict(CRASH) | {"files": list(CRASH.files)},
        "drill": None,
        "capture_missed": None,
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


# The screen


def test_armed_machine_on_the_screen() -> None:
    assert render(assess(SAMPLES["crashed"])) == (
        "kdumpd: armed\n"
        "kernel      /boot/kernel is loaded, further kexec is forbidden; modules on: zfs\n"
        "            is a module of this kernel\n"
        "reserved    128 MiB of 4.0 GiB of memory\n"
        "persist     ext4 on /persist, 20.0 GiB free, 15.8 GiB of it for a dump\n"
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
    assert list(report._fit([["a", "a2"], ["b"], ["c", "c2"]], height)) == shown


def test_all_that_is_unknown_fits() -> None:
    text = render(assess(EVERYTHING_UNKNOWN))
    assert text.count("needs root") > 5
    assert "kernel      /sys/kernel/kexec_crash_loaded: unknown, needs root\n" in text


def test_crashed_kernels_log_cannot_command_the_terminal() -> None:
    text = render(with_facts(last_crash=attrs.evolve(CRASH, title="\x1b[2J\x07\u202e")))
    assert "20261123T014039Z: \\x1b[2J\\x07\\xe2\\x80\\xae; kernel" in text
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
        ({"memory_bytes": GIB - 129 * MIB}, "reserved    128 MiB of 1.0 GiB of memory\n"),
        ({"space": Unknown(source="s", why="x")}, "persist     ext4 on /persist\n"),
        (
            {"config": Config(dump=DumpSettings(enabled=False))},
            "dump tool   makedumpfile 1.7.8, not used: dump.enabled is false\n",
        ),
        (
            {"config": Config(dump=DumpSettings(enabled=False))},
            "persist     ext4 on /persist, 20.0 GiB free\n",
        ),
    ],
)
def test_rows_of_the_human_form(changes: dict[str, Any], line: str) -> None:
    assert line in render(with_facts(**changes))
