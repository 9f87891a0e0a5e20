"""uint8 images, names, captions -> PIL image; PIL image, Figure -> PNG; PIL images -> GIF, WebP."""

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adm.data.pixels import MODES, to_picture
from adm.shown import printable, short

if TYPE_CHECKING:  # matplotlib is slow to import, and most callers draw no figure
    from matplotlib.figure import Figure

INK, PALE, PAPER = "#1b1f24", "#6a737d", "#ffffff"
CHECKS = ("#ffffff", "#d5d9de")  # behind transparent pixels
SMALL, LARGE, LINE = 13, 16, 17  # points; pixels from line to line
LEAST, MOST = 56, 256  # default limits of the longer side of a tile, in pixels
GAP, MARGIN = 2, 12
SQUARE = 8  # pixels of a check
LONGEST = 24  # characters of the name of a row
LONGEST_LINE = 240  # characters of any other text


class Row(NamedTuple):
    """Images side by side.

    Attributes:
        name: written to the left of the images.
        images: (C, H, W) uint8 each; all are scaled to the largest of the sheet.
        captions: one below each image, of one or more lines, or none.
    """

    name: str
    images: Sequence[Tensor]
    captions: Sequence[str] = ()


def sheet(
    title: str,
    headings: Sequence[tuple[str, int]],
    rows: Sequence[Row],
    least: int = LEAST,
    most: int = MOST,
) -> Image.Image:
    """Draw labelled rows of images.

    Args:
        title: written at the top; an empty one takes no space.
        headings: (text, number of columns that it spans) from left to right.
        rows: the rows from top to bottom.
        least: least pixels of the longer side of a tile, if `most` permits it.
        most: most pixels of the longer side of a tile.
    """
    title, *texts = map(_drawable, (title, *(text for text, _ in headings)))
    headings = [(text, span) for text, (_, span) in zip(texts, headings, strict=True)]
    rows = [Row(_drawable(row.name), row.images, [*map(_drawable, row.captions)]) for row in rows]
    sizes = [image.shape[1:] for row in rows for image in row.images] or [(LEAST, LEAST)]
    tile = tile_size((max(h for h, _ in sizes), max(w for _, w in sizes)), least, most)
    across = max([tile[1], *(_width(text, SMALL) + 4 for row in rows for text in row.captions)])
    left = MARGIN + max(_width(_short(row.name), SMALL) for row in rows)
    left += MARGIN if left > MARGIN else 0
    starts = _starts(headings, across, left)
    top = MARGIN + (LARGE + MARGIN if title else 0)
    top += SMALL + 6 if any(text for text, _ in headings) else 0
    lines = max((text.count("\n") + 1 for row in rows for text in row.captions), default=0)
    under = lines * LINE + 7 if lines else 0
    wide = max(starts[-1] + across + MARGIN, MARGIN * 2 + _width(title, LARGE))
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
        _fill(canvas, row, tile, [(x, across) for x in starts], y)
    return canvas


def grid(
    images: Tensor,
    columns: int,
    *,
    zoom: int | None = None,
    gap: int = 1,
    most: int | None = None,
    clear: bool = False,
) -> Image.Image:
    """Arrange images in rows, all enlarged by one integer factor.

    The picture is grey, RGB or RGBA like the images. Gaps and unused tiles are white.

    Args:
        images: (N, C, H, W) uint8, N at least 1.
        columns: images per row.
        zoom: the factor; by default the smallest that gives a tile at least `LEAST` pixels.
        gap: pixels between images, before they are enlarged.
        most: most pixels of the longer side of an image; if it is longer, the picture is reduced.
        clear: whether gaps and unused tiles are transparent, in a picture with an alpha channel.

    Raises:
        ValueError: there are no images, or `columns` is less than 1.
    """
    if not len(images) or columns < 1:
        raise ValueError(
            f"cannot draw {len(images)} images in {columns} columns; give at least one of each"
        )
    height, width = images.shape[2:]
    down = -(-len(images) // columns)
    size = (columns * (width + gap) - gap, down * (height + gap) - gap)
    tiles = [_visible(image) for image in images]
    mode = tiles[0].mode
    if clear:
        canvas = Image.new("LA" if mode == "L" else "RGBA", size)
    else:
        canvas = Image.new(mode, size, "white")
    for i, tile in enumerate(tiles):
        canvas.paste(tile, (i % columns * (width + gap), i // columns * (height + gap)))
    longer = max(height, width)
    if most is not None and longer > most:
        canvas.thumbnail((canvas.width * most // longer, canvas.height * most // longer))
        return canvas
    factor = zoom or _zoom(longer, LEAST)
    return canvas.resize((canvas.width * factor, canvas.height * factor), Image.Resampling.NEAREST)


def tile_size(size: tuple[int, int], least: int = LEAST, most: int = MOST) -> tuple[int, int]:
    """Return the (H, W) of a tile: the size enlarged by an integer factor, or reduced to `most`."""
    longer = max(size)
    if longer > most:
        return max(1, size[0] * most // longer), max(1, size[1] * most // longer)
    zoom = min(_zoom(longer, least), most // longer)
    return size[0] * zoom, size[1] * zoom


def fit(image: Tensor, tile: tuple[int, int]) -> Image.Image:
    """(C, H, W) uint8 -> RGB picture of size `tile` (H, W), enlarged without interpolation."""
    grows = image.shape[1] <= tile[0]
    how = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
    return colours(image).resize((tile[1], tile[0]), how)


def colours(image: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> RGB picture; RGBA is drawn over checks.

    Of more than 4 channels the first three are drawn as red, green and blue; of 2, the first as
    grey.
    """
    picture = _visible(image)
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, CHECKS[0])
    pen = ImageDraw.Draw(ground)
    square = max(2, min(SQUARE, picture.width // 4))
    for y in range(0, picture.height, square):
        for x in range((y // square) % 2 * square, picture.width, 2 * square):
            pen.rectangle((x, y, x + square - 1, y + square - 1), CHECKS[1])
    return Image.alpha_composite(ground, picture).convert("RGB")


def png(drawn: "Image.Image | Figure") -> bytes:
    """Encode a picture or a matplotlib figure as PNG; equal ones give equal bytes."""
    buffer = io.BytesIO()
    if isinstance(drawn, Image.Image):
        drawn.save(buffer, "PNG")
    else:
        drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def gif(frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    """Encode pictures of one size as an animation that repeats; equal ones give equal bytes.

    Args:
        frames: grey or RGB; each frame has its own palette of up to 256 colours.
        milliseconds: how long each frame is shown, in steps of 10.
    """
    return _animated([_indexed(frame) for frame in frames], milliseconds, "GIF", optimize=False)


def webp(frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    """Encode RGB pictures of one size as an animation that repeats, without loss.

    Args:
        milliseconds: how long each frame is shown.
    """
    return _animated(frames, milliseconds, "WEBP", lossless=True, method=2)


def _animated(
    frames: Sequence[Image.Image], milliseconds: Sequence[int], kind: str, **options: Any
) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=frames[1:],
        duration=list(milliseconds),
        loop=0,
        **options,
    )
    return buffer.getvalue()


def _visible(image: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> grey, RGB or RGBA picture."""
    if image.shape[0] not in MODES:
        image = image[:3] if image.shape[0] > max(MODES) else image[:1]
    return to_picture(image)


def _indexed(frame: Image.Image) -> Image.Image:
    """Grey as it is; RGB with the 256 colours that represent it best, without dithering."""
    if frame.mode == "L":
        return frame
    return frame.convert("RGB").quantize(256, dither=Image.Dither.NONE)


def _zoom(longer: int, least: int) -> int:
    """Return the smallest integer factor that gives a side at least `least` pixels."""
    return -(-least // longer)


def _fill(
    canvas: Image.Image, row: Row, tile: tuple[int, int], columns: Sequence[tuple[int, int]], y: int
) -> None:
    """Draw the images of a row at `y`, centred in their columns, and captions below them.

    Args:
        columns: (left edge, width) of each column.
    """
    pen = ImageDraw.Draw(canvas)
    for (x, across), image in zip(columns, row.images, strict=False):
        canvas.paste(fit(image, tile), (x + (across - tile[1]) // 2, y))
    for (x, across), caption in zip(columns, row.captions, strict=False):
        pen.text(
            (x + across // 2, y + tile[0] + 2),
            caption,
            PALE,
            _font(SMALL),
            anchor="ma",
            align="center",
            spacing=LINE - SMALL,
        )


def _starts(headings: Sequence[tuple[str, int]], across: int, left: int) -> list[int]:
    """Return the left edge of each column; a heading wider than its columns shifts the next."""
    starts, x = [], left
    for text, span in headings:
        starts += [x + i * (across + GAP) for i in range(span)]
        x += max(span * (across + GAP), _width(text, SMALL)) + MARGIN
    return starts


def _width(text: str, points: int) -> int:
    return max(int(_font(points).getlength(line)) + 1 for line in text.split("\n"))


def _drawable(text: str) -> str:
    """Escape characters that no font has, and cut lines that are wider than any picture."""
    return "\n".join(short(printable(line), LONGEST_LINE) for line in text.split("\n"))


def _short(name: str) -> str:
    lines = name.split("\n")
    return "\n".join(n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}…" for n in lines)


@cache
def _font(points: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(points)
