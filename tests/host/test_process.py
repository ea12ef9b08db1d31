"""Children: they end when their block does, and what they say is kept within bounds. Real processes."""

import os
import resource
import signal
from pathlib import Path

import pytest
import trio

from kdumpd.errors import DumpError
from kdumpd.host.process import (
    OUTPUT_BYTES,
    TAIL_BYTES,
    Finished,
    open_child,
    program_with_pipe,
    run,
)


async def test_a_program_runs_to_its_end() -> None:
    finished = await run(open_child, ["sh", "-c", "echo said; echo wrong >&2; exit 3"])
    assert finished.code == 3
    assert finished.messages == b"wrong\nsaid\n"


async def test_standard_output_can_go_to_a_memory_file() -> None:
    memory = os.memfd_create("test")
    finished = await run(open_child, ["echo", "log"], stdout=memory)
    assert os.pread(memory, 100, 0) == b"log\n"
    assert finished.messages == b""
    os.close(memory)


@pytest.mark.parametrize(
    ("program", "message"),
    [("no-such-program", "no-such-program not found"), ("/etc/passwd", "cannot be run")],
)
async def test_a_program_that_cannot_be_run_is_a_dump_error(program: str, message: str) -> None:
    with pytest.raises(DumpError, match=message):
        await run(open_child, [program])


async def test_a_child_that_ignores_sigterm_is_gone_with_its_block() -> None:
    code = "trap '' TERM; echo ready; sleep 60"
    with trio.fail_after(5):
        async with program_with_pipe(open_child, ["sh", "-c", code]) as (child, source):
            await trio.lowlevel.wait_readable(source)
    assert await child.wait() == -signal.SIGKILL


async def test_a_cancelled_run_leaves_no_child_and_no_descriptor() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with trio.move_on_after(0.2) as scope:
        await run(open_child, ["sleep", "60"])
    assert scope.cancelled_caught
    assert sorted(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not children.exists() or children.read_text() == ""


async def test_a_flood_of_messages_is_kept_within_bounds() -> None:
    finished = await run(
        open_child, ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo end >&2"]
    )
    assert len(finished.messages) == TAIL_BYTES
    assert finished.messages.endswith(b"xend\n")


async def test_a_flood_into_a_memory_file_is_stopped() -> None:
    memory = os.memfd_create("test")
    # The limit is set right after the start; the short sleep lets it be there before the flood.
    script = "sleep 0.3; exec head -c 64M /dev/zero"
    finished = await run(open_child, ["sh", "-c", script], stdout=memory)
    assert finished.code != 0
    assert os.fstat(memory).st_size <= OUTPUT_BYTES
    os.close(memory)


async def test_a_child_is_the_oom_killers_first_choice() -> None:
    async with program_with_pipe(open_child, ["sleep", "60"]) as (child, _):
        pid = child.pid  # type: ignore[attr-defined]
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (OUTPUT_BYTES, OUTPUT_BYTES)


@pytest.mark.parametrize(
    ("code", "messages", "why"),
    [
        (1, b"progress\rCan't open.\n\n", "ended with exit code 1: Can't open."),
        (1, b"", "ended with exit code 1"),
        (-9, b"", "was killed by signal 9"),
        (-9, b"\rCopying data : [ 45.1 %] /    eta: 3s", "was killed by signal 9"),
        (2, b"\x1b[2Jx\n", "ended with exit code 2: \\x1b[2Jx"),
        (2, b"x" * 1000, f"ended with exit code 2: {'x' * 157}..."),
    ],
)
def test_how_a_program_ended_in_words(code: int, messages: bytes, why: str) -> None:
    assert Finished(code=code, messages=messages).why() == why
