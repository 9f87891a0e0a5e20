"""labels.json <-> Record: what a list of clusters was made from, and how; without torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from adm.app.scoring.clustering.choose import Tried
from adm.limits import MOST_CLASSES, MOST_SIDE, MOST_TEXT
from adm.shown import shown_path
from adm.store.files import write_text
from adm.store.hashes import sha256
from adm.store.parsed import as_type, read_json

MOST_IMAGES = 1 << 32

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
Text = Annotated[str, Field(max_length=MOST_TEXT)]
Short = Annotated[str, Field(max_length=1000)]
Size = Annotated[int, Field(ge=1, le=MOST_IMAGES)]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that the clusters of images depend on but the versions of packages.

    Attributes:
        data, split: name of the data, and their split.
        images: number of images.
        assigned: number of images of the other split, which are in the list with the cluster whose
            centre is nearest; 0 for none.
        shape: (C, H, W) of an image.
        data_sha256: of the fingerprint of the images and of their names.
        features, fingerprint: of the features.
        clusters: the number that was asked for; None for the one with the largest silhouette.
        seed, starts: of K-means.
    """

    data: Text
    split: Literal["train", "test"]
    images: Annotated[int, Field(ge=2, le=MOST_IMAGES)]
    assigned: Annotated[int, Field(ge=0, le=MOST_IMAGES)] = 0
    shape: tuple[Side, Side, Side]
    data_sha256: Sha256
    features: Short
    fingerprint: Short
    clusters: Annotated[int, Field(ge=2, le=MOST_CLASSES)] | None
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    starts: Annotated[int, Field(ge=1, le=10_000)]


@dataclass(frozen=True, kw_only=True)
class Record(Request):
    """A request, and the clusters that were found.

    Attributes:
        sizes: images of each cluster, from cluster-00 on.
        inertia: mean squared distance to the centres, of standardised features.
        tried: the numbers of clusters that were compared; empty if the number was given.
        list_sha256: of the list of labels.
        versions: of the packages.
    """

    format: Literal[1] = 1
    sizes: Annotated[tuple[Size, ...], Field(min_length=2, max_length=MOST_CLASSES)]
    inertia: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    tried: Annotated[tuple[Tried, ...], Field(max_length=100)] = ()
    list_sha256: Sha256
    versions: dict[Short, Short]

    def __post_init__(self) -> None:
        if sum(self.sizes) != self.images:
            raise ValueError("its clusters have another number of images")


def path_beside(out: Path) -> Path:
    """Return the path of the record of a list of labels: labels.json beside labels.csv."""
    return out.with_suffix(".json")


def save(record: Record, out: Path) -> None:
    """Write the record of the list of labels `out`, atomically."""
    write_text(path_beside(out), json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")


def check_replaceable(out: Path) -> None:
    """Raise ValueError if there is a file in the place of the record that is no record."""
    path = path_beside(out)
    if not path.exists():
        return
    try:
        as_type(Record, read_json(path))
    except ValueError:
        raise ValueError(
            f"{shown_path(path)}, in which the settings of {shown_path(out)} are kept, is another "
            "file or of another version; move it away, or choose another --out"
        ) from None


def finished(request: Request, out: Path) -> Record | None:
    """Return the record of a list of labels that this request made; None if there is none.

    Lists and records that are absent, damaged or of other requests are none: they are made again.
    """
    try:
        record = as_type(Record, read_json(path_beside(out)))
        same = all(_equal(record, request, field.name) for field in fields(Request))
        return record if same and sha256(out) == record.list_sha256 else None
    except (OSError, ValueError):
        return None


def _equal(record: Record, request: Request, name: str) -> bool:
    return getattr(record, name) == getattr(request, name)


def summary(record: Record) -> str:
    """Describe the clusters in a line."""
    sizes: Sequence[int] = record.sizes
    found = (
        f"{record.images:,} images in {len(sizes):,} clusters of {min(sizes):,} to {max(sizes):,}"
    )
    other = "train" if record.split == "test" else "test"
    more = f", and {record.assigned:,} of the {other} split" if record.assigned else ""
    return found + more
