"""encoded images, wherever they lie -> labelled images, decoded when read."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from adm.data import pixels
from adm.data.source import CorruptImage, Source, Uniforms

# Pillow tries no other decoder, whatever a file's bytes say: some start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
CHECKED = 2_000  # headers read at opening: a moment, where those of a million take many minutes
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 turn the picture by a quarter
# Pillow's own OSErrors have no number, and a broken file that points to before its start has this.
NOT_THE_DISK = (None, errno.EINVAL)


@dataclass(frozen=True, eq=False)
class Files:
    """Encoded images with labels; nothing is read until it is asked for.

    Attributes:
        name: what to call them in logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        open: index -> the encoded image, to read and seek in; OSError where it is not there, and
            CorruptImage where its archive is damaged.
        path: index -> where it lies, for messages.
        left_out: images that are there and that a list of labels does not name.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    open: Callable[[int], BinaryIO]
    path: Callable[[int], str]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @contextmanager
    def picture(self, index: int) -> Iterator[Image.Image]:
        """A picture whose failures, here and in the caller's decoding, name the file.

        Raises:
            ValueError: the file cannot be opened, or the system fails to read it.
            CorruptImage: it is no image, broken, or larger than `pixels.MAX_PIXELS`.
        """
        path = self.path(index)
        try:
            stream = self.open(index)
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"{path} cannot be read ({reason}); bring it back") from None
        try:
            with stream, Image.open(stream, formats=FORMATS) as picture:
                high, wide = picture.height, picture.width
                if wide * high > pixels.MAX_PIXELS:
                    raise ValueError(f"{high}x{wide} is over {pixels.MAX_PIXELS} pixels")
                yield picture
        except MemoryError:  # for which the image cannot be blamed
            raise
        except UnidentifiedImageError:
            message = f"{path} is no {', '.join(FORMATS)} image; replace or remove it"
            raise CorruptImage(path, message) from None
        except Exception as error:  # Pillow's decoders raise many types, some of them undocumented
            if isinstance(error, OSError) and error.errno not in NOT_THE_DISK:
                reason = error.strerror or error
                raise ValueError(f"{path} cannot be read ({reason}); see to its disk") from error
            message = f"{path} is not a usable image ({error}); replace, shrink or remove it"
            raise CorruptImage(path, message) from error


def decoded(
    files: Files,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    *,
    check: bool = True,
    equal: bool = True,
    skip_corrupt: bool = False,
) -> Source:
    """Decode images when they are read, upright and at one size.

    Args:
        files: the encoded images.
        size: (H, W) to which each image is resized and cropped (`pixels.cover`); None keeps
            their own.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        check: read headers now, of up to `CHECKED` files spread over all, rather than find broken
            ones hours later; left out where corrupt images are skipped.
        equal: where `size` is None, refuse images of other sizes than the first.
        skip_corrupt: see `Source`.

    Raises:
        CorruptImage: a file that is no image, broken, or too large; for pixels that are broken
            behind a sound header, when the image is read.
        ValueError: other channels; unequal sizes, at opening or when an image is read.
    """
    pixels.mode_of(channels)
    first = _first_size(files, skip_corrupt) if size is None and equal else None
    if check and not skip_corrupt:
        _check_headers(files, first)

    def read(index: int, uniforms: Uniforms | None = None) -> Tensor:
        with files.picture(index) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            found = picture.height, picture.width
            image = pixels.with_channels(picture, channels)
            if size is not None and uniforms is not None:
                image = pixels.random_crop(image, size, uniforms)
            elif size is not None:
                image = pixels.cover(image, size)
            tensor = pixels.to_tensor(image)
        _check_equal(files, index, found, first)
        return tensor

    return Source(
        files.name,
        files.classes,
        files.labels,
        read,
        crop=None if size is None else read,
        threaded=True,
        skip_corrupt=skip_corrupt,
    )


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(H, W) as the picture is meant to be seen; its pixels need not be decoded."""
    turned = picture.getexif().get(ORIENTATION, 1) >= 5
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


class First(NamedTuple):
    """The size that all images must have, and whose it is."""

    size: tuple[int, int]
    path: str


def _first_size(files: Files, skip_corrupt: bool) -> First:
    for index in range(len(files)):
        try:
            with files.picture(index) as picture:
                return First(upright_size(picture), files.path(index))
        except CorruptImage:
            if not skip_corrupt or index == len(files) - 1:
                raise
    raise ValueError(f"{files.name} holds no images")


def _check_headers(files: Files, first: First | None) -> None:
    for index in range(0, len(files), -(-len(files) // CHECKED)):
        with files.picture(index) as picture:
            found = upright_size(picture)
        _check_equal(files, index, found, first)


def _check_equal(files: Files, index: int, found: tuple[int, int], first: First | None) -> None:
    if first is not None and found != first.size:
        high, wide = first.size
        raise ValueError(
            f"{files.path(index)} is {found[0]}x{found[1]} and {first.path} is {high}x{wide}; "
            "give a size, to which all are resized and cropped"
        )
