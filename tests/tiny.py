"""settings -> the smallest recipes, data and models that go through every part of the system."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from adm.data import Source
from adm.data.source import in_memory
from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe, build, recipe
from adm.recipes.resolve import Facts, resolve
from adm.recipes.schema import override
from adm.runs import run
from adm.spec import to_json
from adm.training import model_file

CLASSES = ("sneaker", "bag", "ankle boot")
COMMON = (
    "process.steps=20",
    "train.steps=4",
    "train.batch_size=4",
    "train.warmup_steps=1",
    "train.learning_rate=0.01",
)
UNET = (
    "unet.channels=8",
    "unet.multipliers=1,2",
    "unet.attention_factors=2",
    "unet.heads.channels_per_head=8",
    "unet.norm_groups=4",
    "unet.classes=3",
    "sample.grid.start=null",
    "sample.grid.steps=4",
    "sample.precision=float32",  # rather than the measured choice
)
CLASSIFIER = (
    "classifier.channels=8",
    "classifier.multipliers=1,2",
    "classifier.attention_factors=2",
    "classifier.heads.channels_per_head=8",
    "classifier.norm_groups=4",
    "classifier.classes=3",
)


def diffusion(*settings: str) -> DiffusionRecipe:
    """Two levels of 8 and 16 channels, 20 steps of noise, three classes."""
    changed = override(recipe("digits"), [*COMMON, *UNET, *settings])
    assert isinstance(changed, DiffusionRecipe)
    return changed


def classifier(*settings: str) -> ClassifierRecipe:
    """The noisy classifier of the same process and classes."""
    changed = override(recipe("digits-classifier"), [*COMMON, *CLASSIFIER, *settings])
    assert isinstance(changed, ClassifierRecipe)
    return changed


def upsampler(*settings: str) -> DiffusionRecipe:
    """From 4x4 to 8x8."""
    return diffusion("unet.super_resolution=true", "data.low_res=4,4", *settings)


def paired(*settings: str) -> DiffusionRecipe:
    """A model of `pairs`."""
    return diffusion(
        *("unet.super_resolution=true", "data.low_res=8,8", "data.paired=true"), *settings
    )


def student(*settings: str) -> DiffusionRecipe:
    """A student of `diffusion` and `classifier`, by trajectory distillation in 1, 2 or 4 steps."""
    distilled = override(
        recipe("fashion-distilled"),
        [
            *("distillation.steps=1,2,4", "distillation.interval=null"),
            *("distillation.grid.steps=4", "distillation.grid.start=18"),
            *("sample.precision=float32", *COMMON),
        ],
    )
    changed = override(resolve(distilled, Facts(teacher=diffusion())), settings)
    assert isinstance(changed, DiffusionRecipe)
    return changed


KINDS: dict[str, Callable[..., Recipe]] = {
    "diffusion": diffusion,
    "classifier": classifier,
    "upsampler": upsampler,
}


def stripes(count: int = 30, size: tuple[int, int] = (8, 8), channels: int = 1) -> Source:
    """Images in memory: class k is bright in its own third of the rows, with some noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % len(CLASSES)
    images = torch.randint(0, 60, (count, channels, *size), generator=generator)
    third = size[0] // len(CLASSES)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, label * third : (label + 1) * third] += 180
    pixels = images.to(torch.uint8)
    return in_memory("stripes", CLASSES, pixels, labels)


def pairs(count: int = 30) -> Source:
    """Stripes, whose conditions are the same images upside down."""
    images, flipped = stripes(count), stripes(count).batch(range(count))[0].flip(2)
    conditions = in_memory("upside down", ("all",), flipped, torch.zeros(count))
    return replace(images, condition=conditions)


def steps(
    chosen: Recipe,
    source: Source,
    folder: Path,
    count: int | None = None,
    options: run.TrainOptions | None = None,
) -> list[dict]:
    """Train for `count` steps, or to the end, and stop as a killed process would."""
    progress = run.train_steps(chosen, source, folder, torch.device("cpu"), options)
    shown = []
    for state in progress:
        shown.append(state.shown)
        if len(shown) == count:
            break
    progress.close()  # type: ignore[attr-defined]
    return shown


def model(
    path: Path, chosen: Recipe, classes: tuple[str, ...] = CLASSES, seed: int = 0, std: float = 0.15
) -> Path:
    """A model file with random weights: layers that start at zero would hide their inputs."""
    network = build.network(chosen)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std, generator=generator)
    metadata = {"recipe": to_json(chosen), "classes": list(classes), "data": "none", "step": 0}
    model_file.save_model(path, network.state_dict(), metadata)
    return path
