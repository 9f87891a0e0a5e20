"""Module, PlayerSettings -> Player; players, frozen networks -> RunState."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from adm.losses import TimestepImportance
from adm.networks import recompute
from adm.processes import Devices
from adm.training.ema import EMA, averages
from adm.training.settings import PlayerSettings
from adm.training.spread import spread

MODEL = "model"  # the player of a run that trains one network


@dataclass
class LossScale:
    """The factor that keeps float16's small gradients from vanishing; 1 in other precisions.

    Halved by every overflow, doubled after `PATIENCE` steps without one (Micikevicius et al. 2018,
    section 3.2).
    """

    value: float = 1.0
    good: int = 0
    active: bool = False

    PATIENCE = 1000
    FIRST = 2.0**16

    @classmethod
    def of(cls, precision: str) -> "LossScale":
        return cls(cls.FIRST, 0, True) if precision == "float16" else cls()

    @property
    def can_fall(self) -> bool:
        """Whether a smaller factor might cure an overflow."""
        return self.active and self.value > 1

    def after(self, finite: bool) -> None:
        if not self.active:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(1.0, self.value / 2)
        elif self.good % self.PATIENCE == 0:
            self.value *= 2


class Player(NamedTuple):
    """A network that learns.

    Attributes:
        network: as it was built; what the objective of another player calls, once it has keyed
            its dropout (`key_dropout`).
        averages: of its weights; the first is the model.
        optimizer: of its parameters; the learning rate that it is built with is the peak.
        scale: of its loss.
        runner: the network as `spread` returned it, which averages gradients over processes; what
            the player's own objective calls.
    """

    network: nn.Module
    averages: tuple[EMA, ...]
    optimizer: torch.optim.Optimizer
    scale: LossScale
    runner: nn.Module

    @property
    def ema(self) -> EMA:
        """The average that is the model."""
        return self.averages[0]

    @property
    def learning_rate(self) -> float:
        """The current rate of the first parameter group."""
        return self.optimizer.param_groups[0]["lr"]


def player(
    network: nn.Module, settings: PlayerSettings, devices: Devices, sharded: bool = False
) -> Player:
    """Prepare a network to be trained by AdamW.

    Args:
        network: with its initial weights; it is moved to the device.
        sharded: spread weights, gradients and moments over the processes.
    """
    if settings.checkpoint_activations:
        recompute(network)
    network.train()
    runner = spread(network, devices, sharded)
    # Built from what is spread, since shards are other parameters.
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    kept = averages(network, settings.ema_decay, settings.ema_others, settings.ema_widths)
    return Player(network, kept, optimizer, LossScale.of(settings.precision), runner)


@dataclass(eq=False)
class RunState:
    """All that changes during a run, and the frozen networks that it uses.

    Attributes:
        players: name -> a network that learns. Where there are several, the name is also that of
            its folder in a checkpoint.
        frozen: name -> a network that is evaluated and never trained, such as a teacher. It is not
            saved: a continued run must be given the same one.
        importance: of the noise levels, where they are drawn by their recent losses.
        step: optimizer steps done before the one under way.
        bad_steps: in a row up to now, whose numbers were not finite.
    """

    players: dict[str, Player]
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    importance: TimestepImportance | None = None
    step: int = 0
    bad_steps: int = 0

    @property
    def model(self) -> Player:
        """The player of a run that trains one network."""
        return self.players[MODEL]

    def freeze(self, device: torch.device) -> None:
        """Move the frozen networks to the device, in evaluation mode and without gradients."""
        for network in self.frozen.values():
            network.to(device).eval().requires_grad_(False)
