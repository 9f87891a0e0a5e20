"""Images, ClusterSearch -> labels.csv, labels to train with; labels.json: how they were made."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adm.app.report import Block, Cell, ImageRow, Images, Note, Table, Title, page
from adm.app.report.page import tiles
from adm.app.scoring.clusters import Clustering, ClusterSearch, Tried
from adm.app.scoring.extraction import FeatureSet
from adm.app.scoring.manifest import versions
from adm.data import Source
from adm.data.lists import csv_pairs
from adm.shown import LONGEST_PATH, count_of, shown, shown_path
from adm.store.files import write_bytes, write_json
from adm.store.hashes import sha256_of
from adm.store.parsed import cached_json

FORMAT = 1  # of labels.json
LEAST_DIGITS = 2  # of the number of a cluster


class NamedImages(NamedTuple):
    """The images of a split.

    Attributes:
        names: of the images in a list of labels.
        split: of the data, `train` or `test`.
    """

    source: Source
    names: Sequence[str]
    split: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a list was made: the content of labels.json.

    Attributes:
        data, split: name of the data, and their split.
        images: number of images.
        assigned: number of images of the other split, which are in the list with the cluster whose
            centre is nearest; 0 for none.
        shape: (C, H, W) of an image.
        data_sha256: of the pixels of all images, see `FeatureSet.digest`.
        features, fingerprint: of the features.
        clusters, seed: see `Clustering`.
        sizes: images of each cluster, from cluster-00 on.
        inertia: mean squared distance to the centres, of standardised features.
        tried: the numbers of clusters that were compared; empty if the number was given.
        list_sha256: of the list of labels.
        versions: of the packages.
    """

    data: str
    split: str
    images: int
    assigned: int
    shape: tuple[int, int, int]
    data_sha256: str
    features: str
    fingerprint: str
    clusters: int | None
    seed: int
    format: int = FORMAT
    sizes: tuple[int, ...]
    inertia: float
    tried: tuple[Tried, ...]
    list_sha256: str
    versions: dict[str, str]

    def __str__(self) -> str:
        sizes, other = self.sizes, "train" if self.split == "test" else "test"
        more = f", and {self.assigned:,} of the {other} split" if self.assigned else ""
        return (
            f"{self.images:,} images in {len(sizes):,} clusters of {min(sizes):,} to "
            f"{max(sizes):,}{more}"
        )


def write_list(
    search: ClusterSearch,
    images: NamedImages,
    features: FeatureSet,
    clustering: Clustering,
    out: Path,
    others: tuple[NamedImages, FeatureSet] | None = None,
) -> Record:
    """Write a list of labels, then its record, each atomically.

    Args:
        images, features: the clustered images, and their features.
        out: the list, a .csv file; its record is beside it.
        others: images that get the cluster with the nearest centre, and their features.
    """
    sizes, names = search.clusters.sizes.tolist(), list(images.names)
    labels, ids = cluster_names(len(sizes)), search.clusters.of_images.tolist()
    if others is not None:
        names += others[0].names
        ids += search.clusters.nearest(others[1].pool).tolist()
    content = to_csv(names, [labels[cluster] for cluster in ids])
    record = Record(
        data=images.source.name,
        split=images.split,
        images=len(images.source),
        assigned=0 if others is None else len(others[0].source),
        shape=images.source.shape,
        data_sha256=features.digest,
        features=features.name,
        fingerprint=features.fingerprint,
        **asdict(clustering),
        sizes=tuple(sizes),
        inertia=search.clusters.inertia,
        tried=search.tried,
        list_sha256=sha256_of(content),
        versions=versions() | {"scikit-learn": version("scikit-learn")},
    )
    write_bytes(out, content)
    write_json(record_path(out), asdict(record))
    return record


def record_path(out: Path) -> Path:
    """Return the path of the record of a list of labels: labels.json beside labels.csv."""
    return out.with_suffix(".json")


def check_replaceable(out: Path) -> None:
    """Raise ValueError if the path of the record is that of another file."""
    path = record_path(out)
    if not path.exists():
        return
    record = cached_json(path)
    if record is None or record.get("format") != FORMAT or "list_sha256" not in record:
        raise ValueError(
            f"{shown_path(path)} is not the record of {shown_path(out)}; move it away, or choose "
            "another path for the list"
        )


def cluster_names(count: int) -> tuple[str, ...]:
    """Return cluster-00, cluster-01 and so on, all of one length."""
    digits = max(LEAST_DIGITS, len(str(count - 1)))
    return tuple(f"cluster-{number:0{digits}d}" for number in range(count))


def names_of(data: Source) -> list[str]:
    """Return the names in a list of the images of data that `registry.find` has opened.

    Raises:
        ValueError: a name cannot be written to a list.
    """
    names = list(map(data.listed, range(len(data))))
    if not _survive(names):
        strange = next(name for name in names if not _survive([name]))
        raise ValueError(
            f"{shown(strange, LONGEST_PATH)} cannot be written to a list of labels; rename it, "
            "without control characters and without spaces at its ends"
        )
    return names


def to_csv(names: Sequence[str], labels: Sequence[str]) -> bytes:
    """Return the content of a list: rows file,label with headings."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "label"))
    rows.writerows(zip(names, labels, strict=True))
    return text.getvalue().encode()


def _survive(names: list[str]) -> bool:
    """Whether these names survive writing and reading a list."""
    try:
        pairs = csv_pairs(to_csv(names, ["any"] * len(names)), "the list", ",")
    except ValueError:  # also of a name that is no Unicode
        return False
    return [file for file, _ in pairs] == names


ACROSS = 8  # images of each kind in a row
MOST_ROWS = 200  # clusters shown
LEAD = (
    "Images that are near to each other in the features; no label was used. A model that is "
    "trained on these clusters names its classes after them."
)


def cluster_page(search: ClusterSearch, source: Source, record: Record) -> str:
    """Return the HTML page.

    Args:
        source: the images, whose labels are shown beside the clusters if they are of several
            classes.
    """
    count = len(record.sizes)
    blocks: list[Block] = [
        Title("Result"),
        Note(_sentences(search, source, record), "result"),
        Title("Clusters, by size"),
        Images(_rows(search, source), ("nearest to the centre", "at random"), ACROSS),
    ]
    quiet = []
    if count > MOST_ROWS:
        quiet.append(f"{count - MOST_ROWS} smaller clusters are not shown.")
    if search.agreement is not None:
        quiet.append(
            "Beside each cluster: the most common label of the data, and its share of the "
            "cluster's images. Labels were not used to find the clusters."
        )
    blocks += [Note(quiet, "quiet")] * bool(quiet)
    if record.tried:
        better = "higher is better"
        headings = ("clusters", Cell("silhouette", better), Cell("images of the smallest", better))
        tried = [(f"{t.clusters}", f"{t.silhouette:.3f}", f"{t.smallest}") for t in record.tried]
        blocks += [
            Title("Numbers of clusters that were tried"),
            Table(headings, tried),
            Note(
                ["The silhouette is the mean over up to 5,000 images, in -1 to 1."],
                "quiet",
            ),
        ]
    title = f"{record.data}: {count_of(count, 'cluster')}"
    return page(title, blocks, lead=LEAD, facts=_facts(search, record), settings=asdict(record))


def _facts(search: ClusterSearch, record: Record) -> list[tuple[str, str]]:
    agreed = search.agreement
    facts = [
        ("data", f"{record.data}, {record.split} split"),
        ("images", f"{record.images:,}"),
        ("clusters", f"{len(record.sizes):,}"),
        ("features", record.features),
        ("seed", str(record.seed)),
    ]
    if agreed is not None:
        facts += [("purity", f"{agreed.purity:.3f}")]
        facts += [("normalised mutual information", f"{agreed.information:.3f}")]
    return facts


def _sentences(search: ClusterSearch, source: Source, record: Record) -> list[str]:
    sentences = [f"{record}."]
    if record.tried:
        sentences.append(
            f"{len(record.sizes)} has the largest silhouette of the {len(record.tried)} numbers of "
            "clusters that were tried."
        )
    if search.agreement is not None:
        sentences.append(
            f"{search.agreement.purity:.1%} of the images have the most common of the "
            f"{len(source.classes)} labels of their cluster."
        )
    sentences.append(
        f"Score samples of these clusters by other features than {record.features}, in which they "
        "were found."
    )
    return sentences


def _rows(search: ClusterSearch, source: Source) -> list[ImageRow]:
    """Return what is shown of each cluster, from the largest on."""
    order = search.clusters.points.order
    distances = search.clusters.distances()
    names, agreed = cluster_names(len(search.clusters.sizes)), search.agreement
    rows = []
    for cluster, name in enumerate(names[:MOST_ROWS]):
        members = np.flatnonzero(search.clusters.ids == cluster)
        near = members[np.argsort(distances[members], kind="stable")[:ACROSS]]
        # The order of the points is that of hashes, so that some that are evenly spread are random.
        spread = np.linspace(0, len(members) - 1, min(ACROSS, len(members)))
        chosen = [near, members[np.unique(spread.astype(np.int64))]]
        common = None
        if agreed is not None:
            label = source.classes[agreed.common[cluster]]
            common = f"{agreed.shares[cluster]:.0%} {label}"
        size = f"{len(members):,} image{'s' if len(members) > 1 else ''}"
        pictures = [tiles(source.batch(order[each].tolist())[0], ACROSS) for each in chosen]
        rows.append(ImageRow("\n".join(filter(None, (name, size, common))), pictures))
    return rows
