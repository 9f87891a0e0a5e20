"""DataSettings, ProcessSettings, TrainSettings, WatchSettings: the sections that recipes share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from adm.limits import (
    MOST_AVERAGES,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_CHARACTERS,
    MOST_LEVELS,
    MOST_SIDE,
    MOST_STEPS,
    MOST_TEXT,
)

PositiveInt = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
Images = Annotated[int, Field(ge=0, le=MOST_BATCH)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The training images.

    Attributes:
        source: the default data spec.
        size: (H, W) in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        flip: mirror half of the images at random.
        crop: the centre, or at random 80% to 100% of the shorter side.
        low_res: (h, w) of the images that an upsampler enlarges; None for other models.
        low_res_rounded: train an upsampler on low-resolution images rounded to 8 bits, as they are
            in sampling; the released ones were trained on unrounded means.
    """

    source: Annotated[str, Field(max_length=MOST_TEXT)]
    size: tuple[Side, Side]
    channels: Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
    flip: bool = False
    crop: Literal["centre", "random"] = "centre"
    low_res: tuple[Side, Side] | None = None
    low_res_rounded: bool = True


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """The diffusion process, and what the network predicts."""

    schedule: Literal["linear", "cosine"]
    steps: Annotated[int, Field(ge=2, le=MOST_LEVELS)]
    prediction: Literal["noise", "x_0", "velocity", "previous_mean"] = "noise"
    variance: Literal["fixed_small", "fixed_large", "learned", "learned_range"] = "learned_range"
    rescale_steps: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of the training loop.

    Attributes:
        steps: total optimizer steps.
        batch_size: images per step, over all ranks.
        learning_rate: its peak.
        warmup_steps: steps of its linear rise from 0.
        anneal: whether it then decays linearly to 0 at the last step, or stays constant.
        ema_decay: of the average of the weights, per step; reached gradually (see `training.ema`).
        ema_others: decays of further averages, stored beside the model's own.
        ema_widths: relative widths of power-function averages, stored at every checkpoint so that
            an average of any width can be reconstructed later (see `training.posthoc`).
        gradient_clip: largest norm of the gradient; None for no limit.
        label_dropout: fraction of images trained without their label.
        precision: of the network's arithmetic. Weights, averages and losses are always float32, and
            norms and softmax accumulate in float32. float16 uses loss scaling. See also
            `runs.precision`.
        give_up_after: consecutive steps with non-finite values after which the run stops.
        checkpoint_activations: recompute activations in the backward pass to save memory.
        save_every_steps: interval of checkpoints; there is an early one, and one at the end.
        keep_last: number of the latest checkpoints to keep.
        keep_best: whether to keep the checkpoint of the best validation too.
        keep_every_steps: also keep all checkpoints at multiples of this.
    """

    steps: PositiveInt
    batch_size: Annotated[int, Field(gt=0, le=MOST_BATCH)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    anneal: bool = False
    ema_decay: Probability = 0.9999
    ema_others: Annotated[tuple[Probability, ...], Field(max_length=MOST_AVERAGES)] = ()
    ema_widths: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=0.28)], ...], Field(max_length=MOST_AVERAGES)
    ] = ()
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    label_dropout: Probability = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    give_up_after: PositiveInt = 10
    checkpoint_activations: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    save_every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 2
    keep_best: bool = True
    keep_every_steps: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is monitored during training, without any effect on the weights.

    Attributes:
        every_steps: interval of previews and validation; that of checkpoints when None.
        images: number of images in a preview; 0 for no previews.
        validation_images: number of held-out images, and of training images that they are compared
            with; 0 for no validation.
        features: of a GAN only: those in which the distance of generated from held-out images is
            measured: the means of at most 8x8 areas (`pixels`), or a network's.
    """

    every_steps: PositiveInt | None = None
    images: Images = 32
    validation_images: Images = 1000
    features: Literal[
        "pixels", "inception", "efficientnet-lite0", "fashion-judge", "emoji-judge"
    ] = "pixels"
