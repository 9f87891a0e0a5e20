"""Player -> tensors by name; Recipe, tensors -> network that shares them, for evaluation."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from adm.models.trained import DiffusionModel
from adm.networks import Classifier, UNet, on_meta
from adm.recipes import DiffusionRecipe, Recipe, build
from adm.training.players import Player
from adm.training.spread import whole


def raw_weights(player: Player) -> dict[str, Tensor]:
    """name -> the weights as the optimizer left them; every process must ask."""
    return _held(dict(player.network.named_parameters()), device_of(player))


def mean_weights(player: Player) -> dict[str, Tensor]:
    """name -> the model's moving average; every process must ask."""
    return _held(player.ema.weights, device_of(player))


def device_of(player: Player) -> torch.device:
    return next(player.network.parameters()).device


def _held(weights: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Detached float32 weights on one device, whole, copied only where they must be."""
    # A Parameter would be taken over as it is, and lose its gradients with the second network.
    return {name: whole(w.detach()).to(device, torch.float32) for name, w in weights.items()}


def network_of(recipe: Recipe, weights: Mapping[str, Tensor]) -> UNet | Classifier:
    """A network of the recipe that evaluates with these very tensors, without gradients.

    Nothing is copied, drawn or set in the network that they come from: its mode, its gradients
    and the global random state stay what they are.

    Args:
        weights: from `raw_weights` or `mean_weights`, no parameters.
    """
    network = on_meta(recipe.config)
    network.load_state_dict(dict(weights), assign=True)
    return network.eval().requires_grad_(False)


def model_of(
    recipe: DiffusionRecipe,
    weights: Mapping[str, Tensor],
    classes: tuple[str, ...],
    folder: Path,
    done: int,
) -> DiffusionModel:
    """What `adm sample` would load, had these weights been saved after `done` steps."""
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
