"""Job of measurements, its images, truth -> Restored: scores, mean and deviation, a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adm.features import Features, open_features
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.job import Job
from adm.generation.restored import Problem
from adm.images import to_uint8
from adm.metrics import Score
from adm.metrics.bootstrap import mean_interval
from adm.metrics.similarity import psnr, ssim
from adm.pictures import Row, png, sheet
from adm.store.arrays import write_npz
from adm.store.files import write_bytes, write_json
from adm.store.samples import RESTORED

MAPS, SCORES = "restored.npz", "restored.json"
MOST_ROWS, MOST_SAMPLES = 16, 6  # of the picture


@dataclass(frozen=True, eq=False)
class Restored:
    """Images that were restored from measurements.

    Attributes:
        job: of measurements, as of `Pipeline.restore_job`; `samples` images for each measurement.
        images: (N x samples, C, H, W) uint8.
        samples: images for each measurement.
        truth: (N, C, H, W) uint8, what was measured, if it is known.
        features: of the perceptual distance; None for none.
    """

    job: Job
    images: Tensor
    samples: int
    truth: Tensor | None = None
    features: Features | None = None

    @property
    def problem(self) -> Problem:
        assert isinstance(self.generator.start, Problem)
        return self.generator.start

    @property
    def generator(self) -> DiffusionGenerator:
        assert isinstance(self.job.generator, DiffusionGenerator)
        return self.job.generator

    @cached_property
    def y(self) -> Tensor:
        """(N, ...) the measurements."""
        assert self.job.inputs is not None
        return self.job.inputs[:: self.samples]

    @cached_property
    def of_each(self) -> Tensor:
        """(N, samples, C, H, W) uint8."""
        return self.images.reshape(-1, self.samples, *self.images.shape[1:])

    @cached_property
    def mean(self) -> Tensor:
        """(N, C, H, W) uint8, the mean of the samples of each measurement."""
        return self.of_each.double().mean(dim=1).round().to(torch.uint8)

    @cached_property
    def deviation(self) -> Tensor:
        """(N, C, H, W) float32, the standard deviation of the samples, in units of 0..255."""
        return self.of_each.float().std(dim=1, correction=0)

    @cached_property
    def baseline(self) -> Tensor | None:
        """(N, C, H, W) uint8, the restoration without a model; None if there is none."""
        problem, model = self.problem, self.generator.model
        instrument = problem.instrument(model)
        measurement = instrument.measured(self.y.to(model.device), problem.sigma)
        restored = problem.operator.baseline(measurement, model.shape)
        return None if restored is None else to_uint8(restored.cpu())

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """What was scored -> name -> mean over images with its 95% interval; empty without truth.

        The score of samples is the mean over those of an image; `mean` is that of their mean.
        """
        if self.truth is None:
            return {}
        rows = {"samples": self.of_each}
        if self.samples > 1:
            rows["mean"] = self.mean[:, None]
        if self.baseline is not None:
            rows["baseline"] = self.baseline[:, None]
        return {name: self._scored(each) for name, each in rows.items()}

    def _scored(self, images: Tensor) -> dict[str, Score]:
        """Score images (N, S, C, H, W)."""
        assert self.truth is not None
        flat = images.flatten(0, 1)
        truth = self.truth.repeat_interleave(images.shape[1], dim=0)
        values = {"PSNR": psnr(flat, truth), "SSIM": ssim(flat, truth)}
        if self.features is not None:
            ours, theirs = (self.features.extract(each).pool for each in (flat, truth))
            distance = 1 - torch.cosine_similarity(ours.double(), theirs.double())
            values[f"feature distance ({self.features.name})"] = distance
        scores = dict[str, Score]()
        for name, value in values.items():
            of_image = value.reshape(images.shape[:2]).mean(dim=1).numpy()
            scores[name] = Score(float(of_image.mean()), *mean_interval(of_image))
        return scores

    def picture(self) -> Image.Image:
        """Draw a row for each image: truth, y, samples, their mean and standard deviation."""
        columns = self._columns()
        headings = [(name, each.shape[1]) for name, each in columns]
        count = min(len(self.of_each), MOST_ROWS)
        rows = [
            Row("", [image for _, each in columns for image in each[index]])
            for index in range(count)
        ]
        manifest = self.problem.manifest()["restoration"]
        title = f"{manifest['operator']}, sigma {manifest['sigma']:g}, by {manifest['method']}"
        left = f", the first {count} of {len(self.of_each)}" if count < len(self.of_each) else ""
        return sheet(title + left, headings, rows, least=84)

    def _columns(self) -> Sequence[tuple[str, Tensor]]:
        """(name, (N, K, C, H, W) uint8) of the picture from the left."""
        columns = [("truth", self.truth[:, None])] if self.truth is not None else []
        if self.y.ndim == 4:
            columns.append(("measured", to_uint8(self.y)[:, None]))
        if self.baseline is not None and self.y.shape[1:] != self.images.shape[1:]:
            columns.append(("baseline", self.baseline[:, None]))
        columns.append(("samples", self.of_each[:, :MOST_SAMPLES]))
        if self.samples > 1:
            deviation = self.deviation.mean(dim=1, keepdim=True)
            largest = deviation.flatten(1).amax(dim=1).clamp(min=1).reshape(-1, 1, 1, 1)
            bright = (deviation / largest * 255).to(torch.uint8)
            columns += [("mean", self.mean[:, None]), ("deviation", bright[:, None])]
        return columns

    def to_json(self) -> dict[str, Any]:
        """Return the scores and the restoration as JSON values."""
        scores = {
            what: {name: score.to_json() for name, score in each.items()}
            for what, each in self.scores.items()
        }
        restoration = self.problem.manifest()["restoration"]
        cost = {"network": self.job.cost.network, "classifier": self.job.cost.classifier}
        return {
            "restoration": restoration,
            "images": len(self.of_each),
            "samples": self.samples,
            "calls": cost,
            "scores": scores,
        }

    def save(self, folder: Path) -> None:
        """Write the picture, the maps and the scores into the sample folder."""
        write_bytes(folder / RESTORED, png(self.picture()), sync=False)
        maps = {"mean": self.mean.numpy(), "deviation": self.deviation.numpy()}
        maps["measured"] = np.ascontiguousarray(self.y.numpy())
        write_npz(folder / MAPS, maps)
        write_json(folder / SCORES, self.to_json())


def perceptual_features(spec: str | None, device: torch.device) -> Features | None:
    """Open the features of the perceptual distance; by default efficientnet-lite0 if installed."""
    try:
        return open_features(spec or "efficientnet-lite0", device)
    except ValueError:
        if spec is not None:
            raise
        return None
