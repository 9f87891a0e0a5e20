"""Source or Files -> number of channels of its images: 1 if all are grey, otherwise 3."""

from collections.abc import Sequence

from PIL import Image

from adm.data.files import CHECKED, Files
from adm.data.source import CorruptImage, Source

GREY = ("1", "L", "LA", "La", "I", "F")  # modes of Pillow, apart from 16-bit ones
RGB = 3


def channels_of(found: Source | Files) -> int:
    """Return the number of channels to train with: that of arrays, and 1 or 3 of image files.

    Image files count as grey if none of up to `CHECKED` of them, spread evenly, is stored in
    colour; their headers are read until the first that is.

    Args:
        found: from `registry.find`.
    """
    if isinstance(found, Source):
        return found.shape[0]
    for index in range(0, len(found), max(1, len(found) // CHECKED)):
        try:
            with found.picture(index, decode=False) as picture:
                if not is_grey(picture):
                    return RGB
        except CorruptImage:  # reported, or skipped, when the image is read
            continue
    return 1


def is_grey(picture: Image.Image) -> bool:
    """Return whether an image is stored without colours; a palette counts by its colours."""
    if picture.mode != "P":
        return picture.mode in GREY or picture.mode.startswith("I;16")
    levels: Sequence[int] = picture.getpalette("RGB") or []
    return list(levels[0::3]) == list(levels[1::3]) == list(levels[2::3])
