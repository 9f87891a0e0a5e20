"""images, labels -> fidelity and diversity, by a classifier that had no part in making them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adm.data.export import write_npz
from adm.images import to_float
from adm.metrics.accuracy import Share, accuracy
from adm.metrics.diversity import within_class_distance
from adm.metrics.frechet import Statistics, frechet_distance, statistics
from adm.models.trained import ClassifierModel

BATCH = 250


@dataclass(frozen=True)
class Reference:
    """The judge's measurements of real images.

    Attributes:
        count: of real images measured.
        accuracy: share of them that it classifies correctly.
        distance: (classes,) mean distance within each class.
        features: mean and covariance of its last features before the logits.
    """

    count: int
    accuracy: float
    distance: np.ndarray
    features: Statistics

    def save(self, path: Path) -> None:
        entries = {
            "count": np.asarray(self.count),
            "accuracy": np.asarray(self.accuracy),
            "distance": self.distance,
            "mean": self.features.mean,
            "covariance": self.features.covariance,
        }
        write_npz(path, entries)


def load_reference(path: Path) -> Reference:
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
        fidelity: share that it assigns to their intended class.
        diversity: mean distance within a class, in units of the same among real images.
        frechet: distance between the features of this set and of real images; biased upwards
            by small sets, so comparable between sets of one size only.
        count: of images.
    """

    fidelity: Share
    diversity: float
    frechet: float
    count: int


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
    """Measure real images, as the reference of `score`."""
    features, logits = extract(judge, images)
    distance = within_class_distance(features, labels, len(judge.classes))
    named = accuracy(logits, labels).value
    return Reference(len(images), named, distance.numpy(), statistics(features.numpy()))


def score(judge: ClassifierModel, reference: Reference, images: Tensor, labels: Tensor) -> Scores:
    """Score samples.

    Args:
        images: (N, C, H, W) uint8, at least two of each class.
        labels: (N,) int64, the class that each was made for.
    """
    features, logits = extract(judge, images)
    distance = within_class_distance(features, labels, len(judge.classes)).numpy()
    return Scores(
        fidelity=accuracy(logits, labels),
        diversity=float(np.nanmean(distance / reference.distance)),
        frechet=frechet_distance(reference.features, statistics(features.numpy())),
        count=len(images),
    )
