""".npz or .npy file of images, labels and class names -> Source."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from adm.data.pixels import MODES
from adm.data.source import Source, of_arrays
from adm.limits import MOST_CLASSES
from adm.shown import printable, short, shown
from adm.store.arrays import array_names, load_array, load_arrays

IMAGES = ("arr_0", "images")
LABELS = ("arr_1", "labels")
CLASSES = "classes"
KEYS = (*IMAGES, *LABELS, CLASSES)


def read_arrays(
    path: Path,
    *,
    classes: tuple[str, ...] | None = None,
) -> Source:
    """Open an .npz or .npy file of images, which are memory-mapped unless they are compressed.

    Keys are those of the released system, or names:
    `arr_0` or `images`: numbers (N, H, W, C), or (N, H, W).
    `arr_1` or `labels`: integers (N,), optional; without them there is one class, named after the
    file.
    `classes`: strings, the name of each label, optional; without them a label's name is its number.

    Args:
        path: the file.
        classes: the name of each label, if the file has labels without names.

    Raises:
        ValueError: another kind of file, damaged, with object arrays, an array of another type or
            shape, or labels that do not fit.
    """
    if path.suffix.lower() == ".npy":
        arrays = {IMAGES[0]: load_array(path)}
    else:
        arrays = load_arrays(path, KEYS)
    stored = _first(arrays, IMAGES)
    if stored is None:
        raise ValueError(
            f"{path} has no images: its arrays are {list_arrays(path)}; save it with "
            "np.savez(path, arr_0=images, arr_1=labels), images uint8 (N, H, W, C)"
        )
    images = check_images(stored, str(path))
    numbers = _labels(path, arrays, len(images))
    if classes is not None and CLASSES not in arrays and any(key in arrays for key in LABELS):
        arrays[CLASSES] = np.array(classes)
    names = _classes(path, arrays, numbers)
    return of_arrays(path.name, names, images, torch.from_numpy(numbers))


def _first(arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def check_images(images: np.ndarray, name: str) -> np.ndarray:
    """Return images as (N, H, W, C).

    Args:
        images: as those, or (N, H, W).
        name: of the array, in errors.

    Raises:
        ValueError: an array of another shape, or not of real numbers.
    """
    if images.dtype.kind not in "iuf":
        raise ValueError(f"{name}: images are {images.dtype}; save them as uint8 (N, H, W, C)")
    if images.ndim == 3:
        images = images[..., None]
    second = images.ndim == 4 and images.shape[1] in MODES and images.shape[3] not in MODES
    if images.ndim != 4 or not images.size or second:
        raise ValueError(
            f"{name}: images have shape {images.shape}, expected (N, H, W, C) with N > 0, or "
            "(N, H, W); if channels come second, save images.transpose(0, 2, 3, 1)"
        )
    return images


def _labels(path: Path, arrays: dict[str, np.ndarray], count: int) -> np.ndarray:
    """(N,) int64."""
    labels = _first(arrays, LABELS)
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


def _classes(path: Path, arrays: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    needed = int(labels.max()) + 1
    if CLASSES not in arrays:
        labelled = _first(arrays, LABELS) is not None
        return tuple(map(str, range(needed))) if labelled else (path.stem,)
    names = arrays[CLASSES]
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


def list_arrays(path: Path) -> str:
    """Return the names of the arrays of an .npz file, for a message."""
    return printable(short(", ".join(array_names(path)))) or "none"


def text_of(array: np.ndarray, path: Path) -> tuple[str, ...]:
    """Return an array of strings (K,) as text.

    Raises:
        ValueError: a string is not valid Unicode.
    """
    try:
        texts = tuple(map(str, array.tolist()))
        "".join(texts).encode()
    except ValueError:
        raise ValueError(
            f"{path}: its class names are damaged; save np.array(['a', 'b', ...])"
        ) from None
    return texts
