"""Emoji of three styles, in colour -> Recipes that train on the CPU of a laptop."""

from dataclasses import replace

from adm.networks import HeadWidth
from adm.recipes.schema import ClassifierRecipe, DataSettings, DiffusionRecipe
from adm.recipes.small import fashion, fashion_classifier
from adm.samplers import LogSNR
from adm.training.levels import ByLoss

# The folder that `python tools/emoji.py` writes. Not mirrored: there are letters and arrows.
EMOJI = DataSettings(source="emoji", size=(32, 32), channels=3)
GROUPS = 9  # animals & nature, flags, food & drink, ...


def emoji() -> DiffusionRecipe:
    """Emoji, 32x32 in colour, conditioned on one of nine groups: 4.3 million parameters.

    Command: adm train emoji --out runs/emoji
    Time: 170 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: 10,000 samples at scale 2 in 250 ancestral steps have a Fréchet distance of 33.9 at
    infinite N, a precision of 0.54 and a recall of 0.25, in features of EfficientNet-Lite0. The
    shipped model was trained on for 297,600 images; see docs/results/emoji.md.
    """
    base = fashion()
    return replace(
        base,
        name="emoji",
        data=EMOJI,
        unet=replace(
            base.unet,
            in_channels=3,
            out_channels=6,
            channels=48,
            heads=HeadWidth(48),
            dropout=0.1,
            classes=GROUPS,
        ),
        train=replace(base.train, steps=12_000, batch_size=64, learning_rate=5e-4),
        # Those with the lowest distance in docs/howto/few-steps.md.
        sample=replace(base.sample, grid=LogSNR(steps=20, start=990, end=20)),
    )


def emoji_classifier() -> ClassifierRecipe:
    """The noisy classifier of nine groups that guides `emoji`.

    It overfits 5,000 images: the checkpoint of step 1,000, `checkpoints/best`, is shipped.

    Command: adm train emoji-classifier --out runs/emoji-classifier
    Time: 5 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: at step 1,000 it classifies 68.4%, 68.4%, 60.0% and 44.0% of test images correctly in
    the four quarters of the noise levels, from the cleanest.
    """
    base = fashion_classifier()
    return replace(
        base,
        name="emoji-classifier",
        data=EMOJI,
        classifier=replace(
            base.classifier,
            in_channels=3,
            multipliers=(1, 2, 3),
            size=(32, 32),
            classes=GROUPS,
            dropout=0.2,
        ),
        train=replace(base.train, steps=2000, batch_size=64),
    )


def emoji_judge() -> ClassifierRecipe:
    """An independent classifier of clean emoji, which scores samples.

    It shares neither weights, seed, pool, width nor training noise with `emoji-classifier`.

    Command: adm train emoji-judge --out runs/emoji-judge
    Time: 7 minutes on one CPU core (AVX-512 bf16).
    Result: 70.6% of 500 test images are classified correctly.
    """
    base = emoji_classifier()
    return replace(
        base,
        name="emoji-judge",
        noised=False,
        data=replace(EMOJI, flip=True),
        classifier=replace(
            base.classifier, channels=24, pool="adaptive", dropout=0.3, resampling="convolution"
        ),
        train=replace(base.train, seed=1),
    )


def emoji_upsampler() -> DiffusionRecipe:
    """Emoji from 32x32 to 64x64: 3.3 million parameters.

    Three quarters of its loss come from the cleanest quarter of the noise levels, where an error
    remains as grain in the image. Levels are therefore drawn by their recent losses.

    Command: adm train emoji-upsampler --out runs/emoji-upsampler
    Time: 98 minutes, two processes on 2 CPU cores (AMX), beside other short work.
    Result: without noise on its input, test images that were shrunk and upsampled had a Fréchet
    distance of 24.3 at infinite N and a precision of 0.63 in features of EfficientNet-Lite0. The
    shipped model was trained on, with that noise, for 147,200 images, and has 19.9 and 0.71; see
    docs/results/emoji.md.
    """
    base = emoji()
    return replace(
        base,
        name="emoji-upsampler",
        data=replace(EMOJI, size=(64, 64), low_res=(32, 32), low_res_noise=150),
        unet=replace(
            base.unet,
            channels=32,
            multipliers=(1, 1, 2, 4),
            depth=1,
            attention_factors=(8,),
            heads=HeadWidth(32),
            dropout=0.0,
            super_resolution=True,
            conditions=("low_res",),
        ),
        train=replace(base.train, steps=6000, batch_size=32),
        levels=ByLoss(),
        sample=replace(base.sample, grid=LogSNR(steps=10, start=990, end=20)),
    )


def emoji_weak() -> DiffusionRecipe:
    """The weak guide of `emoji`: half of its width, trained on an eighth of its images.

    Samples move away from what it does worse (autoguidance, Karras et al. 2024).

    Command: adm train emoji-weak --out runs/emoji-weak
    Time: 25 minutes of a CPU core (AVX-512 bf16), by two processes.
    Result: 10,000 samples of `emoji` have a Fréchet distance of 22.9 at infinite N in features of
    EfficientNet-Lite0, and 29.4 without it. See docs/howto/guide.md.
    """
    base = emoji()
    return replace(
        base,
        name="emoji-weak",
        unet=replace(base.unet, channels=24, heads=HeadWidth(24)),
        train=replace(base.train, steps=2000),
    )
