"""Learner -> pictures in RUN/previews/: samples, upsampled images, or mistakes of a classifier."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adm.data import shuffle
from adm.diffusion import Schedule, clip
from adm.diffusion.process import diffuse
from adm.generation.diffusion import DiffusionGenerator
from adm.images import to_float, to_uint8
from adm.models.trained import DiffusionModel
from adm.networks import Classifier
from adm.pictures import Row, sheet
from adm.recipes import ClassifierRecipe, DiffusionRecipe, build
from adm.runs.watch.drift import compare, figures_of, tint, warning_of
from adm.runs.watch.validation import FAR
from adm.runs.watch.watched import Watched, Weights
from adm.samplers import DDIM, Even, ImageNoise, Sampling
from adm.samplers.ddim import ddim
from adm.store.files import new_file
from adm.training.batches import draw as draws_of
from adm.training.learner import Learner
from adm.training.loop import Watch

FOLDER, FILE = "previews", "step-{:07d}.png"  # in the run folder
SEED = 0  # of the noise, and of the choice of images
STEPS = 25  # most steps of DDIM
CLASSES = 10  # most classes of samples
COLUMNS = ("raw weights", "average (EMA)")
UPSAMPLED = 8  # most upsampled images
WIDE = 96  # pixels of a tile; headings need as many
LONGEST = 12  # characters of a class name
ACROSS = 8  # mistakes shown per level
CLASSIFIED = 256  # images classified at each level
QUARTERS = (0.125, 0.375, 0.625, 0.875)  # the middle of each quarter, as a fraction of T

log = logging.getLogger("adm")


class Drawn(NamedTuple):
    """A preview, and the figures that go into the log with it."""

    picture: Image.Image
    figures: dict[str, float]


Draw: TypeAlias = Callable[[int, Weights], Drawn]  # of the steps done
OnPicture: TypeAlias = Callable[[int, str, Image.Image], None]  # steps done, name, picture


def watch_previews(run: Watched, on_picture: Sequence[OnPicture] = ()) -> Watch:
    """Return a watch that writes previews into the run folder, as previews/step-0001000.png.

    Only the main process draws, and the others return no figures.

    Args:
        on_picture: each is called with every preview, such as a writer's `picture`.
    """
    draw = drawing(run)

    def watch(done: int, learner: Learner) -> dict[str, float]:
        if not run.due(done) or not run.devices.main:
            return {}
        drawn = draw(done, Weights.of(learner))
        write(drawn.picture, run.folder / FOLDER / FILE.format(done))
        for call in on_picture:
            call(done, "preview", drawn.picture)
        return drawn.figures

    return watch


def drawing(run: Watched) -> Draw:
    """Return the function that draws previews of the recipe's kind of network."""
    recipe = run.recipe
    if isinstance(recipe, ClassifierRecipe):
        return mistakes(run, recipe)
    if recipe.unet.super_resolution:
        return upsampled(run, recipe)
    return samples(run, recipe)


def write(picture: Image.Image, path: Path) -> None:
    """Write a PNG file atomically."""
    with new_file(path, sync=False) as part:
        picture.save(part, "PNG", optimize=True)


def _title(run: Watched, done: int, rest: str) -> str:
    return f"{run.folder.resolve().name}, step {done:,}: {rest}"


def samples(run: Watched, recipe: DiffusionRecipe) -> Draw:
    """Return a function that draws samples of the raw weights beside those of the average.

    If the network takes labels, a row shows one class: all classes, or ten at equal distances.
    There are `watch.images` of each kind of weights, rounded down to whole rows. Every preview
    starts from the same noise, so that previews can be compared.
    """
    classes, count = run.training.classes, recipe.watch.images
    labels, across = layout(None if recipe.config.classes is None else len(classes), count)
    total = len(labels) if labels is not None else count // across * across
    compared = tint(run.training, recipe.train.steps)

    def sample(model: DiffusionModel) -> Tensor:
        generator = DiffusionGenerator.of(model, preview_sampling(model.recipe))
        return generator.images(labels, range(total))

    def draw(done: int, weights: Weights) -> Drawn:
        raw, mean = (sample(run.model(each, done)) for each in weights)
        rows = [
            Row(
                classes[int(labels[i])] if labels is not None else "",
                [*raw[i : i + across], *mean[i : i + across]],
            )
            for i in range(0, total, across)
        ]
        title = _title(run, done, f"{_how(recipe)}, seed {SEED}")
        picture = sheet(title, [(column, across) for column in COLUMNS], rows)
        return Drawn(picture, figures_of(compared(mean, labels, done), run.first(done)))

    return draw


def _how(recipe: DiffusionRecipe) -> str:
    sampling = preview_sampling(recipe)
    solver = "DDIM " if isinstance(sampling.sampler, DDIM) else ""
    return f"{sampling.grid.steps} {solver}steps"


def preview_sampling(recipe: DiffusionRecipe) -> Sampling:
    """Return the sampling of previews: up to `STEPS` steps of DDIM, from the recipe's start.

    A student is sampled as its recipe says, in float32.
    """
    if recipe.distillation is not None:
        return replace(recipe.sample, seed=SEED, precision="float32")
    start = recipe.sample.grid.start or recipe.process.steps
    return Sampling(sampler=DDIM(), grid=Even(steps=min(STEPS, start), start=start), seed=SEED)


def layout(classes: int | None, count: int) -> tuple[Tensor | None, int]:
    """Return the labels of all images, or None without classes, and the images per row."""
    if classes is None:
        return None, max(1, min(8, round(count**0.5)))
    shown = min(classes, CLASSES, count)
    across = count // shown
    return (torch.arange(shown) * classes // shown).repeat_interleave(across), across


def upsampled(run: Watched, recipe: DiffusionRecipe) -> Draw:
    """Return a function that draws up to eight held-out images, downsampled and upsampled again.

    Of pairs, they are sampled from their conditions. Every preview uses the same images and noise.
    Once half of the training is done, a warning says if the colours of the upsampled images differ
    from those of the originals.
    """
    lower, held_out = build.low_res_of(recipe), run.held_out or run.training
    count = min(recipe.watch.images, UPSAMPLED, len(held_out))
    indices = shuffle(SEED, len(held_out), 0, count)

    def draw(done: int, weights: Weights) -> Drawn:
        originals, labels, condition = held_out.pairs(indices)
        if lower is None:
            assert condition is not None
            inputs, low = {"condition": condition}, to_float(condition)
        else:
            low, size = lower(to_float(originals)), tuple(originals.shape[2:])
            bicubic = F.interpolate(low, size, mode="bicubic", antialias=False)
            inputs = {"low resolution": to_uint8(low), "bicubic": to_uint8(bicubic)}
        raw, mean = (_upsample(run.model(each, done), low, labels) for each in weights)
        columns = {
            **inputs,
            **dict(zip(COLUMNS, (raw, mean), strict=True)),
            "original": originals,
        }
        names = [held_out.classes[label] for label in labels.tolist()]
        rows = [Row(name, images) for name, *images in zip(names, *columns.values(), strict=True)]
        compared = compare(mean, originals)
        if (warning := warning_of(compared)) and 2 * done >= recipe.train.steps:
            log.warning(f"step {done}: {warning}")
        title = _title(run, done, f"{preview_sampling(recipe).grid.steps} DDIM steps, seed 0")
        picture = sheet(title, [(column, 1) for column in columns], rows, WIDE)
        return Drawn(picture, figures_of(compared, run.first(done)))

    return draw


@torch.no_grad()
def _upsample(model: DiffusionModel, low: Tensor, labels: Tensor) -> Tensor:
    """Upsample images (B, C, h, w) in [-1, 1] to (B, C, H, W) uint8."""
    schedule = preview_sampling(model.recipe).grid.of(model.schedule)
    noise = ImageNoise(SEED, range(len(low)), model.shape, model.device)
    classes = labels.to(model.device) if model.recipe.unet.classes is not None else None
    denoise = model.denoise(classes, schedule, clip, low.to(model.device))
    *_, last = ddim(denoise, noise.start(), schedule, noise)
    return to_uint8(last.x).cpu()


class Classified(NamedTuple):
    """Images at one level, and their predicted classes."""

    x_t: Tensor  # (N, C, H, W), images in [-1, 1] with the noise of the level
    predicted: Tensor  # (N,) int64
    confidence: Tensor  # (N,) probability of the predicted class


def mistakes(run: Watched, recipe: ClassifierRecipe) -> Draw:
    """Return a function that draws misclassified images, at the middle of each quarter of levels.

    The most confident mistakes on held-out images come first: they indicate wrong labels, classes
    that are indistinguishable, or an overconfident network. Every preview uses the same images and
    noise.
    """
    schedule, held_out = build.schedule(recipe.process), run.held_out or run.training
    levels = [round(q * schedule.last) or 1 for q in QUARTERS] if recipe.noised else [0]
    indices = shuffle(SEED, len(held_out), 0, min(CLASSIFIED, len(held_out)))

    def draw(done: int, weights: Weights) -> Drawn:
        network = run.network(weights.mean)
        assert isinstance(network, Classifier)
        images, labels = held_out.batch(indices)
        rows = []
        for level in levels:
            result = _classify(network, schedule, images, level, run.at_once)
            rows.append(_row(result, labels, held_out.classes, level, schedule.last))
        title = _title(run, done, "most confident mistakes, true > predicted (EMA)")
        return Drawn(sheet(title, [("", ACROSS)], rows), {})

    return draw


@torch.no_grad()
def _classify(
    network: Classifier, schedule: Schedule, images: Tensor, level: int, batch_size: int
) -> Classified:
    """Diffuse images (N, C, H, W) uint8 to one level, and predict their classes."""
    device = next(network.parameters()).device
    channels, height, width = images.shape[1:]
    noise = draws_of(SEED, FAR, len(images), (channels, height, width)).noise
    x_t = diffuse(schedule, to_float(images), noise, level)
    parts = [part.to(device) for part in x_t.split(batch_size)]
    logits = torch.cat([network(x, schedule.timestep(level, x)).float().cpu() for x in parts])
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    return Classified(x_t, predicted, confidence)


# Five parameters, of what a row shows.
def _row(
    result: Classified, labels: Tensor, classes: tuple[str, ...], level: int, last: int
) -> Row:
    wrong = (result.predicted != labels).nonzero()[:, 0]
    share = 1 - len(wrong) / len(labels)
    # Stable, so that the order of equally confident mistakes is the same in every preview.
    by_confidence = result.confidence[wrong].argsort(descending=True, stable=True)
    order = wrong[by_confidence][:ACROSS].tolist()
    pairs = [(classes[labels[i]], classes[result.predicted[i]]) for i in order]
    captions = [f"{_shorten(true)}\n> {_shorten(predicted)}" for true, predicted in pairs]
    name = f"level {level} of {last}\n{share:.0%} right" if level else f"clean\n{share:.0%} right"
    return Row(name, list(to_uint8(result.x_t[order])), captions)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
