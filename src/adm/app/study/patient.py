"""Model, classifier, data -> Patient: estimates, samples and classifications of few images.

A measurement is made on first use, on held-out images if the data have any.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from adm.app.runs.watch.previews import layout, preview_sampling
from adm.app.runs.watch.validation import FAR, QUARTERS, SEED, Losses, measure
from adm.app.runs.watch.watched import PIXELS
from adm.data import NoSplit, Source, shuffle
from adm.data.registry import BUILTIN, open_source
from adm.diffusion import Denoise, Schedule, clip, process
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.gan import GANGenerator
from adm.generation.resolve import resolve
from adm.images import to_float, to_uint8
from adm.models.gan import GANModel
from adm.models.load import AnyModel, load_any, load_classifier
from adm.models.pair import check_pair, classifier_of, guides_of
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.processes import Devices
from adm.recipes import build
from adm.samplers import Sampling
from adm.shown import short, shown
from adm.spec import SettingError
from adm.training.batches import draw

Part: TypeAlias = slice  # of a batch of images
COUNT, LEAST = 48, 8  # images of a measurement
MORE = 4  # times as many for a loss, of which each image gives one number
MANY = 10  # times as many for moments of the data
ASSUMED_MEAN, ASSUMED_SPREAD = -0.1, 0.3  # of the brightness of photographs in [-1, 1]
LEVELS, LOW = 10, (2, 4)  # levels of the calibration; further ones, where the variance matters
MOST_LABELS = 6  # that an image is denoised with
PER_QUARTER = 3  # levels of a classifier in each quarter
MOST_STEPS = 25  # of sampling; a recipe with more is sampled as its previews are
MARGIN = 0.1  # beyond [-1, 1] within which an estimate of an extreme pixel is none the worse


class Skipped(Exception):
    """Raised by a measurement that cannot be made; the message is the reason, as a sentence."""


class Calibration(NamedTuple):
    """How well estimates of x_0 and of the noise agree with both, at each of L levels: (L,) each.

    Attributes:
        levels: int64, ascending.
        error: mean squared error of the estimate of x_0, clipped to [-1, 1].
        error_spread: its standard error.
        linear: that of the best estimate that is linear in each pixel of x_t.
        slope: of the regression of x_0 on its estimate, about the mean of each channel; the
            expectation of x_0 given x_t has slope 1.
        slope_spread: its standard error.
        energy: mean square of the predicted noise and of what it leaves, together, in parts of that
            of the noise; 1 for the expectation, whose error is orthogonal to it (Pythagoras).
        energy_spread: its standard error.
        variance: mean square of x_(t-1) about its predicted mean, over the predicted variance.
        constant: mean squared error of the best constant image.
    """

    levels: Tensor
    error: Tensor
    error_spread: Tensor
    linear: Tensor
    slope: Tensor
    slope_spread: Tensor
    energy: Tensor
    energy_spread: Tensor
    variance: Tensor
    constant: float


class Sampled(NamedTuple):
    """Samples of the model.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) of the requested classes; None without classes.
        beyond: share of pixels of the last estimate more than `MARGIN` beyond [-1, 1] before they
            are clipped; NaN for a GAN.
        how: the sampling, in words.
    """

    images: Tensor
    labels: Tensor | None
    beyond: float
    how: str


class Judged(NamedTuple):
    """A classifier at each of L levels: (L,) each.

    Attributes:
        levels: int64, ascending, as many in each quarter; level 0 alone for clean images.
        accuracy: share of images whose most probable class is theirs.
        confidence: mean probability of the most probable class, the accuracy that it expects.
        pull: root mean square of sigma times the gradient of log p(y | x_t), in which the noise is
            1: what guidance of scale 1 adds to the predicted noise.
        level_gain: by how much log p of the label is larger, in nats, given the level than given
            that of another quarter; and its standard error.
        images: at each level.
        commonest: share of the commonest class among them.
    """

    levels: Tensor
    accuracy: Tensor
    confidence: Tensor
    pull: Tensor
    level_gain: tuple[float, float]
    images: int
    commonest: float

    @property
    def quarters(self) -> tuple[Tensor, Tensor]:
        """Accuracy and confidence of each quarter of the levels, the cleanest first."""
        parts = QUARTERS if len(self.levels) >= QUARTERS else 1
        return self.accuracy.view(parts, -1).mean(1), self.confidence.view(parts, -1).mean(1)


@dataclass(frozen=True, eq=False)
class Patient:
    """A model to examine, with its classifier and data.

    Attributes:
        model: of any kind.
        classifier: the one that guides it; None for none, and for a classifier itself.
        training: training images with the model's labels; None without data.
        held_out: images that it was not trained on; None if the data have none.
        without: why there are no data.
        unlabelled: why the data have no labels of the model's; empty if they have.
        count: images of a measurement.
    """

    model: AnyModel
    classifier: ClassifierModel | None = None
    training: Source | None = None
    held_out: Source | None = None
    without: str = "no data are given; give --data"
    unlabelled: str = ""
    count: int = COUNT

    @property
    def data(self) -> Source:
        """The images to measure on."""
        source = self.held_out or self.training  # either may be empty
        if not source:
            raise Skipped(self.without)
        return source

    @property
    def judge(self) -> ClassifierModel:
        """The classifier that is examined."""
        classifier = self.model if isinstance(self.model, ClassifierModel) else self.classifier
        if classifier is None:
            raise Skipped("there is no classifier; give --classifier")
        return classifier

    @property
    def fits(self) -> bool:
        """Whether the classifier can guide the model."""
        if self.classifier is None:
            return False
        try:
            check_pair(self.diffusion, self.classifier)
        except SettingError:
            return False
        return True

    def of_judge(self, labels: Tensor) -> Tensor:
        """Return the classifier's labels of the same classes, by name; on the CPU."""
        judge = self.judge
        if judge.shape != self.model.shape:
            raise Skipped(f"the classifier is for images of (C, H, W) = {judge.shape}")
        names, known = self.model.classes or judge.classes, judge.classes
        if missing := sorted({*names} - {*known}):
            raise Skipped(f"the classifier has no class {short(', '.join(missing))}")
        return torch.tensor([known.index(name) for name in names])[labels.cpu()]

    @property
    def diffusion(self) -> DiffusionModel:
        assert isinstance(self.model, DiffusionModel)
        return self.model

    @property
    def upsamples(self) -> bool:
        return isinstance(self.model, DiffusionModel) and self.model.low_shape is not None

    @property
    def parts(self) -> list[Part]:
        """Parts of a measurement's images that are evaluated together."""
        height, width = self.model.shape[1:]
        together = max(1, min(64, PIXELS // (height * width)))
        return [slice(i, i + together) for i in range(0, self.count, together)]

    @property
    def indices(self) -> list[int]:
        """Indices of the measured images."""
        return shuffle(SEED, len(self.data), 0, self.count)

    @cached_property
    def images(self) -> Tensor:
        """(N, C, H, W) in [-1, 1]."""
        return to_float(self.data.batch(self.indices)[0]).to(self.model.device)

    @property
    def labels(self) -> Tensor:
        """(N,) of the images."""
        if self.unlabelled:
            raise Skipped(self.unlabelled)
        return self.data.labels[self.indices].to(self.model.device)

    @cached_property
    def noise(self) -> Tensor:
        """(N, C, H, W), the same at every level."""
        return draw(SEED, FAR, self.count, self.model.shape).noise.to(self.model.device)

    def denoise(self, labels: Tensor | None) -> Callable[[Part], Denoise]:
        """Return the denoiser of a part of the images, without a threshold."""
        if self.diffusion.student:
            raise Skipped("a student predicts where its step leads, and does not estimate x_0")
        model, lower = self.diffusion, build.low_res_of(self.diffusion.recipe)

        def denoise(part: Part) -> Denoise:
            low = None if lower is None else lower(self.images[part])
            return model.denoise(None if labels is None else labels[part], None, None, low)

        return denoise

    @cached_property
    def start(self) -> int:
        """The level at which sampling starts."""
        model = self.diffusion
        return round(max(resolve(model, self.sampling).grid.visited(model.schedule)))

    @cached_property
    def calibration(self) -> Calibration:
        labels = self.labels if self.diffusion.classes else None
        squares = {max(2, round(self.start * (i / LEVELS) ** 2)) for i in range(1, LEVELS + 1)}
        levels = sorted(squares | {each for each in LOW if each < self.start})
        schedule = self.diffusion.schedule
        return calibrate(
            self.denoise(labels), schedule, self.images, self.noise, levels, self.parts
        )

    @property
    def sampling(self) -> Sampling:
        """The settings of samples: the recipe's, without guidance if the model has classes."""
        model = self.diffusion
        default = replace(model.recipe.sample, precision="float32", compile=False)
        if default.grid.steps > MOST_STEPS:
            default = preview_sampling(model.recipe)
        if model.classes or not self.fits:
            return replace(default, guide=())
        guides = guides_of(model.path, guided=True)
        return replace(default, guide=guides) if guides else default.change(scale=1.0)

    @cached_property
    def samples(self) -> Sampled:
        model = self.model
        assert not isinstance(model, ClassifierModel)
        if isinstance(model, GANModel):
            latent = GANGenerator(model, replace(model.recipe.sample, precision="float32"))
            labels, _ = layout(len(model.classes) or None, self.count)
            total = self.count if labels is None else len(labels)
            return Sampled(latent.images(labels, range(total)), labels, math.nan, "in one call")
        sampling = resolve(model, self.sampling)
        guides = self.classifier if sampling.by_classifier else None
        generator = DiffusionGenerator(model, sampling, guides)
        lower = build.low_res_of(model.recipe)
        labels, _ = layout(len(generator.classes) or None, self.count)
        if self.upsamples:
            labels = self.labels.cpu() if model.classes else None
        total = self.count if labels is None else len(labels)
        images, beyond = list[Tensor](), list[Tensor]()
        for part in filter(lambda part: range(total)[part], self.parts):
            classes = None if labels is None else labels[part].to(model.device)
            low = None if lower is None else to_uint8(lower(self.images[part]))
            *before, last = generator.trajectory(classes, range(total)[part], low)
            raw = last.x
            if before and not model.student:
                condition = classes if generator.conditional else None
                small = None if low is None else to_float(low.to(model.device))
                denoise = model.denoise(condition, generator.schedule, None, small)
                with torch.no_grad():
                    raw = denoise(before[-1].x, before[-1].level).x_0
            images.append(to_uint8(last.x).cpu())
            beyond.append((raw.abs() > 1 + MARGIN).float().cpu())
        how = f"in {sampling.grid.steps} steps of {sampling.sampler.name}"
        how += f", guided by {generator.guidance}" if guides else ""
        return Sampled(torch.cat(images), labels, float(torch.cat(beyond).mean()), how)

    @cached_property
    def real(self) -> Tensor:
        """Images of the data like the samples, uint8: of the same classes in the same order.

        For an upsampler, its targets.
        """
        labels = self.samples.labels
        if self.upsamples or labels is None or self.unlabelled:
            return to_uint8(self.images).cpu()
        order = torch.tensor(shuffle(SEED, len(self.data), 0, len(self.data)))
        indices = {
            label: cycle(order[self.data.labels[order] == label].tolist() or order.tolist())
            for label in labels.unique().tolist()
        }
        return self.data.batch([next(indices[label]) for label in labels.tolist()])[0]

    @cached_property
    def judged(self) -> Judged:
        labels = self.of_judge(self.labels).to(self.judge.device)
        return judge(self.judge, self.images, labels, self.noise, self.parts)

    @cached_property
    def by_label(self) -> Tensor:
        """(N, L) squared errors of x_0 at `guessing` with the image's own label and with others."""
        labels, classes = self.labels, len(self.diffusion.classes)
        schedule, count = self.diffusion.schedule, min(classes, MOST_LABELS)
        columns = list[Tensor]()
        for other in range(count):
            # The other labels of an image are as far apart as can be.
            denoise, errors = self.denoise((labels + other * classes // count) % classes), []
            for part in self.parts:
                real = self.images[part]
                x_t = process.diffuse(schedule, real, self.noise[part], self.guessing)
                with torch.no_grad():
                    x_0 = clip(denoise(part)(x_t, self.guessing).x_0)
                errors.append(((x_0 - real) ** 2).flatten(1).mean(1).cpu())
            columns.append(torch.cat(errors))
        return torch.stack(columns, dim=1).double()

    @property
    def guessing(self) -> int:
        """A level at which much of an image is to be guessed."""
        return max(2, self.start * 4 // 5)

    @property
    def brightness(self) -> tuple[Tensor, Tensor, str]:
        """Mean (C,) and covariance (C, C) of the channels' means over images, and what images."""
        channels = self.model.shape[0]
        if self.training is None:
            # About those of photographs, whose channels are bright together.
            spread = torch.full((channels, channels), ASSUMED_SPREAD**2).double()
            return torch.full((channels,), ASSUMED_MEAN).double(), spread, "of photographs"
        many = shuffle(SEED, len(self.training), 0, MANY * self.count)
        means = to_float(self.training.batch(many)[0]).mean((2, 3)).double()
        return means.mean(0), torch.cov(means.T).reshape(channels, channels), "of the data"

    def classify(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, H, W) uint8."""
        judge, together = self.judge, self.parts[0].stop
        parts = to_float(images).to(judge.device).split(together)
        with torch.no_grad():
            return torch.cat([judge.classify(part).float().cpu() for part in parts])

    def losses(self, model: DiffusionModel | ClassifierModel, source: Source) -> Losses:
        """Return the loss on images of a source, at all levels."""
        if isinstance(model, DiffusionModel) and model.student:
            raise Skipped("the loss of a student needs its teacher")
        if model.classes and self.unlabelled:
            raise Skipped(self.unlabelled)
        devices = Devices(model.device)
        objective = build.objectives(model.recipe, model.device)[-1]
        how = {"devices": devices, "count": MORE * self.count, "batch_size": self.parts[0].stop}
        return measure(objective, model.network, source, **how)


def admit(
    model: str | Path,
    classifier: str | Path | None = None,
    data: str | None = None,
    device: str | torch.device | None = None,
    count: int = COUNT,
) -> Patient:
    """Load a model to examine, its classifier and its data.

    Args:
        model: a path or a shipped name, of any kind of model.
        classifier: the one that guides it; by default the one that belongs to it.
        data: a data spec; by default the recipe's own data, if they are built in.
        count: images of a measurement, at least 8.

    Raises:
        ValueError: there is no such model, or no such data.
    """
    if count < LEAST:
        raise SettingError("count", f"at least {LEAST}", count)
    examined, guide = load_any(model, device), None
    if examined.recipe.data.paired:
        raise SettingError(
            "model", "one that is not conditioned on an image of a pair", examined.name
        )
    if isinstance(examined, ClassifierModel) and classifier is not None:
        raise SettingError("classifier", "left out, as the model is a classifier")
    if isinstance(examined, DiffusionModel) and classifier is None and not examined.student:
        classifier = classifier_of(model, examined.path)
    if classifier is not None:
        guide = load_classifier(classifier, examined.device)
    source, settings = examined.recipe.data.source, examined.recipe.data
    if data is None and source not in BUILTIN:
        without = f"its data, {shown(source)}, are opened only if they are given; give --data"
        return Patient(examined, guide, without=without, count=count)
    classes, unlabelled = examined.classes or (guide.classes if guide else ()), ""
    sources = list[Source | None]()
    for split in ("train", "test"):
        try:
            how = {"size": settings.size, "channels": settings.channels}
            opened = open_source(data or source, split=split, **how)
        except NoSplit:
            sources.append(None)
            continue
        except (OSError, ValueError) as error:
            if data is not None:
                raise
            return Patient(
                examined, guide, without=f"its data cannot be opened: {error}", count=count
            )
        renamed = labelled(opened, classes) if classes else opened
        if renamed is None:
            both = (short(", ".join(each)) for each in (opened.classes, classes))
            unlabelled = "the data have the classes {}, and not {}".format(*both)
        sources.append(opened if renamed is None else renamed)
    training, held_out = sources
    return Patient(examined, guide, training, held_out, unlabelled=unlabelled, count=count)


def labelled(source: Source, classes: tuple[str, ...]) -> Source | None:
    """Return the images of these classes with their labels, by name; None if it has none of them.

    Classes that are numbers, as those of released files, are taken in their order.
    """
    place = {name.casefold(): label for label, name in enumerate(classes)}
    known = [place.get(name.casefold(), -1) for name in source.classes]
    if max(known) < 0:
        if len(known) != len(classes) or not all(name.isdigit() for name in classes):
            return None
        known = list(range(len(classes)))
    labels = torch.tensor(known)[source.labels]
    matched = torch.nonzero(labels >= 0)[:, 0]
    return replace(source.subset(matched.numpy()), classes=classes, labels=labels[matched])


@torch.no_grad()
def calibrate(
    denoise: Callable[[Part], Denoise],
    schedule: Schedule,
    x_0: Tensor,
    noise: Tensor,
    levels: list[int],
    parts: list[Part],
) -> Calibration:
    """Compare the estimates of a denoiser without a threshold with x_0 and the noise.

    Args:
        denoise: part -> the denoiser of these images.
        x_0: (N, C, H, W) in [-1, 1].
        noise: (N, C, H, W), standard normal.
        parts: of the images, all of them together.
    """
    centre = x_0.mean((0, 2, 3), keepdim=True)
    spread = float(((x_0 - x_0.mean(0)) ** 2).mean()) * len(x_0) / max(1, len(x_0) - 1)
    to_x_0, _ = process.posterior_coefficients(schedule)
    rows = list[list[Tensor]]()
    for level in levels:
        statistics = list[Tensor]()
        for part in parts:
            real, drawn = x_0[part], noise[part]
            x_t = process.diffuse(schedule, real, drawn, level)
            prediction = denoise(part)(x_t, level)
            estimate = clip(prediction.x_0)
            # x_(t-1) has the posterior's variance about a mean that errs with x_0 (DDPM, eq. 7).
            off = float(to_x_0[level]) ** 2 * (prediction.x_0 - real) ** 2
            actual = float(schedule.posterior_variance[level]) + off
            values = (
                (estimate - real) ** 2,
                (estimate - centre) * (real - centre),
                (estimate - centre) ** 2,
                prediction.noise**2 + (drawn - prediction.noise) ** 2,
                drawn**2,
                actual / prediction.variance.value,
            )
            statistics.append(torch.stack([each.flatten(1).mean(1).cpu() for each in values]))
        error, product, square, energy, whole, variance = torch.cat(statistics, dim=1).double()
        rows.append(
            [
                *(error.mean(), error.std() / len(error) ** 0.5, *_ratio(product, square)),
                *(*_ratio(energy, whole), variance.mean()),
            ]
        )
    error, error_spread, slope, slope_spread, energy, energy_spread, variance = (
        torch.stack(column) for column in zip(*rows, strict=True)
    )
    at = torch.tensor(levels)
    alpha_bar = schedule.alpha_bar[at]
    linear = spread * (1 - alpha_bar) / (1 - alpha_bar + alpha_bar * spread)
    numbers = (slope, slope_spread, energy, energy_spread, variance)
    return Calibration(at, error, error_spread, linear, *numbers, spread)


def _ratio(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ratio of two sums over images (N,), and its standard error."""
    ratio = above.sum() / below.sum()
    return ratio, ((above - ratio * below) ** 2).sum().sqrt() / below.sum()


def judge(
    classifier: ClassifierModel, x_0: Tensor, labels: Tensor, noise: Tensor, parts: list[Part]
) -> Judged:
    """Classify images (N, C, H, W) in [-1, 1] at levels in the middle of equal parts of 1..T."""
    schedule, count = classifier.schedule, QUARTERS * PER_QUARTER
    middles = [max(1, round((i + 0.5) / count * schedule.last)) for i in range(count)]
    noised = classifier.recipe.noised
    levels = middles if noised else [0]
    rows, gains = list[Tensor](), list[Tensor]()
    for place, level in enumerate(levels):
        statistics, known = list[Tensor](), labels[:, None]
        for part in parts:
            x_t = process.diffuse(schedule, x_0[part], noise[part], level).requires_grad_()

            def log_p(assumed: int, x_t: Tensor = x_t) -> Tensor:
                logits = classifier.network(x_t, schedule.timestep(assumed, x_t))
                return logits.float().log_softmax(1)

            log_probs = log_p(level)
            of_label = log_probs.gather(1, known[part])
            (pull,) = torch.autograd.grad(of_label.sum(), x_t)
            force = float(schedule.sigma[level]) ** 2 * pull.flatten(1).pow(2).mean(1)
            right = (log_probs.argmax(1) == labels[part]).float()
            row = [right, log_probs.detach().exp().amax(1), force]
            if place % PER_QUARTER == PER_QUARTER // 2:
                others = [levels[place - i * PER_QUARTER] for i in range(1, QUARTERS)]
                with torch.no_grad():
                    by_other = [log_p(other).gather(1, known[part]) for other in others if noised]
                row += [(of_label - other).detach()[:, 0] for other in by_other]
            statistics.append(torch.stack(row).cpu())
        of_level = torch.cat(statistics, dim=1).double()
        rows.append(of_level[:3].mean(1))
        gains += list(of_level[3:])
    right, sure, force = torch.stack(rows, dim=1)
    gain = torch.stack(gains).mean(0) if noised else torch.zeros(len(x_0))
    commonest = float(labels.cpu().bincount().max()) / len(labels)
    level_gain = float(gain.mean()), float(gain.std()) / len(gain) ** 0.5
    return Judged(torch.tensor(levels), right, sure, force.sqrt(), level_gain, len(x_0), commonest)
