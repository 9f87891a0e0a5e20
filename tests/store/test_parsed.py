"""Untrusted JSON is read within bounds; what was written is read back."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from adm.store.files import write_json
from adm.store.parsed import (
    MOST_ERRORS,
    as_type,
    cached_json,
    parse_json,
    read_json,
    through_json,
)


def test_json_is_bounded_in_size_and_depth(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("[1, 2]")
    assert read_json(path, 6) == [1, 2]
    with pytest.raises(ValueError, match="it has more than 5 bytes"):
        read_json(path, 5)
    assert json.dumps(parse_json('[{"a": ' * 50 + "1" + "}]" * 50))
    with pytest.raises(ValueError, match="recursion limit exceeded"):
        parse_json('[{"a": ' * 1000 + "1" + "}]" * 1000)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1} 2', b'"\xff"', b"\xff\xfe\x00", b"9" * 5000, b"[" * 10**6]
)
def test_invalid_json_is_a_value_error_and_an_empty_cache(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the reason is another for each)
        read_json(path)
    assert str(raised.value)
    assert cached_json(path) is None


def test_the_place_of_a_value_acts_on_no_terminal() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the whole message is checked)
        as_type(dict[str, int], {"\x1b[31m" + "x" * 1000: "a"})
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 250


def test_many_errors_are_counted() -> None:
    with pytest.raises(ValueError, match=f"it is wrong in {MOST_ERRORS + 1} places"):
        as_type(tuple[str, ...], [1] * (MOST_ERRORS + 1))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    value = {"name": "grün", "size": (8, 8), "more": [None, True, 0.1]}
    write_json(tmp_path / "deep" / "file", value)
    assert read_json(tmp_path / "deep" / "file") == through_json(value) != value
    assert cached_json(tmp_path / "deep" / "file") == through_json(value)
    assert (tmp_path / "deep" / "file").read_text("ascii") == json.dumps(value, indent=1) + "\n"


def test_a_cache_is_empty_where_there_is_no_object_and_an_error_where_it_cannot_be_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "list").write_text("[1]")
    assert cached_json(tmp_path / "absent") is None
    assert cached_json(tmp_path / "list") is None
    assert cached_json(tmp_path / "list" / "file") is None
    with pytest.raises(IsADirectoryError):
        cached_json(tmp_path)


@dataclass(frozen=True)
class Record:
    step: Annotated[int, Field(ge=0, le=10)]
    classes: tuple[str, ...]


def test_a_typed_value_is_what_was_written() -> None:
    assert as_type(Record, {"step": 3, "classes": ["a"]}) == Record(3, ("a",))


@pytest.mark.parametrize(
    ("step", "classes", "reason"),
    [
        (True, [], "step must be a whole number, got True"),
        ("3", [], "step must be a whole number, got '3'"),
        (3.0, [], "step must be a whole number, got 3.0"),
        (None, [], "step must be a whole number, got None"),
        (11, [], "step must be at most 10, got 11"),
        (10**400, [], "step must be "),
        (3, 5, "classes must be a list, got 5"),
        (3, [1], "classes.0 must be a text, got 1"),
        (3, "abc", "classes must be a list, got 'abc'"),
        (3, {"a": "\x1b" * 10**5}, "classes must be "),
    ],
)
def test_a_value_of_another_type_is_named_with_its_place(
    step: object, classes: object, reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        as_type(Record, {"step": step, "classes": classes})
    assert len(str(raised.value)) < 200
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("value", [[], None, 5, {}, {"step": 1}, object(), "\udcff"])
def test_a_value_that_is_no_such_object_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the reason is another for each)
        as_type(Record, value)
