"""Targets: the configuration, the crash record, and the names in the crash folder."""

import json
import math
import os

import attrs
from tests.fuzz.cursor import Cursor
from tests.fuzz.target import Target, refusal

from kdumpd import config
from kdumpd.cli import listing
from kdumpd.crashes import inventory, record
from kdumpd.crashes.artefacts import Artefact, expired, find_artefacts, free_stamp, parse_name
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.verdict import Verdict
from kdumpd.errors import ConfigError, FormatError
from kdumpd.text import json_text


def _config(case: bytes) -> None:
    with refusal(ConfigError):
        settings = config.parse_config(case.decode("utf-8", "replace"))
        assert settings.storage.mountpoint.startswith("/")
        assert "/" not in settings.dump.directory
        assert 0 <= settings.dump.level <= 31
        seconds = (
            settings.storage.wait_s,
            settings.dump.time_s,
            settings.dump.stall_s,
            settings.budget.total_s,
        )
        assert all(math.isfinite(time_s) for time_s in seconds)
        assert min(settings.dump.time_s, settings.dump.stall_s, settings.budget.total_s) > 0
        assert settings.retention.dumps >= 1
        assert settings.retention.logs >= 1


def _record(case: bytes) -> None:
    read = None
    with refusal(FormatError):
        read = record.parse_record(case)
    if read is not None:
        assert record.parse_record(read.to_json()) == read
        _require_shown(read)


def _require_shown(read: record.CrashRecord) -> None:
    """Whatever was read can be listed, as text and as JSON."""
    crash = inventory.Crash(
        stamp=read.stamp, record=read, from_record=True, files={}, dump_state=read.dump.state
    )
    shown = listing.details(crash, [read.stamp]) + listing.table([crash])
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(json_text(listing.full(crash, [])), parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} in JSON")


def _names(case: bytes) -> None:
    cursor = Cursor(case)
    dumps, logs, time_s = cursor.number() % 8, cursor.number() % 8, cursor.number(4)
    names = list(dict.fromkeys(os.fsdecode(name) for name in cursor.rest().split(b"\0")))
    artefacts = find_artefacts(names)
    gone = set(expired(names, dumps=dumps, logs=logs))
    assert gone <= {artefact.name for artefact in artefacts}
    assert all("/" not in name for name in gone)
    _require_newest(artefacts, gone, "dump", dumps)
    _require_newest(artefacts, gone, "log", logs)
    stamp = free_stamp(time_s, names)
    assert stamp not in {artefact.stamp for artefact in artefacts}
    assert parse_name(f"crash-{stamp}.json") is not None


def _require_newest(artefacts: list[Artefact], gone: set[str], kind: str, keep: int) -> None:
    of_kind = [artefact for artefact in artefacts if artefact.kind == kind]
    kept = [artefact for artefact in of_kind if artefact.name not in gone]
    assert len(kept) == min(keep, len(of_kind))
    assert kept == of_kind[len(of_kind) - len(kept) :]


def _configs() -> list[bytes]:
    lines = [
        f"{key} = {_toml(value)}\n"
        for section in attrs.asdict(config.Config()).values()
        for key, value in section.items()
    ]
    whole = "".join(
        f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in section.items())
        for name, section in attrs.asdict(config.Config()).items()
    )
    hostile = [b'"a\\u001b" = 1', b'[dump]\n"a\\nb" = 1', b"[dump]\nlevel = " + b"9" * 5000]
    return [whole.encode(), *hostile, *(f"[dump]\n{line}".encode() for line in lines)]


def _toml(value: object) -> str:
    return (
        str(list(value))
        if isinstance(value, tuple)
        else str(value).lower()
        if isinstance(value, bool)
        else repr(value)
    )


def _records() -> list[bytes]:
    report = PageReport(**{attribute.name: 7 for attribute in attrs.fields(PageReport)})
    whole = record.CrashRecord(
        stamp="20261123T014039Z",
        crash_time_s=1795398039,
        release="6.12.49-linuxkit",
        build_id="3b43fad5",
        cause="oops",
        title="BUG: kernel NULL pointer dereference",
        symbol="f",
        taint="OE",
        modules=("a", "b"),
        frames=("f", "g"),
        fingerprint="0123456789abcdef",
        panic_text=("one", "two"),
        reason="kernel panic",
        log=record.Log(name="dmesg-20261123T014039Z.log", size_bytes=1, tool="makedumpfile"),
        dump_name=None,
        dump=Verdict(state="incomplete", why="stalled", report=report),
        phases=(record.Phase(name="dump", start_s=0.5, duration_s=1),),
        warnings=("w",),
        tools={"makedumpfile": "1.7.2"},
    )
    small = attrs.evolve(whole, dump=Verdict(state="none"), panic_text=(), phases=(), tools={})
    data = small.to_json()
    times = [data.replace(b"1795398039", number) for number in (b"-1", b"253402300800", b"9" * 30, b"1e999")]
    endless = whole.to_json().replace(b"0.5", b"1e999")
    return [whole.to_json(), data, endless, *times, data.replace(b'"schema": 1', b'"schema": 2')]


def _folders() -> list[bytes]:
    stamps = [b"20261123T01403%dZ" % second for second in range(2)] + [b"20261123T014039Z-2"]
    old = [
        b"kdump-2024-01-02T03:04:05+00:00.dump",
        b"dmesg-2024-01-02T03:04:05.log",
        b"other",
        b"kdump-.dump",
    ]
    crashes = [b"kdump-%b.dump\0dmesg-%b.log\0crash-%b.json" % (stamp, stamp, stamp) for stamp in stamps]
    return [head + b"\0".join([*crashes, *old]) for head in (b"\5\5\0\0\0\0", b"\1\2\x67\x2a\xfd\x6a")]


_TOML_WORDS = (
    *(f"[{name}]\n".encode() for name in config.SECTIONS),
    *(f"\n{key} = ".encode() for values in attrs.asdict(config.Config()).values() for key in values),
    b"true",
    b"nan",
    b"inf",
    b"1e999",
    b"0xffff",
    b"9" * 64,
    b"1979-05-27T07:32:00Z",
    b'"""',
    b"'''",
    b"[[",
    b"{",
    b'"\\u001b"',
    b'"auto"',
    b'"/a"',
)
_JSON_WORDS = (
    *(f'"{attribute.name}": '.encode() for attribute in attrs.fields(record.CrashRecord)),
    *(f'"{attribute.name}": '.encode() for attribute in attrs.fields(Verdict)),
    *(
        b"null",
        b"true",
        b"1e999",
        b"-1",
        b"NaN",
        b"[",
        b"{",
        b"}",
        b'"\\ud800"',
        b'"\\u001b"',
        b'"\\n"',
        b"9" * 64,
    ),
)
_NAME_WORDS = (
    b"\0kdump-",
    b"\0dmesg-",
    b"\0crash-",
    b".dump\0",
    b".log\0",
    b".json\0",
    b"20261123T014039Z",
    b"Z-2",
    b"2024-01-02T03:04:05+00:00",
    b"9999",
    b"0001-01-01T00:00:00+23:59",
    b"24:00",
)

CONFIG = Target(run=_config, seeds=_configs, words=_TOML_WORDS, max_bytes=1024)
RECORD = Target(run=_record, seeds=_records, words=_JSON_WORDS, max_bytes=2048)
NAMES = Target(run=_names, seeds=_folders, words=_NAME_WORDS, max_bytes=400)
