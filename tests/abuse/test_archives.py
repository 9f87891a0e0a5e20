"""Archives that are false or would unpack to much: a line, in time and in bounded memory."""

import tarfile
from pathlib import Path

import pytest
from data.test_archives import FILES, make_tar, make_zip, png
from mutations import refusal

from adm.data import archive, open_source

BLOCK = tarfile.BLOCKSIZE
SIZE_FIELD, CHECKSUM = slice(124, 136), slice(148, 156)


def opened(path: Path) -> None:
    source = open_source(str(path), size=(8, 8))
    source.batch(range(len(source)))


def headed(content: bytes, kind: bytes = b"x", size: int | None = None) -> bytes:
    """A tar of one file of a block, behind a record."""
    blocks = b""
    for each, data in ((kind, content), (b"0", png(1))):
        info = tarfile.TarInfo("a.png")
        info.type, info.size = each, len(data)
        if each == kind and size is not None:
            info.size = size
        blocks += info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)
    return blocks + b"\0" * 2 * BLOCK


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    return str(length + (len(str(length)) > len(str(len(rest))))).encode() + rest


RECORDS = {
    "other digits": record(b"size", b"x"),
    "below 0": record(b"size", b"-1536"),
    "many digits": record(b"size", b"9" * 5_000),
    "length of 0": b"0 path=a\n",
    "length beyond": b"99 path=a\n",
    "sparse": record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"),
    "a long name": record(b"path", b"a" * 5_000),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_that_are_not_exact_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(headed(RECORDS[kind]))
    assert refusal(lambda: opened(path)) is not None


def sized(path: Path, field: bytes, kind: bytes) -> Path:
    """Two files; the header of the second is of another kind and size, under a right checksum."""
    content = bytearray(headed(b"x" * 9, b"0"))
    header = content[2 * BLOCK : 3 * BLOCK]
    header[156:157], header[SIZE_FIELD] = kind, field.ljust(12, b"\0")
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % sum(header)
    content[2 * BLOCK : 3 * BLOCK] = header
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [b"0", b"L", b"x"])
@pytest.mark.parametrize(
    "field",
    [
        *(b"-0000001000", b"x", b"77777777777", b"\xff" * 12),
    ],
)
def test_invalid_sizes_are_refused_in_time(tmp_path: Path, field: bytes, kind: bytes) -> None:
    path = sized(tmp_path / "a.tar", field, kind)
    assert "damaged or not an uncompressed" in (refusal(lambda: opened(path)) or "")


@pytest.mark.parametrize("name", [b"a\0b.png", b"\x1b[2J.png", b"\xff.png", b"../\n.png"])
def test_names_of_any_bytes_are_escaped(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(headed(record(b"path", name)))
    source = open_source(str(path))
    assert source.path(0).isprintable()
    folder = record(b"path", name.removesuffix(b".png") + b"/x.png")
    path.write_bytes(headed(folder))
    text = refusal(lambda: opened(path))
    assert text is None or "the name of a class is" in text


def test_archives_of_too_many_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    for make in (make_tar, make_zip):
        text = refusal(lambda: opened(Path(make(tmp_path / "a", FILES))))  # noqa: B023
        assert "more than 3 entries" in (text or "")
