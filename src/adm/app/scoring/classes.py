"""FeatureSet, Reference -> list[ClassScores], for the classes of both."""

from typing import NamedTuple

import numpy as np

from adm.app.scoring.extraction import FeatureSet
from adm.app.scoring.reference import Reference
from adm.metrics import by_class, membership

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
    labels = _merged(generated.labels, generated.classes)
    real_labels = _merged(reference.labels, reference.classes)

    def score(rows: np.ndarray) -> ClassScores | None:
        name = generated.classes[int(labels[rows[0]])]
        if name not in theirs:
            return None
        real = np.asarray(real_pool[real_labels == theirs[name]])
        row = ClassScores(name, len(rows), len(real))
        if min(len(rows), len(real)) < LEAST:
            return row
        fake = np.asarray(generated.pool[rows])
        found = membership(real, fake, device=device)
        return row._replace(
            frechet=frechet_of_few(real, fake),
            precision=float(found.fake_in_real.mean()),
            recall=float(found.real_in_fake.mean()),
        )

    rows = by_class(labels, score, minimum=1)
    return [row for row in rows.values() if row is not None]


def _by_name(classes: tuple[str, ...]) -> dict[str, int]:
    """Return class name -> the first label of that name."""
    return {name: label for label, name in reversed([*enumerate(classes)])}


def _merged(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Replace labels of equal class names by the first of them; return (N,) int64."""
    first = _by_name(classes)
    return np.array([first[name] for name in classes], np.int64)[np.asarray(labels)]


def frechet_of_few(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Fréchet distance of (N, D) and (M, D) features without a D x D matrix.

    The covariance of centred features X is F F^T with F = X^T / (N - 1)^(1/2), so that the trace of
    (C C')^(1/2) is the sum of the singular values of F^T F', an N x M matrix.

    Raises:
        ValueError: a set has fewer than 2 images.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"each set must have at least 2 images, got {len(real)} and {len(fake)}")
    x, y = (np.asarray(each, np.float64) for each in (real, fake))
    shift = x.mean(axis=0) - y.mean(axis=0)
    x, y = ((each - each.mean(axis=0)) / np.sqrt(len(each) - 1) for each in (x, y))
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * shared))
