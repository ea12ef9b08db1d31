"""The fingerprint of a crash: what stays the same when the same fault happens again.

A call trace differs from one boot to the next in addresses, offsets of the kernel (KASLR), CPU, task and
in the frames that the unwinder marks with ``?`` because it only guessed them. The names of the reliable
frames stay. So does the context: what an interrupt happened to interrupt is no part of a fault in its
handler.
"""

import hashlib
import itertools
import re

from kdumpd.dmesg.functions import without_suffix

_NUMBER = re.compile(r"(?:0x)?\b[0-9a-f]{8,16}\b|0x[0-9a-f]+|\d+", re.IGNORECASE)


def fingerprint(cause: str, message: str, *path: str) -> str:
    """Sixteen hex digits for a cause, a message and a path, its functions without a compiler's suffixes."""
    # Recursion is as deep as it is.
    once = (function for function, _ in itertools.groupby(map(without_suffix, path)))
    plain = "\n".join((cause, message, *once))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def without_numbers(message: str) -> str:
    """A message with each number and address made the same."""
    return _NUMBER.sub("#", message)
