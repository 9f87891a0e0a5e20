"""Weights, held-out images -> Drawn: the images downsampled and upsampled again."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from adm.app.runs.watch.drift import Compared, moments, named, parted
from adm.app.runs.watch.preview import Draw, Drawn, Weights, titled
from adm.app.runs.watch.samples import preview_sampling
from adm.app.runs.watch.times import Say, Times, to_stderr
from adm.app.runs.watch.weights import model_of
from adm.data import Source, shuffled
from adm.diffusion import clip
from adm.images import to_float, to_uint8
from adm.models.trained import DiffusionModel
from adm.pictures import Row, sheet
from adm.recipes import DiffusionRecipe
from adm.samplers import ImageNoise
from adm.samplers.ddim import ddim
from adm.training.objective import area_mean

SEED = 0
ROWS = 8  # most images shown
WIDE = 96  # pixels of a tile; headings need as many
HEADINGS = ("low resolution", "bicubic", "raw weights", "average (EMA)", "original")


# Seven parameters: those by keyword are independent, and all have defaults.
def upsampled(
    recipe: DiffusionRecipe,
    held_out: Source,
    folder: Path,
    times: Times,
    *,
    count: int = ROWS,
    seed: int = 0,
    say: Say = to_stderr,
) -> Draw:
    """Return a function that draws up to eight images, downsampled and upsampled again.

    Every preview uses the same images and noise. Once half of the training is done, a warning says
    if the colours of the upsampled images differ from those of the originals.

    Args:
        held_out: images that are not trained on.
        folder: the run folder.
        count: number of images.
        seed: seed of the noise.
        say: called with each warning.
    """
    assert recipe.data.low_res is not None
    lower = area_mean(recipe.data.low_res, rounded=recipe.data.low_res_rounded)
    steps = preview_sampling(recipe, seed).grid.steps
    chosen = shuffled(SEED, len(held_out), 0, min(count, ROWS, len(held_out)))

    def draw(done: int, weights: Weights) -> Drawn:
        originals, labels = held_out.batch(chosen)
        low = lower(to_float(originals))
        raw, mean = (
            _high(model_of(recipe, w, held_out.classes, folder, done), low, labels, seed)
            for w in weights
        )
        bicubic = F.interpolate(low, tuple(originals.shape[2:]), mode="bicubic", antialias=False)
        columns = [to_uint8(low), to_uint8(bicubic), raw, mean, originals]
        names = [held_out.classes[label] for label in labels.tolist()]
        rows = [Row(name, images) for name, *images in zip(names, *columns, strict=True)]
        compared = Compared(moments(mean), moments(originals))
        if (warning := parted(compared)) and 2 * done >= times.total:
            say(f"step {done}: {warning}")
        title = f"{titled(folder, done)}: {steps} DDIM steps, seed {seed}"
        picture = sheet(title, [(heading, 1) for heading in HEADINGS], rows, WIDE)
        return Drawn(picture, named(compared, with_data=done == times.first))

    return draw


@torch.no_grad()
def _high(model: DiffusionModel, low: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Upsample images (B, C, h, w) in [-1, 1] to (B, C, H, W) uint8."""
    schedule = preview_sampling(model.recipe, seed).grid.of(model.schedule)
    noise = ImageNoise(seed, range(len(low)), model.shape, model.device)
    told = labels.to(model.device) if model.recipe.unet.classes is not None else None
    denoise = model.denoise(told, schedule, clip, low.to(model.device))
    *_, last = ddim(denoise, noise.start(), schedule, noise)
    return to_uint8(last.x).cpu()
