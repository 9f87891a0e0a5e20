"""Names of image files, split, labelling rule -> Source: the images of the split, labelled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from adm.data.files import Files
from adm.data.lists import SUFFIX, Label, as_name, read_list
from adm.data.naming import EXTENSIONS, natural
from adm.data.source import NoSplit, Source
from adm.limits import MOST_CLASSES
from adm.shown import printable, short, shown_path
from adm.spec import SettingError, literal

# Names of folders and shards of each split; the first that exists is used.
SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation", "eval", "dev")}
FOLDERS, PREFIX, NO_LABELS = "folders", "prefix", "none"  # the labelling rules, beside lists


class Tree(NamedTuple):
    """Image files by their names: of a folder, or of an archive.

    Attributes:
        name: of the data, for logs and checkpoints.
        title: of the class if there is only one.
        place: its location, for messages.
        names: of the image files, in natural order, relative to the root and separated by `/`.
        files: the images, by their places among the names.
    """

    name: str
    title: str
    place: str
    names: Sequence[str]
    files: Files

    def source(self, split: str, rule: str | None) -> Source:
        """Return the images of a split with their labels.

        If all top-level folders are splits, the classes are within them and have the same numbers
        in all; images beside them are in no split.

        Args:
            rule: `folders` (each sub-folder is a class; the default), `prefix` (the class is the
                file's name up to the first `_`), `none` (one class), or the path of a list.

        Raises:
            ValueError: no images, no such split or rule, or names and labels that do not fit.
        """
        names, place = self.names, self.place
        chosen = _split_folder(names, split, place)
        rows = [row for row, name in enumerate(names) if chosen is None or "/" in name]
        if not rows:
            raise ValueError(
                f"{place} has no images: no file in it or its sub-folders has one of the "
                f"extensions {', '.join(EXTENSIONS)}; give a folder with such files, one "
                "sub-folder per class"
            )
        paths = [names[row] for row in rows]
        if rule is None or rule == FOLDERS:
            bare = paths if chosen is None else [path.partition("/")[2] for path in paths]
            labels = _folders(bare, place) or [self.title] * len(bare)
        elif rule == PREFIX:
            labels = [_prefix(path, place) for path in paths]
        elif rule == NO_LABELS:
            labels = [self.title] * len(paths)
        else:
            labels = by_list(paths, read_list(rule), place)
        classes, numbers = number_labels(labels, place)
        inside = np.array([chosen is None or path.startswith(f"{chosen}/") for path in paths])
        used = np.flatnonzero(inside & (numbers >= 0))
        if not len(used):
            raise _none_listed(place, split, paths[int(inside.argmax())])
        return Source(
            printable(self.name),
            classes,
            torch.from_numpy(numbers[used]),
            self.files,
            np.array(rows)[used],
            names.__getitem__,
        )


def label_rows(source: Source, rule: str | None, split: str) -> Source:
    """Label images without file names: `train/17` in a list is image 17 of the split, from 0.

    The classes are those of the whole list, so that they have the same numbers in all splits.

    Args:
        source: all images of the split, in order.
        rule: the path of a list; `none` for one class; None for the images' own labels.

    Raises:
        NoSplit: the list has no image of the split.
        ValueError: there is no such list, or it contradicts itself.
    """

    def name_of(row: int) -> str:
        return f"{split}/{row}"

    place, count = source.name, len(source)
    named = replace(source, names=name_of)
    if rule is None:
        return named
    if rule in (FOLDERS, PREFIX):
        raise SettingError(
            "labels",
            f"the images of {literal(place)} have no file names, of which {{labels={rule}}} would "
            f"take their classes; give a list {SUFFIX}, or {{labels={NO_LABELS}}}",
        )
    if rule == NO_LABELS:
        labels: list[Label | None] = [place] * count
    else:
        listed = read_list(rule)
        others = [file for file in listed if not file.startswith(f"{split}/")]
        labels = by_list([*map(name_of, range(count)), *others], listed, place)
    classes, numbers = number_labels(labels, place)
    used = np.flatnonzero(numbers[:count] >= 0)
    if not len(used):
        raise _none_listed(place, split, name_of(17))
    return replace(named, classes=classes, labels=torch.from_numpy(numbers[used]), rows=used)


def by_list(names: Sequence[str], listed: dict[str, Label], place: str) -> list[Label | None]:
    """The label of each image in a list; None for one that it omits."""
    absent = listed.keys() - set(names)
    if absent:
        first = next(file for file in listed if file in absent)
        raise ValueError(
            f"the list of labels has {shown_path(first)}, which is not in {place}; correct the list"
        )
    return list(map(listed.get, names))


def number_labels(labels: Sequence[Label | None], place: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, and the number of each label, or -1 where there is none.

    Integers are numbers of classes already; names are numbered in natural order.
    """
    listed = {label for label in labels if label is not None}
    whole = [label for label in listed if isinstance(label, int)]
    if whole:
        low, high = min(whole), max(whole)
        if low < 0 or high >= MOST_CLASSES:
            raise ValueError(
                f"{place}: labels are {short(str(low))}..{short(str(high))}, expected "
                f"0..{MOST_CLASSES - 1}; number the classes from 0, or give names"
            )
        classes: Sequence[Label] = range(high + 1)
    else:
        classes = sorted(map(str, listed), key=natural)
    places: dict[Label | None, int] = {name: number for number, name in enumerate(classes)}
    numbers = [-1 if label is None else places[label] for label in labels]
    return as_classes(list(map(str, classes)), place), np.array(numbers, np.int64)


def as_classes(names: Sequence[str], place: str) -> tuple[str, ...]:
    """The names, or a ValueError if they are too many for classes or one is invalid."""
    if len(names) > MOST_CLASSES:
        raise ValueError(
            f"{place}: {len(names)} classes, expected at most {MOST_CLASSES}; join some of them"
        )
    return tuple(as_name(name, f"{place}: the name of a class") for name in names)


def _folders(names: Sequence[str], place: str) -> list[str]:
    """The top-level folder of each image; empty without folders."""
    tops = [name.partition("/")[0] if "/" in name else None for name in names]
    if any(tops) and None in tops:
        loose, some = names[tops.index(None)], next(top for top in tops if top)
        raise ValueError(
            f"{shown_path(f'{place}/{loose}')} is beside class folders such as {shown_path(some)}; "
            "move it into its class, or label images by another rule"
        )
    return [top for top in tops if top]


def _prefix(name: str, place: str) -> str:
    prefix, underscore, _ = PurePosixPath(name).name.partition("_")
    if not underscore or not prefix:
        raise ValueError(
            f"{shown_path(f'{place}/{name}')} has no class before an underscore; rename it, as in "
            "cat_0001.png"
        )
    return prefix


def _split_folder(names: Sequence[str], split: str, place: str) -> str | None:
    """The folder of a split; None if there are no split folders and `split` is train."""
    tops = {name.partition("/")[0] for name in names if "/" in name}
    known = {name for folders in SPLITS.values() for name in folders}
    if not tops or not tops <= known:
        if split == "train":
            return None
        tops = set()
    for folder in SPLITS[split]:
        if folder in tops:
            return folder
    raise NoSplit(
        f"{place} has no {split} split: no sub-folder {', '.join(SPLITS[split])}; "
        "add one with the classes in it, or give the folder of those images"
    )


def _none_listed(place: str, split: str, example: str) -> NoSplit:
    return NoSplit(
        f"{place}: the list of labels has no image of the {split} split; add some, such as "
        f"{shown_path(example)}"
    )
