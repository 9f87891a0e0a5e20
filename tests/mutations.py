"""bytes, JSON values -> seeded damage: flipped bits, cut ends, nasty values at every path."""

import copy
import random
from collections.abc import Iterator
from typing import Any

NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    5,
    10**9,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    -0.0,
    "",
    "step",
    "\x1b[31m\u202e\n",
    "x" * 100_000,
    [],
    [1],
    [[]],
    {},
    {"a": {"b": []}},
    [None] * 1000,
)


def flipped(content: bytes, chance: random.Random, within: int | None = None) -> bytes:
    """One bit of the first `within` bytes is flipped."""
    damaged = bytearray(content)
    damaged[chance.randrange(within or len(content))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value."""
    yield here
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*here, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return by
    made = copy.deepcopy(value)
    here = made
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = by
    return made


def removed(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy without the entry at a path."""
    made = copy.deepcopy(value)
    here = made
    for key in path[:-1]:
        here = here[key]
    del here[path[-1]]
    return made


def one_line(error: Exception) -> str:
    """The message of an error, which is short, on one line, and acts on no terminal."""
    message = str(error)
    assert message.isprintable(), repr(message[:300])
    assert len(message) < 1500, message[:300]
    return message
