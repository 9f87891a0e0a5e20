"""Images without file names, list of labels by number -> the same images with these labels.

A list names image 17 of the training split `train/17`, counted from 0. The split is part of the
name, so that a list of one split labels no image of another.
"""

import os
import re
from dataclasses import replace
from functools import partial

from adm.data.labels import NO_LABELS, SPLITS, by_list, number_labels
from adm.data.lists import LISTS, pairs_of
from adm.data.naming import at_home
from adm.data.source import Source
from adm.shown import shown_path

NUMBERED = re.compile(rf"({'|'.join(SPLITS)})/(0|[1-9][0-9]{{0,15}})")


def numbered_name(split: str, row: int) -> str:
    """Return the name of the image of this row in a list."""
    return f"{split}/{row}"


def is_list(rule: str | None) -> bool:
    """Whether a labelling rule is the path of a list."""
    return rule is not None and rule.lower().endswith(LISTS)


def is_by_number(rule: str | None) -> bool:
    """Whether a labelling rule is the path of a list that names its first image by number."""
    if rule is None or not is_list(rule) or not os.path.isfile(at_home(rule)):
        return False
    pairs = pairs_of(rule, "the data", _nothing)
    return bool(pairs) and NUMBERED.fullmatch(pairs[0][0]) is not None


def by_number(source: Source, rule: str | None, split: str) -> Source:
    """Label images by a list of their numbers, or put all in one class.

    Images of this split that are not in the list are left out. The classes are those of the whole
    list, so that they have the same numbers in all splits.

    Args:
        source: all images of the split, in order.
        rule: the path of the list; `none` for one class, called like the data; None for the
            images' own labels.
        split: `train` or `test`.

    Raises:
        NoSplit: the list has no image of the split.
        ValueError: there is no such list, or it names other images or contradicts itself.
    """
    count, place, names = len(source), source.name, partial(numbered_name, split)
    if rule is None:
        return replace(source, names=names)
    if rule == NO_LABELS:
        return number_labels([place] * count, place).source(place, source.images, names)
    pairs = pairs_of(rule, place, _nothing)
    strange = next((file for file, _ in pairs if not NUMBERED.fullmatch(file)), None)
    if strange is not None:
        raise ValueError(
            f"{place}: the list of labels has {shown_path(strange)}, and these images have no file "
            f"names; write {names(17)} for image 17, counted from 0, of the {split} split"
        )
    others = dict.fromkeys(file for file, _ in pairs if not file.startswith(f"{split}/"))
    everything = [*map(names, range(count)), *others]
    labelled = number_labels(by_list(everything, pairs, place), place)
    labelled = labelled._replace(numbers=labelled.numbers[:count])
    labelled.check_any(split, place, names(17))
    return labelled.source(place, source.images, names)


def _nothing(name: str) -> None:
    """Read a file in the data, which have none: a list by number is outside of them."""
