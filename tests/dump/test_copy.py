"""The flattened stream alone, over a real pipe: any seekable target, progress, damage, and a cancel."""

import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import kdumpd
from kdumpd.testing import flattened_records, make_kdump

DUMP = make_kdump(pages=300)


@contextmanager
def pipe_with(records: Iterable[bytes], *, hold: bool = False) -> Iterator[int]:
    """The read end of a pipe into which a thread writes; held open at the end if asked for."""
    source, sink = os.pipe()
    let_go = threading.Event()

    def write() -> None:
        with open(sink, "wb", buffering=0) as pipe:
            for record in records:
                view = memoryview(record)
                while view:
                    view = view[pipe.write(view) or 0 :]
            if hold:
                let_go.wait(10)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield source
    finally:
        let_go.set()
        thread.join()
        os.close(source)


async def test_a_descriptor(tmp_path: Path) -> None:
    with pipe_with(flattened_records(DUMP)) as source, (tmp_path / "dump").open("wb") as file:
        assert await kdumpd.place_stream(source, file.fileno()) == len(DUMP)
    assert (tmp_path / "dump").read_bytes() == DUMP


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_file_object(kind: str, tmp_path: Path) -> None:
    with pipe_with(flattened_records(DUMP)) as source:
        if kind == "memory":
            memory = io.BytesIO()
            await kdumpd.place_stream(source, memory)
            assert memory.getvalue() == DUMP
        else:
            with (tmp_path / "dump").open("w+b") as file:
                await kdumpd.place_stream(source, file)
            assert (tmp_path / "dump").read_bytes() == DUMP


async def test_progress_grows_to_the_whole() -> None:
    seen: list[int] = []
    with pipe_with(flattened_records(DUMP)) as source:
        await kdumpd.place_stream(source, io.BytesIO(), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(DUMP)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda stream: b"", "the flattened stream ended without its end record"),
        (lambda stream: stream[:-16], "the flattened stream ended without its end record"),
        (lambda stream: stream[:-20], "the flattened stream ended early, 4 bytes short of a record"),
        (lambda stream: b"x" + stream, "what makedumpfile wrote is not a flattened stream"),
    ],
)
async def test_damage_is_a_format_error(damage: Callable[[bytes], bytes], why: str) -> None:
    stream = damage(b"".join(flattened_records(DUMP)))
    records = [stream[:4096]] if stream.startswith(b"x") else [stream]
    with pipe_with(records) as source, pytest.raises(kdumpd.FormatError) as caught:
        await kdumpd.place_stream(source, io.BytesIO())
    assert str(caught.value) == why


async def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "dump").touch()
    stream = b"".join(flattened_records(make_kdump(pages=1)))
    with (
        pipe_with([stream]) as source,
        (tmp_path / "dump").open("rb") as file,
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        await kdumpd.place_stream(source, file.fileno())


async def test_a_cancel_leaves_what_was_placed() -> None:
    target = io.BytesIO()
    with pipe_with(list(flattened_records(DUMP))[:4], hold=True) as source:
        began = trio.current_time()
        with trio.move_on_after(0.2) as scope:
            await kdumpd.place_stream(source, target)
        assert trio.current_time() - began < 2
    assert scope.cancelled_caught
    assert target.getvalue() == DUMP[: 3 * 4096]
