"""Module, TrainSettings, objectives -> Learner: a network with all state of its training."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from adm.losses import TimestepImportance
from adm.networks import recompute
from adm.processes import Devices
from adm.training.ema import EMA, averages
from adm.training.microbatch import is_out_of_memory, refusal
from adm.training.objective import Objective
from adm.training.optimizers import create_moments
from adm.training.settings import TrainSettings
from adm.training.spread import spread


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

    def adapt(self, finite: bool) -> None:
        """Adapt the factor after a step whose gradient was finite, or was not."""
        if not self.active:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(1.0, self.value / 2)
        elif self.good % self.PATIENCE == 0:
            self.value *= 2


@dataclass(eq=False)
class Learner:
    """A network that is trained, with all state of its training.

    Attributes:
        network: the network itself.
        runner: the network as `spread` returned it, which averages gradients over processes.
        objective_at: number of an optimizer step, counted from 0 -> its objective.
        optimizer: optimizer of the parameters; its initial learning rate is the peak.
        averages: averages of the weights; the first one is the model.
        scale: loss scale.
        importance: the sampler of noise levels by their recent losses; None where levels are drawn
            otherwise.
        step: optimizer steps done.
        bad_steps: consecutive steps up to now that were not finite.
    """

    network: nn.Module
    runner: nn.Module
    objective_at: Callable[[int], Objective]
    optimizer: torch.optim.Optimizer
    averages: tuple[EMA, ...]
    scale: LossScale = field(default_factory=LossScale)
    importance: TimestepImportance | None = None
    step: int = 0
    bad_steps: int = 0

    @classmethod
    def of(
        cls,
        network: nn.Module,
        objective_at: Callable[[int], Objective],
        settings: TrainSettings,
        devices: Devices,
        importance: TimestepImportance | None = None,
    ) -> "Learner":
        """Prepare a network for training.

        Args:
            network: a network with its initial weights; it is moved to the device.

        Raises:
            MemoryError: the device has too little memory for the moments of the optimizer.
        """
        if settings.checkpoint_activations:
            recompute(network)
        runner = spread(network.train(), devices)
        optimizer = settings.optimizer.of(network, settings.learning_rate, settings.weight_decay)
        try:
            create_moments(optimizer)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(refusal(1, None)) from None
        return cls(
            network,
            runner,
            objective_at,
            optimizer,
            averages(network, settings.ema_decay, settings.ema_others),
            LossScale.of(settings.precision),
            importance,
        )

    @property
    def objective(self) -> Objective:
        """The objective of the next step."""
        return self.objective_at(self.step)

    @property
    def ema(self) -> EMA:
        """The average that is the model."""
        return self.averages[0]

    @property
    def learning_rate(self) -> float:
        """The current learning rate of the first parameter group."""
        return self.optimizer.param_groups[0]["lr"]
