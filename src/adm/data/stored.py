""".npz file of images, left on disk -> Source."""

from pathlib import Path

import numpy as np

from adm.data.arrays import CLASSES, KEYS, LABELS, check_images, from_arrays
from adm.data.npz import members
from adm.data.source import Source


def stored(path: Path, classes: tuple[str, ...] | None = None) -> Source:
    """A source of the images of an .npz file in the layout of `arrays`, left on disk.

    Args:
        path: the file.
        classes: the name of each label, if the file has no names.

    Raises:
        ValueError: as `arrays`.
    """
    found = members(path, KEYS)
    check_images(path, found)
    if classes is not None and CLASSES not in found and any(key in found for key in LABELS):
        found[CLASSES] = np.array(classes)
    return from_arrays(path, found)
