"""Random, bytes or JSON -> the same, damaged; a reader of them -> its error message."""

import copy
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from adm.shown import printable

LONGEST_MESSAGE = 1_500  # characters; the longest have two paths and the forms of data
SECONDS = 10
DEEP = "[" * 100_000
NUMBERS = (0, -1, 1, 2, 3, 7, 0.5, -0.0, 1e308, -1e308, 1e-320, 2**31, 2**63, 2**64, -(2**63))
TEXTS = (
    *("", "x", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "a\nadm: forged", "\x00", "\ud800"),
    *("x" * 100_000, "../../canary", "/tmp", "weights:look", "weights.py:look", "os:system"),
    *("file:///etc/passwd", "https://example.org/f.npz", "nan", "1", "null", "step", "%s%n"),
    *("{0}", "é" * 300, "[bold red]markup[/]", "cuda:99", "inception", "__class__"),
)
# Numbers at the limits of their types, and digits that Python reads and a format forbids.
EXTREMES = (
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\xff" * 8, b"\0" * 8, b"1_0", b" 5", b"-1", "٣".encode(), b"9" * 30, b"1e9", b"NaN"),
    *(b"\n", b"\r", b'"', b",", b"/", b"\\", b"..", b"{", b"[", b"\x1b[2J", b"\xed\xa0\x80"),
    *(b"\0" * 64, b"\xff" * 64, b"A" * 64),
)


def nasty(random: Random) -> Any:
    """Return a JSON value that a reader may not expect."""
    pool: tuple[Callable[[], Any], ...] = (
        lambda: random.choice(NUMBERS),
        lambda: random.choice(TEXTS),
        lambda: random.choice((None, True, False, float("nan"), float("inf"), -float("inf"))),
        lambda: 10 ** random.choice((20, 400, 4000, 5000)),
        lambda: random.choice(([], {}, [[]], [None], {"": 0}, [1, 2], [[1, 2], [3]], {"a": 1})),
        lambda: [0] * random.choice((3, 100_000)),
        lambda: {str(i): i for i in range(random.choice((2, 50_000)))},
        lambda: json.loads("[" * (depth := random.choice((10, 70, 500))) + "]" * depth),
        lambda: random.randint(-100, 100),
    )
    return random.choice(pool)()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in JSON."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """Return a copy with another value at a path."""
    if not path:
        return by
    copied = copy.deepcopy(value)
    parent = copied
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = by
    return copied


def edited(random: Random, value: Any) -> Any:
    """Return JSON in which one value, at a random path, is replaced, removed, renamed or added."""
    path = random.choice([*places(value)])
    if not path or (how := random.random()) < 0.65:
        return replaced(value, path, nasty(random))
    value = copy.deepcopy(value)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    if how < 0.8:
        del parent[key]
    elif isinstance(parent, dict):
        new = random.choice((*TEXTS[:7], f"{key} ", str(key).upper(), "__class__"))
        parent[new] = parent.pop(key) if how < 0.9 else nasty(random)
    else:
        parent.insert(random.randint(0, len(parent)), nasty(random))
    return value


def as_text(value: Any) -> bytes:
    """Return the text of JSON, which may hold NaN and overlong numbers."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    finally:
        sys.set_int_max_str_digits(limit)


def json_bytes(random: Random, content: bytes) -> bytes:
    """Damage a JSON file: mostly its values, sometimes its text."""
    how = random.random()
    if how < 0.75:
        return as_text(edited(random, json.loads(content)))
    texts = (
        lambda: DEEP.encode(),
        lambda: b'{"a":' * 50_000,
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode().encode("utf-16"),
        lambda: content + content,
        lambda: b"\xff\xfe\x00" + content,
        lambda: content.replace(b"{", b'{"kind":1,"kind":2,', 1),
        lambda: b"1" * 100_000,
        lambda: b"",
        lambda: b"null",
    )
    return random.choice(texts)() if how < 0.87 else damaged(random, content)


def damaged(random: Random, content: bytes) -> bytes:
    """Damage bytes in one to four places, by flips, extremes, cuts, copies and moves."""
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(content) + 1)
        end = place + random.choice((1, 2, 4, 16, 100, 512))
        match random.randrange(7):
            case 0:
                flip = bytes(byte ^ 1 << random.randrange(8) for byte in content[place : place + 1])
                content = content[:place] + flip + content[place + 1 :]
            case 1:
                extreme = random.choice(EXTREMES)
                content = content[:place] + extreme + content[place + len(extreme) :]
            case 2:
                content = content[:place] + random.choice(EXTREMES) + content[place:]
            case 3:
                content = content[:place] + content[end:]
            case 4:
                content = content[:end] + content[place:]
            case 5:
                content += random.choice((content[: 1 << 16], random.randbytes(100), b"\0" * 1000))
            case _:
                content = content[: random.randrange(len(content) + 1)]
    return content


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


def refusal(action: Callable[[], object], *others: type[Exception]) -> str | None:
    """Return the message with which an action refuses its input; None if it accepts it.

    Fails unless it is a ValueError with a short printable line, raised in time. Subclasses such as
    UnicodeDecodeError, whose messages say too little, do not count.

    Args:
        others: further errors that count as refusals.
    """
    with ends_within():
        try:
            action()
        except (ValueError, *others) as error:
            failure = error
        else:
            return None
    text = str(failure)
    ours = type(failure).__module__.startswith("adm.") or isinstance(failure, others)
    assert ours or type(failure) is ValueError, f"{type(failure).__name__}: {text:.300}"
    assert len(text) < LONGEST_MESSAGE, text[:300]
    assert printable(text) == text, ascii(text)
    cured = any(each in text for each in ("; ", "must be", "expected"))
    assert cured or isinstance(failure, others), text
    return text
