"""Fashion-MNIST, emoji, the paper's settings -> Recipes of BigGAN (Brock et al. 2019)."""

from dataclasses import replace

from adm.adversarial import Adversarial
from adm.networks.biggan import BigGANConfig
from adm.recipes.emoji import EMOJI, GROUPS
from adm.recipes.paper import imagenet
from adm.recipes.schema import GANRecipe, WatchSettings
from adm.recipes.small import FASHION
from adm.training.settings import TrainSettings


def fashion_biggan() -> GANRecipe:
    """A BigGAN of Fashion-MNIST, 28x28, to compare with `fashion`.

    Command: adm train fashion-biggan --out runs/biggan
    Time: 65 minutes on one CPU core (AVX-512 bf16).
    Result: `checkpoints/best`, of step 6,500, has a Fréchet distance of 0.079 (0.087 and 0.093 with
    seeds 1 and 2), by `fashion-judge`, 2,000 images against 2,000 test images.
    """
    return GANRecipe(
        name="fashion-biggan",
        data=FASHION,
        gan=BigGANConfig(
            in_channels=1,
            size=(28, 28),
            channels=32,
            multipliers=(1, 2, 8),
            noise=60,
            classes=10,
            class_width=64,
            split_noise=True,
        ),
        adversarial=Adversarial(
            discriminator_steps=2,
            discriminator_rate=4e-4,
            orthogonal=1e-4,
            augmentation=("translation", "cutout"),
        ),
        train=TrainSettings(
            steps=8000,
            batch_size=128,
            learning_rate=2e-4,
            ema_decay=0.999,
            gradient_clip=None,
            save_every_steps=500,
        ),
        watch=WatchSettings(features="fashion-judge", validation_images=2000),
    )


def emoji_biggan() -> GANRecipe:
    """A BigGAN of emoji, 32x32, to compare with `emoji`.

    Command: adm train emoji-biggan --out runs/emoji-biggan
    Time: 80 minutes on one CPU core (AVX-512 bf16).
    Result: `checkpoints/best`, of step 6,000, has a Fréchet distance of 0.648 (0.730 and 0.898 with
    seeds 1 and 2), by `emoji-judge`, 500 images against 500 test images; it rises afterwards.
    """
    base = fashion_biggan()
    return replace(
        base,
        name="emoji-biggan",
        data=EMOJI,
        gan=replace(
            base.gan,
            in_channels=3,
            size=(32, 32),
            multipliers=(1, 2, 4, 8),
            noise=80,
            classes=GROUPS,
        ),
        adversarial=replace(base.adversarial, augmentation=("colour", "translation", "cutout")),
        watch=replace(base.watch, features="emoji-judge", validation_images=500),
    )


def biggan_128() -> GANRecipe:
    """The BigGAN of ImageNet, 128x128 (appendix B, table 4). It was not trained here."""
    return _imagenet("biggan-128", 128, (1, 2, 4, 8, 16, 16), deep=False)


def biggan_deep_128() -> GANRecipe:
    """The BigGAN-deep of ImageNet, 128x128 (appendix B, table 7). It was not trained here."""
    return _imagenet("biggan-deep-128", 128, (1, 2, 4, 8, 16, 16), deep=True)


def biggan_deep_256() -> GANRecipe:
    """The BigGAN-deep of ImageNet, 256x256 (appendix B, table 8). It was not trained here."""
    base = _imagenet("biggan-deep-256", 256, (1, 2, 4, 8, 8, 16, 16), deep=True)
    rate = 2.5e-5  # of both networks
    return replace(
        base,
        adversarial=replace(base.adversarial, discriminator_rate=rate),
        train=replace(base.train, learning_rate=rate),
    )


def _imagenet(name: str, side: int, multipliers: tuple[int, ...], deep: bool) -> GANRecipe:
    """Return the settings of the paper: appendix C.

    Batches of 2,048, two steps of the discriminator for one of the generator, learning rates of
    2e-4 and 5e-5 up to 128x128, an average of decay 0.9999 and orthogonal regularisation of 1e-4.
    """
    train = TrainSettings(
        steps=150_000,
        batch_size=2 * 2048,
        learning_rate=5e-5,
        ema_decay=0.9999,
        gradient_clip=None,
    )
    return GANRecipe(
        name=name,
        data=imagenet(side),
        gan=BigGANConfig(
            size=(side, side),
            channels=128 if deep else 96,
            multipliers=multipliers,
            noise=128 if deep else 120,
            classes=1000,
            split_noise=not deep,
            deep=deep,
            attention_factors=(side // 64,),
        ),
        adversarial=Adversarial(discriminator_rate=2e-4, orthogonal=1e-4),
        train=train,
        watch=WatchSettings(features="inception"),
    )
