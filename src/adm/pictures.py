"""rows of uint8 (C, H, W) images, their names -> one labelled picture."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adm.data.pixels import to_picture

INK, PALE, PAPER = "#1b1f24", "#6a737d", "#ffffff"
CHECKS = ("#ffffff", "#d5d9de")  # behind what is transparent
SMALL, LARGE = 13, 16  # points
LEAST, MOST = 56, 256  # pixels of the longer side of a tile, unless it is asked for larger
GAP, MARGIN = 2, 12
SQUARE = 8  # pixels of a check
LONGEST = 24  # characters of a row's name


class Row(NamedTuple):
    """Images side by side.

    Attributes:
        name: written before them.
        images: (C, H, W) uint8 each; those smaller than the largest of the sheet are enlarged.
        captions: under each image, where there are any.
    """

    name: str
    images: Sequence[Tensor]
    captions: Sequence[str] = ()


def sheet(
    title: str, headings: Sequence[tuple[str, int]], rows: Sequence[Row], least: int = LEAST
) -> Image.Image:
    """Draw rows of images under headings that span some columns each.

    Args:
        least: pixels of a tile's longer side, at least.
    """
    sizes = [image.shape[1:] for row in rows for image in row.images] or [(LEAST, LEAST)]
    tile = tile_size((max(h for h, _ in sizes), max(w for _, w in sizes)), least)
    across = max([tile[1], *(_width(text, SMALL) + 4 for row in rows for text in row.captions)])
    left = MARGIN + max(_width(_short(row.name), SMALL) for row in rows)
    left += MARGIN if left > MARGIN else 0
    starts = _starts(headings, across, left)
    top = MARGIN + LARGE + MARGIN + (SMALL + 6 if any(text for text, _ in headings) else 0)
    under = SMALL + 11 if any(row.captions for row in rows) else 0
    right = starts[-1] + across + MARGIN
    wide = max(right, MARGIN * 2 + _width(title, LARGE))
    canvas = Image.new("RGB", (wide, top + len(rows) * (tile[0] + under + GAP) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN), title, INK, _font(LARGE))
    column = 0
    for text, span in headings:
        pen.text((starts[column], top - SMALL - 8), text, PALE, _font(SMALL))
        column += span
    for i, row in enumerate(rows):
        y = top + i * (tile[0] + under + GAP)
        middle = (left - MARGIN, y + tile[0] // 2)
        pen.text(middle, _short(row.name), INK, _font(SMALL), anchor="rm", align="right")
        for x, image in zip(starts, row.images, strict=False):
            canvas.paste(fitted(image, tile), (x + (across - tile[1]) // 2, y))
        for x, caption in zip(starts, row.captions, strict=False):
            pen.text((x + across // 2, y + tile[0] + 2), caption, PALE, _font(SMALL), anchor="ma")
    return canvas


def tile_size(size: tuple[int, int], least: int = LEAST) -> tuple[int, int]:
    """(H, W) at which an image is shown: enlarged by a whole factor, or reduced to `MOST`."""
    longer = max(size)
    if longer > MOST:
        return max(1, size[0] * MOST // longer), max(1, size[1] * MOST // longer)
    zoom = -(-least // longer)
    return size[0] * zoom, size[1] * zoom


def fitted(image: Tensor, tile: tuple[int, int]) -> Image.Image:
    """(C, H, W) uint8 -> RGB of `tile` (H, W); pixels stay squares when it grows."""
    grows = image.shape[1] <= tile[0]
    how = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
    return colours(image).resize((tile[1], tile[0]), how)


def colours(image: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> RGB: grey, RGB, or RGBA over checks.

    Of other numbers of channels the first three are shown as red, green and blue; of two, the
    first.
    """
    if image.shape[0] not in (1, 3, 4):
        image = image[:3] if image.shape[0] > 4 else image[:1]
    picture = to_picture(image)
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, CHECKS[0])
    pen = ImageDraw.Draw(ground)
    square = max(2, min(SQUARE, picture.width // 4))
    for y in range(0, picture.height, square):
        for x in range((y // square) % 2 * square, picture.width, 2 * square):
            pen.rectangle((x, y, x + square - 1, y + square - 1), CHECKS[1])
    return Image.alpha_composite(ground, picture).convert("RGB")


def _starts(headings: Sequence[tuple[str, int]], across: int, left: int) -> list[int]:
    """Where each column begins; a heading that is wider than its columns pushes the next away."""
    starts, x = [], left
    for text, span in headings:
        starts += [x + i * (across + GAP) for i in range(span)]
        x += max(span * (across + GAP), _width(text, SMALL)) + MARGIN
    return starts


def _width(text: str, points: int) -> int:
    return max(int(_font(points).getlength(line)) + 1 for line in text.split("\n"))


def _short(name: str) -> str:
    lines = name.split("\n")
    return "\n".join(n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}…" for n in lines)


@cache
def _font(points: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(points)
