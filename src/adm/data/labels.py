"""Names of image files, split, labelling rule -> Source: the images of the split, labelled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from adm.data.files import Files
from adm.data.lists import LISTS, Label, as_name, pairs_of
from adm.data.naming import EXTENSIONS, natural, plain
from adm.data.source import NoSplit, Source
from adm.limits import MOST_CLASSES
from adm.shown import printable, short, shown_path
from adm.spec import out_of_range

# Names of folders and archives of each split; the first that exists is used.
SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation", "eval", "dev")}
FOLDERS, PREFIX, NO_LABELS = "folders", "prefix", "none"  # the labelling rules, beside lists
AMBIGUOUS = -1  # the place of a name that several files have


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
        rows = range(len(names))
        if chosen is not None:
            rows = [row for row in rows if "/" in names[row]]
        if not rows:
            raise ValueError(
                f"{place} has no images: no file in it or its sub-folders has one of the "
                f"extensions {', '.join(EXTENSIONS)}; give a folder with such files, one "
                "sub-folder per class"
            )
        paths = [names[row] for row in rows]
        bare = paths if chosen is None else [path.partition("/")[2] for path in paths]
        if rule is None or rule == FOLDERS:
            labels = _folders(bare, place) or [self.title] * len(bare)
        elif rule == PREFIX:
            labels = [_prefix(name, place) for name in bare]
        elif rule == NO_LABELS:
            labels = [self.title] * len(bare)
        else:
            labels = by_list(paths, pairs_of(rule), place)
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

    named, place, count = replace(source, names=name_of), source.name, len(source)
    if rule is None:
        return named
    if rule == NO_LABELS:
        one = as_classes([place], place)
        return replace(named, classes=one, labels=torch.zeros(count, dtype=torch.int64))
    if not rule.lower().endswith(LISTS):
        expected = f"a list {', '.join(LISTS)}, or {NO_LABELS}"
        raise out_of_range("labels", expected, rule, f"{place} has no file names")
    pairs = pairs_of(rule)
    others = dict.fromkeys(file for file, _ in pairs if not file.startswith(f"{split}/"))
    labels = by_list([*map(name_of, range(count)), *others], pairs, place)
    classes, numbers = number_labels(labels, place)
    used = np.flatnonzero(numbers[:count] >= 0)
    if not len(used):
        raise _none_listed(place, split, name_of(17))
    return replace(named, classes=classes, labels=torch.from_numpy(numbers[used]), rows=used)


def by_list(names: Sequence[str], pairs: list[tuple[str, Label]], place: str) -> list[Label | None]:
    """The label of each image in a list; None for one that it omits.

    The list has the paths of the images, or their file names where these are unique.
    """
    by_path, by_name = dict[str, int](), dict[str, int]()
    for row, name in enumerate(names):
        last = name.rpartition("/")[2]
        by_path[name], by_name[last] = row, AMBIGUOUS if last in by_name else row
    labels = list[Label | None]([None] * len(names))
    for file, label in pairs:
        # Also of `./cat/1.png`, or Windows' `cat\\1.png`.
        name = file if file in by_path else plain(file)
        row = by_path.get(name, by_name.get(name))
        if row is None or row == AMBIGUOUS:
            what = "does not exist" if row is None else "is the name of several files"
            raise ValueError(
                f"{place}: {shown_path(file)} in the list of labels {what}; correct the list"
            )
        previous = labels[row]
        if previous is not None and str(previous) != str(label):
            raise ValueError(
                f"{shown_path(f'{place}/{names[row]}')} has the labels {short(str(previous))} "
                f"and {short(str(label))} in the list; keep one"
            )
        labels[row] = label
    if not pairs:
        raise ValueError(f"{place}: the list of labels is empty; give a label for each image")
    return labels


def number_labels(labels: Sequence[Label | None], place: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, and the number of each label, or -1 where there is none.

    Integers are numbers of classes already; names are numbered in natural order.
    """
    listed = [label for label in labels if label is not None]
    if all(isinstance(label, int) for label in listed):
        low, high = int(min(listed)), int(max(listed))
        if low < 0 or high >= MOST_CLASSES:
            raise ValueError(
                f"{place}: labels are {short(str(low))}..{short(str(high))}, expected "
                f"0..{MOST_CLASSES - 1}; number the classes from 0, or give names"
            )
        classes: Sequence[Label] = range(high + 1)
    else:
        labels = [label if label is None else str(label) for label in labels]
        classes = sorted({*map(str, listed)}, key=natural)
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
