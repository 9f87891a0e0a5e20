"""Model, classifier, images -> findings: ok, look or wrong, in a sentence, and the cure; a page."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adm.app.report import Block, Cell, Figure, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.plots import LINES, panels
from adm.data import Source, shuffle
from adm.data.registry import BUILTIN
from adm.diffusion import process
from adm.diffusion.likelihood import Levels, bits_per_dimension
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import identity
from adm.generation.resolve import resolve
from adm.images import to_float
from adm.metrics.accuracy import accuracy
from adm.models.load import load_any, load_classifier
from adm.models.pair import check_pair, classifier_of
from adm.models.paths import FOREIGN
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.pictures import png
from adm.recipes import build
from adm.runs.watch.drift import MOST_OFF_OF_255, Compared, differences, moments, reference
from adm.runs.watch.previews import layout, preview_sampling
from adm.runs.watch.watched import PIXELS
from adm.samplers import ImageNoise, Sampling
from adm.scoring.images import images_for, relabelled
from adm.shown import short, shown
from adm.spec import SettingError, out_of_range
from adm.training.model_file import metadata_of

COUNT, FEWEST = 48, 8  # images of a measurement
MANY = 10  # times as many for the colours of the data
SEED = 0  # of the choice of images, and of all noise
LEVELS = 10  # at which errors are measured
SURE = 3.0  # standard errors beyond which a deviation is not chance
MOST_STEPS = 25  # of sampling; a recipe with more is sampled as its previews are
ASSUMED_MEAN, ASSUMED_SPREAD = -0.1, 0.3  # of the brightness of photographs in [-1, 1]
ACROSS, WIDE = 8, 640  # pictures side by side; pixels of a figure, below which it scrolls

Weight = Literal["ok", "look", "wrong", "skipped"]
RANK: tuple[Weight, ...] = ("wrong", "look", "ok", "skipped")


class Finding(NamedTuple):
    """The result of a check.

    Attributes:
        weight: `ok`; `look`, for what may be meant, or matters little; `wrong`; `skipped`.
        says: what was found, in a sentence.
        cure: what to do about it; nothing if it is ok.
        curves: of what was measured: `level`, and a number at each level by name.
        pictures: images (N, C, H, W) uint8, by name.
    """

    weight: Weight
    says: str
    cure: str = ""
    curves: Mapping[str, list[float]] = {}
    pictures: Mapping[str, Tensor] = {}


@dataclass(frozen=True, eq=False)
class Examined:
    """A model, with what it is examined by.

    Attributes:
        model: the model.
        classifier: the one that guides it, or the model itself; None for none.
        source: images like those that it was trained on, held out if there are any; None for none.
        without: why there are no images; empty if there are some.
        unlabelled: why they have no labels of the model's; empty if they have.
        count: images of a measurement.
    """

    model: DiffusionModel | ClassifierModel
    classifier: ClassifierModel | None
    source: Source | None
    without: str
    unlabelled: str
    count: int

    def checks(self) -> dict[str, Callable[[], Finding]]:
        """Return the checks that concern the model, by name."""
        model, source, classifier = self.model, self.source, self.classifier
        checks: dict[str, Callable[[], Finding]] = {"settings": partial(check_settings, model)}
        if isinstance(model, DiffusionModel):
            if model.low_shape is None:
                checks["start"] = partial(check_start, model, source, MANY * self.count)
            if not model.student:
                checks["error"] = self._measured(partial(check_error, model), bool(model.classes))
            if model.low_shape is None:
                labelled = bool(model.classes) and not self.unlabelled
                checks["colours"] = self._measured(partial(check_colours, model, labelled), False)
        if classifier is not None:
            checks["classifier"] = self._measured(partial(check_classifier, classifier, model))
        return checks

    def examine(self) -> Iterator[tuple[str, Finding]]:
        """Yield the name and the finding of each check."""
        for name, check in self.checks().items():
            try:
                yield name, check()
            except (SettingError, FloatingPointError) as error:
                yield name, Finding("wrong", f"It cannot be measured: {error}.")

    def to_json(self, findings: Mapping[str, Finding]) -> dict[str, Any]:
        """Return all findings, and what was examined, as JSON values."""
        own = self.model is self.classifier
        return {
            "model": identity(self.model),
            "classifier": identity(self.classifier) if self.classifier and not own else None,
            "data": None if self.source is None else self.source.name,
            "images": self.count,
            "findings": {
                name: {"finding": each.weight, "says": each.says, "cure": each.cure, **each.curves}
                for name, each in findings.items()
            },
        }

    def _measured(
        self, check: Callable[[Source, int], Finding], needs_labels: bool = True
    ) -> Callable[[], Finding]:
        """Return a check of images; it is skipped if there are none, or none with labels."""
        lacking = self.without or (self.unlabelled if needs_labels else "")
        if self.source is None or lacking:
            return lambda: Finding("skipped", f"{lacking}.")
        return partial(check, self.source, self.count)


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
    examined = load_any(model, device)
    if not isinstance(examined, DiffusionModel | ClassifierModel) or examined.recipe.data.paired:
        expected = "a classifier, or a diffusion model that takes no image of a pair"
        raise out_of_range("model", expected, examined.name)
    if isinstance(examined, ClassifierModel):
        if classifier is not None:
            raise out_of_range("classifier", "left out, as the model is a classifier")
        guide = examined
    else:
        own = None if examined.student else classifier_of(model, examined.path)
        guide = (classifier or own) and load_classifier(classifier or own or "", examined.device)
    source, without, unlabelled = None, "", ""
    spec = data or examined.recipe.data.source
    if data is None and spec not in BUILTIN:
        without = f"Its data, {shown(spec)}, are opened only if they are given; give --data"
    else:
        try:
            source = images_for(examined, spec, ("test", "train"))
        except (OSError, ValueError) as error:
            if data is not None:
                raise
            without = f"Its data cannot be opened: {error}"
    classes = examined.classes or (guide.classes if guide else ())
    if source is not None and classes:
        known = relabelled(source, classes)
        if known is None:
            both = (short(", ".join(each)) for each in (source.classes, classes))
            unlabelled = "The data have the classes {}, and not {}".format(*both)
        source = known or source
    return Examined(examined, guide or None, source, without, unlabelled, count)


def graded(value: float, look: float, wrong: float) -> Weight:
    """Return the weight of a value that should be small; NaN is wrong."""
    if not value <= wrong:
        return "wrong"
    return "ok" if value <= look else "look"


def worst(says: str, cures: Mapping[str, Weight], **more: Any) -> Finding:
    """Return the finding of the weightiest of several cures."""
    cure = min(cures, key=lambda each: RANK.index(cures[each]))
    return Finding(cures[cure], says, "" if cures[cure] == "ok" else cure, **more)


def check_settings(model: DiffusionModel | ClassifierModel) -> Finding:
    """The file states what its use needs: sampling that fits its process, names of classes."""
    recipe, classes = model.recipe, model.classes
    says, cures = f"A released file, recognised as {recipe.name}", dict[str, Weight]()
    try:
        build.check_sampling(recipe)
    except ValueError as error:
        cures[f"Its settings of sampling do not fit its process: {error}."] = "wrong"
    if model.path.suffix not in FOREIGN:
        metadata, steps = metadata_of(model.path), model.trained_steps
        says = f"Recipe {recipe.name}, {steps:,} of {recipe.train.steps:,} steps"
        says += f" of {metadata.data}" if metadata.data else ""
        if "sample" not in metadata.recipe and isinstance(model, DiffusionModel):
            cures["It has no settings of sampling: those by default are used."] = "look"
        if metadata.weights == "raw":
            cures["It holds the raw weights: sample the average, model.safetensors."] = "look"
        if not steps:
            cures["It was not trained: it states 0 steps."] = "look"
    if len(set(classes)) < len(classes):
        cures["Two classes have the same name: name them apart."] = "wrong"
    elif len(classes) > 10 and all(name.isdigit() for name in classes):
        cures["Its classes have numbers and no names: ask for them by number."] = "look"
    named = f"{len(classes)} classes" if classes else "no classes"
    return worst(f"{says}; {named}.", cures or {"": "ok"})


def sampling_of(model: DiffusionModel) -> Sampling:
    """Return the settings of samples: the recipe's without guidance, or those of previews."""
    default = replace(model.recipe.sample, guide=(), precision="float32", compile=False)
    short_enough = default.grid.steps <= MOST_STEPS
    return resolve(model, default if short_enough else preview_sampling(model.recipe))


def check_start(model: DiffusionModel, source: Source | None, count: int) -> Finding:
    """Sampling starts from pure noise, which should be all that is left of an image at that level.

    The means m of the channels, of D pixels each, have a mean mu and a covariance S over images. At
    x_t = signal x_0 + sigma noise they are read as signal m with an error of variance sigma^2 / D,
    so that an estimate takes the part K = R (1 + R)^-1 of them from x_t, where R = signal^2 S D /
    sigma^2. Pure noise says that they are 0: samples are shifted by -K mu, and along an eigenvector
    of K with value k their deviation falls to sqrt(1 - k^2) (after Lin et al. 2024, section 3, for
    normal m).
    """
    schedule, channels = model.schedule, model.shape[0]
    level = round(max(sampling_of(model).grid.visited(schedule)))
    # About those of photographs, whose channels are bright together.
    mean = torch.full((channels,), ASSUMED_MEAN).double()
    covariance, of = torch.full((channels, channels), ASSUMED_SPREAD**2).double(), "of photographs"
    if source is not None:
        images = source.batch(shuffle(SEED, len(source), 0, count))[0]
        means, of = to_float(images).mean((2, 3)).double(), "of the data"
        mean, covariance = means.mean(0), torch.cov(means.T).reshape(channels, channels)

    def lost(level: int) -> tuple[float, float]:
        """Return the largest eigenvalue of K, and the largest shift of 255."""
        ratio = float(schedule.alpha_bar[level] / (1 - schedule.alpha_bar[level]))
        read = ratio * math.prod(model.shape[1:]) * covariance
        gain = read @ torch.linalg.inv(torch.eye(channels).double() + read)
        shift = 127.5 * (gain @ mean).abs().max()
        return float(torch.linalg.eigvals(gain).real.max()), float(shift)

    share, shift = lost(level)
    says = (
        f"Sampling starts at level {level} of {schedule.last}, where {share:.0%} of the brightness "
        f"{of} is read from x_t: pure noise shifts samples by about {shift:.1f} of 255 towards "
        f"grey, and leaves {math.sqrt(1 - share**2):.0%} of the spread of their brightness."
    )
    cure = "Train with a schedule that ends in noise, such as process.schedule=cosine."
    levels = range(level, schedule.last + 1)
    better = next((each for each in levels if lost(each)[1] <= MOST_OFF_OF_255 / 4), level)
    if better > level:
        cure = f"Start at a noisier level, as with --grid karras:start={better}."
        if model.student:  # it knows the levels of its grid alone
            cure = f"Distil it again with --set distillation.grid.start={better}."
    weights = (graded(share, 0.3, 0.6), graded(shift, MOST_OFF_OF_255 / 2, 2 * MOST_OFF_OF_255))
    return worst(says, {cure: min(weights, key=RANK.index)})


@torch.no_grad()
def check_error(model: DiffusionModel, source: Source, count: int) -> Finding:
    """The estimate of x_0 is better than a guess that is linear in each pixel, at every level."""
    schedule, lower = model.schedule, build.low_res_of(model.recipe)
    start = round(max(sampling_of(model).grid.visited(schedule)))
    levels = torch.tensor(
        sorted({max(2, round(start * (i / LEVELS) ** 2)) for i in range(1, LEVELS + 1)})
    )
    chosen = Levels(levels, torch.ones(len(levels), dtype=torch.float64))
    images, labels = some_images(source, count, model.device)
    errors = list[Tensor]()
    for part in parts_of(images):
        real = images[part]
        own = labels[part] if model.classes else None
        denoise = model.denoise(own, low_res=None if lower is None else lower(real))
        noise = ImageNoise(SEED, range(count)[part], model.shape, model.device)
        bits = bits_per_dimension(denoise, schedule, real, lambda t, n=noise: n(int(t)), chosen)
        errors.append(bits.x_0_mse.cpu())
    of_images = torch.cat(errors).double()
    error, spread = of_images.mean(0), of_images.std(0) / len(of_images) ** 0.5
    alpha_bar, variance = schedule.alpha_bar[levels], float(images.var(dim=0).mean())
    guess = variance * (1 - alpha_bar) / (1 - alpha_bar + alpha_bar * variance)
    beyond = (error - SURE * spread) / guess - 1
    ratio, level = float((error / guess).max()), int(levels[beyond.argmax()])
    says = (
        f"From level {levels[0]} to {levels[-1]}, the squared error of x_0 is at most {ratio:.2f} "
        "of that of a guess that is linear in each pixel."
    )
    cure = (
        f"It is worst at level {level}. Check that process.schedule, process.prediction and "
        "process.rescale_steps are those of the training, and that the data are its own; else "
        "train longer."
    )
    curves = {"squared error of x_0": error, "of a linear guess": guess}
    curves = {"level": levels} | curves
    return worst(
        says,
        {cure: graded(float(beyond.max()), 0, 0.25)},
        curves={name: values.tolist() for name, values in curves.items()},
    )


def check_colours(model: DiffusionModel, labelled: bool, source: Source, count: int) -> Finding:
    """The channels of samples have the mean and the deviation of those of the data."""
    labels, _ = layout(len(model.classes) or None, count)
    total = count if labels is None else len(labels)
    samples = DiffusionGenerator(model, sampling_of(model)).images(labels, range(total))
    classes = tuple(labels.unique().tolist()) if labelled and labels is not None else None
    compared = Compared(moments(samples), reference(source, classes, MANY * count))
    deviations = differences(compared)
    wrong = [each for each in deviations if each.exceeds(MOST_OFF_OF_255)]
    some = wrong or [each for each in deviations if each.exceeds(MOST_OFF_OF_255 / 2)]
    most = max(some or deviations, key=lambda each: each.off)
    says = (
        f"The {most.what} of {most.channel} is {most.got:.0f} of 255 in samples and "
        f"{most.expected:.0f} in the data, {most.off:.1f} apart (standard error {most.error:.1f}): "
        f"the largest of {len(deviations)} differences."
    )
    cure = (
        "See what `start` says; take more steps; compare the raw weights with the average; else "
        "train longer."
    )
    real = source.batch(shuffle(SEED, len(source), 0, total))[0]
    weight: Weight = "wrong" if wrong else "look" if some else "ok"
    return worst(says, {cure: weight}, pictures={"samples": samples, "data": real})


@torch.no_grad()
def check_classifier(
    examined_classifier: ClassifierModel,
    model: DiffusionModel | ClassifierModel,
    source: Source,
    count: int,
) -> Finding:
    """It fits the model, is right about slightly noisy images, and no surer than it is right."""
    classifier, schedule = examined_classifier, examined_classifier.schedule
    if isinstance(model, DiffusionModel):
        try:
            check_pair(model, classifier)
        except SettingError as error:
            says = f"{classifier.name} cannot guide {model.name}: {error}."
            return Finding("wrong", says, "Train a classifier with its data and process.")
    images, labels = some_images(source, count, classifier.device)
    noise = ImageNoise(SEED, range(count), classifier.shape, classifier.device)
    middles = [max(1, round((i + 0.5) / LEVELS * schedule.last)) for i in range(LEVELS)]
    levels = middles if classifier.recipe.noised else [0]
    scores, sure = list[Any](), list[float]()
    for level in levels:
        x_t, logits = process.diffuse(schedule, images, noise(level), level), list[Tensor]()
        for part in parts_of(images):
            timesteps = schedule.timestep(level, x_t[part])
            logits.append(classifier.network(x_t[part], timesteps).float().cpu())
        scores.append(accuracy(torch.cat(logits), labels.cpu()))
        sure.append(float(torch.cat(logits).softmax(1).amax(1).mean()))
    right = [each.value for each in scores]
    chance = float(labels.bincount().max()) / len(labels)
    over = max(each - score.high for each, score in zip(sure, scores, strict=True))
    under = max(score.low - each for each, score in zip(sure, scores, strict=True))
    rise = max(later.low - scores[i].high for i in range(len(levels)) for later in scores[i:])
    says = (
        f"It is right about {right[0]:.0%} of the images at level {levels[0]} and sure of "
        f"{sure[0]:.0%}, and about {right[-1]:.0%} and {sure[-1]:.0%} at level {levels[-1]}; "
        f"{chance:.0%} are of the commonest class."
    )
    check = "check its process.schedule and process.steps"
    cures: dict[str, Weight] = {
        "It knows no class of these data: check the order of its classes.": graded(
            chance - scores[0].high, -0.05, 0
        ),
        "It is surer than it is right: check that its process is that of its training and that it "
        "was trained on noisy images; else take more data or an earlier "
        "checkpoint.": graded(over, 0.1, 0.25),
        f"It is less sure than it is right: {check}.": graded(under, 0.1, 0.5),
        f"It is better on noisier images: {check}.": graded(rise, 0.1, 0.5),
    }
    curves = {"level": list(map(float, levels)), "share of images that are right": right}
    return worst(says, cures, curves=curves | {"by its own confidence": sure})


def some_images(source: Source, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `count` images, (N, C, H, W) in [-1, 1], and their labels (N,)."""
    images, labels = source.batch(shuffle(SEED, len(source), 0, count))
    return to_float(images).to(device), labels.to(device)


def parts_of(images: Tensor) -> list[slice]:
    """Return parts of images that are evaluated together."""
    together = max(1, min(64, PIXELS // math.prod(images.shape[2:])))
    return [slice(i, i + together) for i in range(0, len(images), together)]


def summary(findings: Mapping[str, Finding]) -> str:
    """Return what a reader should know first, in a sentence."""
    names = {
        rank: ", ".join(name for name, each in findings.items() if each.weight == rank)
        for rank in RANK
    }
    said = f"wrong: {names['wrong']}" if names["wrong"] else "nothing is wrong"
    said += f"; look at {names['look']}" if names["look"] else ""
    said += f"; skipped: {names['skipped']}" if names["skipped"] else ""
    return f"{said[0].upper()}{said[1:]}."


def page(examined: Examined, findings: Mapping[str, Finding]) -> str:
    """Return the HTML page: the findings, the weightiest first, then what was measured."""
    order = sorted(findings, key=lambda name: RANK.index(findings[name].weight))
    cures = [f"{name}: {findings[name].cure}" for name in order if findings[name].cure]
    blocks: list[Block] = [Note(cures or ["Nothing needs to be changed."], "result")]
    rows = [
        [name, Cell(each.weight, best=bool(each.cure)), Cell(each.says, words=True)]
        for name, each in ((name, findings[name]) for name in order)
    ]
    blocks.append(Table(["check", "finding", Cell("what was found", words=True)], rows))
    for name, each in findings.items():
        if each.pictures or len(each.curves.get("level", ())) > 1:
            blocks.append(Title(name.capitalize()))
        if len(each.curves.get("level", ())) > 1:
            x, *_ = each.curves.values()
            with panels([f"{name} by level"], "level", (6.5, 3.5)) as (drawn, (axes,)):
                for (what, y), colour in zip([*each.curves.items()][1:], LINES, strict=False):
                    axes.plot(x, y, color=colour, label=what, marker="o", ms=3.5, lw=1.4)
            blocks.append(Figure(png(drawn), f"{name} by level", WIDE))
        if each.pictures:
            row = ImageRow("", [tiles(images, ACROSS) for images in each.pictures.values()])
            blocks.append(Images([row], [*each.pictures], ACROSS))
    facts = [("model", examined.model.name), ("images of a measurement", str(examined.count))]
    facts += [("data", examined.source.name)] if examined.source is not None else []
    title, whole = f"Doctor: {examined.model.name}", examined.to_json(findings)
    return page_of(title, blocks, lead=summary(findings), facts=facts, settings=whole)
