"""Model, images, bounds -> Bits: what an image takes in bits per dimension, by term; Bits -> page.

Images are measured in parts of a batch, and each finished part is a file of the folder. It does not
depend on the rank that computed it, so the result is the same for any number of ranks and after an
interruption.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray
from torch import Tensor

from adm.app.report import Block, Cell, Figure, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.bounds import BOUNDS, Bound, Variational
from adm.app.study.plots import LINES, panels
from adm.data import Source, shuffle
from adm.data.naming import at_home
from adm.diffusion import Level, Prediction, clip
from adm.generation.generator import identity
from adm.generation.labels import positive
from adm.generation.pipeline import Pipeline, load
from adm.images import to_float
from adm.metrics.accuracy import Z_95
from adm.metrics.bootstrap import mean_interval
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.pictures import png
from adm.processes import Devices
from adm.progress import progress, silent
from adm.samplers import ImageNoise
from adm.samplers.settings import Seed
from adm.scoring import Score
from adm.scoring.images import check_shape, images_for, relabelled
from adm.scoring.manifest import versions
from adm.shown import short
from adm.spec import SettingError, check_type, convert, out_of_range, parse, text, to_json
from adm.store.files import write_bytes
from adm.store.hashes import sha256_of
from adm.store.work import HASHES, Arrays, Report, Work, work_in

PARTS, PAGE, REPORT = "parts", "report.html", "report.json"  # in the folder
BATCH = 32
SHOWN, ACROSS = 16, 8  # images of a kind on the page, and side by side
DRAWN = 64  # levels of each image by default, whose error is far below that of the images
WIDE = 900  # pixels of a figure, below which it scrolls
CURVES = {
    "Bits per dimension of a level": "terms",
    "Squared error of x_0": "x_0_mse",
    "Squared error of the noise": "noise_mse",
    "Share of the dimensions that are noise": "trace",
}
OF_DATA = "Bits per dimension are comparable for the same images at the same size only."

Labels = Literal["own", "none"]


@dataclass(frozen=True, eq=False)
class Task:
    """The images to measure, and how.

    Attributes:
        model: the model to measure them by.
        source: all images of the data, of the model's shape; with its labels if `conditional`.
        order: indices of the images to measure.
        bounds: the bounds to compute.
        conditional: whether the model is conditioned on the labels.
        seed: of the order and of the noise; that of an image depends on its place in the order.
        batch_size: images that are evaluated together; affects results by rounding.
    """

    model: DiffusionModel
    source: Source
    order: Sequence[int]
    bounds: Sequence[Bound]
    conditional: bool
    seed: int
    batch_size: int

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What identifies the model."""
        return identity(self.model)

    def evaluations(self, *bounds: Bound) -> int:
        """Return the network evaluations for each image."""
        return sum(bound.evaluations(self.model.schedule.last) for bound in bounds)

    def work(self, bound: Bound, folder: Path) -> Work:
        """Return the work of a bound in a folder; that of other settings is in another."""
        identity = {
            "model": self.identity["sha256"],
            "bound": to_json(bound),
            "labels": self.source.labels[list(self.order)].tolist() if self.conditional else None,
            "seed": self.seed,
            "batch_size": self.batch_size,
        }
        name = f"{bound.name}-{sha256_of(json.dumps(identity).encode())[:12]}"
        return Work(folder / PARTS / name, len(self.order), self.batch_size, identity)

    def measure(self, bound: Bound, span: range, images: Tensor, on: Report) -> dict[str, Tensor]:
        """Measure images at these places of the order, (B, C, H, W) uint8."""
        model, schedule = self.model, bound.of(self.model.schedule)
        labels = None
        if self.conditional:
            labels = self.source.labels[list(map(self.order.__getitem__, span))].to(model.device)
        threshold = model.parameterization.mean_threshold(clip) if bound.clips else None
        evaluate = model.denoise(labels, schedule, threshold)

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            prediction = evaluate(x_t, level)
            on(len(x_t))
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
        return {name: each.cpu() for name, each in measured.items()}


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
        return _score(self.arrays["total"])

    @cached_property
    def terms(self) -> dict[str, Score]:
        """Its summands, by name."""
        return {name: _score(each) for name, each in self.bound.parts_of(self.arrays).items()}

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


@dataclass(frozen=True, eq=False)
class Bits:
    """Bits per dimension of the images of a task, by each of its bounds."""

    task: Task
    estimates: Sequence[Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return estimates, images and settings as JSON values."""
        task = self.task
        return {
            "model": task.identity,
            "data": {"source": task.source.name, "images": list(task.order)},
            "labels": "own" if task.conditional else "none",
            "estimates": [each.to_json() for each in self.estimates],
            "seed": task.seed,
            "batch_size": task.batch_size,
            "noise": "the image at place i: Philox, key (seed, i), counter (draw, level)",
            "versions": versions(),
        }

    def __str__(self) -> str:
        return "\n".join(
            f"{each.bits.text()} bits per dimension by {text(each.bound)}: "
            + ", ".join(f"{name} {score.value:.4f}" for name, score in each.terms.items())
            for each in self.estimates
        )


# Many parameters: those by keyword mirror the options of `adm likelihood` in name and meaning.
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
        out: the folder to write or to resume, which gets report.html; None for none.

    Raises:
        ValueError: the images cannot be measured, or not by these settings.
    """
    check_type("out", out, (str, Path, type(None)), "the path of a folder")
    pipeline = model if isinstance(model, Pipeline) else load(model)
    how = {"count": count, "split": split, "labels": labels, "seed": seed, "batch_size": batch_size}
    task = task_of(pipeline, data, bound, **how)

    folder = None if out is None else at_home(out)
    bits = run(task, folder, Devices(pipeline.device))
    assert bits is not None  # there is one rank
    return bits


def task_of(
    pipeline: Pipeline,
    data: str | Path | Source,
    bound: str | Bound | Sequence[str | Bound],
    *,
    count: int | None,
    split: str | None,
    labels: str,
    seed: int,
    batch_size: int,
) -> Task:
    """Return the task of the arguments of `likelihood`."""
    model = pipeline.model
    check_from_noise(model)
    requested = [bound] if isinstance(bound, str | Bound) else list(bound)
    default = Variational(drawn=DRAWN if model.schedule.last > DRAWN else None)
    bounds = [parse(BOUNDS, each, "bound") for each in requested] or [default]
    specs = list(map(text, bounds))
    if len(set(specs)) < len(specs):
        raise out_of_range("bound", "given once each", ", ".join(specs))
    for each in bounds:
        try:
            each.check(model.schedule.last)
        except SettingError as error:
            raise error.within("bound") from None
    if labels not in ("own", "none"):
        raise out_of_range("labels", "own or none", labels)
    source, conditional = data, labels == "own" and bool(model.classes)
    if isinstance(source, Source):
        check_shape(source, model)
    else:
        source = images_for(model, str(data), split or ("test", "train"))
    if conditional:
        source = _with_labels(source, model)
    count = len(source) if count is None else count
    if not 2 <= count <= len(source):
        raise out_of_range(
            "count", f"from 2 to {len(source)}, the number of images of {source.name}", count
        )
    order = shuffle(convert(Seed, seed, "seed"), len(source), 0, count)
    return Task(model, source, order, bounds, conditional, seed, positive("batch_size", batch_size))


def run(task: Task, out: Path | None, devices: Devices) -> Bits | None:
    """Measure what the folder lacks, together with the other ranks; write the page.

    Args:
        out: the folder, on a disk that all ranks share; None for none, and a single rank.

    Returns:
        The bits on the main rank; None on the others.
    """
    what = f"measuring {len(task.order):,} images of {task.source.name}"
    total = len(task.order) * task.evaluations(*task.bounds)
    bar = (progress if devices.main else silent)(what, total, "network evaluations")
    with work_in(out, devices) as folder, bar as report:
        estimates = [_estimate(task, bound, folder, devices, report) for bound in task.bounds]
        bits = Bits(task, estimates)
        if out is not None:
            devices.once(lambda: write(bits, out))
    return bits if devices.main else None


def write(bits: Bits, out: Path) -> None:
    """Write report.json and report.html."""
    document = json.dumps(bits.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_bytes(out / REPORT, document.encode())
    write_bytes(out / PAGE, page(bits).encode())


def page(bits: Bits) -> str:
    """Return the HTML page: each estimate with its terms and curves, and images at both ends."""
    task, blocks = bits.task, list[Block]()
    scores = [each.bits for each in bits.estimates]
    named = [text(each.bound) for each in bits.estimates]
    results = [f"{s.text(scores)} by {name}" for s, name in zip(scores, named, strict=True)]
    blocks.append(Note([f"Bits per dimension: {'; '.join(results)}."], "result"))
    for each, name in zip(bits.estimates, named, strict=True):
        rows = {"bits per dimension": each.bits, **each.terms}
        rows |= {} if each.by_probes is None else {"by other probes": each.by_probes}
        cells = [[key, Cell(*score.parts([each.bits]))] for key, score in rows.items()]
        figure = Figure(png(draw(each)), f"what {each.bound.name} measures by level", WIDE)
        blocks += [Title(f"By {name}"), Note([each.bound.about]), figure]
        blocks += [Table(["term", "mean"], cells)]
    blocks.append(Note([f"In small letters: 95% intervals over images. {OF_DATA}"], "quiet"))
    order = np.argsort(bits.estimates[0].arrays["total"], kind="stable")
    ends = [order[:SHOWN].tolist(), order[::-1][:SHOWN].tolist()]
    pictures = [tiles(task.source.batch([task.order[i] for i in end])[0], ACROSS) for end in ends]
    blocks.append(Title(f"Images by {named[0]}"))
    blocks.append(Images([ImageRow("", pictures)], ["fewest bits", "most bits"], ACROSS))
    facts = [("model", task.model.name), ("data", f"{task.source.name}, {len(task.order):,}")]
    facts += [("labels", "own" if task.conditional else "none"), ("seed", str(task.seed))]
    return page_of(f"Likelihood: {task.model.name}", blocks, facts=facts)


def draw(estimate: Estimate) -> Drawing:
    """Draw what was measured at each level."""
    curve = estimate.curve
    shown = {title: curve[name] for title, name in CURVES.items() if name in curve}
    with panels([*shown], "level", (4.2 * len(shown), 3.3)) as (drawn, places):
        for axes, values in zip(places, shown.values(), strict=True):
            axes.plot(estimate.level, values, color=LINES[0], lw=1.4, marker="o", ms=2)
            axes.set_xscale("log")
            axes.set_yscale("log" if min(values) > 0 else "linear")
    return drawn


def _estimate(task: Task, bound: Bound, folder: Path, devices: Devices, report: Report) -> Estimate:
    """Measure all images by a bound, together with the other ranks."""

    def read(span: range) -> Tensor:
        return task.source.batch([task.order[i] for i in span])[0]

    def make(span: range, images: Tensor, advance: Report) -> Arrays:
        measured = task.measure(bound, span, images, advance)
        return {name: each.numpy() for name, each in measured.items()}

    work = task.work(bound, folder)
    work.run(make, devices, report, cost=task.evaluations(bound), inputs=read)
    arrays = work.assemble(devices)
    del arrays[HASHES]
    return Estimate(bound, *bound.columns(task.model.schedule), arrays)


def _with_labels(source: Source, model: DiffusionModel) -> Source:
    """Return the images with the labels of the model, by the names of their classes."""
    known = relabelled(source, model.classes)
    if known is None or len(known) < len(source):
        raise out_of_range(
            "labels",
            f"none, as {source.name} has the classes {short(', '.join(source.classes))}, and "
            f"{model.name} has {short(', '.join(model.classes))}",
        )
    return known


def _score(values: NDArray[np.float32]) -> Score:
    bits = values.astype(np.float64)
    return Score(float(bits.mean()), *(mean_interval(bits) if len(bits) > 1 else ()))
