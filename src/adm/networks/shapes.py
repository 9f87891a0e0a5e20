"""Config -> network on the meta device, number of parameters; state dict -> shapes by name."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from adm.networks.classifier import Classifier, ClassifierConfig
from adm.networks.unet import UNet, UNetConfig

Config: TypeAlias = UNetConfig | ClassifierConfig
Shapes: TypeAlias = Mapping[str, Sequence[int]]


def on_meta(config: Config) -> UNet | Classifier:
    """The network of a configuration on the meta device: shapes without values."""
    with torch.device("meta"):
        return UNet(config) if isinstance(config, UNetConfig) else Classifier(config)


@lru_cache(maxsize=64)
def parameters_of(config: Config) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in on_meta(config).parameters())


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a state dict, by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
