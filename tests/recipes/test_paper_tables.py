"""Tables 11 to 13 of the paper, as printed -> the recipes of the released files."""

from typing import NamedTuple

import pytest

from adm.networks import ClassifierConfig, HeadCount, HeadWidth, UNetConfig
from adm.recipes import ClassifierRecipe, DiffusionRecipe, recipe
from adm.recipes.released import GUIDED, IMPROVED, RELEASED, recipe_name


class Column(NamedTuple):
    """One column of a table; resolutions and not down-sampling factors, as in print."""

    side: int
    schedule: str
    channels: int
    depth: int
    multipliers: tuple[float, ...]
    heads: HeadCount | HeadWidth
    attention: tuple[int, ...]
    dropout: float
    weight_decay: float
    batch: int
    iterations: int
    rate: float


SIX, SEVEN = (1, 1, 2, 2, 4, 4), (0.5, 1, 1, 2, 2, 4, 4)
AT, WIDE = (32, 16, 8), HeadWidth(64)


def lsun(iterations: int, dropout: float = 0.1) -> Column:
    return Column(256, "linear", 256, 2, SIX, WIDE, AT, dropout, 0, 256, iterations, 1e-4)


# fmt: off
TABLES = {
    # Table 11; the note below it has the iterations of each LSUN model.
    "64x64-diffusion":
        Column(64, "cosine", 192, 3, (1, 2, 3, 4), WIDE, AT, 0.1, 0, 2048, 540_000, 3e-4),
    "128x128-diffusion":
        Column(128, "linear", 256, 2, (1, 1, 2, 3, 4), HeadCount(4), AT, 0, 0, 256, 4_360_000,
               1e-4),
    "256x256-diffusion":
        Column(256, "linear", 256, 2, SIX, WIDE, AT, 0, 0, 256, 1_980_000, 1e-4),
    "512x512-diffusion":
        Column(512, "linear", 256, 2, SEVEN, WIDE, AT, 0, 0, 256, 1_940_000, 1e-4),
    "lsun-bedroom": lsun(500_000),
    "lsun-cat": lsun(200_000),
    "lsun-horse": lsun(250_000),
    # Table 12.
    "64x64-classifier":
        Column(64, "cosine", 128, 4, (1, 2, 3, 4), WIDE, AT, 0, 0.2, 1024, 300_000, 6e-4),
    "128x128-classifier":
        Column(128, "linear", 128, 2, (1, 1, 2, 3, 4), WIDE, AT, 0, 0.05, 256, 300_000, 3e-4),
    "256x256-classifier":
        Column(256, "linear", 128, 2, SIX, WIDE, AT, 0, 0.05, 256, 500_000, 3e-4),
    "512x512-classifier":
        Column(512, "linear", 128, 2, SEVEN, WIDE, AT, 0, 0.05, 256, 500_000, 3e-4),
    # Table 13. The network to 512x512 ends at 16x16, and has no attention at the printed 8.
    "64-256-upsampler":
        Column(256, "linear", 192, 2, SIX, HeadCount(4), AT, 0, 0, 256, 500_000, 1e-4),
    "128-512-upsampler":
        Column(512, "linear", 192, 2, SIX, WIDE, (32, 16), 0, 0, 256, 1_050_000, 1e-4),
    # Not in the tables: like the models that they vary (docs/reference/recipes.md).
    "256x256-diffusion-uncond":
        Column(256, "linear", 256, 2, SIX, WIDE, AT, 0, 0, 256, 1_980_000, 1e-4),
    "lsun-horse-nodropout": lsun(250_000, dropout=0.0),
}
# fmt: on
LABELLED = {"64x64-diffusion", "128x128-diffusion", "256x256-diffusion", "512x512-diffusion"}
LABELLED |= {"64-256-upsampler", "128-512-upsampler"}


def test_every_released_file_is_in_the_tables() -> None:
    ours = [file for file, released in RELEASED.items() if released.repository is GUIDED]
    names = {file.removesuffix(".pt").replace("_", "-") for file in ours}
    assert names == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_has_the_numbers_of_its_column(name: str) -> None:
    chosen, printed = recipe(name), TABLES[name]
    config, train = chosen.config, chosen.train
    assert chosen.process.steps == 1000
    assert (
        Column(
            side=chosen.data.size[0],
            schedule=chosen.process.schedule,
            channels=config.channels,
            depth=config.depth,
            multipliers=config.multipliers,
            heads=config.heads,
            attention=tuple(chosen.data.size[0] // factor for factor in config.attention_factors),
            dropout=config.dropout,
            weight_decay=train.weight_decay,
            batch=train.batch_size,
            iterations=train.steps,
            rate=train.learning_rate,
        )
        == printed
    )
    classifies = isinstance(chosen, ClassifierRecipe)
    assert chosen.data.flip
    assert chosen.data.crop == ("random" if classifies else "centre")
    assert (train.gradient_clip, train.anneal) == (None, classifies)
    assert config.resampling == "biggan"
    assert config.adaptive_norm
    assert not config.rescale_residual


@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_has_the_objective_and_classes_of_the_paper(name: str) -> None:
    """Noise and a learned variance by L_hybrid; classes for ImageNet."""
    chosen = recipe(name)
    if isinstance(chosen, ClassifierRecipe):
        config = chosen.classifier
        assert isinstance(config, ClassifierConfig)
        assert (config.classes, config.pool, chosen.noised) == (1000, "attention", True)
        return
    assert isinstance(chosen, DiffusionRecipe)
    assert isinstance(chosen.unet, UNetConfig)
    assert (chosen.process.prediction.name, chosen.process.variance) == ("noise", "learned_range")
    assert chosen.loss == "hybrid"
    assert chosen.unet.classes == (1000 if name in LABELLED else None)
    assert chosen.unet.out_channels == 6
    assert chosen.unet.super_resolution == name.endswith("upsampler")
    low = (int(name.split("-")[0]),) * 2 if name.endswith("upsampler") else None
    assert chosen.data.low_res == low
    assert low is None or not chosen.data.low_res_rounded
    assert chosen.train.ema_decay == 0.9999


def test_a_model_is_guided_by_the_classifier_of_its_size_and_schedule() -> None:
    for file, released in RELEASED.items():
        if released.classifier is None:
            guided = released.repository is GUIDED
            assert not guided or any(w in file for w in ("lsun", "upsampler", "classifier"))
            continue
        guide = RELEASED[released.classifier]
        assert isinstance(guide.config, ClassifierConfig)
        assert (guide.size, guide.process) == (released.size, released.process)
    guided = [file for file, released in RELEASED.items() if released.classifier is not None]
    assert len(guided) == 5


# README of improved-diffusion, and the defaults of its scripts (which rescale timesteps):
# T, schedule, rescaled, channels, depth, heads, attention at, dropout, AdaGN, classes.
IMPROVED_TABLE = {
    "imagenet64_uncond_100M_1500K.pt": (4000, "cosine", True, 128, 3, 4, (16, 8), 0.0, True, None),
    "imagenet64_uncond_vlb_100M_1500K.pt": (
        *(4000, "cosine", True, 128, 3, 4, (16, 8), 0.0, True, None),
    ),
    "imagenet64_cond_270M_250K.pt": (4000, "cosine", False, 192, 3, 4, (16, 8), 0.0, True, 1000),
    "cifar10_uncond_50M_500K.pt": (4000, "cosine", True, 128, 3, 4, (16, 8), 0.3, True, None),
    "cifar10_uncond_vlb_50M_500K.pt": (4000, "cosine", True, 128, 3, 4, (16, 8), 0.3, True, None),
    "upsample_cond_500K.pt": (4000, "linear", False, 192, 2, 4, (16, 8), 0.0, True, 1000),
    "lsun_uncond_100M_1200K_bs128.pt": (
        *(1000, "linear", False, 128, 2, 1, (16,), 0.0, False, None),
    ),
    "lsun_uncond_100M_2400K_bs64.pt": (
        *(1000, "linear", False, 128, 2, 1, (16,), 0.0, False, None),
    ),
}


def test_the_files_of_improved_ddpm_have_the_flags_of_its_readme() -> None:
    flags = {}
    for file, released in RELEASED.items():
        if released.repository is not IMPROVED:
            continue
        config, process = released.config, released.process
        assert isinstance(config, UNetConfig)
        assert isinstance(config.heads, HeadCount)
        assert (config.resampling, config.out_channels) == ("convolution", 6)
        at = tuple(released.size // factor for factor in config.attention_factors)
        flags[file] = (
            *(process.steps, process.schedule, process.rescale_steps, config.channels),
            *(config.depth, config.heads.heads, at, config.dropout),
            *(config.adaptive_norm, config.classes),
        )
        chosen = recipe(recipe_name(file))
        assert isinstance(chosen, DiffusionRecipe)
        assert chosen.loss == ("vlb" if "vlb" in file else "hybrid")
    assert flags == IMPROVED_TABLE


def test_only_the_newest_model_has_the_new_order_of_heads() -> None:
    """The flag use_new_attention_order of the released README is that of 64x64 alone."""
    new = [
        file
        for file, released in RELEASED.items()
        if released.repository is GUIDED and not released.legacy_attention_order
    ]
    assert new == ["64x64_diffusion.pt"]
