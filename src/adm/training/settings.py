"""TrainSettings -> LoopSettings, PlayerSettings."""

from dataclasses import dataclass

from adm.training.batches import Augmentation

EARLY = 10  # the step of the first checkpoint, so that a run which cannot save fails at once


@dataclass(frozen=True)
class Policy:
    """Which checkpoints stay.

    Attributes:
        last: so many of the newest.
        best: that of the lowest validation loss.
        every: those at multiples of it, for ever.
        save_every: steps between regular checkpoints; one of an interrupted run lies between.
    """

    last: int = 2
    best: bool = True
    every: int | None = None
    save_every: int = 1

    def regular(self, step: int) -> bool:
        """Whether a run that is not interrupted saves at this step, its last aside."""
        return step == EARLY or step % self.save_every == 0


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What all players of a run share."""

    steps: int
    batch_size: int
    warmup_steps: int
    anneal: bool
    gradient_clip: float | None
    give_up_after: int
    seed: int
    augmentation: Augmentation
    policy: Policy

    def rate(self, step: int, peak: float) -> float:
        """Learning rate of step number `step`, counted from 0, where `peak` is its highest."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return peak * rise * ((1 - step / self.steps) if self.anneal else 1.0)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return self.policy.regular(done) or done == self.steps


@dataclass(frozen=True, kw_only=True)
class PlayerSettings:
    """How one network is trained."""

    learning_rate: float
    weight_decay: float
    ema_decay: float
    ema_others: tuple[float, ...]
    ema_widths: tuple[float, ...]
    precision: str
    checkpoint_activations: bool
