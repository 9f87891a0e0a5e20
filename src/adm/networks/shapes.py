"""Config -> network on the meta device, number of parameters; state dict -> shapes by name."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from adm.networks.classifier import Classifier, ClassifierConfig
from adm.networks.unet import UNet, UNetConfig
from adm.shown import abbreviated

MOST_NAMED = 3  # tensors of a kind in a message
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


def differing_tensors(got: Shapes, expected: Shapes) -> str:
    """Name tensors that are missing, unexpected or of another shape; empty if there are none."""
    kinds = {
        "missing": expected.keys() - got.keys(),
        "unexpected": got.keys() - expected.keys(),
        "of another shape": {n for n in got.keys() & expected.keys() if got[n] != expected[n]},
    }
    named = (f"{abbreviated(sorted(names), MOST_NAMED)} {k}" for k, names in kinds.items() if names)
    return "; ".join(named)


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a state dict, by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
