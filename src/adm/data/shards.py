"""WebDataset shards, .tar archives -> Source: encoded images with labels, read in place."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

from pydantic import Field

from adm.data.archive import Entry, read_entry, tar_archive, tar_entries
from adm.data.files import Files
from adm.data.labels import (
    SPLITS,
    Labelled,
    Tree,
    label_images,
    named_classes,
    number_labels,
    with_names,
)
from adm.data.lists import Label, as_label, as_numbers, reader_of
from adm.data.naming import EXTENSIONS, natural
from adm.data.numbering import by_number, is_by_number, numbered_name
from adm.data.source import NoSplit, Source
from adm.shown import count_of, shown_path
from adm.store.parsed import as_type, parse_json, read_json

CLASS, FIELDS = "cls", "json"  # WebDataset's extensions of an image's label and metadata
LABELLING = (f".{CLASS}", f".{FIELDS}")
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
        return io.BytesIO(read_entry(self.archive, self.entry))


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
        split: `train` or `test`, for a single archive.
        labels: another rule or a list; see `labels.label_images`. A list may name images by number
            (`numbering`), in the order of the archives, because files of several may have one name.

    Raises:
        ValueError: not an uncompressed .tar, or damaged; no images; labels for some images only;
            and as `folder.image_folder`.
    """
    samples = [Sample(path, *image) for path in paths for image in _images_of(path)]
    by_list = is_by_number(labels)
    own = (labels is None or by_list) and any(each.label is not None for each in samples)
    if len(paths) == 1 and not own:
        return tar_archive(paths[0]).source(split, labels)
    if len(paths) == 1 and split != "train" and paths[0].parent.name not in SPLITS[split]:
        of_split(paths, split, str(paths[0]))
    if not samples:
        raise ValueError(
            f"{shown_path(paths[0])} and {len(paths) - 1} more have no images; give other files"
        )
    names = [each.entry.name for each in samples]
    files = Files(lambda row: samples[row].open(), lambda row: samples[row].where)
    place = paths[0].parent
    tree = Tree(title, title, shown_path(place), names, files, reader_of(place))
    if by_list:
        chosen = number_labels([title] * len(samples), tree.place)
    else:
        chosen = _own_labels(samples, tree) if own else label_images(tree, labels)
    source = chosen.source(title, files, partial(numbered_name, split))
    return by_number(source, labels, split) if by_list else source


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


def _images_of(archive: Path) -> list[tuple[Entry, Label | None]]:
    """Return the images among the files of an archive, with the labels beside them."""
    images: dict[str, Entry] = {}
    labels: dict[str, Label] = {}
    for entry, content in tar_entries(archive, lambda name: name.endswith(LABELLING)):
        key, extension = _key(entry.name)
        if extension in EXTENSIONS:
            images.setdefault(key, entry)
        elif extension in (CLASS, FIELDS):
            label = _label(content, extension, shown_path(f"{archive}/{entry.name}"))
            if label is not None and (extension == CLASS or key not in labels):
                labels[key] = label
    return [(entry, labels.get(key)) for key, entry in images.items()]


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


def _own_labels(samples: Sequence[Sample], tree: Tree) -> Labelled:
    bare = next((each for each in samples if each.label is None), None)
    if bare is not None:
        raise ValueError(
            f"{bare.where} has no label, and others have; add its .cls, or label images by "
            "another rule"
        )
    labels = as_numbers(each.label for each in samples if each.label is not None)
    names = named_classes(tree.inside, tree.place)
    if names is not None and not isinstance(labels[0], int) and set(labels) <= set(names):
        labels = [names.index(str(label)) for label in labels]
    return with_names(number_labels(labels, tree.place), names, tree.place)
