"""Name of a released file -> Released: its network and its process.

The settings are the released flags of each file (https://github.com/openai/guided-diffusion). All
diffusion models predict the noise and a variance in the learned range, with T = 1000.
"""

from dataclasses import dataclass, replace
from typing import Literal

from adm.networks import ClassifierConfig, Config, HeadCount, HeadWidth, UNetConfig


@dataclass(frozen=True, kw_only=True)
class Released:
    """One released file.

    Attributes:
        config: configuration of the network.
        size: side of the images in pixels.
        schedule: schedule of the process; None for a classifier, which has that of the model that
            it guides.
        steps: T of the process.
        legacy_attention_order: whether the rows of qkv are grouped by head.
        classifier: name of the file of the classifier that guides the model.
    """

    config: Config
    size: int
    schedule: Literal["linear", "cosine"] | None = "linear"
    steps: int = 1000
    legacy_attention_order: bool = True
    classifier: str | None = None


_64 = UNetConfig(
    channels=192,
    multipliers=(1, 2, 3, 4),
    depth=3,
    attention_factors=(2, 4, 8),
    heads=HeadWidth(64),
    dropout=0.1,
    out_channels=6,
    classes=1000,
)
_128 = UNetConfig(
    channels=256,
    multipliers=(1, 1, 2, 3, 4),
    depth=2,
    attention_factors=(4, 8, 16),
    heads=HeadCount(4),
    out_channels=6,
    classes=1000,
)
_256 = replace(
    _128, multipliers=(1, 1, 2, 2, 4, 4), attention_factors=(8, 16, 32), heads=HeadWidth(64)
)
_512 = replace(_256, multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention_factors=(16, 32, 64))
_256_UNLABELLED = replace(_256, classes=None)
_LSUN = replace(_256_UNLABELLED, dropout=0.1)
_64_TO_256 = replace(_256, channels=192, heads=HeadCount(4), super_resolution=True)
_128_TO_512 = replace(_64_TO_256, attention_factors=(16, 32), heads=HeadWidth(64))
_CLASSIFIER_128 = ClassifierConfig(
    channels=128,
    multipliers=(1, 1, 2, 3, 4),
    depth=2,
    attention_factors=(4, 8, 16),
    heads=HeadWidth(64),
    classes=1000,
    size=(128, 128),
)
_CLASSIFIER_64 = replace(
    _CLASSIFIER_128,
    multipliers=(1, 2, 3, 4),
    depth=4,
    attention_factors=(2, 4, 8),
    size=(64, 64),
)
_CLASSIFIER_256 = replace(
    _CLASSIFIER_128,
    multipliers=(1, 1, 2, 2, 4, 4),
    attention_factors=(8, 16, 32),
    size=(256, 256),
)
_CLASSIFIER_512 = replace(
    _CLASSIFIER_128,
    multipliers=(0.5, 1, 1, 2, 2, 4, 4),
    attention_factors=(16, 32, 64),
    size=(512, 512),
)

RELEASED: dict[str, Released] = {
    "64x64_diffusion.pt": Released(
        config=_64,
        size=64,
        schedule="cosine",
        legacy_attention_order=False,
        classifier="64x64_classifier.pt",
    ),
    "128x128_diffusion.pt": Released(config=_128, size=128, classifier="128x128_classifier.pt"),
    "256x256_diffusion.pt": Released(config=_256, size=256, classifier="256x256_classifier.pt"),
    "256x256_diffusion_uncond.pt": Released(
        config=_256_UNLABELLED, size=256, classifier="256x256_classifier.pt"
    ),
    "512x512_diffusion.pt": Released(config=_512, size=512, classifier="512x512_classifier.pt"),
    "lsun_bedroom.pt": Released(config=_LSUN, size=256),
    "lsun_cat.pt": Released(config=_LSUN, size=256),
    "lsun_horse.pt": Released(config=_LSUN, size=256),
    "lsun_horse_nodropout.pt": Released(config=_256_UNLABELLED, size=256),
    "64_256_upsampler.pt": Released(config=_64_TO_256, size=256),
    "128_512_upsampler.pt": Released(config=_128_TO_512, size=512),
    "64x64_classifier.pt": Released(config=_CLASSIFIER_64, size=64, schedule=None),
    "128x128_classifier.pt": Released(config=_CLASSIFIER_128, size=128, schedule=None),
    "256x256_classifier.pt": Released(config=_CLASSIFIER_256, size=256, schedule=None),
    "512x512_classifier.pt": Released(config=_CLASSIFIER_512, size=512, schedule=None),
}
