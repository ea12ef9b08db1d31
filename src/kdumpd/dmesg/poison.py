"""Values that the kernel puts where nobody should read them, by name (include/linux/poison.h)."""

import errno
from typing import Final

_PAGE_BYTES: Final = 4096
_WORD: Final = (1 << 64) - 1

# A byte that fills a whole pointer, and what it says of the memory that the pointer was read from.
_FILLS: Final = {
    0x6B: "freed slab memory (POISON_FREE)",
    0x5A: "slab memory that was never written (POISON_INUSE)",
    0xA5: "the end of a slab object (POISON_END)",
    0xAA: "a freed page (PAGE_POISON)",
    0xBB: "the red zone of a free slab object (SLUB_RED_INACTIVE)",
    0xCC: "the red zone of a slab object, or freed init memory (SLUB_RED_ACTIVE, POISON_FREE_INITMEM)",
}
# On 64-bit machines these are moved up by CONFIG_ILLEGAL_POINTER_VALUE.
_POINTERS: Final = {
    0xDEAD000000000100: "a removed list entry (LIST_POISON1, its next)",
    0xDEAD000000000122: "a removed list entry (LIST_POISON2, its prev)",
    0xDEAD000000000200: "a removed list entry (LIST_POISON2 of older kernels, its prev)",
    0xDEAD000000000300: "the entry of a static timer (TIMER_ENTRY_STATIC)",
}
_WORDS: Final = {
    0xDEAD4EAD: "a spinlock's magic (SPINLOCK_MAGIC, include/linux/spinlock_types_raw.h)",
    0xDEAF1EED: "a read-write lock's magic (RWLOCK_MAGIC, include/linux/rwlock_types.h)",
    0x57AC6E9D: "the end of a stack (STACK_END_MAGIC, include/uapi/linux/magic.h)",
}
# The shadow of address 0 on x86-64 (KASAN_SHADOW_OFFSET): one byte of it stands for eight.
_SHADOW: Final = 0xDFFFFC0000000000


def name_value(value: int) -> str | None:
    """What a 64-bit value is known for, be it a pointer or not; None for any other."""
    near = _nearest(value)
    if near is not None:
        return near
    for word, name in _WORDS.items():
        if word in (value >> 32, value & 0xFFFFFFFF):
            return name
    text = value.to_bytes(8, "little")
    if all(0x20 <= byte < 0x7F for byte in text):
        return f"text, {text.decode('ascii')!r}"
    return None


def name_pointer(value: int) -> str | None:
    """What a pointer leads to, where that is known; None for any other."""
    if value == 0:
        return "NULL"
    if value < _PAGE_BYTES:
        return f"{value:#x} from NULL: a member of a NULL structure"
    if value > _WORD - _PAGE_BYTES + 1:
        number = (1 << 64) - value
        return f"an error used as a pointer, or below NULL: -{errno.errorcode.get(number, number)}"
    if _SHADOW <= value < _SHADOW + _PAGE_BYTES // 8:
        return f"KASAN's shadow of {(value - _SHADOW) << 3:#x}: a member of a NULL structure"
    return name_value(value)


def _nearest(value: int) -> str | None:
    """The poison that a value is, or is a structure's member above."""
    for byte, name in _FILLS.items():
        fill = int.from_bytes(bytes([byte]) * 8, "little")
        if -0x80 <= value - fill < _PAGE_BYTES:
            return _with_offset(name, value - fill)
    below = [base for base in _POINTERS if base <= value < base + _PAGE_BYTES]
    return _with_offset(_POINTERS[max(below)], value - max(below)) if below else None


def _with_offset(name: str, offset: int) -> str:
    return f"{name}, {offset:+#x}" if offset else name
