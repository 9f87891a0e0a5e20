"""JSON of anyone is read within bounds; what was written is read back; digests."""

import hashlib
import json
from pathlib import Path

import pytest

from adm.files import (
    MOST_DEPTH,
    cached_json,
    parse_json,
    read_json,
    sha256,
    sha256_of,
    through_json,
    write_bytes,
    write_json,
)


def nested(depth: int) -> str:
    middle = "[]" if depth % 2 else "1"
    return '[{"a": ' * (depth // 2) + middle + "}]" * (depth // 2)


def test_json_is_bounded_in_size_and_depth(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("[1, 2]")
    assert read_json(path, limit=6) == [1, 2]
    with pytest.raises(ValueError, match="it has more than 5 bytes"):
        read_json(path, limit=5)
    for depth in (0, 1, MOST_DEPTH - 1, MOST_DEPTH):
        assert json.dumps(parse_json(nested(depth))) == nested(depth)
    for depth in (MOST_DEPTH + 1, MOST_DEPTH + 2, 500, 200_000):
        with pytest.raises(ValueError, match=f"nested deeper than {MOST_DEPTH}"):
            parse_json(nested(depth))


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1} 2', b'"\xff"', b"\xff\xfe\x00", b"9" * 5000, b"[" * 10**6]
)
def test_what_is_no_json_is_a_value_error_and_nothing_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the reason is another for each)
        read_json(path)
    assert str(raised.value)
    assert cached_json(path) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_of_other_programs_is_read_in_their_encoding(encoding: str) -> None:
    assert parse_json('["grün"]'.encode(encoding)) == ["grün"]


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


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (1 << 20) + 1, 3_000_001])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    write_bytes(tmp_path / "file", content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "file") == sha256_of(content) == expected
