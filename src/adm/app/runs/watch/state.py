"""Player -> weights by name; Recipe, weights -> model that shares them; when a watch is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from adm.models.gan import GANModel
from adm.models.trained import DiffusionModel
from adm.networks import Classifier, UNet, on_meta
from adm.networks.biggan import Generator
from adm.recipes import DiffusionRecipe, Recipe, build
from adm.recipes.schema import GANRecipe
from adm.spec import SettingError
from adm.training.players import Player
from adm.training.spread import whole


@dataclass(frozen=True)
class Times:
    """When a watch is due: after every multiple of `every` steps, and after the last of `total`.

    The figures of a watch go into the log. They must be a function of the steps done and of the
    weights alone, so that a resumed run writes the same log as one that was not interrupted.

    Raises:
        SettingError: `every` or `total` is below 1.
    """

    every: int
    total: int

    def __post_init__(self) -> None:
        for field, value in (("watch.every_steps", self.every), ("train.steps", self.total)):
            if value < 1:
                raise SettingError(field, "at least 1", value)

    def due(self, done: int) -> bool:
        """Return whether a watch is due after `done` steps."""
        return done % self.every == 0 or done == self.total

    @property
    def first(self) -> int:
        """The number of steps after which a watch is due first."""
        return min(self.every, self.total)


class Weights(NamedTuple):
    """The raw weights and their average, by name."""

    raw: Mapping[str, Tensor]
    mean: Mapping[str, Tensor]

    @classmethod
    def of(cls, player: Player) -> "Weights":
        """Return the weights of a player; every process must call."""
        raw = dict(player.network.named_parameters())
        return cls(_gather(raw, _device_of(player)), mean_weights(player))


def mean_weights(player: Player) -> dict[str, Tensor]:
    """Return the average that is the model, by name; every process must call."""
    return _gather(player.ema.weights, _device_of(player))


def _device_of(player: Player) -> torch.device:
    """Return the device of the player's network."""
    return next(player.network.parameters()).device


def _gather(weights: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return whole, detached float32 weights on one device, copied only where necessary."""
    # Detached: `network_of` would use a Parameter itself, and turn off its gradients.
    return {name: whole(w.detach()).to(device, torch.float32) for name, w in weights.items()}


def network_of(recipe: Recipe, weights: Mapping[str, Tensor]) -> UNet | Classifier | Generator:
    """Return a network in evaluation mode, without gradients, that shares these tensors.

    The network that they come from does not change, and no random numbers are drawn.

    Args:
        weights: as of `Weights`; not parameters.
    """
    network = on_meta(recipe.config)
    # The singular vectors of a generator are missing: `GANModel` computes them for the weights.
    network.load_state_dict(dict(weights), assign=True, strict=not isinstance(network, Generator))
    return network.eval().requires_grad_(False)


# Five parameters, of what a model is made of.
def model_of(
    recipe: DiffusionRecipe | GANRecipe,
    weights: Mapping[str, Tensor],
    classes: tuple[str, ...],
    path: Path,
    done: int,
) -> DiffusionModel | GANModel:
    """Return the model that would be loaded if these weights were saved after `done` steps."""
    network = network_of(recipe, weights)
    if isinstance(recipe, GANRecipe):
        assert isinstance(network, Generator)
        return GANModel(network, recipe, classes, path, done)
    assert isinstance(network, UNet)
    schedule, reading = build.schedule(recipe.process), build.parameterization(recipe.process)
    return DiffusionModel(network, recipe, classes, schedule, reading, path, done)
