"""Random, bytes -> damaged bytes; JSON -> JSON with a nasty value."""

import json
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

DEEP = "[" * 100_000
NUMBERS = (0, -1, 1, 2, 3, 7, 0.5, -0.0, 1e308, -1e308, 1e-320, 2**31, 2**63, 2**64, -(2**63))
TEXTS = (
    "",
    "x",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "a\nadm: forged",
    "\x00",
    "\ud800",
    "x" * 100_000,
    "../../canary",
    "/tmp",
    "weights:look",
    "weights.py:look",
    "file:///etc/passwd",
    "nan",
    "1",
    "null",
    "%s%n",
    "{0}",
    "é" * 300,
    "[bold red]markup[/]",
    "cuda:99",
    "inception",
)
NAMES = (
    "../canary.png",
    "/tmp/adm-canary.png",
    "a/../../canary.png",
    "C:\\canary.png",
    "..\\canary.png",
    "\x1b[31m.png",
    "x" * 300 + ".png",
    "/".join("d" * 40) + ".png",
    ".hidden.png",
    "cat/",
    "",
    ".",
    "con.png",
    "cat/0.png",
    "é\u202e.png",
    "a\nb.png",
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
        lambda: _nested(random.choice((10, 70, 500))),
        lambda: random.randint(-100, 100),
    )
    return random.choice(pool)()


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in JSON."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in items:
        yield from places(each, (*path, key))


def edited(random: Random, value: Any) -> Any:
    """Return JSON in which one value, at a random path, is replaced, removed, renamed or added."""
    value = json.loads(json.dumps(value))
    path = random.choice(list(places(value)))
    if not path:
        return nasty(random)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    key, how = path[-1], random.random()
    if how < 0.65:
        parent[key] = nasty(random)
    elif how < 0.8:
        del parent[key]
    elif isinstance(parent, dict):
        new = random.choice((*TEXTS[:7], f"{key} ", str(key).upper(), "__class__"))
        parent[new] = parent.pop(key) if how < 0.9 else nasty(random)
    else:
        parent.insert(random.randint(0, len(parent)), nasty(random))
    return value


def as_text(value: Any) -> bytes:
    """Return the text of JSON, in which numbers may be too long and NaN may stand."""
    return _dumps(value).encode("utf-8", "surrogatepass")


def _dumps(value: Any) -> str:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value)
    finally:
        sys.set_int_max_str_digits(limit)


def json_bytes(random: Random, content: bytes) -> bytes:
    """Damage a JSON file: its values at most times, its text at others."""
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
    """Damage bytes: flip bits, cut, insert, overwrite, swap, repeat."""
    data, size = bytearray(content), len(content)
    if not size:
        return bytes([random.randrange(256)])

    def span(most: int = 64) -> tuple[int, int]:
        start = random.randrange(size)
        return start, min(size, start + random.randint(1, most))

    how = random.randrange(9)
    start, end = span()
    if how <= 2:
        for _ in range(random.choice((1, 1, 2, 8))):
            data[random.randrange(size)] ^= 1 << random.randrange(8)
    elif how == 3:
        del data[random.randrange(size) :]
    elif how == 4:
        data[start:start] = random.randbytes(random.randint(1, 64))
    elif how == 5:
        del data[start:end]
    elif how == 6:
        data[start:end] = random.choice((b"\x00", b"\xff", b"A")) * (end - start)
    elif how == 7:
        other = random.randrange(size)
        data[start:end], data[other : other + end - start] = (
            data[other : other + end - start],
            data[start:end],
        )
    else:
        data += random.choice((data[: 1 << 16], random.randbytes(100), b"\x00" * 1000))
    return bytes(data)
