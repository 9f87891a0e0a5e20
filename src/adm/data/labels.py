"""names of image files, a rule or a list -> which are used, their classes and labels."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from adm.data.naming import natural

RULES = ("folders", "prefix", "none")
LISTS = (".csv", ".tsv", ".json")
FORMS = f"{', '.join(RULES)}, or a list {', '.join(LISTS)} of files with their labels"
STYLEGAN = "dataset.json"  # beside the images: what StyleGAN's data tools leave
CLASSES_FILE = "classes.json"  # names in the order of the labels
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "id")
LABEL_COLUMNS = ("label", "class", "category")
MOST_CLASSES = 1 << 20
AMBIGUOUS = -1

Inside = Callable[[str], bytes | None]  # the content of a file of the data, None where absent
Label = str | int


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
        pairs = None if found is None else _json_pairs(found, f"{place}/{STYLEGAN}")
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
        index = next((tier[file] for tier in lookups if file in tier), None)
        if index is None or index == AMBIGUOUS:
            what = "is not there" if index is None else "is the name of several files"
            raise ValueError(f"{place}: {file}, which the list of labels names, {what}; mend it")
        given[index] = label
    if not given:
        raise ValueError(f"{place}: the list of labels is empty; give one line for each image")
    used = sorted(given)
    found = numbered([given[index] for index in used], place)
    return found._replace(used=used, left_out=len(names) - len(used))


def numbered(labels: Sequence[Label], place: str) -> Labelled:
    """Numbers stand for themselves, names for their place in natural order."""
    if all(isinstance(label, int) for label in labels):
        numbers = np.array(labels, np.int64)
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= MOST_CLASSES:
            raise ValueError(
                f"{place}: labels are {low}..{high}, expected 0..{MOST_CLASSES - 1}; number the "
                "classes from 0, or name them"
            )
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
        names = json.loads(content)
    except (ValueError, RecursionError):
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
            f"{place}: {CLASSES_FILE} has {len(names)} names and labels go up to "
            f"{len(found.classes) - 1}; give every class a name"
        )
    return found._replace(classes=names)


def as_label(value: Any, where: str) -> Label:
    """Raise ValueError for what is neither a name nor a whole number; `where` tells of what."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{where} is {value!r:.80}, expected a name or a whole number; mend it")


def as_numbers(labels: Iterable[Label]) -> list[Label]:
    """Texts become numbers where all of them are."""
    texts = list(labels)
    if all(isinstance(text, int) or text.removeprefix("-").isdecimal() for text in texts):
        return [int(text) for text in texts]
    return texts


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


def _pairs(rule: str, place: str, inside: Inside) -> list[tuple[str, Label]]:
    path = Path(rule).expanduser()
    suffix = path.suffix.lower()
    if suffix not in LISTS:
        raise ValueError(f"no labels {rule!r}; give {FORMS}")
    content = path.read_bytes() if path.is_file() else inside(rule)
    if content is None:
        raise ValueError(f"the list of labels {rule} is neither a file nor within {place}; make it")
    if suffix == ".json":
        pairs = _json_pairs(content, rule)
        if pairs is None:
            raise ValueError(f"{rule} holds no labels; give labels none, or another list")
        return pairs
    return _csv_pairs(content, rule, "\t" if suffix == ".tsv" else ",")


def _json_pairs(content: bytes, where: str) -> list[tuple[str, Label]] | None:
    """{file: label}, [[file, label], ...], or either under "labels"; None for StyleGAN's null."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error}); mend it") from None
    if isinstance(found, dict) and isinstance(found.get("labels", ""), list | dict | None):
        found = found["labels"]
    if found is None:
        return None
    rows = list(found.items()) if isinstance(found, dict) else found
    if not isinstance(rows, list) or any(
        not isinstance(row, list | tuple) or len(row) != 2 or not isinstance(row[0], str)
        for row in rows
    ):
        raise ValueError(
            f'{where} must be {{"file": "label"}} or [["file", "label"], ...]; mend it'
        )
    return [(file, as_label(label, f"{where}: the label of {file}")) for file, label in rows]


def _csv_pairs(content: bytes, where: str, delimiter: str) -> list[tuple[str, Label]]:
    """Rows file,label; where the first names its columns, those."""
    try:
        text = content.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} cannot be read ({error}); save it as UTF-8") from None
    heads = [head.strip().casefold() for head in rows[0]] if rows else []
    file = next((heads.index(head) for head in FILE_COLUMNS if head in heads), None)
    label = next((heads.index(head) for head in LABEL_COLUMNS if head in heads), None)
    body = rows if file is None and label is None else rows[1:]
    file, label = 0 if file is None else file, 1 if label is None else label
    short = next((row for row in body if len(row) <= max(file, label)), None)
    if short is not None:
        raise ValueError(f"{where}: {short} lacks a file or a label; write file,label on each line")
    labels = as_numbers(as_label(row[label].strip(), f"{where}: a label") for row in body)
    return [(row[file].strip(), each) for row, each in zip(body, labels, strict=True)]
