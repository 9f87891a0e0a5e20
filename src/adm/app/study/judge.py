"""Judge, images, labels -> Reference, Scores: fidelity, diversity, Fréchet distance."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adm.images import to_float
from adm.metrics import Score, Statistics, frechet_distance, statistics
from adm.metrics.accuracy import accuracy
from adm.metrics.diversity import within_class_distance
from adm.models.trained import ClassifierModel
from adm.store.arrays import write_npz

BATCH = 250


@dataclass(frozen=True)
class Reference:
    """The judge's measurements of real images.

    Attributes:
        count: number of real images measured.
        accuracy: fraction of them that the judge classifies correctly, in [0, 1].
        distance: (classes,) mean feature distance within each class.
        features: mean and covariance of the judge's last features before the logits.
    """

    count: int
    accuracy: float
    distance: np.ndarray
    features: Statistics

    def save(self, path: Path) -> None:
        """Write the reference to an .npz file, which `load_reference` reads."""
        entries = {
            "count": np.asarray(self.count),
            "accuracy": np.asarray(self.accuracy),
            "distance": self.distance,
            "mean": self.features.mean,
            "covariance": self.features.covariance,
        }
        write_npz(path, entries)


def load_reference(path: Path) -> Reference:
    """Read a file of `Reference.save`."""
    with np.load(path, allow_pickle=False) as stored:
        return Reference(
            count=int(stored["count"].item()),
            accuracy=float(stored["accuracy"].item()),
            distance=stored["distance"],
            features=Statistics(stored["mean"], stored["covariance"]),
        )


@dataclass(frozen=True)
class Scores:
    """The judge's measurements of one set of samples.

    Attributes:
        fidelity: fraction that the judge assigns to the intended class, with its interval.
        diversity: mean distance within a class, relative to that of real images.
        frechet: Fréchet distance between the features of this set and of real images. Small
            sets bias it upwards, so only sets of equal size are comparable.
        count: number of images.
    """

    fidelity: Score
    diversity: float
    frechet: float
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        return asdict(self) | {"fidelity": self.fidelity._asdict()}


@torch.no_grad()
def extract(judge: ClassifierModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) uint8 -> (N, D) features and (N, classes) logits."""
    features, logits = [], []
    for chunk in images.split(BATCH):
        x_0 = to_float(chunk)
        features.append(judge.network.features(x_0, judge.schedule.timestep(0, x_0)))
        logits.append(judge.classify(x_0))
    return torch.cat(features), torch.cat(logits)


def measure(judge: ClassifierModel, images: Tensor, labels: Tensor) -> Reference:
    """Measure real images: (N, C, H, W) uint8, (N,) int64 labels -> the reference of `score`."""
    features, logits = extract(judge, images)
    distance = within_class_distance(features, labels, len(judge.classes))
    named = accuracy(logits, labels).value
    return Reference(len(images), named, distance.numpy(), statistics(features.numpy()))


def score(judge: ClassifierModel, reference: Reference, images: Tensor, labels: Tensor) -> Scores:
    """Score samples against the reference of the same judge.

    Args:
        images: (N, C, H, W) uint8, at least two of each class.
        labels: (N,) int64, the intended class of each.
    """
    features, logits = extract(judge, images)
    distance = within_class_distance(features, labels, len(judge.classes)).numpy()
    return Scores(
        fidelity=accuracy(logits, labels),
        diversity=float(np.nanmean(distance / reference.distance)),
        frechet=frechet_distance(reference.features, statistics(features.numpy())),
        count=len(images),
    )
