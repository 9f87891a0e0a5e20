""".tar archives whose headers lie: the walk ends, with an error that names the byte."""

import io
import signal
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from adm.data.tar import BLOCK, CHECKSUM, entries

SIZE = slice(124, 136)


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """A walk without end, which may give nothing on its way, fails and does not hang."""

    def stop(*_: object) -> None:
        raise TimeoutError("the walk does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def archive(path: Path, more: dict[str, str]) -> Path:
    """Two files of one block each; the second has records `more`."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for name, records in (("a.png", {}), ("b.png", more)):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = BLOCK, records
            out.addfile(info, io.BytesIO(b"\1" * BLOCK))
    return path


def with_size(path: Path, field: bytes, kind: bytes = b"0") -> Path:
    """The second header claims another size, under a checksum that is right."""
    content = bytearray(path.read_bytes())
    header = content[2 * BLOCK : 3 * BLOCK]
    header[156:157], header[SIZE] = kind, field.ljust(12, b"\0")
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % sum(header)
    content[2 * BLOCK : 3 * BLOCK] = header
    path.write_bytes(content)
    return path


def walk(path: Path) -> list[object]:
    return list(islice(entries(path, lambda name: False), 100))


@pytest.mark.parametrize("kind", [b"0", b"1", b"5", b"L", b"x", b"g"])
@pytest.mark.parametrize(
    ("field", "size"), [(b"-0000001000", -512), (b"-0000003000", -1536), (b"-1", -1)]
)
def test_a_size_below_0_is_refused(tmp_path: Path, kind: bytes, field: bytes, size: int) -> None:
    path = with_size(archive(tmp_path / "a.tar", {}), field, kind)
    with pytest.raises(
        ValueError, match=rf"a\.tar is .*byte 1024 has a size of {size}\); download"
    ):
        walk(path)


@pytest.mark.parametrize("size", [-1, -1536, -(10**30)])
def test_a_recorded_size_below_0_is_refused(tmp_path: Path, size: int) -> None:
    path = archive(tmp_path / "a.tar", {"size": str(size)})
    with pytest.raises(ValueError, match=rf"the entry at byte 2048 has a size of {size}"):
        walk(path)


@pytest.mark.parametrize(
    "field", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777", b"9", b"x"]
)
@pytest.mark.parametrize("kind", [b"0", b"5", b"L"])
def test_other_sizes_that_are_none_are_refused(tmp_path: Path, field: bytes, kind: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.tar is damaged or not an uncompressed \.tar"):
        walk(with_size(archive(tmp_path / "a.tar", {}), field, kind))
