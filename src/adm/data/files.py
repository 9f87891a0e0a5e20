"""Files, encoded images by row -> images (C, H, W), decoded when they are read."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from adm.data import pixels
from adm.images import UINT8, Range
from adm.shown import reason_of, shown_path

# The only decoders that Pillow may use, whatever a file contains: some others run programs.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap height and width
# The errno of an OSError that is due to the content of a file: Pillow's own errors have none, and
# seeking to before its start has EINVAL.
NOT_THE_DISK = (None, errno.EINVAL)
GREY = ("1", "L", "LA", "La", "I", "F")  # modes of Pillow, apart from 16-bit ones
RGB = 3

Uniforms = Sequence[float]  # three in [0, 1): size, top and left of a crop; see `pixels`


class CorruptImage(ValueError):
    """An image that cannot be decoded, whose file the message names."""


@dataclass(frozen=True, eq=False)
class Files:
    """Encoded images by row, which are decoded when they are read: upright, and at one size.

    Attributes:
        open: row -> seekable stream of the encoded image, as by `naming.open_regular`; raises
            OSError if it is missing, and CorruptImage if its archive is damaged.
        path: row -> location of the image, for messages.
        size: (H, W) to which each image is resized and cropped (`pixels.cover`); None for their
            own.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
    """

    open: Callable[[int], BinaryIO]
    path: Callable[[int], str]
    size: tuple[int, int] | None = None
    channels: int = RGB

    def read(self, row: int, crop: Uniforms | None = None, stored: Range = UINT8) -> Tensor:
        """Return the (C, H, W) image, uint8 or float32 in [-1, 1].

        Args:
            row: of the image.
            crop: to crop it at random to `size`; None for the centre.
            stored: range of the levels in the file.

        Raises:
            CorruptImage: it cannot be decoded.
            ValueError: an error of `picture`.
        """
        with self.picture(row) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            image = pixels.with_channels(picture, self.channels, stored)
            if self.size is not None and crop is not None:
                image = pixels.random_crop(image, self.size, crop)
            elif self.size is not None:
                image = pixels.cover(image, self.size)
            return pixels.to_tensor(image)

    def open_encoded(self, row: int) -> BinaryIO:
        """Open an image without decoding it.

        Raises:
            ValueError: it cannot be opened.
        """
        try:
            return self.open(row)
        except OSError as error:
            raise ValueError(
                f"{self.path(row)} cannot be read ({reason_of(error)}); restore the file"
            ) from None

    def own_size(self, row: int) -> tuple[int, int]:
        """Return the (H, W) of an image after its EXIF rotation, from its header."""
        with self.picture(row) as picture:
            turned = picture.getexif().get(ORIENTATION, 1) >= 5
            width, height = picture.size
            return (width, height) if turned else (height, width)

    @contextmanager
    def picture(self, row: int) -> Iterator[Image.Image]:
        """Open an image, whose header is read; errors, also of decoding it in the body, name it.

        Raises:
            ValueError: the file cannot be opened, or the system fails to read it.
            CorruptImage: it is not an image, corrupt, or over `pixels.MAX_PIXELS`.
        """
        path, stream = self.path(row), self.open_encoded(row)
        try:
            with stream, Image.open(stream, formats=FORMATS) as picture:
                high, wide = picture.height, picture.width
                if wide * high > pixels.MAX_PIXELS:
                    raise ValueError(f"{high}x{wide} is over {pixels.MAX_PIXELS} pixels")
                yield picture
        except MemoryError:  # not caused by the image
            raise
        except UnidentifiedImageError:
            message = f"{path} is not a {', '.join(FORMATS)} image; replace or remove it"
            raise CorruptImage(message) from None
        except Exception as error:  # Pillow's decoders raise many types, some of them undocumented
            if isinstance(error, OSError) and error.errno not in NOT_THE_DISK:
                raise ValueError(
                    f"{path} cannot be read ({reason_of(error)}); check the disk"
                ) from error
            message = (
                f"{path} is not a usable image ({shown_path(error)}); replace, shrink or remove it"
            )
            raise CorruptImage(message) from error


def is_grey(picture: Image.Image) -> bool:
    """Return whether an image is stored without colours; a palette counts by its colours."""
    if picture.mode != "P":
        return picture.mode in GREY or picture.mode.startswith("I;16")
    levels: Sequence[int] = picture.getpalette("RGB") or []
    return list(levels[0::3]) == list(levels[1::3]) == list(levels[2::3])
