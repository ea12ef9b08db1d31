"""ELF files: what they are, where their symbols lie, and nothing else whatever the bytes."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.analysis import makeelf
from tests.analysis.makeelf import AARCH64, BUILD_ID

from kdumpd.analysis.elf import Elf, Forwards, loaded_sections, read_elf, symbol_addresses
from kdumpd.errors import FormatError

KERNEL = makeelf.kernel(symbols={"init_uts_ns": 0xFFFFFFFF82C19B60, "_stext": 0xFFFFFFFF81000000})


def read(data: bytes) -> Elf:
    return read_elf(io.BytesIO(data))


def test_a_kernel_is_read_front_to_back() -> None:
    assert read_elf(Forwards(io.BytesIO(KERNEL))) == Elf(machine="x86_64", build_id=BUILD_ID)


def test_a_stream_has_no_way_back() -> None:
    stream = Forwards(io.BytesIO(KERNEL))
    assert stream.seek(200) == 200
    with pytest.raises(FormatError, match="not in order"):
        stream.seek(199)
    assert Forwards(io.BytesIO(b"short")).seek(1 << 40) == 5


def test_a_kernel_of_another_machine() -> None:
    assert read(makeelf.kernel(machine=AARCH64)).machine == "aarch64"
    assert read(makeelf.kernel(machine=8)).machine == "machine 8"


def test_a_kernel_without_a_build_id() -> None:
    assert read(makeelf.kernel(None)).build_id is None


def test_a_module_is_read_by_its_sections() -> None:
    assert read(makeelf.module("ab" * 20)) == Elf(machine="x86_64", build_id="ab" * 20)


def test_the_sections_that_a_module_loads() -> None:
    assert loaded_sections(io.BytesIO(makeelf.module())) == [(".note.gnu.build-id", 60), (".text", 16)]


def test_symbols_are_found() -> None:
    found = symbol_addresses(io.BytesIO(KERNEL), ["_stext", "init_uts_ns", "absent"])
    assert found == {"init_uts_ns": 0xFFFFFFFF82C19B60, "_stext": 0xFFFFFFFF81000000}


def test_a_stripped_kernel_has_no_symbols() -> None:
    stripped = bytearray(makeelf.module())
    assert symbol_addresses(io.BytesIO(stripped), ["_stext"]) == {}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends before byte 64"),
        (b"\x7fELF\x01\x01" + bytes(80), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x02" + bytes(80), "not a 64-bit little-endian ELF file"),
        (b"MZ" + bytes(80), "not a 64-bit little-endian ELF file"),
        (KERNEL[:100], "ends before byte 120"),
        (KERNEL[:150], "ends before byte 180"),
        (KERNEL[:32] + struct.pack("<Q", 1 << 63) + KERNEL[40:], "impossible place|ends before"),
        (KERNEL[:54] + struct.pack("<H", 40) + KERNEL[56:], "program headers of 40 bytes"),
    ],
)
def test_what_is_no_whole_elf_file_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read(data)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(KERNEL) - 1), st.binary(min_size=1, max_size=8)), max_size=4
    ),
    length=st.integers(0, len(KERNEL)),
)
def test_any_damage_is_survived(changes: list[tuple[int, bytes]], length: int) -> None:
    data = bytearray(KERNEL)
    for offset, value in changes:
        data[offset : offset + len(value)] = value
    for parse in (read_elf, lambda file: symbol_addresses(file, ["_stext"]), loaded_sections):
        try:
            parse(io.BytesIO(data[:length]))
        except FormatError:
            continue
