"""Module, TrainSettings -> Player; players, frozen networks -> RunState."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from adm.losses import TimestepImportance
from adm.networks import recompute
from adm.processes import Devices
from adm.training.ema import EMA, averages
from adm.training.settings import TrainSettings
from adm.training.spread import spread

MODEL = "model"  # the only player of a run that trains one network


@dataclass
class LossScale:
    """The factor that keeps small float16 gradients from underflow; 1 in other precisions.

    Every overflow halves it, and `PATIENCE` steps without one double it (Micikevicius et al. 2018,
    section 3.2).

    Attributes:
        value: the factor.
        good: consecutive steps without an overflow.
        active: whether the factor changes, as it does in float16.
    """

    value: float = 1.0
    good: int = 0
    active: bool = False

    PATIENCE = 1000
    FIRST = 2.0**16

    @classmethod
    def of(cls, precision: str) -> "LossScale":
        """Return the initial loss scale of a precision."""
        return cls(cls.FIRST, 0, True) if precision == "float16" else cls()

    @property
    def can_fall(self) -> bool:
        """Whether a smaller factor may prevent an overflow."""
        return self.active and self.value > 1

    def after(self, finite: bool) -> None:
        """Adapt the factor after a step whose gradient was finite, or was not."""
        if not self.active:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(1.0, self.value / 2)
        elif self.good % self.PATIENCE == 0:
            self.value *= 2


class Player(NamedTuple):
    """A network that is trained, with all state of its training.

    Attributes:
        network: the network itself. The objective of another player may call it, after
            `key_dropout`.
        averages: averages of the weights; the first one is the model.
        optimizer: optimizer of the parameters; its initial learning rate is the peak.
        scale: loss scale.
        runner: the network as `spread` returned it, which averages gradients over processes. The
            player's own objective calls it.
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
        """The current learning rate of the first parameter group."""
        return self.optimizer.param_groups[0]["lr"]


def player(
    network: nn.Module,
    settings: TrainSettings,
    devices: Devices,
    first_decay: float = 0.9,
) -> Player:
    """Prepare a network for training.

    Args:
        network: a network with its initial weights; it is moved to the device.
        first_decay: of the first moments, Adam's beta_1.
    """
    if settings.checkpoint_activations:
        recompute(network)
    network.train()
    runner = spread(network, devices)
    optimizer = settings.optimizer.of(
        network, settings.learning_rate, settings.weight_decay, first_decay
    )
    tracked = averages(network, settings.ema_decay, settings.ema_others)
    return Player(network, tracked, optimizer, LossScale.of(settings.precision), runner)


@dataclass(eq=False)
class RunState:
    """The state that changes during a run, and the frozen networks that it uses.

    Attributes:
        players: the networks that are trained, by name. If there are several, the name is also that
            of the player's folder in a checkpoint.
        frozen: networks that are evaluated and never trained, such as a teacher, by name. They are
            not saved: a resumed run must be given the same ones.
        importance: the sampler of noise levels by their recent losses; None for uniform levels.
        step: optimizer steps done before the current one.
        bad_steps: consecutive steps up to now that were not finite.
    """

    players: dict[str, Player]
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    importance: TimestepImportance | None = None
    step: int = 0
    bad_steps: int = 0

    @property
    def model(self) -> Player:
        """The player whose average is the model that is sampled: the only one, or the first."""
        return next(iter(self.players.values()))

    def freeze(self, device: torch.device) -> None:
        """Move the frozen networks to the device, in evaluation mode and without gradients."""
        for network in self.frozen.values():
            network.to(device).eval().requires_grad_(False)
