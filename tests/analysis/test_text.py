"""The report as text."""

import attrs
import pytest
from tests.analysis import sample

from kdumpd.analysis import text
from kdumpd.analysis.findings import Part


def section(shown: str, title: str) -> list[str]:
    found = next(block for block in shown.split("\n\n") if block.startswith(title))
    return found.splitlines()


def test_the_cause_and_its_source_line_come_first() -> None:
    first = text.render(sample.REPORT).splitlines()[:3]
    assert first == [
        "null-dereference in write_to_null",
        "  at /usr/src/null_dereference.c:7",
        "  BUG: kernel NULL pointer dereference, address: 0000000000000000",
    ]


def test_frames_have_lines_modules_and_variables() -> None:
    lines = section(text.render(sample.REPORT), "Task that crashed")
    assert lines[1:6] == [
        "  insmod (pid 158) on CPU 1, running",
        "    #0   write_to_null [null_dereference]  /usr/src/null_dereference.c:7",
        "    #1   do_one_initcall  init/main.c:1271",
        "           count = 0",
        f'           name = 0xffff = "{sample.HOSTILE}"',
    ]
    assert "    #2   do_syscall_x64 (inlined)  arch/x86/entry/common.c:46" in lines


def test_tasks_with_one_stack_are_told_together() -> None:
    lines = section(text.render(sample.REPORT), "Blocked tasks")
    assert lines[1] == (
        "  tar (pid 200) on CPU 0, blocked for 3 min 10 s; the same: "
        + ", ".join(["tar (200)"] * 5)
        + " and 2 more"
    )
    assert lines[-1] == "  incomplete: after 8 this leads to memory that is not in the dump (0xffff)"


def test_a_hung_task_comes_before_the_task_that_found_it() -> None:
    hung = attrs.evolve(sample.REPORT, record=attrs.evolve(sample.REPORT.record, cause="hung-task"))
    for report, order in ((sample.REPORT, 1), (hung, -1)):
        shown = text.render(report)
        titles = ["\nOther CPUs", "\nBlocked tasks"]
        assert sorted(titles, key=shown.index) == titles[::order]


def test_idle_kernel_threads_are_counted_and_left_out() -> None:
    lines = section(text.render(sample.REPORT), "Tasks")
    assert lines[1] == "  63: 61 idle, 1 running, 1 blocked"
    assert len(lines) == 6
    assert lines[-1] == "  61 others, in the page and in JSON"


def test_requests_in_flight_are_listed() -> None:
    lines = section(text.render(sample.REPORT), "Block devices")
    assert lines[-1] == "  sda: write of 4.0 KiB at sector 2048, begun 1 min 1 s before"


def test_what_is_missing_is_said_once() -> None:
    shown = text.render(sample.BARE)
    lines = section(shown, "Not to be had")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "crashed task",
        "other CPUs",
        "blocked tasks",
        "tasks",
        "memory",
        "machine",
        "modules",
        "mounts",
        "block devices",
    ]
    assert "\nMemory" not in shown
    assert "Not to be had" not in text.render(sample.REPORT)


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    record = attrs.evolve(sample.REPORT.record, title="\x1b[2J", command="\x07bell")
    report = attrs.evolve(sample.REPORT, record=record, mounts=Part(found=(), missing="\x1b]0;x\x07"))
    assert not set(text.render(report)) & {"\x1b", "\x07", "\x00", "\r"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0123, "0.0123 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (47 * 3600, "47 h 0 min"),
        (50 * 3600, "2 days 2 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown
