"""A folder of photographs -> Recipes that train on the CPU of a laptop."""

from dataclasses import replace

from adm.recipes.schema import ClassifierRecipe, DataSettings, DiffusionRecipe
from adm.recipes.small import DDIM_25, fashion, fashion_classifier
from adm.samplers import Even

PHOTOS = DataSettings(source="photos", size=(32, 32), channels=3, flip=True)
CLASSES = 10  # a placeholder: the number of classes is that of the data


def photos() -> DiffusionRecipe:
    """Images of your own, 32x32, in colour or grey: 1.4 million parameters.

    The numbers of channels and of classes are those of the data.

    Command: adm train photos --data photos/ --out runs/photos
    Time: 31 minutes on 2 idle CPU cores (Intel Xeon with AVX-512 bf16), by the time of a step; 71
    minutes on one core with other work on the machine.
    """
    base = fashion()
    return replace(
        base,
        name="photos",
        data=PHOTOS,
        unet=replace(
            base.unet, in_channels=3, out_channels=6, depth=1, dropout=0.1, classes=CLASSES
        ),
        train=replace(base.train, steps=2000, batch_size=64),
        # At 980, a fifth of the brightness of a photograph is read from x_t; see `adm doctor`.
        sample=replace(DDIM_25, grid=Even(steps=25, start=990)),
    )


def photos_classifier() -> ClassifierRecipe:
    """The noisy classifier that guides `photos`.

    Command: adm train photos-classifier --data photos/ --out runs/photos-classifier
    Time: 3 minutes on 2 idle CPU cores (Intel Xeon with AVX-512 bf16), by the time of a step.
    """
    base = fashion_classifier()
    return replace(
        base,
        name="photos-classifier",
        data=PHOTOS,
        classifier=replace(
            base.classifier, in_channels=3, size=(32, 32), classes=CLASSES, dropout=0.1
        ),
        train=replace(base.train, steps=800, batch_size=64, save_every_steps=200),
    )


def photos_upsampler() -> DiffusionRecipe:
    """Images of your own from 32x32 to 64x64: 1.5 million parameters.

    Command: adm train photos-upsampler --data photos/ --out runs/photos-upsampler
    Time: 11 minutes on 2 idle CPU cores (Intel Xeon with AVX-512 bf16), by the time of a step.
    """
    base = photos()
    return replace(
        base,
        name="photos-upsampler",
        data=replace(PHOTOS, size=(64, 64), low_res=(32, 32)),
        unet=replace(
            base.unet,
            multipliers=(1, 1, 2, 2),
            attention_factors=(8,),
            super_resolution=True,
        ),
        train=replace(base.train, steps=1000, batch_size=16),
        sample=DDIM_25,
    )
