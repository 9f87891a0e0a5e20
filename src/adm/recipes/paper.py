"""the networks of the paper: the ablation's best, and all that were released."""

from collections.abc import Callable, Iterator
from typing import Literal

from adm.convert import RELEASED, Released
from adm.networks import HeadCount, UNetConfig
from adm.recipes.schema import (
    ClassifierRecipe,
    DataSettings,
    DiffusionRecipe,
    ProcessSettings,
    Recipe,
    SampleSettings,
    TrainSettings,
)

IMAGENET_CLASSES = 1000
LINEAR = ProcessSettings(schedule="linear", steps=1000)

# Iterations, batch and learning rate of each released file (paper, appendix I).
TRAINED: dict[str, tuple[int, int, float]] = {
    "64x64_diffusion.pt": (540_000, 2048, 3e-4),
    "128x128_diffusion.pt": (4_360_000, 256, 1e-4),
    "256x256_diffusion.pt": (1_980_000, 256, 1e-4),
    "256x256_diffusion_uncond.pt": (1_980_000, 256, 1e-4),
    "512x512_diffusion.pt": (1_940_000, 256, 1e-4),
    "lsun_bedroom.pt": (500_000, 256, 1e-4),
    "lsun_cat.pt": (200_000, 256, 1e-4),
    "lsun_horse.pt": (250_000, 256, 1e-4),
    "lsun_horse_nodropout.pt": (250_000, 256, 1e-4),
    "64_256_upsampler.pt": (500_000, 256, 1e-4),
    "128_512_upsampler.pt": (500_000, 256, 1e-4),
    "64x64_classifier.pt": (300_000, 1024, 6e-4),
    "128x128_classifier.pt": (300_000, 256, 3e-4),
    "256x256_classifier.pt": (500_000, 256, 3e-4),
    "512x512_classifier.pt": (500_000, 256, 3e-4),
}


def attention_at(image_side: int, *resolutions: int) -> tuple[int, ...]:
    """The paper's attention resolutions, such as 32, 16, 8, as down-sampling factors."""
    return tuple(image_side // resolution for resolution in resolutions)


def imagenet(side: int) -> DataSettings:
    return DataSettings(source="imagenet/", size=(side, side), channels=3, flip=True)


def imagenet128_ablated() -> DiffusionRecipe:
    """The best model of the ablation, ImageNet 128x128 (paper, Table 1, last row).

    160 channels, depth 2, 4 heads, attention at 32, 16 and 8, BigGAN blocks, no rescaling.
    The paper trains at batch 256 and samples in 250 steps. It was not trained here.
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


def released_recipe(file: str) -> Recipe:
    """The recipe of a released file, by the file's name."""
    released = RELEASED[file]
    steps, batch_size, learning_rate = TRAINED[file]
    train = TrainSettings(steps=steps, batch_size=batch_size, learning_rate=learning_rate)
    name = file.removesuffix(".pt").replace("_", "-")
    data = imagenet(released.size)
    if file.startswith("lsun"):
        data = DataSettings(source="lsun/", size=data.size, channels=3)
    process = ProcessSettings(schedule=_schedule(file, released), steps=released.steps)
    if isinstance(released.config, UNetConfig):
        sample = SampleSettings(steps=250)
        return DiffusionRecipe(
            name=name, data=data, process=process, unet=released.config, train=train, sample=sample
        )
    return ClassifierRecipe(
        name=name, data=data, process=process, classifier=released.config, train=train
    )


def _schedule(file: str, released: Released) -> Literal["linear", "cosine"]:
    """A classifier's own file names no schedule: it has that of the models it guides."""
    guided = [other for other in RELEASED.values() if other.classifier == file]
    return released.schedule or guided[0].schedule or LINEAR.schedule


def _recipe_of(file: str) -> Callable[[], Recipe]:
    def recipe() -> Recipe:
        return released_recipe(file)

    what = "classifier" if "classifier" in file else "network"
    recipe.__doc__ = f"The {what} of the released {file}. It was not trained here."
    return recipe


def released_recipes() -> Iterator[Callable[[], Recipe]]:
    for file in RELEASED:
        yield _recipe_of(file)
