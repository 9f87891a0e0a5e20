"""Name of a Hugging Face data set -> Source: encoded images with labels."""

import io
from typing import Any, BinaryIO

import numpy as np
import torch

from adm.data.files import Files
from adm.data.labels import SPLITS, as_classes, number_labels
from adm.data.lists import as_name, as_numbers
from adm.data.naming import MAX_BYTES, at_home, open_regular
from adm.data.source import NoSplit, Source
from adm.extras import installing
from adm.shown import count_of, printable, shown_path

LABEL = "label"  # the column that is taken, or else the first of type ClassLabel
SAVED = ("dataset_dict.json", "state.json")  # written by `save_to_disk`


def hub(place: str, split: str = "train") -> Source:
    """Open a data set with `datasets`, leaving its images encoded.

    Labels are in the column `label`, or else in the first of type ClassLabel, which keeps its class
    names.

    Args:
        place: `NAME`, `NAME@CONFIG`, or a folder written by `save_to_disk` or of parquet or image
            files.
        split: `train` or `test`.

    Raises:
        ValueError: `datasets` is not installed or cannot open the data, or they have no images.
    """
    if not place:
        raise ValueError("give the data set: hf:NAME, hf:NAME@CONFIG or hf:/FOLDER")
    where, title = f"hf:{shown_path(place)}", place.rstrip("/").rpartition("/")[2]
    try:
        import datasets  # an extra
    except ImportError:
        raise ValueError(
            f"{where} needs the package datasets, which is not installed; {installing('hub')}"
        ) from None
    rows = _rows(datasets, place, split, where)
    images = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if not images or not len(rows):
        raise ValueError(
            f"{where} has no images in {count_of(len(rows), 'row')} with the columns "
            f"{shown_path(', '.join(rows.features))}; give data with a column of type Image"
        )
    column = "image" if "image" in images else images[0]
    encoded = rows.select_columns(column).cast_column(column, datasets.Image(decode=False))

    def open_(row: int) -> BinaryIO:
        image = encoded[row][column]
        if image["bytes"] is None:
            return open_regular(image["path"], MAX_BYTES)
        return io.BytesIO(image["bytes"])

    classes, numbers = _labels(datasets, rows, title, where)
    files = Files(open_, lambda row: f"{where}, {split} row {row}")
    return Source(printable(title), classes, torch.from_numpy(numbers), files)


def _rows(datasets: Any, place: str, split: str, where: str) -> Any:
    """The split as a `datasets.Dataset`."""
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False  # versions before 4 prompt otherwise
    path = at_home(place)
    name, _, config = place.partition("@")
    try:
        if path.is_dir() and any((path / mark).is_file() for mark in SAVED):
            splits = datasets.load_from_disk(str(path))
        elif path.is_dir():
            splits = datasets.load_dataset(str(path))
        else:
            splits = datasets.load_dataset(name, config or None)
    except Exception as error:  # the hub, the network and the files raise many types
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{where} cannot be opened ({shown_path(reason)}); give NAME, NAME@CONFIG or a folder"
        ) from None
    if not isinstance(splits, dict):
        splits = {"train": splits}
    rows = next((splits[each] for each in SPLITS[split] if each in splits), None)
    if rows is None:
        raise NoSplit(
            f"{where} has no {split} split; its splits are {shown_path(', '.join(splits))}; give "
            "data with one"
        )
    return rows


def _labels(datasets: Any, rows: Any, title: str, where: str) -> tuple[tuple[str, ...], np.ndarray]:
    kinds = rows.features
    typed = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    column = LABEL if LABEL in kinds else next(iter(typed), None)
    if column is None:
        return number_labels([title] * len(rows), where)
    values = rows.with_format(None)[column][:]
    numbered = column in typed
    if any(value is None or (numbered and value < 0) for value in values):
        raise NoSplit(
            f"{where}: the {column} of some rows is -1 or absent; give a split in which all rows "
            "are labelled"
        )
    if not numbered:
        texts = [as_name(str(value), f"{where}: a {column}") for value in values]
        return number_labels(as_numbers(texts), where)
    names = as_classes(kinds[column].names, where)
    if max(values, default=0) >= len(names):
        raise ValueError(
            f"{where}: labels go up to {max(values)}, and the classes have "
            f"{count_of(len(names), 'name')}; give data whose labels have names"
        )
    return names, np.array(values, np.int64)
