"""Tree, split, labelling rule -> Source: the image files used, with their labels."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from adm.data.files import Files
from adm.data.lists import LISTS, Inside, Label, as_name, json_pairs, pairs_of
from adm.data.naming import EXTENSIONS, natural, plain
from adm.data.source import Arrays, NoSplit, Source
from adm.limits import MOST_CLASSES
from adm.shown import count_of, printable, short, shown_path
from adm.store.parsed import CLASSES, parse_json

# Names of folders and archives of each split; the first that exists is used.
SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation", "eval", "dev")}

NO_LABELS = "none"
STYLEGAN = "dataset.json"  # beside the images, as StyleGAN's data tools write it
CLASSES_FILE = "classes.json"  # class names in the order of the labels
UNLISTED, ELSEWHERE = -1, -2  # numbers of images without a label
AMBIGUOUS = -1  # the place of a name that several files have


class Labelled(NamedTuple):
    """Labels of N images.

    Attributes:
        classes: the name of each label.
        numbers: (N,) int64; `UNLISTED` for an image that a list leaves out, `ELSEWHERE` for one of
            another split.
    """

    classes: tuple[str, ...]
    numbers: np.ndarray

    def at(self, rows: Sequence[int] | np.ndarray, in_split: np.ndarray) -> "Labelled":
        """Return labels of all images: these at `rows`, and `ELSEWHERE` outside of `in_split`."""
        numbers = np.full(len(in_split), ELSEWHERE)
        numbers[rows] = self.numbers
        return self._replace(numbers=np.where(in_split, numbers, ELSEWHERE))

    def check_any(self, split: str, place: str, example: str) -> None:
        """Raise NoSplit unless one has a label; `example` is the name of one that should."""
        if not (self.numbers >= 0).any():
            raise NoSplit(
                f"{place}: the list of labels has no image of the {split} split; add some, such as "
                f"{example}"
            )

    def source(
        self, name: str, images: Arrays | Files, names: Callable[[int], str] | None = None
    ) -> Source:
        """Return the images that have a label; for the arguments see `Source`."""
        rows, name = np.flatnonzero(self.numbers >= 0), printable(name)
        unlisted = int((self.numbers == UNLISTED).sum())
        labels = torch.from_numpy(self.numbers[rows])
        return Source(name, self.classes, labels, images, rows, names, left_out=unlisted)


class Tree(NamedTuple):
    """Files by their names: of a folder, or of an archive.

    Attributes:
        name: of the data, for logs and checkpoints.
        title: of the class if there is only one.
        place: its location, for messages.
        names: of the image files, in natural order, relative to the root and separated by `/`.
        files: the images, by their places among the names.
        inside: name -> content of another file, or None if it is absent.
    """

    name: str
    title: str
    place: str
    names: Sequence[str]
    files: Files
    inside: Inside

    def below(self, folder: str, names: Sequence[str]) -> "Tree":
        """Return the files in a folder, whose images are `names`, relative to it."""
        inside = self.inside
        return self._replace(
            place=f"{self.place}/{folder}",
            names=names,
            inside=lambda name: inside(f"{folder}/{name}"),
        )

    def source(self, split: str, rule: str | None) -> Source:
        """Return the images of a split with their labels; for the rules see `label_images`.

        Raises:
            ValueError: no images, no such split, or labels that do not fit.
        """
        chosen = _label_split(self, split, rule)
        return chosen.source(self.name, self.files, self.names.__getitem__)


def _label_split(tree: Tree, split: str, rule: str | None) -> Labelled:
    """The images of a split and their labels.

    If all top-level folders are splits, the classes are within them and have the same numbers in
    all. A list of labels beside the splits names files by paths that start with the split's folder;
    a list in a split, by paths within it.
    """
    names, place = tree.names, tree.place
    chosen = _split_folder(names, split, place)
    if chosen is None:
        _check_any(names, place)
        return label_images(tree, rule)
    in_split = np.array([name.startswith(f"{chosen}/") for name in names], bool)
    bare = [name.partition("/")[2] for name in names]
    rows = np.flatnonzero(in_split)
    within = tree.below(chosen, [bare[row] for row in rows.tolist()])
    _check_any(within.names, within.place)
    list_ = STYLEGAN if rule is None else rule
    if list_.endswith(LISTS) and within.inside(list_) is not None:
        return label_images(within, rule).at(rows, in_split)
    listed = list_.endswith(LISTS) and (rule is not None or tree.inside(list_) is not None)
    nested = [row for row, name in enumerate(names) if "/" in name]  # the others are in no split
    texts = names if listed else bare
    labelled = label_images(tree._replace(names=[texts[row] for row in nested]), rule)
    labelled = labelled.at(nested, in_split)
    labelled.check_any(split, place, shown_path(names[int(rows[0])]))
    return labelled


def label_images(tree: Tree, rule: str | None) -> Labelled:
    """Label images by their names, or by a list.

    Args:
        tree: the files.
        rule: `folders` (each sub-folder of the root is a class), `prefix` (the
            class is the file's name up to the first `_`), `none` (one class), or a list, given by
            its path or by its name in the data. None means `dataset.json` if it is beside the
            images, and `folders` otherwise.

    Raises:
        ValueError: no such rule or list, or names and labels that do not fit.
    """
    names, place, inside = tree.names, tree.place, tree.inside
    pairs = None
    if rule is None:
        content = inside(STYLEGAN)
        pairs = None if content is None else json_pairs(content, f"{place}/{STYLEGAN}")
    elif rule not in ("folders", "prefix", NO_LABELS):
        pairs = pairs_of(rule, place, inside)
    if pairs is not None:
        labelled = number_labels(by_list(names, pairs, place), place)
        numbered = isinstance(pairs[0][1], int)
        return with_names(labelled, named_classes(inside, place) if numbered else None, place)
    if rule == "prefix":
        return number_labels([_prefix(name, place) for name in names], place)
    folders = [] if rule == NO_LABELS else _folders(names, place)
    return number_labels(folders or [tree.title] * len(names), place)


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


def by_list(names: Sequence[str], pairs: list[tuple[str, Label]], place: str) -> list[Label | None]:
    """The label of each image in a list; None for one that it omits."""
    lookups, labels = _lookups(names), list[Label | None]([None] * len(names))
    for file, label in pairs:
        # Also of `./cat/1.png`, or Windows' `cat\\1.png`.
        keys = (file, plain(file))
        row = next((tier[key] for key in keys for tier in lookups if key in tier), None)
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


def number_labels(labels: Sequence[Label | None], place: str) -> Labelled:
    """Class numbers of labels: integers as they are, names by their rank in natural order."""
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
    numbers = [UNLISTED if label is None else places[label] for label in labels]
    return Labelled(as_classes(list(map(str, classes)), place), np.array(numbers, np.int64))


def as_classes(names: Sequence[str], place: str) -> tuple[str, ...]:
    """The names, or a ValueError if they are too many for classes or one is invalid."""
    if len(names) > MOST_CLASSES:
        raise ValueError(
            f"{place}: {len(names)} classes, expected at most {MOST_CLASSES}; join some of them"
        )
    return tuple(as_name(name, f"{place}: the name of a class") for name in names)


def named_classes(inside: Inside, place: str) -> tuple[str, ...] | None:
    """Read the class names beside images, ["cat", "dog", ...]; None without the file.

    Raises:
        ValueError: the file has another content, or a name twice.
    """
    content, where = inside(CLASSES_FILE), f"{place}/{CLASSES_FILE}"
    if content is None:
        return None
    try:
        names = parse_json(content, CLASSES)
    except ValueError:
        names = None
    strings = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not names or not strings or len(set(names)) < len(names):
        raise ValueError(f'{where} must be unique class names, as in ["cat", "dog"]; correct it')
    return as_classes(names, where)


def with_names(labelled: Labelled, names: tuple[str, ...] | None, place: str) -> Labelled:
    """Replace class numbers by names.

    Raises:
        ValueError: fewer names than classes.
    """
    if names is None:
        return labelled
    if len(names) < len(labelled.classes):
        raise ValueError(
            f"{place}: {CLASSES_FILE} has {count_of(len(names), 'name')} and labels go up to "
            f"{len(labelled.classes) - 1}; give every class a name"
        )
    return labelled._replace(classes=names)


def _prefix(name: str, place: str) -> str:
    prefix, underscore, _ = PurePosixPath(name).name.partition("_")
    if not underscore or not prefix:
        raise ValueError(
            f"{shown_path(f'{place}/{name}')} has no class before an underscore; rename it, as in "
            "cat_0001.png"
        )
    return prefix


def _lookups(names: Sequence[str]) -> list[dict[str, int]]:
    """Places by relative path, by file name, and by file name without extension."""
    tiers: list[dict[str, int]] = [{}, {}, {}]
    for place, name in enumerate(names):
        last = name.rpartition("/")[2]
        for tier, key in zip(tiers, (name, last, last.rpartition(".")[0]), strict=True):
            tier[key] = AMBIGUOUS if key in tier else place
    return tiers


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


def _check_any(names: Sequence[str], place: str) -> None:
    if not names:
        raise ValueError(
            f"{place} has no images: no file in it or its sub-folders has one of the extensions "
            f"{', '.join(EXTENSIONS)}; give a folder with such files, one sub-folder per class"
        )
