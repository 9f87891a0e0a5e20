"""FeatureSet, Reference -> list[ClassScores], for the classes of both."""

from typing import NamedTuple

import numpy as np

from adm.app.scoring.extraction import FeatureSet
from adm.app.scoring.reference import Reference
from adm.metrics import frechet_of_few, membership

LEAST = 20  # images per class in each set; with fewer, scores of neighbours are unreliable


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
            found = membership(real, fake, device=device)
            row = row._replace(
                frechet=frechet_of_few(real, fake),
                precision=float(found.fake_in_real.mean()),
                recall=float(found.real_in_fake.mean()),
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
