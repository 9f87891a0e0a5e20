"""Images of others -> pixels, or CorruptImage in one line, in time, with nothing printed."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from abuse.damage import damaged, tried
from abuse.refused import refusal
from data.test_archives import png
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adm.data import open_source

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # pytest resets those of `files`
PIXELS = np.random.default_rng(7).integers(0, 256, (8, 8, 3), np.uint8)
FORMATS = {"png": "png", "jpg": "jpeg", "webp": "webp", "gif": "gif", "tif": "tiff", "bmp": "bmp"}


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def opened(folder: Path) -> None:
    source = open_source(str(folder), size=(8, 8))
    source.batch(range(len(source)))


@pytest.mark.parametrize("ending", FORMATS)
@given(data=st.data())
@tried
def test_damaged_images_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"1.{ending}"
    path.write_bytes(data.draw(damaged(encoded(FORMATS[ending]))))
    text = refusal(lambda: opened(path.parent))
    assert text is None or str(path) in text


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def with_chunk(kind: bytes, content: bytes) -> bytes:
    whole = png(1)
    return whole[:33] + chunk(kind, content) + whole[33:]


def png_of(width: int, height: int) -> bytes:
    facts = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return png(1)[:8] + chunk(b"IHDR", facts) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_of(width: int, height: int) -> bytes:
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + frame + b"\2\2\x4c\1\0;"


def bmp_of(width: int, height: int) -> bytes:
    facts = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + facts + bytes(100)


def tif_of(width: int, height: int) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height))
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4)


ZEROS = zlib.compress(bytes(1 << 26))
BOMBS = {
    **{
        f"{wide}x{high}.{of.__name__[:3]}": of(wide, high)
        for of in (png_of, gif_of, bmp_of, tif_of)
        for wide, high in ((8_192, 8_193), (60_000, 60_000))
    },
    "text.png": with_chunk(b"zTXt", b"a\0\0" + ZEROS),
    "profile.png": with_chunk(b"iCCP", b"a\0\0" + ZEROS),
    "chunks.png": png(1)[:33]
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 19))) * 1_000
    + png(1)[33:],
    **{f"{i}.png": content for i, content in enumerate((b"", b"\0", b"%!PS-Adobe", b"<svg/>"))},
}


@pytest.mark.parametrize("name", BOMBS)
def test_images_that_would_unpack_to_much_or_are_none_are_corrupt(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(BOMBS[name])
    assert f"{tmp_path / name} is not a" in (refusal(lambda: opened(tmp_path)) or "")
    assert capfd.readouterr() == ("", "")
