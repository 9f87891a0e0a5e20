"""Several sets of images with classes -> how alike the images of a class are in each, as a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adm.app.report import Block, Cell, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.curve import formatted, parts
from adm.data import Source
from adm.pictures import Row, sheet
from adm.scoring import FeatureSet, Score
from adm.shown import few, printable, short

MOST = 2000  # images of a class between which distances are computed; the first ones
Z = 1.959964  # of a 95% interval
MOST_NAMED = 12  # classes of a message
ACROSS = 6  # images of a row, of each source
TITLE = "Images of a class, side by side"
LIKE_REAL = "like real images is better"
LEAD = (
    "The first images of each class, not selected. Below them: the mean distance between two "
    "images of the class, which is small where they look alike."
)


class OfClass(NamedTuple):
    """One class in every source, in their order.

    Attributes:
        name: of the class.
        indices: of its images in each source.
        distances: mean distance between two of them, in each source.
    """

    name: str
    indices: list[list[int]]
    distances: list[Score]


@dataclass(frozen=True)
class SideBySide:
    """Several sets of images, class by class.

    Attributes:
        sources: their names.
        features: the features in which distances are measured.
        classes: shared by all of them.
    """

    sources: list[str]
    features: str
    classes: list[OfClass]

    def to_json(self) -> dict[str, Any]:
        """Return the distances as JSON values."""
        return {
            "features": self.features,
            "within_class_distance": {
                each.name: {
                    source: {"images": len(indices), **score.to_json()}
                    for source, indices, score in zip(
                        self.sources, each.indices, each.distances, strict=True
                    )
                }
                for each in self.classes
            },
        }

    @property
    def scores(self) -> list[Score]:
        """All distances and their means, which are shown with equally many decimals."""
        return [*self.mean(), *(score for each in self.classes for score in each.distances)]

    def mean(self) -> list[Score]:
        """Return the mean over classes of each source, with its interval."""
        means = []
        for column in zip(*(each.distances for each in self.classes), strict=True):
            value = float(np.mean([score.value for score in column]))
            half = np.sqrt(np.sum([((s.high - s.low) / 2) ** 2 for s in column])) / len(column)
            means.append(Score(value, value - float(half), value + float(half)))
        return means


def shared_classes(sources: Sequence[Source], requested: Sequence[str] | None = None) -> list[str]:
    """Return the classes that all sources have, as the first one calls them, or those requested.

    Names are compared without case.

    Args:
        requested: names of classes; None for all.

    Raises:
        ValueError: no class is shared, or a requested one is not.
    """
    known = [{name.casefold() for name in source.classes} for source in sources]
    shared = [name for name in sources[0].classes if all(name.casefold() in each for each in known)]
    if not shared:
        listed = "; ".join(f"{each.name} has {_named(each.classes)}" for each in sources)
        raise ValueError(f"no class is in all of the images: {listed}")
    if requested is None:
        return shared
    folded = {name.casefold(): name for name in shared}
    if unknown := [name for name in requested if name.casefold() not in folded]:
        raise ValueError(
            f"no class {', '.join(map(repr, unknown))} is in all of the images; those are "
            f"{_named(shared)}"
        )
    return [folded[name.casefold()] for name in requested]


def compare(
    sources: Sequence[Source], features: Sequence[FeatureSet], names: Sequence[str]
) -> SideBySide:
    """Compare the images of each class.

    Args:
        sources: images with classes.
        features: of each source.
        names: of shared classes, from `shared_classes`.
    """
    classes = []
    for name in names:
        labels = [[*map(str.casefold, each.classes)].index(name.casefold()) for each in sources]
        labelled = zip(sources, labels, strict=True)
        indices = [torch.nonzero(each.labels == label)[:, 0].tolist() for each, label in labelled]
        pairs = zip(features, indices, strict=True)
        distances = [within_class(np.asarray(each.pool[chosen])) for each, chosen in pairs]
        classes.append(OfClass(name, indices, distances))
    return SideBySide([source.name for source in sources], features[0].name, classes)


def within_class(features: NDArray[np.float32]) -> Score:
    """Return the mean Euclidean distance between two images of a class, with a 95% interval.

    It is small if they look alike to the network, and 0 if they are all the same. The variance of
    this mean over pairs is 4 / N of that of the mean distances of each image to the others
    (Hoeffding 1948).

    Args:
        features: (N, D), of which the first `MOST` images are used; NaN for fewer than two, and no
            interval for two, which are at one distance.
    """
    some = features[:MOST].astype(np.float64)
    count = len(some)
    if count < 2:
        return Score(math.nan)
    squares = (some**2).sum(1)
    apart = squares[:, None] + squares[None] - 2 * some @ some.T
    distances = np.sqrt(np.maximum(apart, 0))
    np.fill_diagonal(distances, 0)
    means = distances.sum(1) / (count - 1)
    value = float(means.mean())
    if count < 3:
        return Score(value)
    error = 2 * float(means.std(ddof=1)) / math.sqrt(count)
    return Score(value, max(0.0, value - Z * error), value + Z * error)


def page(
    comparison: SideBySide, sources: Sequence[Source], shown: Sequence[str], count: int
) -> str:
    """Return the HTML page.

    Args:
        shown: classes whose images are shown; the table has all.
        count: images of each class and source.
    """
    blocks: list[Block] = []
    column = comparison.scores
    for each in comparison.classes:
        if each.name in shown:
            pairs = zip(sources, each.indices, strict=True)
            pictures = [tiles(source.batch(chosen[:count])[0], ACROSS) for source, chosen in pairs]
            row = ImageRow("", pictures, [formatted(score, column) for score in each.distances])
            blocks += [Title(each.name), Images([row], comparison.sources, ACROSS)]
    rows = [*((each.name, each.distances) for each in comparison.classes)]
    rows.append(("mean", comparison.mean()))
    cells = [[name, *(Cell(*parts(score, column)) for score in scores)] for name, scores in rows]
    blocks += [
        Title("Mean distance between two images of a class"),
        Table(["class", *(Cell(name, LIKE_REAL) for name in comparison.sources)], cells),
        Note(["In small letters: 95% intervals over images."], "quiet"),
    ]
    facts = [(f"images {i}", f"{each.name}, {len(each):,}") for i, each in enumerate(sources, 1)]
    facts.append(("features", comparison.features))
    return page_of(TITLE, blocks, lead=LEAD, facts=facts, settings=comparison.to_json())


def picture(
    comparison: SideBySide, sources: Sequence[Source], shown: Sequence[str], count: int
) -> Image.Image:
    """Draw the images of some classes, those of each source side by side."""
    rows = [
        Row(
            each.name,
            [
                tiled(source.batch(indices[:count])[0])
                for source, indices in zip(sources, each.indices, strict=True)
            ],
            [formatted(score, comparison.scores) for score in each.distances],
        )
        for each in comparison.classes
        if each.name in shown
    ]
    headings = [(name, 1) for name in comparison.sources]
    side = max(max(image.shape[1:]) for row in rows for image in row.images)
    title = f"{TITLE}; mean distance of two by {comparison.features}"
    return sheet(title, headings, rows, least=2 * side, most=2 * side)


def tiled(images: Tensor) -> Tensor:
    """Tile (N, C, H, W) images in rows of `ACROSS` on white, with a border of 1: (C, h, w)."""
    missing = -len(images) % ACROSS
    white = images.new_full((missing, *images.shape[1:]), 255)
    framed = F.pad(torch.cat([images, white]), (1, 1, 1, 1), value=255)
    rows = framed.unflatten(0, (-1, ACROSS))  # (rows, across, C, H, W)
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def _named(classes: Sequence[str]) -> str:
    return short(printable(few(classes, MOST_NAMED)))
