"""FeatureSet, Reference -> scores of all images, and of each class; Report <-> a JSON file."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adm.metrics import METRICS, Score, Sets, frechet_of_few, membership, title
from adm.metrics.bootstrap import RESAMPLES
from adm.scoring.extraction import FeatureSet
from adm.scoring.reference import Reference
from adm.store.files import write_text
from adm.store.parsed import CLASSES, as_type, read_json

LEAST = 20  # images per class in each set; with fewer, scores of neighbours are unreliable


def scores(
    generated: FeatureSet,
    reference: Reference,
    *,
    only: Collection[str] = METRICS.keys(),
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Score]:
    """Compute all scores that these sets allow, in the order of `METRICS`.

    A score is omitted if it needs images and the reference stores none, if the features have no
    such kind, or if a set is too small for the number of neighbours.

    Args:
        generated: features of at least 2 samples.
        reference: of the same features.
        only: keys of the scores to compute; by default all.
        resamples: number of bootstrap resamples for each interval.
        seed: of the resamples, and of the subsets for kernel distance and extrapolation.
        device: computes the distances between features.

    Returns:
        key -> score.

    Raises:
        ValueError: sets that cannot be compared, or an unknown key.
    """
    for key in only:
        title(key, generated.name)
    sets = Sets(
        fake=generated.pool,
        real=reference.pool,
        fake_statistics=generated.statistics,
        real_statistics=reference.statistics,
        spatial=generated.spatial,
        fake_spatial=generated.spatial_statistics,
        real_spatial=reference.spatial,
        logits=generated.logits,
        stored=generated.stored is not None,
        real_distances=reference.reach,
        resamples=resamples,
        seed=seed,
        device=device,
    )
    computed = {key: metric.score(sets) for key, metric in METRICS.items() if key in only}
    return {key: score for key, score in computed.items() if score is not None}


class ClassScores(NamedTuple):
    """Scores of one class.

    Attributes:
        name: name of the class.
        generated, real: number of its images in the samples, and in the images of the reference.
        frechet, precision, recall: None if either number is below `LEAST`.
    """

    name: str
    generated: int
    real: int
    frechet: float | None = None
    precision: float | None = None
    recall: float | None = None


def class_scores(
    generated: FeatureSet, reference: Reference, device: str = "cpu"
) -> list[ClassScores]:
    """Score each class of the samples that the reference also has, in the order of the samples.

    Distances are larger for fewer images, so those of two classes are comparable only if the
    classes have equally many images, and never with the distances of whole sets.
    """
    if generated.labels is None or reference.labels is None or reference.pool is None:
        return []
    theirs, real_pool = _by_name(reference.classes), reference.pool
    labels = _merge_labels(generated.labels, generated.classes)
    real_labels = _merge_labels(reference.labels, reference.classes)

    rows = []
    for label in np.unique(labels).tolist():
        name = generated.classes[label]
        if name not in theirs:
            continue
        real = np.asarray(real_pool[real_labels == theirs[name]])
        fake = np.asarray(generated.pool[labels == label])
        row = ClassScores(name, len(fake), len(real))
        if min(len(fake), len(real)) >= LEAST:
            inside = membership(real, fake, device=device)
            row = row._replace(
                frechet=frechet_of_few(real, fake),
                precision=float(inside.fake_in_real.mean()),
                recall=float(inside.real_in_fake.mean()),
            )
        rows.append(row)
    return rows


def _by_name(classes: tuple[str, ...]) -> dict[str, int]:
    """Return class name -> the first label of that name."""
    return {name: label for label, name in reversed([*enumerate(classes)])}


def _merge_labels(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Replace labels of equal class names by the first of them; return (N,) int64."""
    first = _by_name(classes)
    return np.array([first[name] for name in classes], np.int64)[np.asarray(labels)]


@dataclass(frozen=True, eq=False)
class Report:
    """Scores with everything that they depend on.

    Attributes:
        features: name of the features.
        scores: key -> score; see `adm.metrics.METRICS`.
        manifest: samples, reference, features and options of the comparison.
        classes: scores of each class, if samples and reference have labels.
        warnings: reasons why the scores are not comparable with others.
    """

    features: str
    scores: dict[str, Score]
    manifest: dict[str, Any]
    classes: Sequence[ClassScores] = ()
    warnings: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON file; each score has its title."""
        return {
            "features": self.features,
            "scores": {
                key: {"title": title(key, self.features)} | score.to_json()
                for key, score in self.scores.items()
            },
            "classes": [row._asdict() for row in self.classes],
            "warnings": list(self.warnings),
            "manifest": self.manifest,
        }

    def save(self, path: str | Path) -> None:
        """Write the JSON file atomically; equal reports give equal bytes."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_text(Path(path), text)


def load_report(path: str | Path) -> Report:
    """Open a file of `Report.save`.

    Raises:
        ValueError: the file is not a report, or is damaged.
    """
    try:
        stored = as_type(_Stored, read_json(Path(path), CLASSES))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a report ({error}); evaluate again") from None
    scores = {key: one.score for key, one in stored.scores.items()}
    return Report(stored.features, scores, stored.manifest, stored.classes, stored.warnings)


@dataclass(frozen=True)
class StoredScore:
    """A score as JSON; None stands for NaN, and a title is not read."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def score(self) -> Score:
        return Score(*(math.nan if x is None else x for x in (self.value, self.low, self.high)))


@dataclass(frozen=True)
class _Stored:
    """What `Report.to_json` returns."""

    features: str
    scores: dict[str, StoredScore]
    classes: tuple[ClassScores, ...]
    warnings: tuple[str, ...]
    manifest: dict[str, Any]
