"""Data spec string -> Source."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches

from adm.data import shards
from adm.data.archive import archive
from adm.data.arrays import read_arrays
from adm.data.digits import digits
from adm.data.fitting import at_one_size
from adm.data.folder import image_file, image_folder
from adm.data.hub import hub
from adm.data.idx import fashion_mnist
from adm.data.labels import SPLITS, label_rows
from adm.data.naming import at_home, is_image, open_regular
from adm.data.source import NoSplit, Source
from adm.images import RANGES, UINT8, Range
from adm.shown import LONGEST_PATH, shown, shown_path
from adm.spec import out_of_range, parse

BUILTIN = ("fashion-mnist", "digits")  # data with a location of their own
FORMS = (
    "fashion-mnist, fashion-mnist:/FOLDER, digits, hf:NAME[@CONFIG], hf:/FOLDER, a "
    "folder of images with one sub-folder per class, a .zip of such a folder, WebDataset shards (a "
    "folder of them, or one .tar), an .npz or .npy file, or one image"
)
WRITTEN = "emoji"  # the folder of a data set that a command writes
LONGEST_NAME = 40  # characters that are compared with those of data sets


def open_source(
    spec: str,
    *,
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    labels: str | None = None,
    range: str | Range = UINT8,
) -> Source:
    """Open data by a spec string, at one size.

    Args:
        spec: one of `FORMS`. A folder with the name of a data set is written `./digits`.
        split: `train` or `test`. A folder has them as sub-folders; an .npz file has only one.
        size: (H, W); None for the images' own. Image files are resized and cropped, arrays are
            padded with black.
        channels: 1, 3 or 4; by default 3 for image files, and their own for arrays. Arrays with
            another number of channels cannot be converted.
        labels: the labelling rule of image files (`labels.Tree`); a list by number
            (`labels.label_rows`), or `none`, of arrays, shards and named data; None for the
            default.
        range: of the stored values, such as "uint16:high=4095" or "float:low=0,high=1"; those of
            any but "uint8" are read as float32 in [-1, 1].

    Raises:
        ValueError: no such data, split or labels, an invalid size or number of channels, or damaged
            data.
    """
    source = find(spec, split=split, labels=labels)
    stored = parse(RANGES, range, "range")
    return at_one_size(source, size=size, channels=channels, stored=stored)


def find(spec: str, *, split: str | Sequence[str] = "train", labels: str | None = None) -> Source:
    """Open data by a spec string without decoding or resizing; image files stay encoded.

    Args:
        split: `train` or `test`; or several, of which the first that the data have is opened.

    Raises:
        ValueError: no such data, split or labels.
    """
    if not isinstance(split, str):
        for each in split[:-1]:
            with suppress(NoSplit):
                return find(spec, split=each, labels=labels)
        return find(spec, split=split[-1], labels=labels)
    if split not in SPLITS:
        raise out_of_range("split", " or ".join(SPLITS), split)
    if not spec:
        raise ValueError(f"the data spec is empty; give {FORMS}, or . for the current folder")
    name, _, place = spec.partition(":")
    if name in NAMED:
        return label_rows(NAMED[name](place, split), labels, split)
    path = at_home(spec)
    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that is too long
        if shards.in_folder(path):
            return shards.open_shards(path, split, labels)
        return image_folder(path).source(split, labels)
    if not os.path.exists(path):
        raise _missing(spec)
    open_regular(path).close()  # refuses a pipe
    match path.suffix.lower():
        case ".zip":
            return archive(path).source(split, labels)
        case ".tar":
            return shards.open_shards(path, split, labels)
        case ".npz" | ".npy" if split == "train":
            return label_rows(read_arrays(path), labels, split)
        case ".npz" | ".npy":
            raise NoSplit(f"{shown_path(path)} has no {split} split; give the file of those images")
    if is_image(path.name):
        return image_file(path).source(split, labels)
    raise ValueError(f"{shown_path(path)} has an unknown format; unpack it, or give {FORMS}")


def _missing(spec: str) -> ValueError:
    """The error of a spec that is neither a path nor a name; it names similar ones."""
    if spec.rstrip("/") == WRITTEN:
        return ValueError(f"no data {spec!r}; write them with: python tools/emoji.py --out emoji")
    similar = get_close_matches(spec.partition(":")[0][:LONGEST_NAME].lower(), NAMED)
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    return ValueError(f"no data {shown(spec, LONGEST_PATH)}; {hint}give {FORMS}")


NAMED: dict[str, Callable[[str, str], Source]] = {
    "fashion-mnist": fashion_mnist,
    "digits": digits,
    "hf": hub,
}
