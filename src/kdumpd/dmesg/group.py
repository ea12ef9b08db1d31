"""The group of a crash: one for one fault, whoever called and whatever kernel it was.

The exact fingerprint has the whole call path in it; the group has the class of fault and one function. For
a stall the innermost function is where the detector happened to look, so there the function counts that
the loop runs in: the last one above what calls on behalf of everything.
"""

import hashlib
import re
from typing import Final

from kdumpd.dmesg.causes import TRAITS, Cause
from kdumpd.dmesg.culprit import Culprit
from kdumpd.dmesg.fingerprint import without_numbers
from kdumpd.dmesg.functions import folded, is_dispatcher, is_telling, without_suffix

_MESSAGE_CHARACTERS: Final = 60
# Made on purpose, or by the death of a program: the function is always the same.
_ALIKE: Final = frozenset({Cause.SYSRQ, Cause.KILLED_INIT})
# Classes of fault that a cause alone does not tell apart; the first that matches the title counts.
_CLASSES: Final = (
    (re.compile(r"BUG: K(?:ASAN|FENCE)"), "bad access"),
    (re.compile(r"UBSAN"), "undefined behaviour"),
    (re.compile(r"double fault|stack guard|Insufficient stack|stack overflow"), "stack overflow"),
    (re.compile(r"(?:Oops: )?divide[_ ]error"), "divide error"),
    (re.compile(r"invalid opcode|illegal instruction|undefined instruction"), "invalid instruction"),
    (
        re.compile(r"(?:Oops: )?(?:simd|x87|fpu|coprocessor|int3|alignment|bounds|overflow|iret|control) "),
        "exception",
    ),
)


def find_group(cause: Cause, title: str, culprit: Culprit) -> tuple[str, str]:
    """The group of a crash, as sixteen hex digits, and a title for it."""
    words = TRAITS[cause].group
    if cause in (Cause.OOPS, Cause.WARNING):
        words = next((name for pattern, name in _CLASSES if pattern.search(title)), words)
    function = _function(cause, culprit)
    if function is not None:
        return _digits(words, function, culprit.module or ""), f"{words} in {function}"
    if TRAITS[cause].message:
        message = without_numbers(title.partition("not syncing: ")[2] or title)[:_MESSAGE_CHARACTERS]
        return _digits(words, message), f"{words}: {message}"
    return _digits(words), words


def _function(cause: Cause, culprit: Culprit) -> str | None:
    if TRAITS[cause].culprit == "outside" or culprit.symbol is None or cause in _ALIKE:
        return None
    if TRAITS[cause].culprit == "waits":
        waits = map(_waits_for_all, culprit.trace.frames)
        return next(filter(None, waits), folded(culprit.symbol))
    if TRAITS[cause].culprit != "stalls":
        return folded(culprit.symbol)
    chosen = culprit.symbol
    if any(map(_is_cross_call, culprit.path)):
        return "smp_call_function"  # which CPU it waits for, no trace of its own tells
    for function in culprit.path[1:]:
        if is_dispatcher(function):
            break
        chosen = function if is_telling(function) else chosen
    return folded(chosen)


def _waits_for_all(function: str) -> str | None:
    """What the whole kernel has one of: who waits for it was there by chance."""
    if re.match(r"_*synchronize_(?:s?rcu|net|sched)", function):
        return "synchronize_rcu"
    return "rtnl_lock" if without_suffix(function) == "rtnl_lock" else None


def _is_cross_call(function: str) -> bool:
    return function.startswith("smp_call_function")


def _digits(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
