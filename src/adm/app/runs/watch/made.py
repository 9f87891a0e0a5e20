"""Weights of a generator, raw and averaged -> Drawn: images of both, and their colours."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from adm.app.runs.watch.drift import Tint, named
from adm.app.runs.watch.preview import Draw, Drawn, Weights, titled
from adm.app.runs.watch.samples import layout, pictured
from adm.app.runs.watch.times import Times
from adm.app.runs.watch.weights import network_of
from adm.data import Source
from adm.generation.gan import GANGenerator
from adm.models.gan import GANModel
from adm.networks.biggan import Generator
from adm.recipes.schema import GANRecipe


# Six parameters, of what a preview shows.
def made(
    recipe: GANRecipe, source: Source, folder: Path, times: Times, tint: Tint, *, count: int = 32
) -> Draw:
    """Return a function that draws images of the raw weights beside those of the average.

    The arguments are those of `samples`. Every preview has the same noise, without truncation.
    """
    labels, across = layout(len(source.classes) if recipe.gan.classes is not None else None, count)
    total = len(labels) if labels is not None else count // across * across
    sampling = replace(recipe.sample, truncation=None, seed=0)

    def draw(done: int, weights: Weights) -> Drawn:
        models = [model_of(recipe, each, source.classes, done) for each in weights]
        both = [GANGenerator(model, sampling).images(labels, range(total)) for model in models]
        title = f"{titled(folder, done)}: full noise, seed 0"
        picture = pictured(title, both, labels, source.classes, across)
        return Drawn(picture, named(tint(both[1], labels, done), with_data=done == times.first))

    return draw


def model_of(
    recipe: GANRecipe, weights: Mapping[str, Tensor], classes: tuple[str, ...], done: int
) -> GANModel:
    """Return the model that would be loaded if these weights were saved after `done` steps."""
    network = network_of(recipe, weights)
    assert isinstance(network, Generator)
    return GANModel(network, recipe, classes, Path(recipe.name), done)
