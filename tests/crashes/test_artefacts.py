"""Artefacts: which names are ours, and which of them go."""

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes.artefacts import expired, find_artefacts, free_stamp, make_stamp, parse_name

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
