"""Sources with classes, Features -> Comparison: per class and source, images and their distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from adm.app.scoring import FeatureSet, Score
from adm.app.study.comparison.within import within_class
from adm.data import Source
from adm.shown import printable, short

MOST_NAMED = 12  # classes of a message


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
class Comparison:
    """Several sets of images, class by class.

    Attributes:
        sources: their names.
        features: the features in which distances are measured.
        classes: those that all of them have.
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

    def mean(self) -> list[Score]:
        """Return the mean over classes of each source, with its interval."""
        found = []
        for column in zip(*(each.distances for each in self.classes), strict=True):
            value = float(np.mean([score.value for score in column]))
            half = np.sqrt(np.sum([((s.high - s.low) / 2) ** 2 for s in column])) / len(column)
            found.append(Score(value, value - float(half), value + float(half)))
        return found


def shared_classes(sources: Sequence[Source], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the classes that all sources have, as the first one calls them, or the wanted ones.

    Names are compared without case.

    Args:
        wanted: names of classes; None for all.

    Raises:
        ValueError: no class is shared, or a wanted one is not.
    """
    known = [{name.casefold() for name in source.classes} for source in sources]
    both = [name for name in sources[0].classes if all(name.casefold() in each for each in known)]
    if not both:
        listed = "; ".join(f"{each.name} has {_listed(each.classes)}" for each in sources)
        raise ValueError(f"no class is in all of the images: {listed}")
    if wanted is None:
        return both
    folded = {name.casefold(): name for name in both}
    if strange := [name for name in wanted if name.casefold() not in folded]:
        raise ValueError(
            f"no class {', '.join(map(repr, strange))} is in all of the images; those are "
            f"{_listed(both)}"
        )
    return [folded[name.casefold()] for name in wanted]


def compare(
    sources: Sequence[Source], seen: Sequence[FeatureSet], names: Sequence[str]
) -> Comparison:
    """Compare the images of each class.

    Args:
        sources: images with classes.
        seen: their features.
        names: of classes that all have, from `shared_classes`.
    """
    found = []
    for name in names:
        indices = [_indices(source, name) for source in sources]
        pairs = zip(seen, indices, strict=True)
        distances = [within_class(np.asarray(each.pool[chosen])) for each, chosen in pairs]
        found.append(OfClass(name, indices, distances))
    return Comparison([source.name for source in sources], seen[0].name, found)


def _indices(source: Source, name: str) -> list[int]:
    label = [each.casefold() for each in source.classes].index(name.casefold())
    return torch.nonzero(source.labels == label)[:, 0].tolist()


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(names[:MOST_NAMED])
    return short(printable(some + ", ..." * (len(names) > MOST_NAMED)))
