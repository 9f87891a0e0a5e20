"""Name of a Hugging Face data set -> Files: encoded images with labels."""

import io
from typing import Any, BinaryIO

import numpy as np
import torch

from adm.data.files import Files, open_image
from adm.data.labels import SPLITS, Labelled, as_classes, numbered, of_one_class
from adm.data.lists import as_label
from adm.data.naming import at_home
from adm.data.source import NoSplit
from adm.extras import installing
from adm.shown import count_of, printable, shown_path

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category")
SAVED = ("dataset_dict.json", "state.json")  # written by `save_to_disk`


def hub(place: str, split: str = "train") -> Files:
    """Open a data set with `datasets`, leaving its images encoded.

    The columns of images and of labels are recognised by their types and names; a column of type
    ClassLabel keeps its class names.

    Args:
        place: `NAME`, `NAME@CONFIG`, or a folder written by `save_to_disk` or of parquet or image
            files.
        split: `train` or `test`.

    Raises:
        ValueError: `datasets` is not installed or cannot open the data, or they have no images.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"hf:{shown_path(place)} needs the package datasets, which is not installed; "
            f"{installing('hub')}"
        ) from None
    found = _opened(datasets, place, split)
    where = f"hf:{shown_path(place)}"
    images = [name for name, kind in found.features.items() if isinstance(kind, datasets.Image)]
    if not images or not len(found):
        raise ValueError(
            f"{where} has no images in {count_of(len(found), 'row')} with the columns "
            f"{shown_path(', '.join(found.features))}; give data with a column of type Image"
        )
    column = "image" if "image" in images else images[0]
    labels = _labels(datasets, found, place)
    encoded = found.select_columns(column).cast_column(column, datasets.Image(decode=False))

    def open_(index: int) -> BinaryIO:
        image = encoded[index][column]
        if image["bytes"] is not None:
            return io.BytesIO(image["bytes"])
        return open_image(image["path"])

    return Files(
        printable(_title(place)),
        labels.classes,
        torch.from_numpy(labels.labels),
        open_,
        lambda index: f"{where}, {split} row {index}",
    )


def _title(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2]


def _opened(datasets: Any, place: str, split: str) -> Any:
    """The split as a `datasets.Dataset`."""
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False  # otherwise, versions before 4 ask
    path = at_home(place)
    name, _, config = place.partition("@")
    try:
        if path.is_dir() and any((path / mark).is_file() for mark in SAVED):
            found = datasets.load_from_disk(str(path))
        elif path.is_dir():
            found = datasets.load_dataset(str(path))
        else:
            found = datasets.load_dataset(name, config or None)
    except Exception as error:  # the hub, the network and the files raise many types
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"hf:{shown_path(place)} cannot be opened ({shown_path(reason)}); give NAME, "
            "NAME@CONFIG or a folder"
        ) from None
    if not isinstance(found, dict):
        found = {"train": found}
    for one in SPLITS[split]:
        if one in found:
            return found[one]
    raise NoSplit(
        f"hf:{shown_path(place)} has no {split} split; its splits are "
        f"{shown_path(', '.join(found))}; give data with one"
    )


def _labels(datasets: Any, found: Any, place: str) -> Labelled:
    kinds, where = found.features, f"hf:{shown_path(place)}"
    typed = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    column = next((name for name in LABEL_COLUMNS if name in (typed or kinds)), None)
    column = column or next(iter(typed), None)
    if column is None:
        return of_one_class(_title(place), len(found), where)
    values = found.with_format(None)[column][:]
    if column in typed:
        if any(value is None or value < 0 for value in values):
            raise NoSplit(
                f"{where}: the {column} of some rows is -1 or absent; give a split in which all "
                "rows are labelled"
            )
        names = as_classes(kinds[column].names, where)
        if max(values, default=0) >= len(names):
            raise ValueError(
                f"{where}: labels go up to {max(values)}, and the classes have "
                f"{count_of(len(names), 'name')}; give data whose labels have names"
            )
        return Labelled(names, list(range(len(found))), np.array(values, np.int64))
    return numbered([as_label(value, f"{where}: a {column}") for value in values], where)
