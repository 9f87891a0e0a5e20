""".npz or .npy file of uint8 images, labels and class names -> Source."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data import npy
from adm.data.npz import UNREADABLE, listed, members
from adm.data.source import Source, in_memory
from adm.limits import MOST_CLASSES
from adm.shown import printable, short, shown

IMAGES = ("arr_0", "images")
LABELS = ("arr_1", "labels")
CLASSES = "classes"
IMAGE_CHANNELS = (1, 3, 4)
KEYS = (*IMAGES, *LABELS, CLASSES)


def arrays(path: Path, labels: Path | None = None) -> Source:
    """Read an .npz file into memory; large compressed images into a temporary file.

    Keys are those of the released system, or names:
    `arr_0` or `images`: uint8 (N, H, W, C), or (N, H, W).
    `arr_1` or `labels`: integers (N,), optional; without them there is one class, named after the
    file.
    `classes`: strings, the name of each label, optional; without them a label's name is its number.

    Args:
        path: the file.
        labels: an .npy file of integers (N,), which replaces the labels in the file.

    Raises:
        ValueError: not an .npz file, damaged, with object arrays, an array of another type or
            shape, or labels that do not fit.
    """
    found = members(path, KEYS, in_memory=True)
    check_images(path, found)
    if labels is not None:
        found = {key: array for key, array in found.items() if key not in LABELS}
        found[LABELS[0]] = _load_npy(labels)
    images = _images(path, found)
    numbers = _labels(path, found, len(images))
    classes = _classes(path, found, numbers)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    return in_memory(path.name, classes, planes, torch.from_numpy(numbers))


def memory_mapped(path: Path, labels: Path | None = None) -> Source:
    """Memory-map an .npy file of images, uint8 (N, H, W, C) or (N, H, W).

    Args:
        path: the file.
        labels: an .npy file of integers (N,); without it there is one class, named after the file.

    Raises:
        ValueError: as `arrays`.
    """
    found = {IMAGES[0]: _load_npy(path, on_disk=True)}
    if labels is not None:
        found[LABELS[0]] = _load_npy(labels)
    return from_arrays(path, found)


def from_arrays(path: Path, found: dict[str, np.ndarray]) -> Source:
    """A source that reads from arrays by key, which may be memory-mapped.

    Raises:
        ValueError: as `arrays`.
    """
    images = _images(path, found)
    labels = _labels(path, found, len(images))

    def read_many(indices: list[int]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[indices].transpose(0, 3, 1, 2)))

    return Source(
        path.name,
        _classes(path, found, labels),
        torch.from_numpy(labels),
        read=lambda index: read_many([index])[0],
        read_many=read_many,
    )


def check_images(path: Path, found: dict[str, np.ndarray]) -> None:
    """Raise ValueError unless a file has images among its arrays."""
    if not any(key in found for key in IMAGES):
        raise ValueError(
            f"{path} has no images: its arrays are {listed(path)}; save it with "
            "np.savez(path, arr_0=images, arr_1=labels), images uint8 (N, H, W, C)"
        )


def _load_npy(path: Path, on_disk: bool = False) -> np.ndarray:
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}; give an .npy file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return npy.mapped(file, 0, size) if on_disk else npy.read(file, size)
    except UNREADABLE as error:
        reason = printable(short(str(error).partition("\n")[0] or type(error).__name__, 200))
        raise ValueError(
            f"{path} is not a readable .npy of one array ({reason}); save it with "
            "np.save(path, array)"
        ) from None


def _first(found: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((found[key] for key in keys if key in found), None)


def _images(path: Path, found: dict[str, np.ndarray]) -> np.ndarray:
    """(N, H, W, C) uint8."""
    images = _first(found, IMAGES)
    assert images is not None  # as `check_images` says
    if images.dtype != np.uint8:
        raise ValueError(
            f"{path}: images are {images.dtype}, expected uint8 in 0..255; if they are in 0..1, "
            "save (255 * images).round().astype('uint8')"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size or _channels_second(images.shape):
        raise ValueError(
            f"{path}: images have shape {images.shape}, expected (N, H, W, C) with N > 0, or "
            "(N, H, W); if channels come second, save images.transpose(0, 2, 3, 1)"
        )
    return images


def _channels_second(shape: tuple[int, ...]) -> bool:
    """Whether the axis after N, and not the last one, has the length of a channel axis."""
    return shape[1] in IMAGE_CHANNELS and shape[3] not in IMAGE_CHANNELS


def _labels(path: Path, found: dict[str, np.ndarray], count: int) -> np.ndarray:
    """(N,) int64."""
    labels = _first(found, LABELS)
    if labels is None:
        return np.zeros(count, np.int64)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(
            f"{path}: labels are {labels.dtype} {labels.shape}, expected integers ({count},), one "
            "for each image; save class numbers, not names, scores or one-hot rows"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MOST_CLASSES:
        raise ValueError(
            f"{path}: labels are {low}..{high}, expected 0..{MOST_CLASSES - 1}; number the classes "
            "from 0, or omit the labels if there are none"
        )
    return labels.astype(np.int64)


def _classes(path: Path, found: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    needed = int(labels.max()) + 1
    if CLASSES not in found:
        labelled = _first(found, LABELS) is not None
        return tuple(map(str, range(needed))) if labelled else (path.stem,)
    names = found[CLASSES]
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) < needed:
        raise ValueError(
            f"{path}: classes are {names.dtype} {names.shape}, expected strings ({needed},) or "
            f"more, the name of every label up to {needed - 1}; save np.array(['a', 'b', ...])"
        )
    classes = text_of(names, path)
    if len(set(classes)) < len(classes):
        name, times = Counter(classes).most_common(1)[0]
        raise ValueError(
            f"{path}: {times} of its classes are called {shown(name)}; make the names unique"
        )
    return classes


def text_of(names: np.ndarray, path: Path) -> tuple[str, ...]:
    """Return an array of strings (K,) as text.

    Raises:
        ValueError: a string has characters that Unicode does not, or that no file can hold.
    """
    try:
        found = tuple(map(str, names.tolist()))
        "".join(found).encode()
    except ValueError:
        raise ValueError(
            f"{path}: its class names are damaged; save np.array(['a', 'b', ...])"
        ) from None
    return found
