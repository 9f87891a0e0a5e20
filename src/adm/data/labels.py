"""Names of image files, labelling rule -> Labelled: the images used, classes and labels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from adm.data.counting import count_of
from adm.data.lists import LISTS, MOST_BYTES, Label, as_name, csv_pairs, json_pairs
from adm.data.naming import at_home, natural, plain
from adm.data.regular import read_regular
from adm.limits import MOST_CLASSES
from adm.shown import short, shown, shown_path
from adm.store.parsed import parse_json

NO_LABELS = "none"
RULES = ("folders", "prefix", NO_LABELS)
FORMS = f"{', '.join(RULES)}, or a list {', '.join(LISTS)} of files with their labels"
STYLEGAN = "dataset.json"  # beside the images, as StyleGAN's data tools write it
CLASSES_FILE = "classes.json"  # class names in the order of the labels
AMBIGUOUS = -1

Inside = Callable[[str], bytes | None]  # name of a file in the data -> content, None if absent


class Labelled(NamedTuple):
    classes: tuple[str, ...]
    used: list[int]  # indices of the names that have a label
    labels: np.ndarray  # (len(used),) int64
    left_out: int = 0  # number of images that a list omits


def labelled(
    names: Sequence[str], rule: str | None, title: str, place: str, inside: Inside
) -> Labelled:
    """Label images by their names, or by a list.

    Args:
        names: of the images, relative to their root, separated by `/`.
        rule: one of `FORMS`: `folders` (each sub-folder of the root is a class), `prefix` (the
            class is the file's name up to the first `_`), `none` (one class), or a list, given by
            its path or by its name in the data. None means `dataset.json` if it is beside the
            images, and `folders` otherwise.
        title: the name of the class if there is only one.
        place: of the images, for messages.
        inside: reads a file in the data.

    Raises:
        ValueError: no such rule or list, or names and labels that do not fit.
    """
    if rule is None:
        found = inside(STYLEGAN)
        pairs = None if found is None else json_pairs(found, f"{place}/{STYLEGAN}")
        if pairs is None:
            return by_folder(names, title, place)
        return _named(by_list(names, pairs, place), pairs, place, inside)
    if rule == "folders":
        return by_folder(names, title, place)
    if rule == "prefix":
        return numbered([_prefix(name, place) for name in names], place)
    if rule == NO_LABELS:
        return of_one_class(title, len(names), place)
    pairs = pairs_of(rule, place, inside)
    return _named(by_list(names, pairs, place), pairs, place, inside)


def of_one_class(title: str, count: int, place: str) -> Labelled:
    """All `count` images in a class called `title`."""
    return Labelled(as_classes([title], place), list(range(count)), np.zeros(count, np.int64))


def by_folder(names: Sequence[str], title: str, place: str) -> Labelled:
    """Each top-level folder is a class; without folders, there is one class."""
    tops = [name.partition("/")[0] if "/" in name else None for name in names]
    if not any(tops):
        return of_one_class(title, len(names), place)
    if None in tops:
        loose, some = names[tops.index(None)], next(top for top in tops if top)
        raise ValueError(
            f"{shown_path(f'{place}/{loose}')} is beside class folders such as {shown_path(some)}; "
            "move it into its class, or give a labelling rule, such as labels='none'"
        )
    return numbered([top for top in tops if top], place)


def by_list(names: Sequence[str], pairs: list[tuple[str, Label]], place: str) -> Labelled:
    """The images in a list, with its labels."""
    lookups = _lookups(names)
    given: dict[int, Label] = {}
    for file, label in pairs:
        index = _found(lookups, file)
        if index is None or index == AMBIGUOUS:
            what = "does not exist" if index is None else "is the name of several files"
            raise ValueError(
                f"{place}: {shown_path(file)} in the list of labels {what}; correct the list"
            )
        before = given.setdefault(index, label)
        if str(before) != str(label):
            raise ValueError(
                f"{shown_path(f'{place}/{names[index]}')} has the labels {short(str(before))} and "
                f"{short(str(label))} in the list; keep one"
            )
    if not given:
        raise ValueError(f"{place}: the list of labels is empty; give a label for each image")
    used = sorted(given)
    found = numbered([given[index] for index in used], place)
    return found._replace(used=used, left_out=len(names) - len(used))


def restricted(found: Labelled, own: set[int]) -> Labelled:
    """Only the images in `own`, with all classes."""
    kept = np.array([index in own for index in found.used], bool)
    used = [index for index in found.used if index in own]
    return found._replace(used=used, labels=found.labels[kept])


def numbered(labels: Sequence[Label], place: str) -> Labelled:
    """Class numbers of labels: integers as they are, names by their rank in natural order."""
    if all(isinstance(label, int) for label in labels):
        whole = [int(label) for label in labels]
        low, high = min(whole), max(whole)
        if low < 0 or high >= MOST_CLASSES:
            raise ValueError(
                f"{place}: labels are {short(str(low))}..{short(str(high))}, expected "
                f"0..{MOST_CLASSES - 1}; number the classes from 0, or give names"
            )
        numbers = np.array(whole, np.int64)
        classes = tuple(map(str, range(high + 1)))
    else:
        texts = [str(label) for label in labels]
        classes = as_classes(sorted(set(texts), key=natural), place)
        places = {name: number for number, name in enumerate(classes)}
        numbers = np.array([places[text] for text in texts], np.int64)
    return Labelled(classes, list(range(len(labels))), numbers)


def as_classes(names: Sequence[str], place: str) -> tuple[str, ...]:
    """The names as those of classes, or a ValueError if there are too many or one cannot be it."""
    if len(names) > MOST_CLASSES:
        raise ValueError(
            f"{place}: {len(names)} classes, expected at most {MOST_CLASSES}; join some of them"
        )
    return tuple(as_name(name, f"{place}: the name of a class") for name in names)


def named_classes(path: Path) -> tuple[str, ...] | None:
    """Read class names from a file ["cat", "dog", ...]; None if it does not exist.

    Raises:
        ValueError: the file has another content, or a name twice.
    """
    return classes_in(read_regular(path, MOST_BYTES), shown_path(path)) if path.is_file() else None


def classes_in(content: bytes, where: str) -> tuple[str, ...]:
    """As `named_classes`, from the content of the file."""
    try:
        names = parse_json(content)
    except ValueError:
        names = None
    strings = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not names or not strings or len(set(names)) < len(names):
        raise ValueError(f'{where} must be unique class names, as in ["cat", "dog"]; correct it')
    return as_classes(names, where)


def with_names(found: Labelled, names: tuple[str, ...] | None, place: str) -> Labelled:
    """Replace class numbers by names.

    Raises:
        ValueError: fewer names than classes.
    """
    if names is None:
        return found
    if len(names) < len(found.classes):
        raise ValueError(
            f"{place}: {CLASSES_FILE} has {count_of(len(names), 'name')} and labels go up to "
            f"{len(found.classes) - 1}; give every class a name"
        )
    return found._replace(classes=names)


def _named(found: Labelled, pairs: list[tuple[str, Label]], place: str, inside: Inside) -> Labelled:
    """Name numbered classes by the classes file beside the images, if there is one."""
    content = inside(CLASSES_FILE)
    if content is None or not isinstance(pairs[0][1], int):
        return found
    return with_names(found, classes_in(content, f"{place}/{CLASSES_FILE}"), place)


def _prefix(name: str, place: str) -> str:
    prefix, underscore, _ = PurePosixPath(name).name.partition("_")
    if not underscore or not prefix:
        raise ValueError(
            f"{shown_path(f'{place}/{name}')} has no class before an underscore; rename it, as in "
            "cat_0001.png"
        )
    return prefix


def _lookups(names: Sequence[str]) -> list[dict[str, int]]:
    """Indices by relative path, by file name, and by file name without extension."""
    tiers: list[dict[str, int]] = [{}, {}, {}]
    for index, name in enumerate(names):
        last = name.rpartition("/")[2]
        for tier, key in zip(tiers, (name, last, last.rpartition(".")[0]), strict=True):
            tier[key] = AMBIGUOUS if key in tier else index
    return tiers


def _found(lookups: list[dict[str, int]], file: str) -> int | None:
    """The index of a file in a list, also for `./cat/1.png` or Windows' `cat\\1.png`."""
    keys = (file, plain(file))
    return next((tier[key] for key in keys for tier in lookups if key in tier), None)


def pairs_of(rule: str, place: str, inside: Inside) -> list[tuple[str, Label]]:
    """Read a list of labels: pairs of the name of a file and its label.

    Args:
        rule: the path of the list, or its name in the data.
        place: of the images, for messages.
        inside: reads a file in the data.

    Raises:
        ValueError: it is no list, or there is none.
    """
    path = at_home(rule)
    suffix = path.suffix.lower()
    if suffix not in LISTS:
        raise ValueError(f"unknown labels {shown(rule)}; give {FORMS}")
    where = shown_path(rule)
    # Unlike Path.is_file, this answers no for a name that is too long.
    content = read_regular(path, MOST_BYTES) if os.path.isfile(path) else inside(rule)
    if content is None:
        raise ValueError(
            f"the list of labels {where} does not exist, nor in {place}; give the path of one"
        )
    if suffix == ".json":
        pairs = json_pairs(content, where)
        if pairs is None:
            raise ValueError(f"{where} has no labels; give labels='none', or another list")
        return pairs
    return csv_pairs(content, where, "\t" if suffix == ".tsv" else ",")
