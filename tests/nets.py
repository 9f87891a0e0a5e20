"""Small networks with weights that hide no input; the relative error of an output."""

from typing import TypeVar

import torch
from torch import nn

from adm.networks import ClassifierConfig, HeadWidth, UNetConfig

Module = TypeVar("Module", bound=nn.Module)
CONFIG = UNetConfig(
    in_channels=3,
    channels=16,
    out_channels=6,
    multipliers=(1, 2),
    depth=1,
    attention_factors=(2,),
    heads=HeadWidth(8),
    norm_groups=8,
    classes=3,
)
JUDGE = ClassifierConfig(
    channels=16,
    multipliers=(1, 2),
    depth=1,
    attention_factors=(2,),
    heads=HeadWidth(8),
    norm_groups=8,
    classes=5,
    size=(8, 12),
)


def filled(network: Module) -> Module:
    """Random weights, also where they start at zero or one, which would hide their inputs."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        std = 0.3 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
        nn.init.normal_(parameter, std=std, generator=generator)
    return network.eval().requires_grad_(False)


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative error, of the norms."""
    actual = actual.detach()
    return float((actual.double() - expected.double()).norm() / expected.double().norm())
