"""Features of samples, features of training images -> NearestImages, a report, a picture.

A sample is flagged if its nearest training image is closer than a threshold: the 1% quantile of the
distances of up to 10,000 training images to their nearest neighbours. About 1% of fresh images from
the same distribution would be flagged, so a larger share indicates memorization. A sample whose
pixels equal those of a training image is always flagged.

Of M training and n test images of one distribution, the nearest to a new image is a training image
with probability M / (M + n), and to a copy certainly. So the share of samples whose nearest one is
a training image measures copying (Meehan, Chaudhuri and Dasgupta 2020; Jiralerspong et al. 2023).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from adm.data import Source
from adm.metrics import Neighbours, Score, nearest
from adm.metrics.accuracy import wilson
from adm.pictures import Row, sheet
from adm.scoring.reference import subset_rows
from adm.shown import count_of
from adm.spec import SettingError, out_of_range

QUANTILE = 0.01
NEIGHBOURS = 5
NONE = -1  # no training image has the same pixels


class Copying(NamedTuple):
    """How much nearer samples are to training images than to test images.

    Attributes:
        share: proportion of samples that are nearer to a training image than to every test image.
        expected: the same of new images of one distribution with the training and test images;
            0.5 if these are equally many.
    """

    share: Score
    expected: float

    @property
    def copied(self) -> Score:
        """Proportion c of copies among new images that gives this share: c + (1 - c) expected.

        It is 0 for a model that copies nothing, up to the interval, and 1 if all are copies.
        """
        return Score(*((each - self.expected) / (1 - self.expected) for each in self.share))

    def __str__(self) -> str:
        share, copied = (
            f"{each.value:.1%} ({each.low:.1%} to {each.high:.1%})"
            for each in (self.share, self.copied)
        )
        return (
            f"{share} of the samples are nearer to a training image than to every test image, where"
            f" {self.expected:.1%} of new images would be: as if {copied} were copies."
        )


@dataclass(frozen=True, eq=False)
class NearestImages:
    """The nearest training images of N samples.

    Attributes:
        indices: (N, k) int64, indices of training images, nearest first.
        distances: (N, k) float64, Euclidean distances of the features.
        equal: (N,) int64, index of a training image with the same pixels, or -1.
        threshold: distance below which a sample is flagged.
        quantile: quantile of the nearest-neighbour distances of training images that is the
            threshold.
        copying: how much nearer they are than test images; None without test images.
    """

    indices: np.ndarray
    distances: np.ndarray
    equal: np.ndarray
    threshold: float
    quantile: float
    copying: Copying | None = None

    @property
    def flagged(self) -> np.ndarray:
        """(N,) bool, whether a sample is a likely copy."""
        return (self.distances[:, 0] < self.threshold) | (self.equal != NONE)

    @property
    def order(self) -> np.ndarray:
        """(N,) int64, indices of the samples: copies first, then by increasing distance."""
        return np.lexsort((self.distances[:, 0], self.equal == NONE))

    def __str__(self) -> str:
        flagged, copies = self.flagged, int((self.equal != NONE).sum())
        text = (
            f"{int(flagged.sum()):,} of {len(flagged):,} samples are flagged ({flagged.mean():.1%};"
            f" {self.quantile:.1%} of new images would be). {copies:,} are exact copies."
        )
        if not self.threshold:
            text += (
                f" More than {self.quantile:.1%} of the training images are duplicates, so the "
                "threshold is 0."
            )
        return text if self.copying is None else f"{text}\n{self.copying}"


def nearest_images(
    samples: np.ndarray,
    data: np.ndarray,
    equal: np.ndarray | None = None,
    *,
    test: np.ndarray | None = None,
    neighbours: int = NEIGHBOURS,
    quantile: float = QUANTILE,
    device: str | torch.device = "cpu",
) -> NearestImages:
    """Find the nearest training images of each sample, and the threshold for flagging.

    Args:
        samples: (N, D) features.
        data: (M, D) features of the training images, M at least 2.
        equal: (N,) int64 of `equal_pixels`; without it no sample counts as a copy.
        test: (n, D) features of images that the model was not trained on, for `copying`.
        neighbours: number of neighbours per sample, in 1..M.
        quantile: quantile of the nearest-neighbour distances of training images, in (0, 1).
        device: device to compute the distances on; it does not affect the result.

    Raises:
        ValueError: the features have wrong or different shapes, or are too few.
    """
    matches = nearest(samples, data, neighbours, device)
    threshold = float(np.quantile(own_distances(data, device), quantile))
    if equal is None:
        equal = np.full(len(samples), NONE)
    against_test = None
    if test is not None:
        against_test = copying(matches, len(data), nearest(samples, test, 1, device), len(test))
    distances = np.sqrt(matches.squared)
    return NearestImages(matches.indices, distances, equal, threshold, quantile, against_test)


def copying(of_data: Neighbours, data: int, of_test: Neighbours, test: int) -> Copying:
    """Compare the nearest training images of N samples with the nearest test images.

    Samples that have the same nearest image are near to a training image together, or not at all.
    So the interval is Wilson's for fewer samples, 1 / (sum of w^2 - 1 / (M + n)), with w the
    proportion of samples to which an image is the nearest (Kish 1965): the variance of the share if
    it is drawn anew which M of the M + n images are training images.

    Args:
        of_data: the nearest training images of each sample.
        data: number of training images.
        of_test, test: the same of test images.
    """
    own, other = of_data.squared[:, 0], of_test.squared[:, 0]
    expected = data / (data + test)
    nearer = np.where(own == other, expected, own < other)
    image = np.where(own <= other, of_data.indices[:, 0], data + of_test.indices[:, 0])
    weights = np.bincount(image) / len(own)
    variance = max(float((weights**2).sum()) - 1 / (data + test), 1 / len(own))
    return Copying(wilson(float(nearer.mean()) / variance, 1 / variance), expected)


def check_arguments(images: int, neighbours: int, quantile: float) -> None:
    """Raise SettingError unless `nearest_images` can be called for so many training images."""
    if not 0 < quantile < 1:
        raise out_of_range("quantile", "between 0 and 1", quantile, "0.01 is usual")
    if images < 2:
        raise SettingError("data", f"{{}} has {count_of(images, 'image')}; give at least 2")
    if not 1 <= neighbours <= images:
        raise out_of_range(
            "neighbours", f"from 1 to {images}, the number of training images", neighbours
        )


def own_distances(data: np.ndarray, device: str | torch.device = "cpu") -> np.ndarray:
    """Return the distances of (M, D) features to the nearest other ones, (min(M, 10,000),).

    Of more images, a random subset with a fixed seed is taken.
    """
    rows = subset_rows(len(data))
    # The nearest is the image itself or an equal one, so take the second.
    return np.sqrt(nearest(data[rows], data, 2, device).squared[:, 1])


def equal_pixels(samples: np.ndarray, data: np.ndarray) -> np.ndarray:
    """(N, 32), (M, 32) hashes of pixels -> (N,) int64, index of the first equal image or -1."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(data):
        first.setdefault(row.tobytes(), index)
    return np.array([first.get(row.tobytes(), NONE) for row in samples], np.int64)


def _class_of(source: Source, index: int) -> str | None:
    """Return the class of an image; None if all images have the same."""
    if len(source.classes) < 2:
        return None
    return source.classes[int(source.labels[index])]


def nearest_to_json(
    matches: NearestImages, features: str, samples: Source, data: Source
) -> dict[str, Any]:
    """Return neighbours and distances of every sample, threshold and rule as JSON values.

    Args:
        features: their name.
        samples, data: the images, whose files and classes are named where they are known.
    """
    flagged, copies, copying = matches.flagged, matches.equal != NONE, dict[str, Any]()
    if (against_test := matches.copying) is not None:
        near = against_test.share.to_json() | {"expected": against_test.expected}
        copying = {"nearer_than_test_images": near, "copied": against_test.copied.to_json()}
    return {
        "features": features,
        "rule": (
            "flagged: nearer to a training image than the threshold, which is the quantile of "
            "training images' distances to the nearest other one; or the same pixels"
        ),
        "quantile": matches.quantile,
        "threshold": matches.threshold,
        "samples": len(flagged),
        "flagged": int(flagged.sum()),
        "share_flagged": float(flagged.mean()),
        "share_expected_of_fresh_images": matches.quantile,
        "exact_copies": int(copies.sum()),
        **copying,
        "nearest": [
            {
                "sample": index,
                "file": samples.path(index),
                "class": _class_of(samples, index),
                "images": (near := matches.indices[index].tolist()),
                "files": [data.path(i) for i in near],
                "classes": [_class_of(data, i) for i in near],
                "distances": matches.distances[index].tolist(),
                "same_pixels_as": int(matches.equal[index]) if copies[index] else None,
                "flagged": bool(flagged[index]),
            }
            for index in range(len(flagged))
        ],
    }


def draw_nearest(
    matches: NearestImages, samples: Source, data: Source, count: int, features: str
) -> Image.Image:
    """Draw a row per sample: its file, its class and the least distance; itself, its neighbours.

    Args:
        count: number of samples, those most likely to be copies.
        features: their name.
    """
    rows = []
    for index in matches.order[:count].tolist():
        file = (samples.path(index) or "").rpartition("/")[2]
        mark = (
            "copy " if matches.equal[index] != NONE else "near " if matches.flagged[index] else ""
        )
        least = f"{mark}{matches.distances[index, 0]:.3g}"
        lines = [file or f"sample {index}", _class_of(samples, index), least]
        neighbours, _ = data.batch(matches.indices[index].tolist())
        sample = samples.batch([index])[0][0]
        rows.append(Row("\n".join(filter(None, lines)), [sample, *neighbours]))
    title = f"Nearest in {data.name} by {features}; near: below {matches.threshold:.3g}"
    headings = [("sample", 1), ("nearest", matches.indices.shape[1])]
    return sheet(f"{title}, copy: the same pixels", headings, rows)
