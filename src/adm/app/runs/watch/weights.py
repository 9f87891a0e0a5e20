"""Player -> tensors by name; Recipe, tensors -> network that shares them, for evaluation."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adm.models.trained import DiffusionModel
from adm.networks import Classifier, UNet, on_meta
from adm.networks.biggan import Generator
from adm.recipes import DiffusionRecipe, Recipe, build
from adm.training.players import Player
from adm.training.spread import whole


def raw_weights(player: Player) -> dict[str, Tensor]:
    """Return the raw weights by name; every process must call."""
    return _held(dict(player.network.named_parameters()), device_of(player))


def mean_weights(player: Player) -> dict[str, Tensor]:
    """Return the average that is the model, by name; every process must call."""
    return _held(player.ema.weights, device_of(player))


def device_of(player: Player) -> torch.device:
    """Return the device of the player's network."""
    return next(player.network.parameters()).device


def _held(weights: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return whole, detached float32 weights on one device, copied only where necessary."""
    # Detached: `network_of` would use a Parameter itself, and turn off its gradients.
    return {name: whole(w.detach()).to(device, torch.float32) for name, w in weights.items()}


def network_of(recipe: Recipe, weights: Mapping[str, Tensor]) -> UNet | Classifier | Generator:
    """Return a network in evaluation mode, without gradients, that shares these tensors.

    The network that they come from does not change, and no random numbers are drawn.

    Args:
        weights: from `raw_weights` or `mean_weights`; not parameters.
    """
    network = on_meta(recipe.config)
    # The singular vectors of a generator are missing: `GANModel` computes them for the weights.
    network.load_state_dict(dict(weights), assign=True, strict=not isinstance(network, Generator))
    return network.eval().requires_grad_(False)


def model_of(
    recipe: DiffusionRecipe,
    weights: Mapping[str, Tensor],
    classes: tuple[str, ...],
    folder: Path,
    done: int,
) -> DiffusionModel:
    """Return the model that would be loaded if these weights were saved after `done` steps."""
    network = network_of(recipe, weights)
    assert isinstance(network, UNet)
    return DiffusionModel(
        network=network,
        recipe=recipe,
        classes=classes,
        schedule=build.schedule(recipe.process),
        parameterization=build.parameterization(recipe.process),
        path=folder,
        trained_steps=done,
    )
