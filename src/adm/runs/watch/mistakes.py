"""average weights of a classifier, held-out images -> those it names wrong, at four levels."""

from typing import NamedTuple

import torch
from torch import Tensor

from adm.data import Source, shuffled
from adm.diffusion.process import diffuse
from adm.diffusion.schedule import Schedule
from adm.images import to_float, to_uint8
from adm.networks import Classifier
from adm.pictures import Row, sheet
from adm.recipes import ClassifierRecipe, build
from adm.runs.watch.preview import Draw, Drawn, Weights
from adm.runs.watch.validation import FAR, SEED
from adm.runs.watch.weights import network_of
from adm.training.draws import draw as draws_of

LONGEST = 12  # characters of a class's name
ACROSS = 8  # mistakes shown of a level
LOOKED_AT = 256  # images, at each level
QUARTERS = (0.125, 0.375, 0.625, 0.875)  # the middle of each, as shares of T


class Looked(NamedTuple):
    """What a classifier makes of images at one level, in [-1, 1]."""

    x_t: Tensor  # (N, C, H, W)
    said: Tensor  # (N,) int64
    sure: Tensor  # (N,) probability of what it said


def mistakes(
    recipe: ClassifierRecipe,
    held_out: Source,
    *,
    count: int = LOOKED_AT,
    batch_size: int = 64,
) -> Draw:
    """Show the images that are wrong at the middle of each quarter of the levels.

    The surest mistakes come first: they tell of wrong labels, of classes that cannot be told
    apart, or of a network that is too sure. The same images and noise at every look.
    """
    schedule = build.schedule(recipe.process)
    levels = [round(q * schedule.last) or 1 for q in QUARTERS] if recipe.noised else [0]
    indices = shuffled(SEED, len(held_out), 0, min(count, len(held_out)))

    def draw(done: int, weights: Weights) -> Drawn:
        network = network_of(recipe, weights.mean)
        assert isinstance(network, Classifier)
        images, labels = held_out.batch(indices)
        rows = []
        for level in levels:
            looked = look(network, schedule, images, level, batch_size)
            rows.append(_row(looked, labels, held_out.classes, level, schedule.last))
        title = f"{recipe.name}, step {done:,}: surest mistakes, true > said (EMA)"
        return Drawn(sheet(title, [("", ACROSS)], rows), {})

    return draw


@torch.no_grad()
def look(
    network: Classifier, schedule: Schedule, images: Tensor, level: int, batch_size: int
) -> Looked:
    """(N, C, H, W) uint8 images, noised to one level and named."""
    device = next(network.parameters()).device
    channels, height, width = images.shape[1:]
    noise = draws_of(SEED, FAR, len(images), (channels, height, width)).noise
    x_t = diffuse(schedule, to_float(images), noise, level)
    parts = [part.to(device) for part in x_t.split(batch_size)]
    logits = torch.cat([network(x, schedule.timestep(level, x)).float().cpu() for x in parts])
    sure, said = logits.softmax(dim=1).max(dim=1)
    return Looked(x_t, said, sure)


def _row(looked: Looked, labels: Tensor, classes: tuple[str, ...], level: int, last: int) -> Row:
    wrong = (looked.said != labels).nonzero()[:, 0]
    share = 1 - len(wrong) / len(labels)
    # Stable, so that what is equally sure keeps its place from look to look.
    order = wrong[looked.sure[wrong].argsort(descending=True, stable=True)][:ACROSS].tolist()
    captions = [f"{_short(classes[labels[i]])} > {_short(classes[looked.said[i]])}" for i in order]
    name = f"level {level} of {last}\n{share:.0%} right" if level else f"clean\n{share:.0%} right"
    return Row(name, list(to_uint8(looked.x_t[order])), captions)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
