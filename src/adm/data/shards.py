"""WebDataset shards, .tar archives -> Source: encoded images with labels, read in place."""

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import torch
from pydantic import Field

from adm.data.archive import MOST_MEMBERS
from adm.data.files import Files
from adm.data.labels import SPLITS, as_classes, label_rows, number_labels
from adm.data.lists import as_name, as_numbers
from adm.data.naming import EXTENSIONS, MAX_BYTES, check_size, natural, open_regular, plain
from adm.data.source import NoSplit, Source
from adm.shown import count_of, printable, shown_path
from adm.store.parsed import CLASSES, as_type, read_json

LABEL = "cls"  # WebDataset's extension of an image's label
CLASSES_FILE = "classes.json"  # the names of numbered classes, beside the shards
MAX_LABEL = 1 << 20  # bytes of a file with a label
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
SPLIT_NAME = re.compile(rf"({'|'.join(sorted(SPLIT_OF, key=len, reverse=True))})(?![a-z])", re.I)
# Raised by tarfile for damage.
UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class PackRecord:
    """The fields of `{split}.json` that give the number of shards of a split."""

    images: Annotated[int, Field(ge=0)]
    shard_size: Annotated[int, Field(ge=1)]


class Sample(NamedTuple):
    """An image of a shard, which is `size` bytes of the archive from `offset` on."""

    archive: Path
    name: str
    offset: int
    size: int
    label: str | None = None

    @property
    def where(self) -> str:
        return shown_path(f"{self.archive}/{self.name}")

    def open(self) -> BinaryIO:
        check_size(self.size, self.where, MAX_BYTES)
        with self.archive.open("rb") as file:  # of its own, so that threads share no position
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def open_shards(path: Path, split: str, rule: str | None) -> Source:
    """Index the images of a .tar archive, or of those of a split in a folder.

    The label of `0001.jpg` is in `0001.cls`, a number or a name; without any such file, all images
    are of one class. `classes.json` beside the archives may name numbered classes. If the names of
    archives in a folder begin with those of several splits, as `train-000000.tar`, each has its
    split; else all are of the training split.

    Args:
        path: the archive, or the folder.
        split: `train` or `test`.
        rule: a list by number, in the order of the archives, or `none`; see `labels.label_rows`.

    Raises:
        NoSplit: no archive is of the split.
        ValueError: not an uncompressed .tar, or damaged; no images, or one without a label; fewer
            archives than `examples/pack.py` was to write.
    """
    if path.is_dir():
        folder, title = path, path.resolve().name
        archives = _of_split(in_folder(path), split, path)
        _check_whole(archives, folder, split)
    else:
        folder, title = path.parent, path.resolve().stem
        archives = _of_split([path], split, path)
    samples = [sample for each in archives for sample in _samples(each)]
    if not samples:
        raise ValueError(f"{shown_path(archives[0])} has no images; give other files")
    labels = [each.label for each in samples if each.label is not None]
    if labels and len(labels) < len(samples) and rule is None:
        bare = next(each for each in samples if each.label is None)
        raise ValueError(
            f"{bare.where} has no label; add its .{LABEL}, or give a list of labels, or none"
        )
    own = as_numbers(labels) if len(labels) == len(samples) else [title] * len(samples)
    classes, numbers = number_labels(own, shown_path(folder))
    if isinstance(own[0], int):
        classes = _class_names(folder / CLASSES_FILE, classes)
    files = Files(lambda row: samples[row].open(), lambda row: samples[row].where)
    return label_rows(
        Source(printable(title), classes, torch.from_numpy(numbers), files), rule, split
    )


def in_folder(folder: Path) -> list[Path]:
    """Return the .tar archives of a folder in natural order."""
    return sorted(folder.glob("*.tar"), key=lambda path: natural(path.name))


def _of_split(archives: Sequence[Path], split: str, place: Path) -> Sequence[Path]:
    """The archives of a split, by the start of their names; all if they show one split."""
    starts = [SPLIT_NAME.match(path.name) for path in archives]
    names = [start[1].lower() if start else "train" for start in starts]
    if split == "train" and len({SPLIT_OF[name] for name in names}) == 1:
        return archives
    first = next((name for name in SPLITS[split] if name in names), None)
    chosen = [path for path, name in zip(archives, names, strict=True) if name == first]
    if not chosen:
        raise NoSplit(
            f"{shown_path(place)} has no {split} split; name its archives {split}-000000.tar, or "
            "give the archives of those images"
        )
    return chosen


def _check_whole(archives: Sequence[Path], folder: Path, split: str) -> None:
    """Raise ValueError if a folder has fewer shards of a split than `examples/pack.py` recorded."""
    try:
        record = as_type(PackRecord, read_json(folder / f"{split}.json"))
    except (OSError, ValueError):
        return  # of other shards
    expected = -(-record.images // record.shard_size)
    if len(archives) < expected:
        raise ValueError(
            f"{shown_path(folder)} has {len(archives)} of {expected} {split} shards, as "
            "`examples/pack.py` did not end; run the same command again to write the others"
        )


def _samples(path: Path) -> list[Sample]:
    """Return the images of an archive with the labels beside them; only these are read.

    Raises:
        ValueError: not an uncompressed .tar, damaged, or over `MOST_MEMBERS`.
    """
    images: dict[str, Sample] = {}
    labels: dict[str, str] = {}
    with open_regular(path) as file:
        try:
            for name, offset, size in _walk(file):
                folder, slash, last = name.rpartition("/")
                stem, _, extension = last.partition(".")  # at the first dot, as WebDataset does
                key, extension = f"{folder}{slash}{stem}", extension.lower()
                if stem and extension in EXTENSIONS:
                    images.setdefault(key, Sample(path, name, offset, size))
                elif stem and extension == LABEL and size <= MAX_LABEL:
                    file.seek(offset)
                    labels[key] = file.read(size).decode("utf-8", "surrogateescape").strip()
        except UNREADABLE as error:
            raise ValueError(
                f"{shown_path(path)} is damaged or not an uncompressed .tar "
                f"({shown_path(error) or type(error).__name__}); download it again, or decompress "
                "it"
            ) from None
    for key, label in labels.items():
        as_name(label, f"{shown_path(f'{path}/{key}.{LABEL}')}: its label")
    return [image._replace(label=labels.get(key)) for key, image in images.items()]


def _walk(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Yield the plain name of each regular file in a .tar, its offset and its size in bytes."""
    total = file.seek(0, io.SEEK_END)
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for count, member in enumerate(opened):
            if count == MOST_MEMBERS:
                raise ValueError(f"it has more than {MOST_MEMBERS} entries")
            if member.size < 0:  # from which tarfile would go back
                raise ValueError(f"a size below 0 at byte {member.offset}")
            if member.isreg():
                if member.offset_data + member.size > total:
                    raise ValueError(f"it ends within {member.name}")
                yield plain(member.name), member.offset_data, member.size
        file.seek(opened.offset)  # a damaged header looks to tarfile like the end
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError(f"no header at byte {opened.offset}")


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
