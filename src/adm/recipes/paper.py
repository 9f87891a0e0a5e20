"""the models of the paper, with its hyper-parameters (appendix I)."""

from adm.networks import HeadCount, UNetConfig
from adm.recipes.schema import (
    DataSettings,
    DiffusionRecipe,
    ProcessSettings,
    SampleSettings,
    TrainSettings,
)

IMAGENET_CLASSES = 1000


def attention_at(image_side: int, *resolutions: int) -> tuple[int, ...]:
    """The paper's attention resolutions, such as 32, 16, 8, as down-sampling factors."""
    return tuple(image_side // resolution for resolution in resolutions)


def imagenet(side: int) -> DataSettings:
    return DataSettings(source="imagenet/", size=(side, side), channels=3, flip=True)


LINEAR = ProcessSettings(schedule="linear", steps=1000)


def imagenet128_ablated() -> DiffusionRecipe:
    """The best model of the ablation, ImageNet 128x128 (Table 1, last row).

    160 channels, depth 2, 4 heads, attention at 32, 16 and 8, BigGAN blocks, no rescaling.
    The paper trains on ImageNet at batch 256 and samples in 250 steps; it was not trained here.
    """
    return DiffusionRecipe(
        name="imagenet128-ablated",
        data=imagenet(128),
        process=LINEAR,
        unet=UNetConfig(
            out_channels=6,
            channels=160,
            multipliers=(1, 1, 2, 3, 4),
            depth=2,
            attention_factors=attention_at(128, 32, 16, 8),
            heads=HeadCount(4),
            classes=IMAGENET_CLASSES,
        ),
        train=TrainSettings(steps=1_200_000, batch_size=256, learning_rate=1e-4),
        sample=SampleSettings(steps=250),
    )
