"""Classifier weights, held-out images -> Drawn: misclassified images at four noise levels."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from adm.app.runs.watch.preview import Draw, Drawn, Weights, titled
from adm.app.runs.watch.validation import FAR, SEED
from adm.app.runs.watch.weights import network_of
from adm.data import Source, shuffled
from adm.diffusion.process import diffuse
from adm.diffusion.schedule import Schedule
from adm.images import to_float, to_uint8
from adm.networks import Classifier
from adm.pictures import Row, sheet
from adm.recipes import ClassifierRecipe, build
from adm.training.batches import draw as draws_of

LONGEST = 12  # characters of a class name
ACROSS = 8  # mistakes shown per level
CLASSIFIED = 256  # images classified at each level
QUARTERS = (0.125, 0.375, 0.625, 0.875)  # the middle of each quarter, as a fraction of T


class Classified(NamedTuple):
    """Images at one level, and their predicted classes."""

    x_t: Tensor  # (N, C, H, W), images in [-1, 1] with the noise of the level
    predicted: Tensor  # (N,) int64
    confidence: Tensor  # (N,) probability of the predicted class


def mistakes(
    recipe: ClassifierRecipe,
    held_out: Source,
    folder: Path,
    *,
    count: int = CLASSIFIED,
    batch_size: int = 64,
) -> Draw:
    """Return a function that draws misclassified images, at the middle of each quarter of levels.

    The most confident mistakes come first: they indicate wrong labels, classes that are
    indistinguishable, or an overconfident network. Every preview uses the same images and noise.

    Args:
        held_out: images that are not trained on.
        folder: the run folder.
        count: number of images to classify at each level.
        batch_size: images per forward pass.
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
            found = classify(network, schedule, images, level, batch_size)
            rows.append(_row(found, labels, held_out.classes, level, schedule.last))
        title = f"{titled(folder, done)}: most confident mistakes, true > predicted (EMA)"
        return Drawn(sheet(title, [("", ACROSS)], rows), {})

    return draw


@torch.no_grad()
def classify(
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


def _row(found: Classified, labels: Tensor, classes: tuple[str, ...], level: int, last: int) -> Row:
    wrong = (found.predicted != labels).nonzero()[:, 0]
    share = 1 - len(wrong) / len(labels)
    # Stable, so that the order of equally confident mistakes is the same in every preview.
    order = wrong[found.confidence[wrong].argsort(descending=True, stable=True)][:ACROSS].tolist()
    pairs = [(classes[labels[i]], classes[found.predicted[i]]) for i in order]
    captions = [f"{_short(true)}\n> {_short(predicted)}" for true, predicted in pairs]
    name = f"level {level} of {last}\n{share:.0%} right" if level else f"clean\n{share:.0%} right"
    return Row(name, list(to_uint8(found.x_t[order])), captions)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
