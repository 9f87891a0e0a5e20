"""Archives of others -> images, or one line; no name in one leads anywhere."""

import io
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from abuse.damage import EXTREMES, NAMES, damaged, tried
from abuse.refused import refusal
from data.test_archives import FILES, make_tar, make_zip, png
from hypothesis import given
from hypothesis import strategies as st

from adm.data import archive, open_source, shards

BLOCK = tarfile.BLOCKSIZE
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
TARGETS = ("/etc/passwd", "../canary", "cats/1.png", "a/loop")
pytestmark = pytest.mark.filterwarnings("ignore")  # of decoders, which the command line quiets


def opened(path: Path) -> None:
    source = open_source(str(path), size=(8, 8))
    source.batch(range(len(source)))


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    """A zip archive with an odd name, a link, a bomb, a damaged member, or damaged bytes."""
    stream, chosen = io.BytesIO(), draw(st.sampled_from([*FILES]))
    how = draw(st.sampled_from(("name", "link", "bomb", "member", "bytes")))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w") as new:
        for name, content in FILES.items():
            info = zipfile.ZipInfo(name)
            if name == chosen and how == "name":
                info = zipfile.ZipInfo(draw(st.sampled_from(NAMES)))
            elif name == chosen and how == "link":
                info.external_attr = 0o120777 << 16
                content = draw(st.sampled_from(TARGETS)).encode()
            elif name == chosen and how == "bomb":
                info.compress_type, content = zipfile.ZIP_DEFLATED, bytes(50_000_000)
            elif name == chosen and how == "member":
                content = draw(damaged(content))
            new.writestr(info, content)
    return draw(damaged(stream.getvalue())) if how == "bytes" else stream.getvalue()


def record(key: bytes, value: bytes) -> bytes:
    """A record of the extended header of a tar."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    return str(length + (len(str(length)) > len(str(len(rest))))).encode() + rest


RECORDS = (
    *(record(b"size", size) for size in (b"x", b"-1536", b"9" * 5_000)),
    *(b"0 path=a\n", b"99 path=a\n", record(b"path", b"a" * 5_000)),
    record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"),
    *(record(b"path", name) for name in (b"a\0b.png", b"\x1b[2J.png", b"\xff.png", b"../\n.png")),
)
SIZES = (b"-0000001000", b"x", b"77777777777", b"\xff" * 12)
SIZE, CHECKSUM = slice(124, 136), slice(148, 156)


def with_record(content: bytes) -> bytes:
    """A tar of one image behind an extended header."""
    blocks = b""
    for kind, data in ((b"x", content), (b"0", png(1))):
        info = tarfile.TarInfo("a.png")
        info.type, info.size = kind, len(data)
        blocks += info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)
    return blocks + b"\0" * 2 * BLOCK


def with_size(field: bytes, kind: bytes) -> bytes:
    """A tar whose second header states another size and kind, under a right checksum."""
    content = bytearray(with_record(b"x" * 9))
    header = content[2 * BLOCK : 3 * BLOCK]
    header[156:157], header[SIZE] = kind, field.ljust(12, b"\0")
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % sum(header)
    content[2 * BLOCK : 3 * BLOCK] = header
    return bytes(content)


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """A tar archive with an odd name, a link, an odd header, a damaged member, or bytes."""
    stream, chosen = io.BytesIO(), draw(st.sampled_from([*FILES]))
    how = draw(st.sampled_from(("name", "link", "record", "size", "member", "bytes")))
    if how == "record":
        return with_record(draw(st.sampled_from(RECORDS) | st.sampled_from(EXTREMES)))
    if how == "size":
        return with_size(draw(st.sampled_from(SIZES)), draw(st.sampled_from((b"0", b"L", b"x"))))
    form = draw(st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
    with tarfile.open(fileobj=stream, mode="w", format=form) as new:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            if name == chosen and how == "name":
                names = [each for each in NAMES if len(each) < 90 or form != tarfile.USTAR_FORMAT]
                info.name = draw(st.sampled_from(names))
            elif name == chosen and how == "link":
                info.type, content = draw(st.sampled_from(LINKS)), b""
                info.linkname = draw(st.sampled_from(TARGETS))
            elif name == chosen and how == "member":
                content = draw(damaged(content))
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return draw(damaged(stream.getvalue())) if how == "bytes" else stream.getvalue()


@pytest.mark.parametrize(("ending", "contents"), [("zip", zips()), ("tar", tars())])
@given(data=st.data())
@tried
def test_damaged_archives_are_refused_in_a_line_and_write_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    contents: st.SearchStrategy[bytes],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "here"
    path = folder / f"a.{ending}"
    folder.mkdir()
    path.write_bytes(data.draw(contents))
    refusal(lambda: opened(path))
    assert [*folder.iterdir()] == [path]
    assert [*folder.parent.iterdir()] == [folder]
    assert not os.path.exists("/tmp/adm-canary.png")


def test_archives_of_too_many_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (archive, shards):
        monkeypatch.setattr(module, "MOST_MEMBERS", 3)
    for make in (make_tar, make_zip):
        path = Path(make(tmp_path / "a", FILES))
        assert "more than 3 entries" in (refusal(lambda path=path: opened(path)) or "")
