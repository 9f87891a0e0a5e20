"""names of image files, a rule or a list -> which are used, their classes and labels."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from adm.data.counting import count_of
from adm.data.lists import LISTS, Label, csv_pairs, json_pairs
from adm.data.naming import at_home, natural, plain
from adm.files import parse_json

RULES = ("folders", "prefix", "none")
FORMS = f"{', '.join(RULES)}, or a list {', '.join(LISTS)} of files with their labels"
STYLEGAN = "dataset.json"  # beside the images: what StyleGAN's data tools leave
CLASSES_FILE = "classes.json"  # names in the order of the labels
MOST_CLASSES = 1 << 20
AMBIGUOUS = -1

Inside = Callable[[str], bytes | None]  # the content of a file of the data, None where absent


class Labelled(NamedTuple):
    classes: tuple[str, ...]
    used: list[int]  # indices of the names that have a label
    labels: np.ndarray  # (len(used),) int64
    left_out: int = 0  # images that a list does not name


def labelled(
    names: Sequence[str], rule: str | None, title: str, place: str, inside: Inside
) -> Labelled:
    """The label of each image by its name, or by a list.

    Args:
        names: of the images, relative to their root, with `/`.
        rule: one of `FORMS`: `folders` (each sub-folder of the root is a class), `prefix` (the
            file's name up to the first `_`), `none` (one class), or a list, which is a file or
            lies within the data. None is `dataset.json` where that is beside the images, and
            `folders` where not.
        title: the class of images that have none.
        place: where the images are, for messages.
        inside: reads a file that lies beside the images.

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
    if rule == "none":
        return Labelled((title,), list(range(len(names))), np.zeros(len(names), np.int64))
    pairs = _pairs(rule, place, inside)
    return _named(by_list(names, pairs, place), pairs, place, inside)


def by_folder(names: Sequence[str], title: str, place: str) -> Labelled:
    """Each first folder is a class; without folders, all are of one."""
    tops = [name.partition("/")[0] if "/" in name else None for name in names]
    if not any(tops):
        return Labelled((title,), list(range(len(names))), np.zeros(len(names), np.int64))
    if None in tops:
        loose, some = names[tops.index(None)], next(top for top in tops if top)
        raise ValueError(
            f"{place}/{loose} lies beside class folders such as {some}; move it into its class, or "
            "say where labels come from, such as labels none"
        )
    return numbered([top for top in tops if top], place)


def by_list(names: Sequence[str], pairs: list[tuple[str, Label]], place: str) -> Labelled:
    """The images that a list names, with the labels that it gives."""
    lookups = _lookups(names)
    given: dict[int, Label] = {}
    for file, label in pairs:
        index = _found(lookups, file)
        if index is None or index == AMBIGUOUS:
            what = "is not there" if index is None else "is the name of several files"
            raise ValueError(f"{place}: {file}, which the list of labels names, {what}; mend it")
        before = given.setdefault(index, label)
        if str(before) != str(label):
            raise ValueError(
                f"{place}/{names[index]} is in the list of labels as {before} and as {label}; "
                "keep one"
            )
    if not given:
        raise ValueError(f"{place}: the list of labels is empty; give one line for each image")
    used = sorted(given)
    found = numbered([given[index] for index in used], place)
    return found._replace(used=used, left_out=len(names) - len(used))


def numbered(labels: Sequence[Label], place: str) -> Labelled:
    """Numbers stand for themselves, names for their place in natural order."""
    if all(isinstance(label, int) for label in labels):
        whole = [int(label) for label in labels]
        low, high = min(whole), max(whole)
        if low < 0 or high >= MOST_CLASSES:
            raise ValueError(
                f"{place}: labels are {low}..{high}, expected 0..{MOST_CLASSES - 1}; number the "
                "classes from 0, or name them"
            )
        numbers = np.array(whole, np.int64)
        classes = tuple(map(str, range(high + 1)))
    else:
        texts = [str(label) for label in labels]
        classes = tuple(sorted(set(texts), key=natural))
        places = {name: number for number, name in enumerate(classes)}
        numbers = np.array([places[text] for text in texts], np.int64)
    return Labelled(classes, list(range(len(labels))), numbers)


def named_classes(path: Path) -> tuple[str, ...] | None:
    """The names in a file ["cat", "dog", ...]; None where it is absent.

    Raises:
        ValueError: the file holds something else, or a name twice.
    """
    return classes_in(path.read_bytes(), str(path)) if path.is_file() else None


def classes_in(content: bytes, where: str) -> tuple[str, ...]:
    """As `named_classes`, from a file's content."""
    try:
        names = parse_json(content)
    except ValueError:
        names = None
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f'{where} must hold the names of the classes, ["cat", "dog"]; mend it')
    return tuple(names)


def with_names(found: Labelled, names: tuple[str, ...] | None, place: str) -> Labelled:
    """Names in place of numbers.

    Raises:
        ValueError: fewer names than there are numbers.
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
    """With the names of numbered classes, where they lie beside the images."""
    content = inside(CLASSES_FILE)
    if content is None or not isinstance(pairs[0][1], int):
        return found
    return with_names(found, classes_in(content, f"{place}/{CLASSES_FILE}"), place)


def _prefix(name: str, place: str) -> str:
    prefix, underscore, _ = PurePosixPath(name).name.partition("_")
    if not underscore or not prefix:
        raise ValueError(f"{place}/{name} has no class before an underscore; name it cat_0001.png")
    return prefix


def _lookups(names: Sequence[str]) -> list[dict[str, int]]:
    """Indices by whole name, by the file's own name, and by that without its extension."""
    tiers: list[dict[str, int]] = [{}, {}, {}]
    for index, name in enumerate(names):
        last = name.rpartition("/")[2]
        for tier, key in zip(tiers, (name, last, last.rpartition(".")[0]), strict=True):
            tier[key] = AMBIGUOUS if key in tier else index
    return tiers


def _found(lookups: list[dict[str, int]], file: str) -> int | None:
    """The index of a file that a list names, even as `./cat/1.png` or, as Windows, `cat\\1.png`."""
    keys = (file, plain(file))
    return next((tier[key] for key in keys for tier in lookups if key in tier), None)


def _pairs(rule: str, place: str, inside: Inside) -> list[tuple[str, Label]]:
    path = at_home(rule)
    suffix = path.suffix.lower()
    if suffix not in LISTS:
        raise ValueError(f"no labels {rule!r}; give {FORMS}")
    content = path.read_bytes() if path.is_file() else inside(rule)
    if content is None:
        raise ValueError(f"the list of labels {rule} is neither a file nor within {place}; make it")
    if suffix == ".json":
        pairs = json_pairs(content, rule)
        if pairs is None:
            raise ValueError(f"{rule} holds no labels; give labels none, or another list")
        return pairs
    return csv_pairs(content, rule, "\t" if suffix == ".tsv" else ",")
