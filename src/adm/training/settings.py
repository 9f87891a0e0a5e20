"""TrainSettings -> LoopSettings, PlayerSettings."""

from dataclasses import dataclass

from adm.training.batches import Augmentation

EARLY = 10  # step of the first checkpoint, so that a run that cannot save fails early


@dataclass(frozen=True)
class Policy:
    """Which checkpoints are saved and kept.

    Attributes:
        last: number of the newest checkpoints to keep.
        best: whether to keep the checkpoint with the lowest validation loss.
        every: keep all checkpoints at multiples of this number of steps; None for no such rule.
        save_every: steps between regular checkpoints. An interruption saves one in between.
    """

    last: int = 2
    best: bool = True
    every: int | None = None
    save_every: int = 1

    def regular(self, step: int) -> bool:
        """Return whether an uninterrupted run saves at this step, its last step aside."""
        return step == EARLY or step % self.save_every == 0


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The settings that all players of a run share; see `TrainSettings` for their meanings."""

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
        """Return the learning rate at step number `step`, counted from 0, of the given peak."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return peak * rise * ((1 - step / self.steps) if self.anneal else 1.0)

    def saves(self, done: int) -> bool:
        """Return whether a checkpoint is due after `done` steps."""
        return self.policy.regular(done) or done == self.steps


@dataclass(frozen=True, kw_only=True)
class PlayerSettings:
    """The settings of one player; see `TrainSettings` for their meanings."""

    learning_rate: float
    first_decay: float  # of Adam's first moments, beta_1
    weight_decay: float
    ema_decay: float
    ema_others: tuple[float, ...]
    ema_widths: tuple[float, ...]
    precision: str
    checkpoint_activations: bool
