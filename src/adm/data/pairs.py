"""Source, Source of conditions -> Source of pairs."""

from dataclasses import replace

import numpy as np

from adm.data.source import Source
from adm.shown import abbreviated, count_of
from adm.spec import out_of_range

MOST_NAMED = 3  # files in a message


def pair(images: Source, conditions: Source) -> Source:
    """Give each image the condition of the same name: its path in the data, without its suffix.

    Images of arrays and of shards are paired by number, image 17 with condition 17, and must be as
    many as the conditions. Of files, a condition without an image is left out.

    Args:
        images, conditions: from `registry.find`, or at one size.

    Raises:
        SettingError: images without a condition, or with several; names the first of them.
    """
    by_number = conditions.files is None and images.rows is None
    if by_number and len(conditions) != len(images):
        expected = f"of as many images as {images.name}, {len(images)}"
        cure = "arrays are paired by number"
        raise out_of_range("condition", expected, len(conditions), cure)
    rows: dict[str, list[int]] = {}
    for index in range(len(conditions)):
        rows.setdefault(_stem(conditions.listed(index)), []).append(index)
    names = list(map(images.listed, range(len(images))))
    matches = [rows.get(_stem(name), []) for name in names]
    wrong = [name for name, match in zip(names, matches, strict=True) if len(match) != 1]
    if wrong:
        raise out_of_range(
            "condition",
            f"one image for each of {images.name}, of the same path but for the suffix; "
            f"{conditions.name} has none, or several, for {count_of(len(wrong), 'image')}",
            cure=f"add or rename the partners of {abbreviated(wrong, MOST_NAMED)}",
        )
    chosen = conditions.subset(np.array([row for (row,) in matches], np.int64))
    return replace(images, name=f"{images.name} from {conditions.name}", condition=chosen)


def _stem(name: str) -> str:
    """Such as `train/cat/1` of `train/cat/1.png`; a number stays."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)
