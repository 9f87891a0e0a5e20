"""Name of a released file -> Released: its network, its process, how it is sampled, where it is.

The settings are the flags that the README of each repository gives, completed by the defaults of
its scripts: https://github.com/openai/guided-diffusion, /improved-diffusion, /consistency_models.
"""

from dataclasses import dataclass, replace

from adm.diffusion import EDM, ConsistencyTarget
from adm.networks import ClassifierConfig, Config, HeadCount, HeadWidth, UNetConfig, parameters_of
from adm.recipes.schema import ProcessSettings
from adm.samplers import Consistency, Even, Heun, Levels, Sampling
from adm.store.fetch import Remote

OWNER = "openai"  # of the public names, openai/256x256-diffusion
SERVER = "https://openaipublic.blob.core.windows.net"
LICENCE = "MIT"  # of all three repositories


@dataclass(frozen=True)
class Repository:
    """Where files were released.

    Attributes:
        name: on GitHub, of the same owner.
        folder: of the files on the server.
        use: the use that its model card intends.
        trainable: whether the losses of its files are known here.
    """

    name: str
    folder: str
    use: str = "research"
    trainable: bool = True

    @property
    def page(self) -> str:
        return f"https://github.com/{OWNER}/{self.name}"


LINEAR = ProcessSettings(schedule="linear", steps=1000)
IN_250 = Sampling(grid=Even(steps=250), precision="auto")
GUIDED = Repository("guided-diffusion", "diffusion/jul-2021")
IMPROVED = Repository("improved-diffusion", "diffusion/march-2021")
CONSISTENCY = Repository("consistency_models", "consistency", trainable=False)


@dataclass(frozen=True, kw_only=True)
class Released:
    """One released file.

    Attributes:
        config: configuration of the network.
        size: side of the images in pixels.
        process: that it was trained on; a classifier has that of the models that it guides.
        data: the training images.
        low_res: side of the images that an upsampler enlarges.
        legacy_attention_order: whether the rows of qkv are grouped by head.
        flat_attention: whether the convolutions of attention have one dimension, and not two.
        classifier, scale: name of the file of the classifier that guides the model, and the scale
            by which the README lets it.
        upsampler: name of the file of the upsampler that enlarges its images.
        sample: the README's settings of sampling.
        known: published hash of the file, second-hand: from repositories that use it.
        size_bytes: published size, likewise.
    """

    config: Config
    size: int
    process: ProcessSettings = LINEAR
    data: str = "imagenet/"
    low_res: int | None = None
    legacy_attention_order: bool = True
    flat_attention: bool = True
    classifier: str | None = None
    scale: float = 0.0
    upsampler: str | None = None
    sample: Sampling = IN_250
    repository: Repository = GUIDED
    known: str | None = None
    size_bytes: int | None = None

    @property
    def least_bytes(self) -> int:
        """The size of the file, if it is published; otherwise that of its weights."""
        return self.size_bytes or 4 * parameters_of(self.config)

    def remote(self, file: str) -> Remote:
        """Return where the file is."""
        most = self.size_bytes or self.least_bytes + OVERHEAD
        return Remote(f"{SERVER}/{self.repository.folder}/{file}", self.known, most)


OVERHEAD = 1 << 20  # bytes of a file beside its weights: some 220 for each of its tensors


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

# Improved DDPM: four heads, attention at 16 and 8, convolutions that resample.
_IMPROVED_64 = UNetConfig(
    channels=128,
    multipliers=(1, 2, 3, 4),
    depth=3,
    attention_factors=(4, 8),
    heads=HeadCount(4),
    resampling="convolution",
    out_channels=6,
)
_IMPROVED_CIFAR = replace(
    _IMPROVED_64, multipliers=(1, 2, 2, 2), attention_factors=(2, 4), dropout=0.3
)
_IMPROVED_270M = replace(_IMPROVED_64, channels=192, classes=1000)
_IMPROVED_UPSAMPLER = replace(
    _IMPROVED_270M,
    multipliers=(1, 1, 2, 2, 4, 4),
    depth=2,
    attention_factors=(16, 32),
    super_resolution=True,
)
_IMPROVED_LSUN = replace(
    _IMPROVED_64,
    multipliers=(1, 1, 2, 2, 4, 4),
    depth=2,
    attention_factors=(16,),
    heads=HeadCount(1),
    adaptive_norm=False,
)
_EDM_64 = replace(_64, out_channels=3)
_EDM_256 = replace(_LSUN, out_channels=3, adaptive_norm=False)

_COSINE = ProcessSettings(schedule="cosine", steps=1000)
_COSINE_4000 = ProcessSettings(schedule="cosine", steps=4000, rescale_steps=True)
_LINEAR_4000 = ProcessSettings(schedule="linear", steps=4000)
_LSUN_SAMPLE = Sampling(grid=Even(steps=1000), precision="auto")  # "the best samples" (README)


def _improved(config: UNetConfig, size: int, process: ProcessSettings, data: str) -> Released:
    return Released(config=config, size=size, process=process, data=data, repository=IMPROVED)


def _karras(config: UNetConfig, size: int, data: str) -> Released:
    """A model of EDM's process, sigma from 0.002 to 80 in the 40 levels of its sampler."""
    edm = EDM(sigma_data=0.5)
    return Released(
        config=config,
        size=size,
        process=ProcessSettings(
            schedule="karras", steps=40, prediction=edm, variance="fixed_small"
        ),
        data=data,
        legacy_attention_order=False,
        flat_attention=False,
        sample=Sampling(sampler=Heun(), grid=Even(steps=40), precision="auto"),
        repository=CONSISTENCY,
    )


def _consistent(teacher: Released, steps: int = 40) -> Released:
    """A consistency model, which samples in one step from the noisiest of its levels."""
    prediction = ConsistencyTarget(sigma_data=0.5, least=0.002)
    return replace(
        teacher,
        config=replace(teacher.config, dropout=0.0),
        process=replace(teacher.process, steps=steps, prediction=prediction),
        sample=Sampling(sampler=Consistency(), grid=Levels(levels=(steps,)), precision="auto"),
    )


_IMAGENET_64 = _karras(_EDM_64, 64, "imagenet/")
_BEDROOM = _karras(_EDM_256, 256, "lsun/bedroom/")
_CAT = _karras(_EDM_256, 256, "lsun/cat/")

RELEASED: dict[str, Released] = {
    "64x64_diffusion.pt": Released(
        config=_64,
        size=64,
        process=_COSINE,
        legacy_attention_order=False,
        classifier="64x64_classifier.pt",
        scale=1.0,
        upsampler="64_256_upsampler.pt",
    ),
    "128x128_diffusion.pt": Released(
        config=_128,
        size=128,
        classifier="128x128_classifier.pt",
        scale=0.5,
        upsampler="128_512_upsampler.pt",
    ),
    "256x256_diffusion.pt": Released(
        config=_256,
        size=256,
        classifier="256x256_classifier.pt",
        scale=1.0,
        known="md5:d94f30fb1afb2fe821c24bef2043717e",
        size_bytes=2_215_479_544,
    ),
    "256x256_diffusion_uncond.pt": Released(
        config=_256_UNLABELLED,
        size=256,
        classifier="256x256_classifier.pt",
        scale=10.0,
        known="sha256:a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
        size_bytes=2_211_383_297,
    ),
    "512x512_diffusion.pt": Released(
        config=_512, size=512, classifier="512x512_classifier.pt", scale=4.0
    ),
    "lsun_bedroom.pt": Released(config=_LSUN, size=256, data="lsun/bedroom/", sample=_LSUN_SAMPLE),
    "lsun_cat.pt": Released(config=_LSUN, size=256, data="lsun/cat/", sample=_LSUN_SAMPLE),
    "lsun_horse.pt": Released(config=_LSUN, size=256, data="lsun/horse/", sample=_LSUN_SAMPLE),
    "lsun_horse_nodropout.pt": Released(
        config=_256_UNLABELLED, size=256, data="lsun/horse/", sample=_LSUN_SAMPLE
    ),
    "64_256_upsampler.pt": Released(config=_64_TO_256, size=256, low_res=64),
    "128_512_upsampler.pt": Released(config=_128_TO_512, size=512, low_res=128),
    "64x64_classifier.pt": Released(config=_CLASSIFIER_64, size=64, process=_COSINE),
    "128x128_classifier.pt": Released(config=_CLASSIFIER_128, size=128),
    "256x256_classifier.pt": Released(config=_CLASSIFIER_256, size=256),
    "512x512_classifier.pt": Released(config=_CLASSIFIER_512, size=512),
    "imagenet64_uncond_100M_1500K.pt": _improved(_IMPROVED_64, 64, _COSINE_4000, "imagenet/"),
    "imagenet64_uncond_vlb_100M_1500K.pt": _improved(_IMPROVED_64, 64, _COSINE_4000, "imagenet/"),
    "imagenet64_cond_270M_250K.pt": _improved(
        _IMPROVED_270M, 64, replace(_COSINE_4000, rescale_steps=False), "imagenet/"
    ),
    "cifar10_uncond_50M_500K.pt": _improved(_IMPROVED_CIFAR, 32, _COSINE_4000, "cifar10/"),
    "cifar10_uncond_vlb_50M_500K.pt": _improved(_IMPROVED_CIFAR, 32, _COSINE_4000, "cifar10/"),
    "upsample_cond_500K.pt": replace(
        _improved(_IMPROVED_UPSAMPLER, 256, _LINEAR_4000, "imagenet/"), low_res=64
    ),
    "lsun_uncond_100M_1200K_bs128.pt": _improved(_IMPROVED_LSUN, 256, LINEAR, "lsun/bedroom/"),
    "lsun_uncond_100M_2400K_bs64.pt": _improved(_IMPROVED_LSUN, 256, LINEAR, "lsun/bedroom/"),
    "edm_imagenet64_ema.pt": _IMAGENET_64,
    "cd_imagenet64_l2.pt": _consistent(_IMAGENET_64),
    "cd_imagenet64_lpips.pt": _consistent(_IMAGENET_64),
    "ct_imagenet64.pt": _consistent(_IMAGENET_64, 201),
    "edm_bedroom256_ema.pt": _BEDROOM,
    "cd_bedroom256_l2.pt": _consistent(_BEDROOM),
    "cd_bedroom256_lpips.pt": _consistent(_BEDROOM),
    "ct_bedroom256.pt": _consistent(_BEDROOM, 151),
    "edm_cat256_ema.pt": _CAT,
    "cd_cat256_l2.pt": _consistent(_CAT),
    "cd_cat256_lpips.pt": _consistent(_CAT),
    "ct_cat256.pt": _consistent(_CAT, 151),
}


# Reference batches: the statistics of a whole data set, and 10,000 of its images.
REFERENCES: dict[str, str] = {
    "openai/imagenet64-reference": "imagenet/64/VIRTUAL_imagenet64_labeled.npz",
    "openai/imagenet128-reference": "imagenet/128/VIRTUAL_imagenet128_labeled.npz",
    "openai/imagenet256-reference": "imagenet/256/VIRTUAL_imagenet256_labeled.npz",
    "openai/imagenet512-reference": "imagenet/512/VIRTUAL_imagenet512.npz",
    "openai/lsun-bedroom-reference": "lsun/bedroom/VIRTUAL_lsun_bedroom256.npz",
    "openai/lsun-cat-reference": "lsun/cat/VIRTUAL_lsun_cat256.npz",
    "openai/lsun-horse-reference": "lsun/horse/VIRTUAL_lsun_horse256.npz",
}
LARGEST_REFERENCE = 16 << 30  # bytes; 10,000 images of 512x512 have 7.9e9


def reference_remote(name: str) -> Remote:
    """Return where a reference batch is, by its public name."""
    url = f"{SERVER}/{GUIDED.folder}/ref_batches/{REFERENCES[name]}"
    return Remote(url, most=LARGEST_REFERENCE)


def public_name(file: str) -> str:
    """Return the public name of a released file: 64x64_diffusion.pt is openai/64x64-diffusion."""
    return f"{OWNER}/{recipe_name(file)}"


def recipe_name(file: str) -> str:
    """Return the name of the recipe of a released file."""
    return file.removesuffix(".pt").replace("_", "-")


PUBLIC: dict[str, str] = {public_name(file): file for file in RELEASED}  # name -> file


def released_of(recipe: str) -> Released | None:
    """Return the released file that has the recipe of this name; None if none has."""
    file = PUBLIC.get(f"{OWNER}/{recipe}")
    return None if file is None else RELEASED[file]
