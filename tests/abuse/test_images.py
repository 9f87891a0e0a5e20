"""Images that would unpack to much: CorruptImage with the file, in time, nothing printed."""

import resource
import struct
import zlib
from pathlib import Path

import pytest
from data.test_archives import png
from mutations import refusal

from adm.data import CorruptImage, open_source

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # pytest resets those of `files`


def opened(path: Path) -> None:
    source = open_source(str(path), size=(8, 8))
    source.batch(range(len(source)))


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def with_chunk(kind: bytes, content: bytes) -> bytes:
    whole = png(1)
    return whole[:33] + chunk(kind, content) + whole[33:]


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    facts = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return png(1)[:8] + chunk(b"IHDR", facts) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_header(width: int, height: int) -> bytes:
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + frame + b"\2\2\x4c\1\0;"


def bmp_header(width: int, height: int) -> bytes:
    facts = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + facts + bytes(100)


def tiff_header(width: int, height: int) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height))
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4)


def webp_header(width: int, height: int) -> bytes:
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    canvas = b"VP8X" + struct.pack("<IB3x", 10, 2) + size
    frames = b"ANIM" + struct.pack("<I6x", 6)
    return b"RIFF" + struct.pack("<I", 4 + len(canvas + frames)) + b"WEBP" + canvas + frames


HEADERS = (png_header, gif_header, bmp_header, tiff_header, webp_header)
ZEROS = zlib.compress(bytes(1 << 26))
BOMBS = {
    **{
        f"{header.__name__} {wide}x{high}": header(wide, high)
        for header in HEADERS
        for wide, high in ((8_192, 8_193), (12_000, 9_000), (16_000, 16_000), (60_000, 60_000))
    },
    "a chunk of text": with_chunk(b"zTXt", b"a\0\0" + ZEROS),
    "international text": with_chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS),
    "a profile": with_chunk(b"iCCP", b"a\0\0" + ZEROS),
    "many chunks": png(1)[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 19))) * 1_000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_images_that_would_unpack_to_much_are_corrupt(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ending = {"webp": "webp", "gif": "gif", "bmp": "bmp", "tiff": "tif"}
    path = tmp_path / f"1.{ending.get(kind.partition('_')[0], 'png')}"
    path.write_bytes(BOMBS[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = refusal(lambda: opened(tmp_path))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 200_000  # KB
    assert f"{path} is not a" in (text or "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["1.png", "1.jpg"])
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"P6 1 1"]
)
def test_other_contents_are_not_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "is not a PNG, JPEG" in (refusal(lambda: opened(tmp_path)) or "")
    with pytest.raises(CorruptImage):
        opened(tmp_path)
