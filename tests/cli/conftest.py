"""Models for the command line to work with."""

from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of model files: of each kind, and some that do not match the others."""
    folder = tmp_path_factory.mktemp("models")
    diffusion = {
        "model": ("train.label_dropout=0.1",),
        "always": ("train.label_dropout=0",),  # never drops the label
        "unlabelled": ("unet.classes=null",),
        "larger": ("data.size=16,16",),
        "small": ("data.size=4,4",),
        "up": ("unet.super_resolution=true", "data.low_res=4,4"),
        "up16": ("unet.super_resolution=true", "data.low_res=8,8", "data.size=16,16"),
    }
    for name, settings in diffusion.items():
        tiny.model(folder / f"{name}.safetensors", tiny.diffusion(*settings))
    turned = tuple(reversed(tiny.CLASSES))
    tiny.model(folder / "turned.safetensors", tiny.upsampler(), classes=turned)
    tiny.model(folder / "strange.safetensors", tiny.upsampler(), classes=("bag", "cat", "dog"))
    classifiers = {
        "guide": (),
        "linear": ("process.schedule=linear",),
        "clean": ("noised=false",),
    }
    for name, settings in classifiers.items():
        tiny.model(folder / f"{name}.safetensors", tiny.classifier(*settings))
    others = ("sneaker", "bag", "boot")
    tiny.model(folder / "boots.safetensors", tiny.classifier(), classes=others)
    return folder
