"""DataSettings, ProcessSettings, WatchSettings: sections that recipes share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from adm.limits import (
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_CHARACTERS,
    MOST_LEVELS,
    MOST_SIDE,
    MOST_TEXT,
)
from adm.training.settings import PositiveInt

Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
Images = Annotated[int, Field(ge=0, le=MOST_BATCH)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


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
