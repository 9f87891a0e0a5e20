"""Learner of a diffusion model -> pictures of its samples in RUN/previews/, warnings."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adm.data import shuffle
from adm.generation.diffusion import DiffusionGenerator
from adm.images import to_float, to_uint8
from adm.models.trained import DiffusionModel
from adm.pictures import Row, sheet
from adm.progress import progress
from adm.recipes import DiffusionRecipe, build
from adm.runs.watch.drift import Colours, figures_of, moments, reference, warning_of
from adm.runs.watch.watched import Watched, Weights
from adm.samplers import DDIM, Even, Sampling
from adm.store.files import new_file
from adm.training.learner import Learner
from adm.training.loop import Watch

FOLDER, FILE = "previews", "step-{:07d}.png"  # in the run folder
SEED = 0  # of the noise, and of the choice of images
STEPS = 25  # most steps of DDIM
CLASSES = 10  # most classes of samples
COLUMNS = ("raw weights", "average (EMA)")
UPSAMPLED = 8  # most upsampled images
WIDE = 96  # pixels of a tile; headings need as many

log = logging.getLogger("adm")


class Drawn(NamedTuple):
    """A preview, and the colours of the images of the average weights and of the data."""

    picture: Image.Image
    samples: Colours
    data: Colours


Draw: TypeAlias = Callable[[int, Weights], Drawn]  # of the steps done
OnPicture: TypeAlias = Callable[[int, str, Image.Image], None]  # steps done, name, picture


def watch_previews(
    run: Watched, recipe: DiffusionRecipe, on_picture: Sequence[OnPicture] = ()
) -> Watch:
    """Return a watch that writes previews into the run folder, as previews/step-0001000.png.

    Once half of the training is done, it warns once if the colours of the images differ from those
    of the data. Only the main process draws, and the others return no figures.

    Args:
        recipe: that of the run.
        on_picture: each is called with every preview, such as a writer's `picture`.
    """
    draw = (
        draw_upsampled(run, recipe) if recipe.unet.super_resolution else draw_samples(run, recipe)
    )
    warned = False

    def watch(done: int, learner: Learner) -> dict[str, float]:
        nonlocal warned
        if not run.due(done) or not run.devices.main:
            return {}
        picture, samples, data = draw(done, Weights.of(learner))
        write(picture, run.folder / FOLDER / FILE.format(done))
        for call in on_picture:
            call(done, "preview", picture)
        warning = warning_of(samples, data)
        if warning and not warned and 2 * done >= recipe.train.steps:
            log.warning(f"step {done}: {warning}")
            warned = True
        figures = figures_of("samples", samples)
        return figures | figures_of("data", data) if run.first(done) else figures

    return watch


def draw_samples(run: Watched, recipe: DiffusionRecipe) -> Draw:
    """Return a function that draws samples of the raw weights beside those of the average.

    If the network takes labels, a row shows one class: all classes, or ten at equal distances.
    There are `watch.images` of each kind of weights, rounded down to whole rows. Every preview
    starts from the same noise, so that previews can be compared.
    """
    classes, count = run.training.classes, recipe.watch.images
    labels, across = layout(None if recipe.config.classes is None else len(classes), count)
    total = len(labels) if labels is not None else count // across * across
    data = cache(lambda: reference(run.training, labels))

    def sample(model: DiffusionModel) -> Tensor:
        return _sample(model, labels, range(total))

    def draw(done: int, weights: Weights) -> Drawn:
        raw, mean = (sample(run.model(each, done)) for each in weights)
        rows = [
            Row(
                classes[int(labels[i])] if labels is not None else "",
                [*raw[i : i + across], *mean[i : i + across]],
            )
            for i in range(0, total, across)
        ]
        title = _title(run, done, recipe)
        picture = sheet(title, [(column, across) for column in COLUMNS], rows)
        return Drawn(picture, moments(mean), data())

    return draw


def draw_upsampled(run: Watched, recipe: DiffusionRecipe) -> Draw:
    """Return a function that draws up to eight held-out images, downsampled and upsampled again.

    Of pairs, they are sampled from their conditions. Every preview uses the same images and noise.
    """
    lower, held_out = build.low_res_of(recipe), run.held_out or run.training
    count = min(recipe.watch.images, UPSAMPLED, len(held_out))
    indices = shuffle(SEED, len(held_out), 0, count)

    def draw(done: int, weights: Weights) -> Drawn:
        originals, labels, inputs = held_out.pairs(indices)
        if lower is None:
            assert inputs is not None
            columns = {"condition": inputs}
        else:
            low, size = lower(to_float(originals)), tuple(originals.shape[2:])
            bicubic = F.interpolate(low, size, mode="bicubic")
            inputs = recipe.data.range.sampled(low)
            columns = {"low resolution": inputs, "bicubic": to_uint8(bicubic)}
        given = labels if recipe.unet.classes is not None else None
        for column, each in zip(COLUMNS, weights, strict=True):
            columns[column] = _sample(run.model(each, done), given, range(count), inputs)
        columns["original"] = originals
        names = [held_out.classes[label] for label in labels.tolist()]
        rows = [Row(name, images) for name, *images in zip(names, *columns.values(), strict=True)]
        title = _title(run, done, recipe)
        picture = sheet(title, [(column, 1) for column in columns], rows, WIDE)
        return Drawn(picture, moments(columns[COLUMNS[1]]), moments(originals))

    return draw


def preview_sampling(recipe: DiffusionRecipe, most: int = STEPS) -> Sampling:
    """Return the sampling of previews: up to `most` steps of DDIM, from the recipe's start.

    A student is sampled as its recipe says, in float32.
    """
    if recipe.distillation is not None:
        return replace(recipe.sample, seed=SEED, precision="float32")
    start = recipe.sample.grid.start or recipe.process.steps
    return Sampling(sampler=DDIM(), grid=Even(steps=min(most, start), start=start), seed=SEED)


def _sample(
    model: DiffusionModel, labels: Tensor | None, indices: range, inputs: Tensor | None = None
) -> Tensor:
    generator = DiffusionGenerator.of(model, preview_sampling(model.recipe))
    total = len(indices) * generator.evaluations
    with progress("drawing previews", total, "network evaluations") as advance:
        return generator.images(labels, indices, inputs, advance)


def layout(classes: int | None, count: int) -> tuple[Tensor | None, int]:
    """Return the labels of all images, or None without classes, and the images per row."""
    if classes is None:
        return None, max(1, min(8, round(count**0.5)))
    shown = min(classes, CLASSES, count)
    across = count // shown
    return (torch.arange(shown) * classes // shown).repeat_interleave(across), across


def write(picture: Image.Image, path: Path) -> None:
    """Write a PNG file atomically."""
    with new_file(path, sync=False) as part:
        picture.save(part, "PNG", optimize=True)


def _title(run: Watched, done: int, recipe: DiffusionRecipe) -> str:
    sampling = preview_sampling(recipe)
    solver = "DDIM " if isinstance(sampling.sampler, DDIM) else ""
    how = f"{sampling.grid.steps} {solver}steps, seed {SEED}"
    return f"{run.folder.resolve().name}, step {done:,}: {how}"
