"""WebDataset shards, .tar archives -> Source: encoded images with labels, read in place."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import torch
from pydantic import Field

from adm.data.archive import Entry, archive, read_entry, tar_entries
from adm.data.files import Files
from adm.data.labels import SPLITS, as_classes, label_rows, number_labels
from adm.data.lists import Label, as_label, as_numbers
from adm.data.naming import EXTENSIONS, natural, open_regular
from adm.data.source import NoSplit, Source
from adm.shown import count_of, printable, shown_path
from adm.store.parsed import CLASSES, as_type, parse_json, read_json

CLASS, FIELDS = "cls", "json"  # WebDataset's extensions of an image's label and metadata
CLASSES_FILE = "classes.json"  # the names of numbered classes, beside the shards
MAX_LABEL = 1 << 20  # bytes of a file with a label
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
SPLIT_NAME = re.compile(rf"({'|'.join(sorted(SPLIT_OF, key=len, reverse=True))})(?![a-z])", re.I)


@dataclass(frozen=True)
class PackRecord:
    """The fields of `{split}.json` that give the number of shards of a split."""

    images: Annotated[int, Field(ge=0)]
    shard_size: Annotated[int, Field(ge=1)]


class Sample(NamedTuple):
    """An image of a shard."""

    archive: Path
    entry: Entry
    label: Label | None

    @property
    def where(self) -> str:
        return shown_path(f"{self.archive}/{self.entry.name}")

    def open(self) -> BinaryIO:
        with self.archive.open("rb") as file:
            return io.BytesIO(read_entry(file, self.entry, self.where))


def tar_archives(
    paths: Sequence[Path], title: str, split: str = "train", labels: str | None = None
) -> Source:
    """Index the images of one or more .tar archives.

    Archives in WebDataset's layout have the label of `0001.jpg` in `0001.cls`, a number or a name,
    or in `0001.json`, {"label": ...}. `classes.json` beside the archives may name numbered classes.
    A single archive without such files is labelled like a folder with the same files.

    Args:
        paths: the archives of one split; or a single one with a folder for each split.
        title: name of the data.
        split: `train` or `test`.
        labels: of a single archive without labels, see `labels.Tree`; of others, a list by number,
            in the order of the archives, or `none`, see `labels.label_rows`.

    Raises:
        ValueError: not an uncompressed .tar, or damaged; no images, or one without a label.
    """
    samples = [sample for path in paths for sample in _samples(path)]
    first, bare = paths[0], [each for each in samples if each.label is None]
    if len(paths) == 1 and len(bare) == len(samples):
        return archive(first).source(split, labels)
    if len(paths) == 1 and split != "train" and first.parent.name not in SPLITS[split]:
        of_split(paths, split, str(first))
    if not samples:
        raise ValueError(
            f"{shown_path(first)} and {len(paths) - 1} more have no images; give other files"
        )
    if bare and labels is None:
        raise ValueError(
            f"{bare[0].where} has no label; add its .{CLASS}, or give a list of labels, or none"
        )
    own = as_numbers([title if each.label is None else each.label for each in samples])
    classes, numbers = number_labels(own, shown_path(first.parent))
    if isinstance(own[0], int):
        classes = _class_names(first.parent / CLASSES_FILE, classes)
    files = Files(lambda row: samples[row].open(), lambda row: samples[row].where)
    source = Source(printable(title), classes, torch.from_numpy(numbers), files)
    return label_rows(source, labels, split)


def of_split(paths: Sequence[Path], split: str, place: str) -> list[Path]:
    """The archives of a split, by names such as `train-000000.tar`; all if names show one split.

    Raises:
        NoSplit: no archive is of the split.
    """
    starts = [SPLIT_NAME.match(path.name) for path in paths]
    names = [start[1].lower() if start else "train" for start in starts]
    if len({SPLIT_OF[name] for name in names}) < 2 and split == "train":
        return list(paths)
    prefix = next((name for name in SPLITS[split] if name in names), None)
    chosen = [path for path, name in zip(paths, names, strict=True) if name == prefix]
    if not chosen:
        raise NoSplit(
            f"{shown_path(place)} has no {split} split; name its archives {split}-000000.tar, or "
            "give the archives of those images"
        )
    return chosen


def in_folder(folder: Path, split: str) -> list[Path]:
    """Return the archives of a split in a folder, or else in its sub-folder of that split."""
    if direct := _tars(folder):
        return of_split(direct, split, str(folder))
    return next(filter(None, (_tars(folder / name) for name in SPLITS[split])), [])


def _tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"), key=lambda path: natural(path.name))


def check_whole(archives: Sequence[Path]) -> None:
    """Raise ValueError if a folder has fewer shards of a split than `adm data pack` recorded.

    Other folders of shards may have other files of these names, which are ignored.

    Args:
        archives: all of a split in the folder.
    """
    folder = archives[0].parent
    for split in SPLITS:
        present = [path for path in archives if path.name.startswith(f"{split}-")]
        try:
            record = as_type(PackRecord, read_json(folder / f"{split}.json"))
        except (OSError, ValueError):
            continue
        expected = -(-record.images // record.shard_size)
        if present and len(present) < expected:
            shards = count_of(expected, f"{split} shard")
            raise ValueError(
                f"{shown_path(folder)} has {len(present)} of {shards}, as "
                "`adm data pack` did not end; run the same command again to write the others"
            )


def _samples(path: Path) -> list[Sample]:
    """Return the images of an archive, with the labels beside them."""
    images: dict[str, Entry] = {}
    labels: dict[str, Label] = {}
    with open_regular(path) as file:
        for entry in tar_entries(path):
            key, extension = _key(entry.name)
            if extension in EXTENSIONS:
                images.setdefault(key, entry)
            elif extension in (CLASS, FIELDS) and entry.size <= MAX_LABEL:
                where = shown_path(f"{path}/{entry.name}")
                label = _label(read_entry(file, entry, where), extension, where)
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


def _class_names(path: Path, numbered: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of classes in a file, ["cat", "dog", ...]; without it, their numbers."""
    if not path.is_file():
        return numbered
    try:
        names = as_type(list[str], read_json(path, CLASSES))
    except ValueError:
        names = []
    if not names or len(set(names)) < len(names):
        raise ValueError(f'{path} must be unique class names, as in ["cat", "dog"]; correct it')
    if len(names) < len(numbered):
        raise ValueError(
            f"{path} has {count_of(len(names), 'name')} and labels go up to {len(numbered) - 1}; "
            "give every class a name"
        )
    return as_classes(names, str(path))
