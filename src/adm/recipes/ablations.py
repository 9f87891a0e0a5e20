"""Ablation tables of the paper -> DiffusionRecipes, each one change of its base."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from adm.networks import HeadCount, HeadWidth
from adm.recipes.paper import attention_at, imagenet128_ablated
from adm.recipes.schema import DiffusionRecipe

ATTENTION_ITERATIONS = 700_000  # of Tables 2 and 3 (appendix I)


def _changed(base: DiffusionRecipe, name: str, **fields: Any) -> DiffusionRecipe:
    return replace(base, name=name, unet=replace(base.unet, **fields))


def architecture_base() -> DiffusionRecipe:
    """Table 1, first row: 160 channels, depth 2, 1 head, attention at 16, convolutions."""
    return _changed(
        imagenet128_ablated(),
        "ablation-base",
        heads=HeadCount(1),
        attention_factors=attention_at(128, 16),
        resampling="convolution",
    )


def attention_base() -> DiffusionRecipe:
    """Table 2, first row: 128 channels, depth 2, 1 head, attention at 32, 16, 8, BigGAN blocks."""
    best = imagenet128_ablated()
    train = replace(best.train, steps=ATTENTION_ITERATIONS)
    return _changed(
        replace(best, train=train), "ablation-attention-base", channels=128, heads=HeadCount(1)
    )


def deeper() -> DiffusionRecipe:
    """Table 1: depth 4 and 128 channels; 146.2 million parameters, against 140.8 of the base.

    The paper trades width for depth at a relatively constant model size (section 3).
    """
    return _changed(architecture_base(), "ablation-depth4", depth=4, channels=128)


def four_heads() -> DiffusionRecipe:
    """Table 1: 4 heads."""
    return _changed(architecture_base(), "ablation-4-heads", heads=HeadCount(4))


def more_attention() -> DiffusionRecipe:
    """Table 1: attention at 32, 16 and 8."""
    factors = attention_at(128, 32, 16, 8)
    return _changed(architecture_base(), "ablation-attention-32-16-8", attention_factors=factors)


def biggan_blocks() -> DiffusionRecipe:
    """Table 1: BigGAN residual blocks for up- and down-sampling."""
    return _changed(architecture_base(), "ablation-biggan", resampling="biggan")


def rescaled_residuals() -> DiffusionRecipe:
    """Table 1: residual connections rescaled by 1/sqrt(2)."""
    return _changed(architecture_base(), "ablation-rescale", rescale_residual=True)


def _heads(heads: HeadCount | HeadWidth, name: str, what: str) -> Callable[[], DiffusionRecipe]:
    def row() -> DiffusionRecipe:
        return _changed(attention_base(), name, heads=heads)

    row.__doc__ = f"Table 2: {what}."
    return row


def norm_base() -> DiffusionRecipe:
    """Table 3, first row, and Table 2: AdaGN, 64 channels per head."""
    return _changed(attention_base(), "ablation-head-width-64", heads=HeadWidth(64))


def additive_norm() -> DiffusionRecipe:
    """Table 3: addition followed by GroupNorm, instead of AdaGN."""
    return _changed(norm_base(), "ablation-addition", adaptive_norm=False)


ABLATIONS: tuple[Callable[[], DiffusionRecipe], ...] = (
    architecture_base,
    deeper,
    four_heads,
    more_attention,
    biggan_blocks,
    rescaled_residuals,
    attention_base,
    *(
        _heads(HeadCount(n), f"ablation-heads-{n}", f"{n} heads at every resolution")
        for n in (2, 4, 8)
    ),
    *(
        _heads(HeadWidth(n), f"ablation-head-width-{n}", f"{n} channels per head")
        for n in (32, 128)
    ),
    norm_base,
    additive_norm,
)
