"""Weights, raw and averaged -> Drawn: samples of both, and their colours."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from adm.app.runs.watch.drift import Tint, named
from adm.app.runs.watch.preview import Draw, Drawn, Weights, titled
from adm.app.runs.watch.times import Times
from adm.app.runs.watch.weights import model_of
from adm.data import Source
from adm.generation.diffusion import DiffusionGenerator
from adm.models.trained import DiffusionModel
from adm.pictures import Row, sheet
from adm.recipes import DiffusionRecipe
from adm.samplers import DDIM, Even, Sampling

STEPS = 25  # most steps of DDIM
ROWS = 10  # most classes shown
HEADINGS = ("raw weights", "average (EMA)")


# Eight parameters: those by keyword are independent, and all have defaults.
def samples(
    recipe: DiffusionRecipe,
    source: Source,
    folder: Path,
    times: Times,
    tint: Tint,
    *,
    count: int = 32,
    seed: int = 0,
    batch_size: int = 64,
) -> Draw:
    """Return a function that draws samples of the raw weights beside those of the average.

    If the network takes labels, a row shows one class: all classes, or ten at equal distances.
    Every preview starts from the same noise, so that previews can be compared.

    Args:
        source: the training images.
        folder: the run folder.
        tint: compares the colours of samples with those of the data.
        count: number of samples of each kind of weights, rounded down to whole rows.
        seed: seed of the noise.
        batch_size: images per forward pass.
    """
    labels, across = layout(len(source.classes) if recipe.unet.classes is not None else None, count)
    total = len(labels) if labels is not None else count // across * across
    sampling = preview_sampling(recipe, seed)

    def drawn(model: DiffusionModel) -> Tensor:
        generator = DiffusionGenerator(model, sampling)
        return generator.images(labels, range(total))

    def draw(done: int, weights: Weights) -> Drawn:
        models = [model_of(recipe, w, source.classes, folder, done) for w in weights]
        raw, mean = (drawn(model) for model in models)
        solver = "DDIM " if isinstance(sampling.sampler, DDIM) else ""
        what = f"{sampling.grid.steps} {solver}steps"
        title = f"{titled(folder, done)}: {what}, seed {seed}"
        picture = pictured(title, [raw, mean], labels, source.classes, across)
        return Drawn(picture, named(tint(mean, labels, done), with_data=done == times.first))

    return draw


def pictured(
    title: str, both: Sequence[Tensor], labels: Tensor | None, classes: tuple[str, ...], across: int
) -> Image.Image:
    """Draw images of the raw weights and of the average side by side, `across` of each in a row."""
    raw, mean = both
    rows = [
        Row(
            classes[int(labels[i])] if labels is not None else "",
            [*raw[i : i + across], *mean[i : i + across]],
        )
        for i in range(0, len(raw), across)
    ]
    return sheet(title, [(heading, across) for heading in HEADINGS], rows)


def preview_sampling(recipe: DiffusionRecipe, seed: int) -> Sampling:
    """Return the sampling of previews: up to `STEPS` steps of DDIM, from the recipe's start.

    A student is sampled as its recipe says, in float32.
    """
    if recipe.distillation is not None:
        return replace(recipe.sample, seed=seed, precision="float32")
    start = recipe.sample.grid.start or recipe.process.steps
    return Sampling(sampler=DDIM(), grid=Even(steps=min(STEPS, start), start=start), seed=seed)


def layout(classes: int | None, count: int) -> tuple[Tensor | None, int]:
    """Return the labels of all images, or None without classes, and the images per row."""
    if classes is None:
        return None, max(1, min(8, round(count**0.5)))
    shown = min(classes, ROWS, count)
    chosen = torch.arange(shown) * classes // shown
    across = count // shown
    return chosen.repeat_interleave(across), across
