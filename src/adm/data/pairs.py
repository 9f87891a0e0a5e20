"""Source, Source of conditions -> Source of pairs."""

from dataclasses import replace

import numpy as np

from adm.data.source import Source
from adm.shown import abbreviated, count_of
from adm.spec import SettingError, literal

MOST_NAMED = 3  # files in a message


def pair(images: Source, conditions: Source) -> Source:
    """Give each image the condition of the same name: its path in the data, without its suffix.

    Images of arrays and of shards have numbers for names: image 17 has condition 17. A condition
    without an image is left out.

    Args:
        images, conditions: from `registry.find`, or at one size.

    Raises:
        SettingError: images without a condition, or with several; names the first of them.
    """
    rows: dict[str, list[int]] = {}
    for index in range(len(conditions)):
        rows.setdefault(_stem(conditions.name_in_list(index)), []).append(index)
    names = list(map(images.name_in_list, range(len(images))))
    matches = [rows.get(_stem(name), []) for name in names]
    wrong = [name for name, match in zip(names, matches, strict=True) if len(match) != 1]
    if wrong:
        raise SettingError(
            "condition",
            f"{literal(conditions.name)} has no partner, or several, for "
            f"{count_of(len(wrong), 'image')} of {literal(images.name)}: give each one image of "
            f"the same path but for the suffix, as for {literal(abbreviated(wrong, MOST_NAMED))}",
        )
    chosen = conditions.subset(np.array([row for (row,) in matches], np.int64))
    return replace(images, name=f"{images.name} from {conditions.name}", condition=chosen)


def _stem(name: str) -> str:
    """Such as `train/cat/1` of `train/cat/1.png`; a number stays."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)
