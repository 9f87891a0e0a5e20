"""Model, classifier, images -> findings: a sentence each, and what to change."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adm.data import Source, shuffle
from adm.data.registry import BUILTIN
from adm.diffusion import process
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import identity
from adm.images import to_float
from adm.metrics import Score
from adm.metrics.accuracy import accuracy
from adm.models.load import load_any, load_classifier
from adm.models.pair import check_pair, classifier_of
from adm.models.paths import FOREIGN
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes import build
from adm.runs.watch.drift import MOST_OFF_OF_255, differences, moments, reference
from adm.runs.watch.previews import layout, preview_sampling
from adm.samplers import ImageNoise
from adm.scoring.images import images_for, relabelled
from adm.shown import short, shown
from adm.spec import SettingError, literal, out_of_range
from adm.training.model_file import metadata_of

COUNT, FEWEST = 48, 8  # images of a measurement
MANY = 10  # times as many for the colours of the data
SEED = 0  # of the choice of images, and of all noise
LEVELS = 10  # at which estimates are measured
SURE = 3.0  # standard errors beyond which a deviation is not chance
MOST_STEPS = 25  # of sampling; a recipe with more is sampled as its previews are
SIZE_OFF = 0.12  # by which x_0 may be another multiple of its estimate than 1
UNSURE = 0.1  # by which confidence and accuracy may differ
BATCH = 16  # images that are evaluated together

log = logging.getLogger("adm")


class Finding(NamedTuple):
    """The result of a check.

    Attributes:
        says: what was found, in a sentence.
        cures: what to change, in sentences; none if all is well.
        curves: of what was measured: `level`, and a number at each level by name.
    """

    says: str
    cures: Sequence[str] = ()
    curves: Mapping[str, list[float]] = {}

    @property
    def verdict(self) -> str:
        return "wrong" if self.cures else "ok"


@dataclass(frozen=True, eq=False)
class Examined:
    """A model, with what it is examined by.

    Attributes:
        model: the model.
        classifier: the one that guides it, or the model itself; None for none.
        source: images like those that it was trained on, held out if there are any.
        labelled: whether their labels are those of the model.
        count: images of a measurement.
    """

    model: DiffusionModel | ClassifierModel
    classifier: ClassifierModel | None
    source: Source
    labelled: bool
    count: int

    @property
    def checks(self) -> dict[str, Callable[[], Finding]]:
        """The checks that concern the model, by name."""
        model, checks = self.model, dict[str, Callable[[], Finding]]()
        checks["settings"] = partial(check_settings, model)
        if isinstance(model, DiffusionModel):
            if model.low_shape is None:
                checks["start"] = lambda: check_start(model, self.images(MANY * self.count)[0])
                checks["colours"] = partial(check_colours, model, self)
            if not model.student and (self.labelled or not model.classes):
                checks["error"] = partial(check_error, model, self)
        if self.classifier is not None and self.labelled:
            checks["classifier"] = partial(check_classifier, self.classifier, self)
        return checks

    def images(self, count: int) -> tuple[Tensor, Tensor]:
        """Return up to `count` images, (N, C, H, W) in [-1, 1], and their labels (N,)."""
        order = shuffle(SEED, len(self.source), 0, min(count, len(self.source)))
        images, labels = self.source.batch(order)
        return to_float(images), labels

    @cached_property
    def batches(self) -> Sequence[tuple[Tensor, Tensor, ImageNoise]]:
        """The images of a measurement with their labels and their noise."""
        images, labels = (each.to(self.model.device) for each in self.images(self.count))
        spans = [range(len(images))[i : i + BATCH] for i in range(0, len(images), BATCH)]
        noises = [ImageNoise(SEED, span, self.model.shape, self.model.device) for span in spans]
        return list(zip(images.split(BATCH), labels.split(BATCH), noises, strict=True))

    def to_json(self, findings: Mapping[str, Finding]) -> dict[str, Any]:
        """Return all findings, and what was examined, as JSON values."""
        own = self.model is self.classifier
        return {
            "model": identity(self.model),
            "classifier": identity(self.classifier) if self.classifier and not own else None,
            "data": self.source.name,
            "images": self.count,
            "findings": {
                name: {"verdict": each.verdict, **each._asdict()} for name, each in findings.items()
            },
        }


def open_examined(
    model: str | Path,
    classifier: str | Path | None = None,
    data: str | None = None,
    device: str | torch.device | None = None,
    count: int = COUNT,
) -> Examined:
    """Load a model to examine, its classifier and its data.

    Args:
        model: a path or a shipped name of a diffusion model or a classifier.
        classifier: the one that guides it; by default the one that belongs to it.
        data: a data spec; by default the recipe's own data, if they are built in.
        count: images of a measurement, at least 8.

    Raises:
        ValueError: there is no such model, or no such data.
    """
    if count < FEWEST:
        raise out_of_range("count", f"at least {FEWEST}", count)
    examined, guide = load_any(model, device), None
    if not isinstance(examined, DiffusionModel | ClassifierModel) or examined.recipe.data.paired:
        raise ValueError(
            f"{examined.name} cannot be examined; give a classifier, or a diffusion model that "
            "takes no image of a pair"
        )
    if isinstance(examined, DiffusionModel):
        if classifier is None and not examined.student:
            classifier = classifier_of(model, examined.path)
        guide = None if classifier is None else load_classifier(classifier, examined.device)
    elif classifier is None:
        guide = examined
    else:
        raise SettingError(
            "classifier", f"leave out {{}}: {literal(examined.name)} is a classifier"
        )
    spec = data or examined.recipe.data.source
    if data is None and spec not in BUILTIN:
        raise SettingError(
            "data",
            f"give the images that {literal(examined.name)} was trained on as {{}}: "
            f"{literal(shown(spec))}",
        )
    source = images_for(examined, spec, ("test", "train"))
    classes = examined.classes or (guide.classes if guide else ())
    known = relabelled(source, classes) if classes else source
    if known is None:
        named = short(", ".join(classes))
        log.warning(f"{source.name} has none of the classes {named}: what needs them is left out")
    count = min(count, len(known or source))
    return Examined(examined, guide, known or source, known is not None, count)


def examine(examined: Examined) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of each check."""
    for name, check in examined.checks.items():
        try:
            yield name, check()
        except (SettingError, FloatingPointError) as error:
            yield name, Finding("It cannot be measured.", [f"{error}."])


def check_settings(model: DiffusionModel | ClassifierModel) -> Finding:
    """The file states what its use needs: sampling that fits its process, names of classes."""
    recipe, classes, cures = model.recipe, model.classes, list[str]()
    says = f"A released file, recognised as {recipe.name}"
    try:
        build.check_sampling(recipe)
    except ValueError as error:
        cures.append(f"Its settings of sampling do not fit its process: {error}.")
    if len(set(classes)) < len(classes):
        cures.append("Two classes have the same name: name them apart.")
    if model.path.suffix not in FOREIGN:
        metadata, steps = metadata_of(model.path), model.trained_steps
        says = f"Recipe {recipe.name}, {steps:,} of {recipe.train.steps:,} steps"
        says += f" of {metadata.data}" if metadata.data else ""
        if "sample" not in metadata.recipe and isinstance(model, DiffusionModel):
            cures.append("It has no settings of sampling: those by default are used.")
        if metadata.weights == "raw":
            cures.append("It holds the raw weights: sample the average, model.safetensors.")
        if not steps:
            cures.append("It was not trained: it states 0 steps.")
    return Finding(f"{says}; {len(classes) or 'no'} classes.", cures)


def generator_of(model: DiffusionModel) -> DiffusionGenerator:
    """Return the generator of samples by the recipe without guidance, or by that of previews."""
    default = replace(model.recipe.sample, guide=(), precision="float32", compile=False)
    short_enough = default.grid.steps <= MOST_STEPS
    chosen = default if short_enough else preview_sampling(model.recipe)
    return DiffusionGenerator.of(model, chosen)


def start_of(model: DiffusionModel) -> int:
    """Return the level at which sampling starts."""
    return round(max(generator_of(model).sampling.grid.visited(model.schedule)))


def check_start(model: DiffusionModel, images: Tensor) -> Finding:
    """Sampling starts from pure noise, which should be all that is left of an image at that level.

    The brightness b of an image, the mean of its D values, has a mean mu and a variance v over
    images. At x_t = signal x_0 + sigma noise it is read as signal b with an error of variance
    sigma^2 / D, so that an estimate takes the share k = r / (1 + r) of it from x_t, where r =
    signal^2 v D / sigma^2. Pure noise says that it is 0: samples are shifted by -k mu, and the
    deviation of their brightness falls to sqrt(1 - k^2) (after Lin et al. 2024, section 3, for
    normal b).
    """
    schedule, level = model.schedule, start_of(model)
    brightness = images.flatten(1).mean(1).double()
    mean, spread = float(brightness.mean()), float(brightness.var()) * math.prod(model.shape)

    def lost(level: int) -> tuple[float, float]:
        """Return the share k, and the shift of 255."""
        ratio = spread * float(schedule.alpha_bar[level] / (1 - schedule.alpha_bar[level]))
        share = ratio / (1 + ratio)
        return share, 127.5 * share * abs(mean)

    share, shift = lost(level)
    says = (
        f"Sampling starts at level {level} of {schedule.last}, where {share:.0%} of the brightness "
        f"of the data is read from x_t: pure noise shifts samples by about {shift:.1f} of 255 "
        f"towards grey, and leaves {math.sqrt(1 - share**2):.0%} of the spread of their brightness."
    )
    if share <= 0.3 and shift <= MOST_OFF_OF_255 / 2:
        return Finding(says)
    levels = range(level + 1, schedule.last + 1)
    better = next((each for each in levels if lost(each)[1] <= MOST_OFF_OF_255 / 4), None)
    if better is None:
        cure = "Train with a schedule that ends in noise, such as process.schedule=cosine."
    elif model.student:  # it knows the levels of its grid alone
        cure = f"Distil it again with --set distillation.grid.start={better}."
    else:
        cure = f"Start at a noisier level, as with --grid karras:start={better}."
    return Finding(says, [cure])


@torch.no_grad()
def check_error(model: DiffusionModel, examined: Examined) -> Finding:
    """The estimate of x_0 has the right size at every level, and a smaller error than a guess.

    x_0 regressed on its expectation given x_t has slope 1, about any constant. The guess is linear
    in each pixel.
    """
    schedule, lower, start = model.schedule, build.low_res_of(model.recipe), start_of(model)
    levels = sorted({max(2, round(start * (i / LEVELS) ** 2)) for i in range(1, LEVELS + 1)})
    images = torch.cat([x_0 for x_0, _, _ in examined.batches])
    middle, variance = images.mean((0, 2, 3), keepdim=True), images.var(dim=0).mean().cpu()
    alpha_bar, by_chance = schedule.alpha_bar[levels], SURE / len(images) ** 0.5
    guess = variance * (1 - alpha_bar) / (1 - alpha_bar + alpha_bar * variance)
    products = list[Tensor]()  # (3, N) at each level
    for level in levels:
        of_images = list[Tensor]()
        for x_0, labels, noise in examined.batches:
            low_res = None if lower is None else lower(x_0)
            denoise = model.denoise(labels if model.classes else None, low_res=low_res)
            x_t = process.diffuse(schedule, x_0, noise(level), level)
            estimate = denoise(x_t, level).x_0
            real, own = x_0 - middle, estimate - middle
            each = torch.stack([(estimate - x_0) ** 2, real * own, own**2])
            of_images.append(each.flatten(2).mean(2).double().cpu())
        products.append(torch.cat(of_images, dim=1))
    error, shared, own = torch.stack(products, dim=1)  # (L, N) each
    slope = shared.mean(1) / own.mean(1)
    slope_error = (shared - slope[:, None] * own).std(1) / own.mean(1)
    size_off = (slope - 1).abs() - by_chance * slope_error
    guess_off = (error.mean(1) - by_chance * error.std(1)) / guess - 1
    says = (
        f"From level {levels[0]} to {levels[-1]}, x_0 is {float(slope.min()):.2f} to "
        f"{float(slope.max()):.2f} times its estimate (by regression), whose squared error is at "
        f"most {float((error.mean(1) / guess).max()):.2f} of that of a guess that is linear in "
        "each pixel."
    )
    measured = {"squared error of x_0": error.mean(1), "of a linear guess": guess, "slope": slope}
    curves = {"level": [*map(float, levels)]} | {
        name: each.tolist() for name, each in measured.items()
    }
    if size_off.max() <= SIZE_OFF and guess_off.max() <= 0:  # neither is NaN
        return Finding(says, curves=curves)
    worst = levels[int(torch.maximum(size_off - SIZE_OFF, guess_off).argmax())]
    cure = (
        f"It is worst at level {worst}. Check that process.schedule, process.prediction and "
        "process.rescale_steps are those of the training, and that the data are its own; else "
        "train longer."
    )
    return Finding(says, [cure], curves)


def check_colours(model: DiffusionModel, examined: Examined) -> Finding:
    """The channels of samples have the mean and the deviation of those of the data."""
    source, count = examined.source, examined.count
    labels, _ = layout(len(model.classes) or None, count)
    total = count if labels is None else len(labels)
    samples = generator_of(model).images(labels, range(total))
    data = reference(source, labels if examined.labelled else None, MANY * count)
    deviations = differences(moments(samples), data)
    wrong = [each for each in deviations if each.exceeds(MOST_OFF_OF_255 / 2)]
    most = max(wrong or deviations, key=lambda each: each.off)
    says = (
        f"The {most.what} of {most.channel} is {most.got:.0f} of 255 in samples and "
        f"{most.expected:.0f} in the data, {most.off:.1f} apart (standard error {most.error:.1f}): "
        f"the largest of {len(deviations)} differences."
    )
    cure = (
        "See what `start` says; take more steps; compare the raw weights with the average; else "
        "train longer."
    )
    return Finding(says, [cure] if wrong else [])


@torch.no_grad()
def check_classifier(classifier: ClassifierModel, examined: Examined) -> Finding:
    """It fits the model, is right about slightly noisy images, and no surer than it is right."""
    schedule, model = classifier.schedule, examined.model
    if isinstance(model, DiffusionModel):
        try:
            check_pair(model, classifier)
        except SettingError as error:
            says = f"{classifier.name} cannot guide {model.name}: {error}."
            return Finding(says, ["Train a classifier with its data and process."])
    middles = [max(1, round((i + 0.5) / LEVELS * schedule.last)) for i in range(LEVELS)]
    levels = middles if classifier.recipe.noised else [0]
    every_label = torch.cat([labels for _, labels, _ in examined.batches]).cpu()
    scores, sure = list[Score](), list[float]()
    for level in levels:
        outputs = list[Tensor]()
        for x_0, _, noise in examined.batches:
            x_t = process.diffuse(schedule, x_0, noise(level), level)
            outputs.append(classifier.network(x_t, schedule.timestep(level, x_t)).float().cpu())
        logits = torch.cat(outputs)
        scores.append(accuracy(logits, every_label))
        sure.append(float(logits.softmax(1).amax(1).mean()))
    right = [each.value for each in scores]
    chance = float(every_label.bincount().max()) / len(every_label)
    says = (
        f"It is right about {right[0]:.0%} of the images at level {levels[0]} and sure of "
        f"{sure[0]:.0%}, and about {right[-1]:.0%} and {sure[-1]:.0%} at level {levels[-1]}; "
        f"{chance:.0%} are of the commonest class."
    )
    off = list(zip(sure, scores, strict=True))
    cures = {
        "It knows no class of these data: check the order of its classes.": scores[0].high
        < chance + UNSURE / 2,
        "It is surer than it is right: check that its process is that of its training and that it "
        "was trained on noisy images; else take more data or an earlier checkpoint.": any(
            each - score.high > UNSURE for each, score in off
        ),
        "It is less sure than it is right: check its process.schedule and process.steps.": any(
            score.low - each > UNSURE for each, score in off
        ),
    }
    curves = {"level": [*map(float, levels)], "share of images that are right": right}
    found = [cure for cure, holds in cures.items() if holds]
    return Finding(says, found, curves | {"by its own confidence": sure})


def summary(findings: Mapping[str, Finding]) -> str:
    """Return what a reader should know first, in a sentence."""
    wrong = [name for name, each in findings.items() if each.cures]
    return f"Wrong: {', '.join(wrong)}." if wrong else "Nothing is wrong."
