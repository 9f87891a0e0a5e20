"""Damaged and malicious images: CorruptImage with the file, in time, and nothing printed."""

import io
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from abuse.damaged import damaged, ends_within, refusal
from data.test_archives import png
from PIL import Image

from adm.data import CorruptImage, files, open_source
from adm.data.inspect import inspect
from adm.data.registry import find

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # pytest resets those of `files`
LEVELS = np.random.default_rng(0).normal(128, 50, (30, 40, 1)).clip(0, 255).astype(np.uint8)
NOISE = Image.fromarray(LEVELS.repeat(3, axis=2))
EXIF = Image.Exif()
EXIF[0x0112] = 6


def encoded(picture: Image.Image, form: str, **how: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **how)
    return stream.getvalue()


MORE = {"save_all": True, "append_images": [NOISE.rotate(90)] * 2}
IMAGES = {
    "png": encoded(NOISE, "PNG"),
    "palette.png": encoded(NOISE.convert("P"), "PNG", transparency=bytes(range(99)), exif=EXIF),
    "16 bits.png": encoded(Image.new("I;16", (40, 30), 999), "PNG"),
    "jpg": encoded(NOISE, "JPEG"),
    "progressive.jpg": encoded(NOISE, "JPEG", progressive=True, exif=EXIF),
    "cmyk.jpg": encoded(NOISE.convert("CMYK"), "JPEG"),
    "webp": encoded(NOISE, "WEBP"),
    "animated.webp": encoded(NOISE, "WEBP", **MORE),
    "gif": encoded(NOISE, "GIF"),
    "animated.gif": encoded(NOISE, "GIF", **MORE),
    "bmp": encoded(NOISE, "BMP"),
    "tif": encoded(NOISE, "TIFF"),
    "lzw.tif": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "jpeg.tif": encoded(NOISE, "TIFF", compression="jpeg"),
    "deflated.tif": encoded(NOISE.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
}


def opened(path: Path, seed: int = 0, **how: bool) -> None:
    source = open_source(str(path), size=(8, 8), channels=(1, 3, 4)[seed % 3], **how)
    source.batch(range(len(source)))


@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_images_are_corrupt(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "set" / f"1.{kind.rpartition('.')[2]}"
    path.parent.mkdir()
    path.write_bytes(IMAGES[kind])
    assert refusal(lambda: opened(path.parent)) is None
    refused = 0
    for seed in range(25):
        path.write_bytes(damaged(IMAGES[kind], seed))
        text = refusal(lambda seed=seed: opened(path.parent, seed))
        refused += text is not None
        assert text is None or str(path) in text
        with ends_within():
            assert len(inspect(find(str(path.parent))).broken) == (text is not None)
    assert refused > 3


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


@pytest.mark.parametrize("count", [90, 200, 20_000])
def test_jpeg_files_of_many_scans_are_not_decoded(tmp_path: Path, count: int) -> None:
    content = encoded(Image.new("L", (2_000, 2_000)), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    path = tmp_path / "1.jpg"
    path.write_bytes(content[:-2] + last * count + b"\xff\xd9")
    text = refusal(lambda: opened(tmp_path))
    assert (text is None) == (count < files.MOST_SCANS)
    assert text is None or f"scans, over {files.MOST_SCANS}" in text


@pytest.mark.parametrize("name", ["1.png", "1.jpg"])
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"P6 1 1"]
)
def test_other_contents_are_not_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "is not a PNG, JPEG" in (refusal(lambda: opened(tmp_path)) or "")
    with pytest.raises(CorruptImage):
        opened(tmp_path)
