"""a recipe -> a watched run, and its learner: weights and averages differ."""

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.data import Source
from adm.processes import Devices
from adm.recipes import Recipe, build
from adm.runs.watch.watched import Watched
from adm.training.ema import EMA
from adm.training.learner import Learner

CPU = Devices(torch.device("cpu"))
NOWHERE = Path("run")


def watched(
    chosen: Recipe,
    held_out: Source | None = None,
    training: Source | None = None,
    folder: Path = NOWHERE,
    devices: Devices = CPU,
) -> Watched:
    return Watched(chosen, training or tiny.stripes(), held_out, folder, devices)


def learner_of(chosen: Recipe, seed: int = 0) -> Learner:
    """Random raw weights, other random averages; layers that start at zero would hide both."""
    network = build.network(chosen).train()
    scramble(dict(network.named_parameters()), seed)
    ema = EMA(network, 0.9)
    scramble(ema.weights, seed + 1)
    optimizer = torch.optim.AdamW(network.parameters())
    return Learner(network, network, lambda step: pytest.fail("trained"), optimizer, (ema,))


@torch.no_grad()
def scramble(weights: dict[str, Tensor], seed: int, std: float = 0.15) -> None:
    generator = torch.Generator().manual_seed(seed)
    for values in weights.values():
        nn.init.normal_(values, std=std, generator=generator)
