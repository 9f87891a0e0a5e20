"""Model, images, bounds -> Bits: what an image takes in bits per dimension, by term.

Images are measured in parts of a batch, and each finished part is a file of the folder. It does not
depend on the rank that computed it, so the result is the same for any number of ranks and after an
interruption.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adm.app.study.bounds import BOUNDS, Bound, Variational
from adm.data import Source, shuffle
from adm.data.naming import at_home
from adm.diffusion import Level, Prediction, clip
from adm.generation.generator import identity
from adm.generation.labels import positive
from adm.generation.pipeline import Pipeline, load
from adm.images import UINT8, to_float
from adm.metrics.accuracy import Z_95
from adm.metrics.bootstrap import mean_interval
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.processes import Devices
from adm.progress import progress
from adm.samplers import ImageNoise
from adm.samplers.settings import Seed
from adm.scoring import Score
from adm.scoring.images import check_shape, images_for, relabelled
from adm.scoring.manifest import versions
from adm.shown import short
from adm.spec import (
    SettingError,
    check_type,
    convert,
    literal,
    out_of_range,
    parse,
    text,
    to_json,
)
from adm.store.files import write_json
from adm.store.hashes import sha256_of
from adm.store.work import HASHES, Arrays, Report, Work, work_in

PARTS, REPORT = "parts", "report.json"  # in the folder
BATCH = 32
DRAWN = 64  # levels of each image by default, whose error is far below that of the images

Labels = Literal["own", "none"]


@dataclass(frozen=True, eq=False)
class Task:
    """The images to measure, and how.

    Attributes:
        model: the model to measure them by.
        source: all images of the data, of the model's shape.
        order: indices of the images to measure.
        labels: (len(order),) what the model is conditioned on; None for nothing.
        seed: of the order and of the noise; that of an image depends on its place in the order.
        batch_size: images that are evaluated together; affects results by rounding.
    """

    model: DiffusionModel
    source: Source
    order: Sequence[int]
    labels: Tensor | None
    seed: int
    batch_size: int

    def work(self, bound: Bound, folder: Path) -> Work:
        """Return the work of a bound in a folder; that of other settings is in another."""
        settings = {
            "model": identity(self.model)["sha256"],
            "bound": to_json(bound),
            "labels": None if self.labels is None else self.labels.tolist(),
            "seed": self.seed,
            "batch_size": self.batch_size,
        }
        name = f"{bound.name}-{sha256_of(json.dumps(settings).encode())[:12]}"
        return Work(folder / PARTS / name, len(self.order), self.batch_size, settings)

    def read(self, span: range) -> Tensor:
        """Return the images at these places of the order, (B, C, H, W) uint8."""
        return self.source.batch([self.order[i] for i in span])[0]

    def measure(self, bound: Bound, span: range, images: Tensor, report: Report) -> Arrays:
        """Measure the images at these places of the order."""
        model, schedule = self.model, bound.of(self.model.schedule)
        labels = None if self.labels is None else self.labels[list(span)].to(model.device)
        threshold = model.parameterization.mean_threshold(clip) if bound.clips else None
        evaluate = model.denoise(labels, schedule, threshold)

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            prediction = evaluate(x_t, level)
            report(len(x_t))
            return prediction

        noise = ImageNoise(self.seed, span, model.shape, model.device)
        with torch.no_grad():
            measured = bound.measure(denoise, schedule, to_float(images).to(model.device), noise)
        lost = (~measured["total"].isfinite()).nonzero()
        if len(lost):
            raise FloatingPointError(
                f"{model.path.name} gave NaN or infinity for image {self.order[span[lost[0]]]} of "
                f"{self.source.name}, by {text(bound)}; use another checkpoint"
            )
        return {name: each.cpu().numpy() for name, each in measured.items()}


@dataclass(frozen=True, eq=False)
class Estimate:
    """Bits per dimension of N images by one bound.

    Attributes:
        bound: its settings.
        level: (L,) the level of each column, of the model's process; its mean if levels are drawn.
        weight: (L,) the levels for which each column stands.
        arrays: of all images: `total`, `prior` and `terms` in bits per dimension, and more.
    """

    bound: Bound
    level: NDArray[np.float64]
    weight: NDArray[np.float64]
    arrays: Arrays

    @cached_property
    def bits(self) -> Score:
        """The mean over images, with its 95% interval."""
        return _mean_of(self.arrays["total"])

    @cached_property
    def terms(self) -> dict[str, Score]:
        """Its summands, by name."""
        return {name: _mean_of(each) for name, each in self.bound.parts_of(self.arrays).items()}

    @property
    def by_probes(self) -> Score | None:
        """The mean with the interval that other probes would give; None for fewer than two."""
        by_probe = self.arrays.get("by_probe")
        if by_probe is None or by_probe.shape[1] < 2:
            return None
        variance = by_probe.astype(np.float64).var(axis=1, ddof=1).mean() / by_probe.size
        half = Z_95 * float(np.sqrt(variance))
        return Score(self.bits.value, self.bits.value - half, self.bits.value + half)

    @property
    def curve(self) -> dict[str, list[float]]:
        """Means over images of what was measured at each level, the noisiest first."""
        return {
            name: each.mean(axis=0, dtype=np.float64).tolist()
            for name, each in self.arrays.items()
            if each.ndim == 2 and name != "by_probe"
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        probes = {} if self.by_probes is None else {"by_probes": self.by_probes.to_json()}
        return {
            "bound": text(self.bound),
            "bits_per_dimension": self.bits.to_json(),
            **probes,
            "terms": {name: score.to_json() for name, score in self.terms.items()},
            "curve": {"level": self.level.tolist(), "weight": self.weight.tolist(), **self.curve},
            "images": self.arrays["total"].tolist(),
        }

    def __str__(self) -> str:
        values = {name: score.parts([self.bits])[0] for name, score in self.terms.items()}
        terms = ", ".join(f"{name} {value}" for name, value in values.items())
        return f"{self.bits.text()} bits per dimension by {text(self.bound)}: {terms}"


@dataclass(frozen=True, eq=False)
class Bits:
    """Bits per dimension of the images of a task, by each of its bounds."""

    task: Task
    estimates: Sequence[Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return estimates, images and settings as JSON values."""
        task = self.task
        return {
            "model": identity(task.model),
            "data": {"source": task.source.name, "images": list(task.order)},
            "labels": "none" if task.labels is None else "own",
            "estimates": [each.to_json() for each in self.estimates],
            "seed": task.seed,
            "batch_size": task.batch_size,
            "noise": "the image at place i: Philox, key (seed, i), counter (draw, level)",
            "versions": versions(),
        }

    def __str__(self) -> str:
        return "\n".join(map(str, self.estimates))


def likelihood(
    model: str | Path | Pipeline,
    data: str | Path | Source,
    *,
    bound: str | Bound | Sequence[str | Bound] = (),
    count: int | None = None,
    split: str | None = None,
    labels: Labels = "own",
    seed: int = 0,
    batch_size: int = BATCH,
    out: str | Path | None = None,
    devices: Devices | None = None,
) -> Bits:
    """Measure how many bits per dimension images take, as `adm likelihood` does.

    Args:
        model: a diffusion model, or its path or shipped name.
        data: a data spec, or images of the model's shape.
        bound: specs: "variational", "variational:drawn=64", "ode:steps=64,probes=2", ...; by
            default the variational bound by 64 levels that are drawn for each image.
        count: images to measure, chosen by the seed; by default all.
        split: "train" or "test"; by default the test images if there are any.
        labels: "own" to condition a model with classes on that of each image, "none" not to.
        seed: of the choice of images, and of all noise.
        batch_size: images that are evaluated together.
        out: the folder to write or to resume, which gets report.json; None for none. All ranks must
            see it.
        devices: the ranks that share the images, all of which must call; None for one.

    Raises:
        ValueError: the images cannot be measured, or not by these settings.
    """
    check_type("out", out, (str, Path, type(None)), "the path of a folder")
    if labels not in ("own", "none"):
        raise out_of_range("labels", "own or none", labels)
    device = None if devices is None else devices.device
    pipeline = model if isinstance(model, Pipeline) else load(model, device=device)
    devices, own = devices or Devices(pipeline.device), pipeline.model
    check_from_noise(own)
    if own.range != UINT8:
        allowed = "of data.range=uint8, whose 256 values are the bins of likelihoods"
        raise out_of_range("model", allowed, text(own.range))
    last = own.schedule.last
    bounds = _bounds(bound, last)
    source = data
    if isinstance(source, Source):
        check_shape(source, own)
    else:
        source = images_for(own, str(data), split or ("test", "train"))
    conditional = labels == "own" and bool(own.classes)
    source = _with_labels(source, own) if conditional else source
    count = len(source) if count is None else count
    if not 2 <= count <= len(source):
        images = f"from 2 to {len(source)}, the number of images of {source.name}"
        raise out_of_range("count", images, count)
    order = shuffle(convert(Seed, seed, "seed"), len(source), 0, count)
    given = source.labels[list(order)] if conditional else None
    task = Task(own, source, order, given, seed, positive("batch_size", batch_size))

    folder = None if out is None else at_home(out)
    total = count * sum(each.evaluations(last) for each in bounds)
    what = f"measuring {count:,} images of {source.name}"
    bar = progress(what, total, "network evaluations", shown=devices.main)
    with work_in(folder, devices) as parts, bar as report:
        estimates = list[Estimate]()
        for each in bounds:
            work, make = task.work(each, parts), partial(task.measure, each)
            cost = each.evaluations(last)
            work.run(make, devices, report, cost=cost, inputs=task.read)
            arrays = work.assemble(devices)
            del arrays[HASHES]
            estimates.append(Estimate(each, *each.columns(own.schedule), arrays))
        bits = Bits(task, estimates)
        if folder is not None:
            devices.once(partial(write_json, folder / REPORT, bits.to_json()))
    return bits


def _bounds(bound: str | Bound | Sequence[str | Bound], last: int) -> list[Bound]:
    """Return the bounds of the specs for a process with T = `last`, each once."""
    specs = [bound] if isinstance(bound, str | Bound) else list(bound)
    default = Variational(drawn=DRAWN if last > DRAWN else None)
    bounds = [parse(BOUNDS, each, "bound") for each in specs] or [default]
    for each in bounds:
        try:
            each.check(last)
        except SettingError as error:
            raise error.within("bound") from None
    return list({text(each): each for each in bounds}.values())


def _with_labels(source: Source, model: DiffusionModel) -> Source:
    """Return the images with the labels of the model, by the names of their classes."""
    known = relabelled(source, model.classes)
    if known is None or len(known) < len(source):
        names = (source.name, model.name, *(", ".join(x.classes) for x in (source, model)))
        data, own, theirs, ours = (literal(short(each)) for each in names)
        raise SettingError(
            "labels",
            f"{data} has other classes than {own}: {theirs}, and not {ours}; measure it without "
            "classes by {labels=none}",
        )
    return known


def _mean_of(values: NDArray[np.float32]) -> Score:
    bits = values.astype(np.float64)
    return Score(float(bits.mean()), *mean_interval(bits))
