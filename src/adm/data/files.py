"""Files, encoded images with labels -> Source, which decodes them on access; its channels."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from adm.data import pixels
from adm.data.naming import MAX_BYTES, open_regular
from adm.data.source import CorruptImage, Source, Uniforms
from adm.shown import reason_of, shown_path

# The only decoders that Pillow may use, whatever a file contains: some others run programs.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
CHECKED = 2_000  # headers read on opening; those of a million files would take many minutes
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap height and width
# The errno of an OSError that is due to the content of a file: Pillow's own errors have none, and
# seeking to before its start has EINVAL.
NOT_THE_DISK = (None, errno.EINVAL)
JPEGS = ("JPEG", "MPO")
GREY = ("1", "L", "LA", "La", "I", "F")  # modes of Pillow, apart from 16-bit ones
RGB = 3
# Of a JPEG file; usual ones have up to twelve. One of 26 bytes may take 0.1 s of decoding.
MOST_SCANS = 100
START_OF_SCAN = 0xDA  # the second byte of the marker


@dataclass(frozen=True, eq=False)
class Files:
    """Encoded images with labels, read on access.

    Attributes:
        name: of the data, for logs and checkpoints.
        classes: the name of each label, in order.
        labels: (N,) int64.
        open: index -> seekable stream of the encoded image; raises OSError if it is missing, and
            CorruptImage if its archive is damaged.
        path: index -> location of the image, for messages.
        left_out: number of images that a list of labels omits.
        listed: index -> the name by which a list of labels calls the image; None for images that
            `registry.find` has not opened.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    open: Callable[[int], BinaryIO]
    path: Callable[[int], str]
    left_out: int = 0
    listed: Callable[[int], str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def size(self, index: int) -> tuple[int, int]:
        """Return the (H, W) of an image after its EXIF rotation, from its header."""
        with self.picture(index, decode=False) as picture:
            turned = picture.getexif().get(ORIENTATION, 1) >= 5
            width, height = picture.size
            return (width, height) if turned else (height, width)

    @contextmanager
    def picture(self, index: int, *, decode: bool = True) -> Iterator[Image.Image]:
        """Open an image; errors, also of decoding it in the body, name the file.

        Args:
            index: of the image.
            decode: whether the body decodes it; if not, only the header is read.

        Raises:
            ValueError: the file cannot be opened, or the system fails to read it.
            CorruptImage: it is not an image, corrupt, or over `pixels.MAX_PIXELS` or `MOST_SCANS`.
        """
        path = self.path(index)
        try:
            stream = self.open(index)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({reason_of(error)}); restore the file"
            ) from None
        try:
            with stream, Image.open(stream, formats=FORMATS) as picture:
                high, wide = picture.height, picture.width
                if wide * high > pixels.MAX_PIXELS:
                    raise ValueError(f"{high}x{wide} is over {pixels.MAX_PIXELS} pixels")
                if decode and picture.format in JPEGS:
                    _check_scans(stream)
                yield picture
        except MemoryError:  # not caused by the image
            raise
        except UnidentifiedImageError:
            message = f"{path} is not a {', '.join(FORMATS)} image; replace or remove it"
            raise CorruptImage(path, message) from None
        except Exception as error:  # Pillow's decoders raise many types, some of them undocumented
            if isinstance(error, OSError) and error.errno not in NOT_THE_DISK:
                raise ValueError(
                    f"{path} cannot be read ({reason_of(error)}); check the disk"
                ) from error
            message = (
                f"{path} is not a usable image ({shown_path(error)}); replace, shrink or remove it"
            )
            raise CorruptImage(path, message) from error


def open_image(path: str) -> BinaryIO:
    """Open the file of an encoded image.

    Raises:
        CorruptImage: no regular file, or over `MAX_BYTES`.
        OSError: it cannot be opened.
    """
    try:
        return open_regular(path, MAX_BYTES)
    except ValueError as error:
        raise CorruptImage(shown_path(path), str(error)) from None


def decode_files(
    files: Files,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    *,
    check: bool = True,
    equal: bool = True,
    skip_corrupt: bool = False,
) -> Source:
    """Decode images on access, upright and at one size.

    Args:
        files: the encoded images.
        size: (H, W) to which each image is resized and cropped (`pixels.cover`); None keeps
            their own.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        check: read the headers of up to `CHECKED` files, spread evenly, now and not hours later;
            ignored if corrupt images are skipped.
        equal: if `size` is None, require all images to have the size of the first.
        skip_corrupt: see `Source`.

    Raises:
        CorruptImage: a file that is not an image, corrupt, or too large; if its header is intact,
            only when the image is read.
        ValueError: other channels; unequal sizes, on opening or when an image is read.
    """
    pixels.mode_of(channels)
    first = _first_sound(files, skip_corrupt) if size is None and equal else None
    first_size = None if first is None else files.size(first)

    def check_size(index: int, own: tuple[int, int]) -> None:
        if first is not None and own != first_size:
            raise ValueError(
                f"{files.path(index)} is {_shape(own)} and {files.path(first)} is "
                f"{_shape(first_size)}; give a size, to which all are resized and cropped"
            )

    if check and not skip_corrupt:
        for index in range(0, len(files), -(-len(files) // CHECKED)):
            check_size(index, files.size(index))

    def read(index: int, uniforms: Uniforms | None = None) -> Tensor:
        with files.picture(index) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            own = picture.height, picture.width
            image = pixels.with_channels(picture, channels)
            if size is not None and uniforms is not None:
                image = pixels.random_crop(image, size, uniforms)
            elif size is not None:
                image = pixels.cover(image, size)
            tensor = pixels.to_tensor(image)
        check_size(index, own)
        return tensor

    return Source(
        files.name,
        files.classes,
        files.labels,
        read,
        crop=None if size is None else read,
        path=files.path,
        open=files.open,
        threaded=True,
        skip_corrupt=skip_corrupt,
        listed=files.listed,
    )


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


def _check_scans(stream: BinaryIO) -> None:
    place = stream.tell()
    stream.seek(0)
    content = np.frombuffer(stream.read(), np.uint8)
    stream.seek(place)
    scans = np.count_nonzero((content[:-1] == 0xFF) & (content[1:] == START_OF_SCAN))
    if scans > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, over {MOST_SCANS}")


def _first_sound(files: Files, skip_corrupt: bool) -> int:
    """The first image with a sound header; the first of all, unless corrupt ones are skipped."""
    for index in range(len(files)):
        try:
            files.size(index)
            return index
        except CorruptImage:
            if not skip_corrupt or index == len(files) - 1:
                raise
    raise ValueError(f"{files.name} has no images; give other files")


def _shape(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
