"""Step -> learning rate, whether a checkpoint is due: the settings of the training loop."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from adm.limits import MOST_AVERAGES, MOST_BATCH, MOST_STEPS
from adm.spec import SpecOf
from adm.training.optimizers import OPTIMIZERS, AdamW, Optimizer

EARLY = 10  # step of the first checkpoint, so that a run that cannot save fails early

PositiveInt = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of the training loop.

    Attributes:
        steps: total optimizer steps.
        batch_size: images per step, over all ranks.
        optimizer: how gradients become steps; `adm help optimizer` lists the kinds.
        learning_rate: its peak.
        warmup_steps: steps of its linear rise from 0.
        anneal: whether it then decays linearly to 0 at the last step, or stays constant.
        ema_decay: of the average of the weights, per step; reached gradually (see `training.ema`).
        ema_others: decays of further averages, stored beside the model's own.
        gradient_clip: largest norm of the gradient; None for no limit.
        label_dropout: fraction of images trained without their label and, of pairs, their
            condition.
        precision: of the network's arithmetic. Weights, averages and losses are always float32, and
            norms and softmax accumulate in float32. float16 uses loss scaling.
        patience: validations in a row without a better one than before after which the run ends;
            None for no such end.
        patience_of: of the validation loss, or of the distance of samples, which `watch` scores.
        give_up_after: consecutive steps with non-finite values after which the run stops.
        checkpoint_activations: recompute activations in the backward pass to save memory.
        save_every_steps: interval of checkpoints; there is an early one, and one at the end.
        keep_last: number of the latest checkpoints to keep.
        keep_best: whether to keep the checkpoints of the best validation and of the least distance
            too.
        keep_every_steps: also keep all checkpoints at multiples of this.
    """

    steps: PositiveInt
    batch_size: Annotated[int, Field(gt=0, le=MOST_BATCH)]
    optimizer: Annotated[Optimizer, SpecOf(OPTIMIZERS)] = field(default_factory=AdamW)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    anneal: bool = False
    ema_decay: Probability = 0.9999
    ema_others: Annotated[tuple[Probability, ...], Field(max_length=MOST_AVERAGES)] = ()
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    label_dropout: Probability = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    patience: PositiveInt | None = None
    patience_of: Literal["validation", "distance"] = "validation"
    give_up_after: PositiveInt = 10
    checkpoint_activations: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    save_every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 2
    keep_best: bool = True
    keep_every_steps: PositiveInt | None = None

    def rate(self, step: int, peak: float) -> float:
        """Return the learning rate at step number `step`, counted from 0, of the given peak."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return peak * rise * ((1 - step / self.steps) if self.anneal else 1.0)

    def regular(self, step: int) -> bool:
        """Return whether an uninterrupted run saves at this step, its last step aside."""
        return step == EARLY or step % self.save_every_steps == 0

    def saves(self, done: int) -> bool:
        """Return whether a checkpoint is due after `done` steps."""
        return self.regular(done) or done == self.steps
