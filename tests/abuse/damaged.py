"""Seed, bytes -> damaged bytes; a reader of them -> how it ended."""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adm.data import CorruptImage, NoSplit
from adm.shown import printable
from adm.spec import SettingError

ENDS = (
    ValueError,
    CorruptImage,
    NoSplit,
    SettingError,
)  # themselves: a UnicodeDecodeError says too little
LONGEST_MESSAGE = 1_500  # characters; the longest have two paths and the forms of data
SECONDS = 10
# Numbers at the borders of their types, and digits that Python reads and a format does not have.
EXTREMES = (
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\xff" * 8, b"\0" * 8, b"1_0", b" 5", b"-1", "٣".encode(), b"9" * 30, b"1e9", b"NaN"),
    *(b"\n", b"\r", b'"', b",", b"/", b"\\", b"..", b"{", b"[", b"\x1b[2J", b"\xed\xa0\x80"),
)


@contextmanager
def ends_within(seconds: int = SECONDS) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refusal(action: Callable[[], object]) -> str | None:
    """Return the message with which an action refuses its input; None if it accepts it.

    Anything but a short printable line of a ValueError, and in time, fails.
    """
    failure: Exception | None = None
    with ends_within():
        try:
            action()
        except ValueError as error:
            failure = error
    if failure is None:
        return None
    text = str(failure)
    assert type(failure) in ENDS, f"{type(failure).__name__}: {text:.300}"
    assert len(text) < LONGEST_MESSAGE, text[:300]
    assert printable(text) == text, ascii(text)
    assert "; " in text or "must be" in text, text  # the cure
    return text


def damaged(content: bytes, seed: int) -> bytes:
    """Damage bytes in one to four places, by flips, extremes, cuts, copies and moves."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(content) + 1)
        length = chance.choice((1, 2, 4, 16, 100, 512))
        end = place + length
        match chance.randrange(6):
            case 0:
                flip = bytes(byte ^ 1 << chance.randrange(8) for byte in content[place : place + 1])
                content = content[:place] + flip + content[place + 1 :]
            case 1:
                extreme = chance.choice(EXTREMES)
                content = content[:place] + extreme + content[place + len(extreme) :]
            case 2:
                content = content[:place] + chance.choice(EXTREMES) + content[place:]
            case 3:
                content = content[:place] + content[end:]
            case 4:
                content = content[:end] + content[place:]
            case _:
                content = content[: chance.randrange(len(content) + 1)]
    return content
