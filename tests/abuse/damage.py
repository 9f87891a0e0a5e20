"""Bytes or JSON of a whole file -> strategy of damaged ones.

`HYPOTHESIS_PROFILE=many` tries a hundred times as many as a usual run, which tries the same few
each time.
"""

import copy
import json
import os
import pickle
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MANY = os.environ.get("HYPOTHESIS_PROFILE") == "many"
tried = settings(
    max_examples=3_000 if MANY else 30,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)

NUMBERS = (0, -1, 2, 0.5, 1e308, 2**31, 2**63, 2**64, 10**400, float("nan"), float("-inf"))
TEXTS = (
    *("", "x", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "a\nadm: forged", "\x00", "\ud800"),
    *("x" * 100_000, "../../canary", "/tmp", "os:system", "canary.py:sing", "null", "1", "%s%n"),
    *("file:///etc/passwd", "https://example.org/f.npz", "{0}", "cuda:99", "__class__"),
)
FORMS = ([], {}, [[]], [None], {"": 0}, [[1, 2], [3]], {"a": 1}, [0] * 100_000, None, True)
# Numbers at the limits of their types, and texts that Python reads and a format forbids.
EXTREMES = (
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\xff" * 8, b"1_0", b"-1", "٣".encode(), b"9" * 30, b"NaN", b"\n", b'"', b",", b".."),
    *(b"{", b"[", b"\x1b[2J", b"\xed\xa0\x80", b"\0" * 64, b"\xff" * 64),
)
NAMES = (
    *("../canary.png", "/tmp/adm-canary.png", "a/../../canary.png", "C:\\canary.png", "cat/", "."),
    *("\x1b[31m.png", "x" * 300 + ".png", "/".join("d" * 40) + ".png", "é\u202e.png", "a\nb.png"),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with extremes, cuts, copies and moves in one to three places."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        end = place + draw(st.sampled_from((1, 2, 4, 16, 100, 512)))
        extreme = draw(st.sampled_from(EXTREMES) | st.binary(min_size=1, max_size=4))
        content = draw(
            st.sampled_from(
                (
                    content[:place] + extreme + content[place + len(extreme) :],
                    content[:place] + extreme + content[place:],
                    content[:place] + content[end:],
                    content[:end] + content[place:],
                    content[:place],
                    content + content,
                )
            )
        )
    return content


values = (
    st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.sampled_from(FORMS) | st.integers(-9, 9)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in JSON."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """JSON in which one value is replaced, removed or added."""
    path = draw(st.sampled_from([*places(value)]))
    if not path:
        return draw(values)
    value = parent = copy.deepcopy(value)
    for key in path[:-1]:
        parent = parent[key]
    how = draw(st.sampled_from(("replaced", "replaced", "removed", "added")))
    if how == "replaced":
        parent[path[-1]] = draw(values)
    elif how == "removed":
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent[draw(st.sampled_from(TEXTS))] = draw(values)
    else:
        parent.append(draw(values))
    return value


DEEP = (b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b"", b"null", b'{"kind":1,"kind":2}')


def json_bytes(value: Any) -> st.SearchStrategy[bytes]:
    """The text of edited JSON, or damaged text."""
    return (
        edited(value).map(as_text)
        | damaged(as_text(value))
        | st.sampled_from((*DEEP, b"\xef\xbb\xbf" + as_text(value), str(value).encode("utf-16")))
    )


def as_text(value: Any) -> bytes:
    """Return the text of JSON, which may hold NaN and lone surrogates."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


SUNG = list[str]()


def sing() -> None:
    SUNG.append("code of a file was executed")


class Canary:
    """Sings where its pickle is executed."""

    def __reduce__(self) -> Any:
        return (sing, ())


def silent() -> bool:
    """Whether no canary has sung; and that one does, where it is let."""
    quiet = not SUNG
    pickle.loads(pickle.dumps(Canary()))
    sang = bool(SUNG)
    SUNG.clear()
    return quiet and sang
