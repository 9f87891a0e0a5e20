"""Tables of the paper -> Recipes: the best ablation, and the released networks.

The numbers are those of the paper's appendix I (Tables 11 to 13). Settings that it does not state
are those of the released scripts, whose loop neither warms up the learning rate nor clips
gradients. docs/reference/recipes.md gives the source of each number, and where ours differ.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from adm.networks import HeadCount, UNetConfig
from adm.recipes.released import LINEAR, RELEASED, recipe_name
from adm.recipes.schema import ClassifierRecipe, DataSettings, DiffusionRecipe, Recipe
from adm.samplers import Even, Sampling
from adm.training.levels import ByLoss, Uniform
from adm.training.settings import TrainSettings

IMAGENET_CLASSES = 1000


def as_released(
    iterations: int, batch_size: int, learning_rate: float, weight_decay: float = 0.0
) -> TrainSettings:
    """The settings of the released loop, which saves a checkpoint every 10,000 steps."""
    return TrainSettings(
        steps=iterations,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        ema_decay=0.9999,
        gradient_clip=None,
        save_every_steps=10_000,
    )


TRAINED: dict[str, TrainSettings] = {  # as stated in the paper
    # Table 11. Its one column for 256x256 is the conditional model's; that the unconditional one
    # was trained alike is inferred: Table 4 has 2 million iterations for both.
    "64x64_diffusion.pt": as_released(540_000, 2048, 3e-4),
    "128x128_diffusion.pt": as_released(4_360_000, 256, 1e-4),
    "256x256_diffusion.pt": as_released(1_980_000, 256, 1e-4),
    "256x256_diffusion_uncond.pt": as_released(1_980_000, 256, 1e-4),
    "512x512_diffusion.pt": as_released(1_940_000, 256, 1e-4),
    "lsun_bedroom.pt": as_released(500_000, 256, 1e-4),
    "lsun_cat.pt": as_released(200_000, 256, 1e-4),
    "lsun_horse.pt": as_released(250_000, 256, 1e-4),
    "lsun_horse_nodropout.pt": as_released(250_000, 256, 1e-4),
    # Table 13.
    "64_256_upsampler.pt": as_released(500_000, 256, 1e-4),
    "128_512_upsampler.pt": as_released(1_050_000, 256, 1e-4),
    # Table 12.
    "64x64_classifier.pt": as_released(300_000, 1024, 6e-4, 0.2),
    "128x128_classifier.pt": as_released(300_000, 256, 3e-4, 0.05),
    "256x256_classifier.pt": as_released(500_000, 256, 3e-4, 0.05),
    "512x512_classifier.pt": as_released(500_000, 256, 3e-4, 0.05),
    # The README of Improved DDPM.
    "imagenet64_uncond_100M_1500K.pt": as_released(1_500_000, 128, 1e-4),
    "imagenet64_uncond_vlb_100M_1500K.pt": as_released(1_500_000, 128, 1e-4),
    "imagenet64_cond_270M_250K.pt": as_released(250_000, 2048, 3e-4),
    "cifar10_uncond_50M_500K.pt": as_released(500_000, 128, 1e-4),
    "cifar10_uncond_vlb_50M_500K.pt": as_released(500_000, 128, 1e-4),
    "upsample_cond_500K.pt": as_released(500_000, 256, 3e-4),
    "lsun_uncond_100M_1200K_bs128.pt": as_released(1_200_000, 128, 1e-4),
    "lsun_uncond_100M_2400K_bs64.pt": as_released(2_400_000, 64, 2e-5),
    # The scripts of Consistency Models, which do not state the steps of the EDM models: those of
    # the models that were distilled from them stand here.
    "edm_imagenet64_ema.pt": as_released(600_000, 4096, 1e-4),
    "cd_imagenet64_l2.pt": as_released(600_000, 2048, 8e-6),
    "cd_imagenet64_lpips.pt": as_released(600_000, 2048, 8e-6),
    "ct_imagenet64.pt": as_released(800_000, 2048, 1e-4),
    "edm_bedroom256_ema.pt": as_released(600_000, 256, 1e-4),
    "cd_bedroom256_l2.pt": as_released(600_000, 256, 1e-5),
    "cd_bedroom256_lpips.pt": as_released(600_000, 256, 1e-5),
    "ct_bedroom256.pt": as_released(1_000_000, 256, 5e-5),
    "edm_cat256_ema.pt": as_released(600_000, 256, 1e-4),
    "cd_cat256_l2.pt": as_released(600_000, 256, 1e-5),
    "cd_cat256_lpips.pt": as_released(600_000, 256, 1e-5),
    "ct_cat256.pt": as_released(1_000_000, 256, 5e-5),
}


def imagenet(side: int) -> DataSettings:
    """ImageNet, mirrored at random as by the released loader."""
    return DataSettings(source="imagenet/", size=(side, side), channels=3, flip=True)


def imagenet128_ablated() -> DiffusionRecipe:
    """The best model of the ablation, ImageNet 128x128 (paper, Table 1, last row).

    160 channels, depth 2, 4 heads, attention at 32, 16 and 8, BigGAN blocks, no rescaling.
    The paper trains at batch 256, scores at 700,000 and 1,200,000 iterations, and samples in 250
    steps. It does not state the learning rate, which here is that of its other networks at batch
    256, nor the channel multipliers, the noise schedule and the dropout, which are those of its
    128x128 model (Table 11). It was not trained here.
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
            attention_factors=(4, 8, 16),  # at 32, 16 and 8
            heads=HeadCount(4),
            classes=IMAGENET_CLASSES,
        ),
        train=as_released(1_200_000, 256, 1e-4),
        sample=Sampling(grid=Even(steps=250), precision="auto"),
    )


def released_recipe(file: str) -> Recipe:
    """The recipe of a released file, by the file's name."""
    released, trained = RELEASED[file], TRAINED[file]
    low = released.low_res
    data = replace(
        imagenet(released.size),
        source=released.data,
        low_res=None if low is None else (low, low),
        low_res_rounded=low is None,
    )
    if isinstance(released.config, UNetConfig):
        by_bound = "_vlb_" in file  # drawn by loss, as their README trains them
        return DiffusionRecipe(
            name=recipe_name(file),
            data=data,
            process=released.process,
            unet=released.config,
            train=trained,
            loss="vlb" if by_bound else "hybrid",
            levels=ByLoss() if by_bound else Uniform(),
            sample=released.sample,
        )
    return ClassifierRecipe(
        name=recipe_name(file),
        data=replace(data, crop="random"),  # section 4.3
        process=released.process,
        classifier=released.config,
        train=replace(trained, anneal=True),
    )


def released_recipes() -> Iterator[Callable[[], Recipe]]:
    """Yield a function per released file that returns its recipe."""
    for file, released in RELEASED.items():
        if released.repository.trainable:
            recipe = partial(released_recipe, file)
            what = "classifier" if "classifier" in file else "network"
            recipe.__doc__ = f"The {what} of the released {file}. It was not trained here."
            yield recipe
