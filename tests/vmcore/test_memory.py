"""The crashed memory: pages by frame, frames by address, what readers need before all else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.makememory import IMAGE, PAGE, Tables, at, core, page
from tests.simulated import open_descriptors

from kdumpd.errors import FormatError
from kdumpd.vmcore.headers import Layout, Segment, parse_vmcoreinfo
from kdumpd.vmcore.memory import Memory

ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)

IMAGE_FRAMES = range(8, 10)
TOP = 9
STACK = 0xFFFFC90000010000
ENTRY = 0xFFFFFE0000002000
NODE, ROOTS = 40, 42
NODES = at(44)


def vmcoreinfo(**more: str) -> bytes:
    named = {
        "PAGESIZE": "4096",
        "SYMBOL(_stext)": f"{IMAGE:x}",
        "SYMBOL(init_top_pgt)": f"{IMAGE + PAGE:x}",
        "NUMBER(pgtable_l5_enabled)": "0",
        "SYMBOL(node_data)": f"{NODES:x}",
        "LENGTH(node_data)": "3",
        "SIZE(pglist_data)": "5000",
        "SYMBOL(mem_section)": f"{at(ROOTS) + 8:x}",
        "LENGTH(mem_section)": "512",
        **more,
    }
    return "".join(f"{key}={value}\n" for key, value in named.items()).encode()


def tables(*, encryption_mask: int = 0) -> Tables:
    made = Tables(levels=4, first=TOP, encryption_mask=encryption_mask)
    made.map(ENTRY, 2)
    for number, frame in enumerate((3, 5, 4, 6)):
        made.map(STACK + number * PAGE, frame)
    return made


PAGES = tables().memory() | {8: page(8), 30: page(30), 44: page(0, at(NODE))}


@contextmanager
def opened(folder: Path, data: bytes) -> Iterator[Memory]:
    path = folder / "vmcore"
    path.write_bytes(data)
    memory = Memory.open(str(path))
    yield memory
    memory.close()


def sample(**more: str) -> bytes:
    return core(PAGES, image=IMAGE_FRAMES, vmcoreinfo=vmcoreinfo(**more), stacks=[STACK + 0x2F00])


def test_pages_are_read_by_frame(tmp_path: Path) -> None:
    with opened(tmp_path, sample()) as memory:
        assert memory.read(30) == page(30)
        assert memory.read(31) == bytes(PAGE)
        assert memory.read(45) is None
        assert memory.read(-1) is None


def test_a_page_that_the_file_does_not_have_is_none(tmp_path: Path) -> None:
    with opened(tmp_path, sample()[:-100]) as memory:
        assert memory.read(43) == bytes(PAGE)
        assert memory.read(44) is None


def test_a_page_of_which_the_machine_has_a_part_is_none(tmp_path: Path) -> None:
    (tmp_path / "vmcore").write_bytes(bytes(3 * PAGE))
    part = Segment(offset=0, virtual=at(0), physical=0, size_bytes=PAGE + 100)
    layout = Layout(info=parse_vmcoreinfo(vmcoreinfo()), memory=(part,), stacks=(), x86_64=False)
    memory = Memory(os.open(tmp_path / "vmcore", os.O_RDONLY), layout)
    assert memory.read(0) == bytes(PAGE)
    assert memory.read(1) is None
    memory.close()


def test_addresses_lead_to_frames(tmp_path: Path) -> None:
    with opened(tmp_path, sample()) as memory:
        assert memory.find(at(30)) == 30
        assert memory.find(at(45)) is None
        assert memory.find(IMAGE) == 8
        assert memory.find(STACK + PAGE) == 5
        assert memory.find(STACK + 4 * PAGE) is None


def test_addresses_lead_to_frames_where_memory_is_encrypted(tmp_path: Path) -> None:
    pages = PAGES | tables(encryption_mask=1 << 47).memory()
    note = vmcoreinfo(**{"NUMBER(sme_mask)": f"{1 << 47}"})
    with opened(tmp_path, core(pages, image=IMAGE_FRAMES, vmcoreinfo=note)) as memory:
        assert memory.find(STACK + PAGE) == 5
        assert memory.find(ENTRY) == 2


@pytest.mark.parametrize("mask", ["0", "", "-1", "0x8000", "9" * 500])
def test_a_mask_that_cannot_be_one_is_none(tmp_path: Path, mask: str) -> None:
    with opened(tmp_path, sample(**{"NUMBER(sme_mask)": mask})) as memory:
        assert memory.find(STACK + PAGE) == 5


def test_the_image_is_where_its_text_is(tmp_path: Path) -> None:
    with opened(tmp_path, sample()) as memory:
        assert memory.image == IMAGE_FRAMES


def test_landmarks(tmp_path: Path) -> None:
    with opened(tmp_path, sample()) as memory:
        found = list(memory.landmarks())
    of_tables, stack, rest = found[:-9], found[-9:-5], found[-5:]
    assert sorted(of_tables) == sorted(tables().pages)
    assert stack == [3, 5, 4, 6]
    assert rest == [2, ROOTS, ROOTS + 1, NODE, NODE + 1]


def test_another_machines_page_tables_are_not_guessed_at(tmp_path: Path) -> None:
    data = core(PAGES, image=IMAGE_FRAMES, vmcoreinfo=vmcoreinfo(), stacks=[STACK], machine=183)
    with opened(tmp_path, data) as memory:
        assert memory.image == IMAGE_FRAMES
        assert memory.find(STACK) is None
        assert list(memory.landmarks()) == [ROOTS, ROOTS + 1, NODE, NODE + 1]


@pytest.mark.parametrize(
    "more",
    [
        {"SYMBOL(_stext)": "soon"},
        {"SYMBOL(_stext)": "ffffffff"},
        {"SYMBOL(init_top_pgt)": "0"},
        {"LENGTH(node_data)": "9" * 500, "SIZE(pglist_data)": "9" * 500},
        {"LENGTH(mem_section)": "999999999"},
        {"SYMBOL(node_data)": f"{at(44) + PAGE - 1:x}"},
        {"SYMBOL(node_data)": "fffffffffffffff8", "SYMBOL(mem_section)": "f" * 300},
    ],
)
def test_what_vmcoreinfo_cannot_mean_is_left_out(tmp_path: Path, more: dict[str, str]) -> None:
    with opened(tmp_path, sample(**more)) as memory:
        assert len(list(memory.landmarks())) < 100


def test_a_file_that_is_no_core_is_refused_and_closed(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(FormatError), opened(tmp_path, bytes(PAGE)):
        pass
    assert open_descriptors() <= before
    with pytest.raises(FormatError, match="No such file"):
        Memory.open(str(tmp_path / "none"))


@ONE_FILE
@given(
    changes=st.lists(st.tuples(st.integers(0, 3 * PAGE), st.binary(max_size=9)), max_size=9),
    length=st.none() | st.integers(0, 5 * PAGE),
)
def test_any_damage_is_survived(tmp_path: Path, changes: list[tuple[int, bytes]], length: int | None) -> None:
    data = bytearray(sample()[:length])
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    with suppress(FormatError), opened(tmp_path, bytes(data)) as memory:
        assert len(list(memory.landmarks())) < 1 << 16
        for frame in (0, 8, 1 << 60):
            memory.read(frame)
