"""Artefacts: which names are ours, and which of them go."""

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes.artefacts import expired, find_artefacts, free_stamp, make_stamp, over_limit, parse_name

CRASH_S = 1795398039


def crash(hour: int) -> list[str]:
    stamp = f"20261123T{hour:02}0000Z"
    return [f"kdump-{stamp}.dump", f"dmesg-{stamp}.log", f"crash-{stamp}.json"]


def test_a_stamp_is_utc() -> None:
    assert make_stamp(CRASH_S) == "20261123T014039Z"


def test_a_clash_gets_a_number() -> None:
    first = f"kdump-{make_stamp(CRASH_S)}.dump"
    second = f"dmesg-{make_stamp(CRASH_S)}-2.log"
    assert free_stamp(CRASH_S, []) == "20261123T014039Z"
    assert free_stamp(CRASH_S, [first]) == "20261123T014039Z-2"
    assert free_stamp(CRASH_S, [first, second]) == "20261123T014039Z-3"


def test_names_of_others_are_no_artefacts() -> None:
    for name in (
        "notes.txt",
        "kdump-20261123T014039Z.dump.part",
        ".kdumpd-kdump-20261123T014039Z.dump.tmp",
        "kdump-20261123T014039Z.log",
        "kdump-20261123T014039Z.age",
        "dmesg-20261123T014039Z.flat.age",
        "kdump-20261340T014039Z.dump",
        "kdump-../../../etc/passwd.dump",
        "dmesg-latest.log",
        "kdump-20261123T014039Z.dump\n",
    ):
        assert parse_name(name) is None, name


def test_eves_older_names_are_artefacts_and_sort_by_time() -> None:
    names = [
        "kdump-20261123T014039Z.dump",
        "kdump-2026-11-23T01:40:38+00:00.dump",
        "kdump-2026-11-23T03:40:37+02:00.dump",
        "kdump-2024-01-01T00:00:00.dump",
    ]
    assert [artefact.name for artefact in find_artefacts(names)] == names[::-1]


def test_five_newest_stay_with_their_records() -> None:
    names = [name for hour in range(6) for name in crash(hour)]
    assert sorted(expired(names, dumps=5, logs=5)) == sorted(crash(0))


def test_an_encrypted_dump_is_a_dump_and_a_report_goes_with_the_last_file_of_its_crash() -> None:
    encrypted = [crash(1)[0].replace(".dump", ".flat.age"), *crash(1)[1:], "report-20261123T010000Z.txt"]
    assert expired([*encrypted, *crash(2)], dumps=1, logs=2) == [encrypted[0]]
    assert sorted(expired([*encrypted, *crash(2)], dumps=1, logs=1)) == sorted(encrypted)


def test_numbered_names_sort_by_number_not_by_text() -> None:
    names = [f"kdump-20261123T014039Z{number}.dump" for number in ("", "-2", "-10")]
    assert expired(names, dumps=1, logs=1) == names[:2]


def test_a_record_stays_while_its_log_does() -> None:
    names = crash(1) + crash(2)
    assert expired(names, dumps=1, logs=2) == [crash(1)[0]]


def test_a_record_whose_dump_and_log_went_at_different_times_goes_with_the_last() -> None:
    dump, log, record = crash(1)
    assert expired([log, record, *crash(2)], dumps=1, logs=1) == [log, record]
    assert dump not in expired([dump, record], dumps=1, logs=1)


def test_of_records_that_stand_alone_the_newest_stay() -> None:
    alone = [crash(hour)[2] for hour in range(8)]
    assert expired([*alone, *crash(9)], dumps=3, logs=5) == alone[:3]
    assert expired([*alone, *crash(8)], dumps=0, logs=0) == [*crash(8), *alone]


@given(st.lists(st.one_of(st.text(), st.sampled_from([name for hour in range(8) for name in crash(hour)]))))
def test_only_artefacts_go_and_never_more_than_needed(names: list[str]) -> None:
    names = list(dict.fromkeys(names))
    gone = expired(names, dumps=3, logs=2)
    left = [artefact.kind for artefact in find_artefacts(set(names) - set(gone))]
    before = [artefact.kind for artefact in find_artefacts(names)]
    assert set(gone) <= {artefact.name for artefact in find_artefacts(names)}
    assert left.count("dump") == min(3, before.count("dump"))
    assert left.count("log") == min(2, before.count("log"))


def sizes(*gibibytes: int) -> dict[str, int]:
    """A folder with a crash an hour, whose dumps have these sizes; other files are small."""
    return {
        name: gibibyte << 30 if name.startswith("kdump") else 1000
        for hour, gibibyte in enumerate(gibibytes)
        for name in crash(hour)
    }


def test_the_oldest_dumps_go_until_all_are_within_the_limit() -> None:
    assert over_limit(sizes(1, 2, 3), 6 << 30) == []
    assert over_limit(sizes(1, 2, 3), 5 << 30) == [crash(0)[0]]
    assert over_limit(sizes(1, 2, 3), 4 << 30) == [crash(0)[0], crash(1)[0]]


def test_the_newest_dump_stays_however_long_it_is() -> None:
    assert over_limit(sizes(1, 30), 1 << 30) == [crash(0)[0]]
    assert over_limit(sizes(30), 1) == []
    assert over_limit({}, 1) == []


def test_with_a_dump_that_had_no_log_its_record_goes() -> None:
    dump, _, record = crash(0)
    assert over_limit({dump: 2, record: 1, **sizes(1)}, 1) == []
    left = {dump: 2, record: 1, crash(1)[0]: 1}
    assert over_limit(left, 1) == [dump, record]


@given(st.lists(st.integers(0, 9)), st.integers(0, 40))
def test_no_dump_goes_that_need_not(lengths: list[int], limit: int) -> None:
    files = {crash(hour % 24)[0].replace("1123", f"11{10 + hour // 24}"): n for hour, n in enumerate(lengths)}
    gone = over_limit(files, limit)
    left = [name for name in files if name not in gone]
    assert gone == list(files)[: len(gone)]
    assert len(left) <= 1 or sum(files[name] for name in left) <= limit
    assert not gone or sum(files[name] for name in left) + files[gone[-1]] > limit
