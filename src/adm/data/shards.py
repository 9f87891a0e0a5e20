"""WebDataset shards, .tar archives -> Files: encoded images with labels, read in place."""

import io
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from adm.data.archive import Entry, read_entry, tar_archive, tar_entries
from adm.data.files import Files
from adm.data.labels import (
    CLASSES_FILE,
    SPLITS,
    Labelled,
    label_images,
    named_classes,
    number_labels,
    of_one_class,
    with_names,
)
from adm.data.lists import MOST_BYTES, Label, as_label, as_numbers
from adm.data.naming import EXTENSIONS, read_regular
from adm.data.numbering import by_number, is_by_number, numbered_name
from adm.data.source import NoSplit
from adm.shown import printable, shown, shown_path
from adm.store.parsed import parse_json

CLASS, FIELDS = "cls", "json"  # WebDataset's extensions of an image's label and metadata
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
SPLIT_NAME = re.compile(rf"({'|'.join(sorted(SPLIT_OF, key=len, reverse=True))})(?![a-z])", re.I)
MOST_SHARDS = 100_000
LONGEST_PATTERN = 1 << 16  # characters
RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


class Sample(NamedTuple):
    """An image of a shard."""

    path: Path  # of the archive
    entry: Entry
    label: Label | None

    @property
    def where(self) -> str:
        return shown_path(f"{self.path}/{self.entry.name}")


def tar_archives(
    paths: Sequence[Path], title: str, split: str = "train", labels: str | None = None
) -> Files:
    """Index the images of one or more .tar archives.

    Archives in WebDataset's layout have the label of `0001.jpg` in `0001.cls`, a number or a name,
    or in `0001.json`, {"label": ...}. `classes.json` beside the archives may name numbered classes.
    A single archive without such files is labelled like a folder with the same files.

    Args:
        paths: the archives of one split; or a single one with a folder for each split.
        title: name of the data.
        split: `train` or `test`, for a single archive.
        labels: another rule or a list; see `labels.label_images`. A list may call images by number
            (`numbering`), in the order of the archives, because files of several may have one name.

    Raises:
        ValueError: not an uncompressed .tar, or damaged; no images; labels for some images only;
            and as `folder.image_folder`.
    """
    samples = [sample for path in paths for sample in _samples(path)]
    by_list = is_by_number(labels)
    own = (labels is None or by_list) and any(each.label is not None for each in samples)
    if len(paths) == 1 and not own:
        return tar_archive(paths[0], split, labels)
    if len(paths) == 1 and split != "train" and paths[0].parent.name not in SPLITS[split]:
        of_split([str(paths[0])], split, str(paths[0]))
    if not samples:
        raise ValueError(
            f"{shown_path(paths[0])} and {len(paths) - 1} more have no images; give other files"
        )
    if by_list:
        chosen = of_one_class(title, len(samples), shown_path(paths[0].parent))
    else:
        chosen = _own_labels(samples) if own else _by_name(samples, title, labels)
    used = [samples[index] for index in chosen.used]
    files = Files(
        printable(title),
        chosen.classes,
        torch.from_numpy(chosen.labels),
        lambda index: io.BytesIO(read_entry(used[index].path, used[index].entry)),
        lambda index: used[index].where,
        left_out=chosen.left_out,
        listed=lambda index: numbered_name(split, chosen.used[index]),
    )
    return by_number(files, labels, split) if by_list else files


def of_split(paths: list[str], split: str, place: str) -> list[str]:
    """The archives of a split, by names such as `train-000000.tar`; all if names show one split.

    Raises:
        NoSplit: no archive is of the split.
    """
    starts = [SPLIT_NAME.match(path.partition("?")[0].rpartition("/")[2]) for path in paths]
    names = [start[1].lower() if start else "train" for start in starts]
    if len({SPLIT_OF[name] for name in names}) < 2 and split == "train":
        return paths
    wanted = next((name for name in SPLITS[split] if name in names), None)
    chosen = [path for path, name in zip(paths, names, strict=True) if name == wanted]
    if not chosen:
        raise NoSplit(
            f"{shown_path(place)} has no {split} split; name its archives {split}-000000.tar, or "
            "give the archives of those images"
        )
    return chosen


def expand_braces(pattern: str) -> list[str]:
    """Expand braces: `a-{000..002}.tar` -> a-000.tar, a-001.tar, a-002.tar; `{x,y}` -> x, y.

    Raises:
        ValueError: an invalid range, a pattern over `LONGEST_PATTERN`, or more than `MOST_SHARDS`
            archives.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(
            f"{shown(pattern)} has {len(pattern)} characters, over {LONGEST_PATTERN}; shorten it"
        )
    choices: list[Sequence[str]] = []
    count = 1
    first, *rest = pattern.split("{")
    for part in rest:
        inner, closing, after = part.partition("}")
        span = RANGE.fullmatch(inner)
        if not closing or (".." in inner and (span is None or int(span[1]) > int(span[2]))):
            raise ValueError(f"cannot read {shown(pattern)}; write a range as {{000000..000009}}")
        count *= int(span[2]) - int(span[1]) + 1 if span else inner.count(",") + 1
        if count > MOST_SHARDS:  # before they are made
            raise ValueError(f"{shown(pattern)} stands for over {MOST_SHARDS} archives; give fewer")
        choices += [_numbers(span) if span else inner.split(","), [after]]
    return ["".join((first, *chosen)) for chosen in product(*choices)]


def _numbers(span: re.Match[str]) -> list[str]:
    """The numbers of a range, each with as many digits as the first."""
    return [f"{n:0{len(span[1])}}" for n in range(int(span[1]), int(span[2]) + 1)]


def _samples(path: Path) -> list[Sample]:
    """The images of an archive, with the labels beside them."""
    images: dict[str, Entry] = {}
    labels: dict[str, Label] = {}
    for entry, content in tar_entries(path, lambda name: name.endswith((f".{CLASS}", ".json"))):
        key, extension = _key(entry.name)
        if extension in EXTENSIONS:
            images.setdefault(key, entry)
        elif extension in (CLASS, FIELDS):
            label = _label(content, extension, shown_path(f"{path}/{entry.name}"))
            if label is not None and (extension == CLASS or key not in labels):
                labels[key] = label
    return [Sample(path, entry, labels.get(key)) for key, entry in images.items()]


def _key(name: str) -> tuple[str, str]:
    """WebDataset's key and extension: a path is split at the first dot of its file name."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}{slash}{stem}", extension.lower() if stem else ""


def _label(content: bytes, extension: str, where: str) -> Label | None:
    if extension == CLASS:
        return as_label(content.decode("utf-8", "surrogateescape").strip(), f"{where}: its label")
    try:
        fields = parse_json(content)
    except ValueError:
        return None
    value = fields.get("label") if isinstance(fields, dict) else None
    return None if value is None else as_label(value, f"{where}: its label")


def _own_labels(samples: Sequence[Sample]) -> Labelled:
    place = samples[0].path.parent
    bare = next((each for each in samples if each.label is None), None)
    if bare is not None:
        raise ValueError(
            f"{bare.where} has no label, and others have; add its .cls, or label images by "
            "another rule"
        )
    labels = as_numbers(each.label for each in samples if each.label is not None)
    names = named_classes(place / CLASSES_FILE)
    if names is not None and not isinstance(labels[0], int) and set(labels) <= set(names):
        labels = [names.index(str(label)) for label in labels]
    return with_names(number_labels(labels, shown_path(place)), names, shown_path(place))


def _by_name(samples: Sequence[Sample], title: str, rule: str | None) -> Labelled:
    place = samples[0].path.parent

    def beside(name: str) -> bytes | None:
        file = place / name
        return read_regular(file, MOST_BYTES) if os.path.isfile(file) else None

    names = [each.entry.name for each in samples]
    return label_images(names, rule, title, shown_path(place), beside)
