"""The crash record: written, read back, described by its schema, and never trusted."""

import json
import typing
from pathlib import Path
from types import NoneType
from typing import Any

import attrs
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes.record import MAX_RECORD_BYTES, SCHEMA, CrashRecord, Log, Phase, parse_record
from kdumpd.dmesg.causes import Cause
from kdumpd.dump.makedumpfile import PageReport
from kdumpd.dump.verdict import NO_DUMP, Verdict
from kdumpd.errors import FormatError

DESCRIPTION = json.loads((Path(__file__).parents[2] / "docs/crash-record.schema.json").read_text())

REPORT = PageReport(
    total_pages=524244,
    kept_pages=37326,
    zero_pages=5666,
    cache_pages=6095,
    private_cache_pages=0,
    user_pages=165,
    free_pages=452415,
    hwpoison_pages=0,
    offline_pages=0,
    hole_pages=22577,
    written_bytes=44033673,
)

BARE = CrashRecord(
    stamp="20261123T030740Z",
    crash_time_s=None,
    reason="kernel panic, nothing collected: no log was found",
    log=Log(name=None, size_bytes=0, tool=None),
    dump_name=None,
    dump=NO_DUMP,
)

FULL = CrashRecord(
    stamp="20261123T030740Z",
    crash_time_s=1795403260,
    release="6.1.0-56-cloud-amd64",
    build_id="3b43fad5034874490492495d552c0af6a5fab235",
    cause="null-dereference",
    title="BUG: kernel NULL pointer dereference, address: 0000000000000000",
    symbol="write_to_null",
    command="insmod",
    taint="GOE",
    modules=("null_dereference", "virtio_blk"),
    frames=("null_dereference_init", "do_one_initcall"),
    fingerprint="47a1ff1c47db6564",
    panic_text=("[   10.173795] BUG: kernel NULL pointer dereference, address: 0000000000000000",),
    reason="kernel panic, kdump collected: /persist/kcrashes/kdump-20261123T030740Z.dump",
    log=Log(name="dmesg-20261123T030740Z.log", size_bytes=29062, tool="makedumpfile"),
    dump_name="kdump-20261123T030740Z.dump",
    dump=Verdict(
        state="incomplete",
        why="no progress for 60 s",
        size_bytes=44015037,
        compression="lzo",
        level=31,
        pages=100,
        expected_pages=32703,
        report=REPORT,
    ),
    phases=(Phase(name="log", start_s=0.032, duration_s=0.27), Phase(name="dump", start_s=1, duration_s=9.3)),
    budgets_spent=("storage",),
    warnings=("the vmcore has no crash time",),
    tools={"kdumpd": "0.1.0"},
)


def document(record: CrashRecord = FULL) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(record.to_json())
    return read


def parse(value: object) -> CrashRecord:
    return parse_record(json.dumps(value).encode())


@pytest.mark.parametrize("record", [BARE, FULL], ids=["bare", "full"])
def test_a_record_reads_back_as_it_was(record: CrashRecord) -> None:
    assert parse_record(record.to_json()) == record
    assert record.schema == SCHEMA


@pytest.mark.parametrize("record", [BARE, FULL], ids=["bare", "full"])
def test_a_record_is_what_its_schema_describes(record: CrashRecord) -> None:
    jsonschema.Draft202012Validator.check_schema(DESCRIPTION)
    jsonschema.validate(document(record), DESCRIPTION)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 0),
        ("cause", "aliens"),
        ("crash_time_s", "yesterday"),
        ("fingerprint", "47a1"),
        ("log", {"name": None}),
        ("dump", {"state": "half"}),
        ("phases", [{"name": "log", "start_s": -1, "duration_s": 0}]),
    ],
)
def test_the_schema_refuses_what_is_wrong(key: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document() | {key: value}, DESCRIPTION)


def described(kind: type[Any], schema: dict[str, Any], where: str = "record") -> None:
    """Every field is described, nothing else is, and null is allowed where the record allows it."""
    fields = typing.get_type_hints(kind)
    assert set(schema["properties"]) == set(fields), where
    required = {a.name for a in attrs.fields(kind) if a.default is attrs.NOTHING}
    assert required <= set(schema["required"]), where
    for name, hint in fields.items():
        entry = schema["properties"][name]
        nullable = NoneType in typing.get_args(hint)
        accepted = jsonschema.Draft202012Validator(entry).is_valid(None)
        assert nullable == accepted, f"{where}.{name}"
        inner = next(
            (t for t in (hint, *typing.get_args(hint)) if isinstance(t, type) and attrs.has(t)), None
        )
        if inner:
            described(inner, entry.get("items", entry), f"{where}.{name}")


def test_the_schema_describes_every_field() -> None:
    described(CrashRecord, DESCRIPTION)
    assert DESCRIPTION["properties"]["cause"]["enum"] == [cause.value for cause in Cause]


def test_a_newer_record_is_read_as_far_as_it_is_known() -> None:
    newer = document() | {"schema": SCHEMA + 1, "mood": "bad"}
    newer["dump"]["colour"] = "red"
    assert parse(newer) == attrs.evolve(FULL, schema=SCHEMA + 1)


def test_a_newer_record_that_changed_says_that_it_is_newer() -> None:
    newer = document() | {"schema": SCHEMA + 1, "log": "inline text"}
    with pytest.raises(FormatError, match=r"log is not an object \(its schema 2 is newer than 1"):
        parse(newer)


def test_keys_that_are_missing_have_their_default() -> None:
    short = document()
    del short["warnings"], short["dump"]["report"]
    assert parse(short) == attrs.evolve(FULL, warnings=(), dump=attrs.evolve(FULL.dump, report=None))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": None}, "no schema version"),
        ({"schema": True}, "no schema version"),
        ({"schema": 0}, "no schema version"),
        ({"crash_time_s": True}, "crash_time_s is true, which is of a wrong type"),
        ({"crash_time_s": 1.5}, "crash_time_s is 1.5"),
        ({"title": 7}, "title is 7"),
        ({"reason": None}, "reason is null"),
        ({"modules": "virtio"}, 'modules is "virtio"'),
        ({"modules": ["virtio", None]}, r"modules\[1\] is null"),
        ({"dump": {"state": "half"}}, 'dump.state is "half"'),
        ({"dump": {}}, "dump.state is missing"),
        ({"dump": {"state": "none", "report": {}}}, "dump.report.total_pages is missing"),
        ({"phases": [{"name": "log", "start_s": "0", "duration_s": 1}]}, r'phases\[0\].start_s is "0"'),
        ({"tools": {"kdumpd": 1}}, "tools.kdumpd is 1"),
        ({"tools": []}, r"tools is \[\]"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse(document() | change)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not JSON"),
        (FULL.to_json()[:-20], "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (FULL.to_json().replace(b"9.3", b"NaN"), "NaN is no number"),
        (b"[]", "no schema version"),
        (b"{}", "no schema version"),
        (b'{"schema": 1}', "stamp is missing"),
        (b" " * (MAX_RECORD_BYTES + 1), "is too long"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_record(data)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(key=st.sampled_from(sorted(document())), value=ANY_JSON)
def test_any_value_is_survived(key: str, value: object) -> None:
    try:
        record = parse(document() | {key: value})
    except FormatError:
        return
    assert parse_record(record.to_json()) == record
