"""Average weights of a generator, held-out images -> the Fréchet distance between their images."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adm.app.runs.run import check_source
from adm.app.runs.watch.made import model_of
from adm.app.runs.watch.times import Times
from adm.app.runs.watch.weights import mean_weights
from adm.data import Source, shuffled
from adm.features.opening import table
from adm.generation.blocks import whole_blocks
from adm.generation.gan import GANGenerator
from adm.metrics.frechet import Statistics, frechet_distance, statistics
from adm.processes import Devices
from adm.recipes.schema import GANRecipe
from adm.training.loop import Watch
from adm.training.players import RunState

FIGURE = "validation/frechet"
SEED = 0  # of the order of the images and of the noise
SMALLEST, SIDE = 2, 8  # images of a distance; pixels of a side of the features of pixels


# Six parameters: those by keyword are independent.
def distance(
    recipe: GANRecipe,
    held_out: Source,
    times: Times,
    devices: Devices,
    *,
    count: int = 1000,
    batch_size: int = 64,
) -> Watch:
    """Return a watch that measures how far generated images are from held-out ones.

    It returns `validation/frechet`, the distance between as many of each, with the same labels and
    in the features of `watch.features`. The main process measures, and tells the others.

    Args:
        held_out: images that are not trained on.
        count: number of images of each; at most as many as are held out.
        batch_size: images at once.

    Raises:
        ValueError: the recipe's networks cannot be trained on such images, or there are too few.
    """
    check_source(recipe, held_out)
    count = min(count, len(held_out))
    if count < SMALLEST:
        raise ValueError(
            f"a distance needs at least {SMALLEST} held-out images, got {count}; hold out more, or "
            "set watch.validation_images=0"
        )
    order, known = shuffled(SEED, len(held_out), 0, count), list[Statistics]()
    extract = _pixels if recipe.watch.features == "pixels" else _opened(recipe, devices.device)

    def watch(done: int, state: RunState) -> dict[str, float]:
        if not times.due(done):
            return {}
        weights = mean_weights(state.model)  # collective

        def measured() -> float:
            if not known:
                parts = (order[i : i + batch_size] for i in range(0, count, batch_size))
                real = np.concatenate([extract(held_out.batch(part)[0]) for part in parts])
                known.append(statistics(real))
            model = model_of(recipe, weights, held_out.classes, done)
            labels = held_out.labels[order] if recipe.gan.classes is not None else None
            generator = GANGenerator(model, recipe.sample)
            together = whole_blocks(batch_size, generator.block)
            made = generator.images(labels, range(count)).split(together)
            found = np.concatenate([extract(images) for images in made])
            return frechet_distance(known[0], statistics(found))

        return {FIGURE: devices.once(measured)}

    return watch


def _pixels(images: Tensor) -> np.ndarray:
    """Return means of the pixels, at most `SIDE` on a side, (B, D) float64 in [0, 1]."""
    height, width = (min(SIDE, side) for side in images.shape[2:])
    small = F.adaptive_avg_pool2d(images.double() / 255, (height, width))
    return small.flatten(1).numpy()


def _opened(recipe: GANRecipe, device: torch.device):
    features = table()[recipe.watch.features](device)
    return lambda images: features.extract(images).pool.double().numpy()
