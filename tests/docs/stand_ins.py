"""nothing -> small models under the names of the shipped ones, for where these are absent."""

import shutil
from pathlib import Path

import numpy as np
import torch

from adm.app.runs.run import train_steps
from adm.data import Source
from adm.data.idx import FASHION_CLASSES
from adm.recipes import Recipe, recipe
from adm.recipes.schema import override
from adm.training import checkpoint

SMALL = ("channels=8", "depth=1", "norm_groups=4", "heads.channels_per_head=8")
STEPS = 30


def blobs(count: int = 200) -> Source:
    """Grey 28x28 images of ten classes: a soft spot, whose place and size are the class."""
    labels = torch.arange(count) % len(FASHION_CLASSES)
    random = np.random.Generator(np.random.Philox(key=[0, 0]))
    shift = torch.from_numpy(random.normal(size=(count, 2))).float()
    angle = labels * (2 * torch.pi / len(FASHION_CLASSES))
    centre = 13.5 + 6 * torch.stack([angle.sin(), angle.cos()], dim=1) + shift
    grid = torch.arange(28.0)
    down = (grid[None, :, None] - centre[:, 0, None, None]) ** 2
    across = (grid[None, None] - centre[:, 1, None, None]) ** 2
    spots = torch.exp(-(down + across) / (20 + 4 * labels)[:, None, None])
    images = (255 * spots[:, None]).round().byte()
    return Source("fashion-mnist", FASHION_CLASSES, labels, lambda i: images[i])


def small(name: str) -> Recipe:
    """A shipped recipe with a network and a run that take seconds."""
    part = "classifier" if "classifier" in name else "unet"
    shape = [f"{part}.{setting}" for setting in SMALL]
    run = ["train.batch_size=32", f"train.steps={STEPS}", "train.ema_decay=0.8"]
    run += ["train.warmup_steps=0", "train.precision=float32"]
    return override(recipe(name), shape + run)


def ship(folder: Path) -> Path:
    """Train `fashion` and `fashion-classifier`, small; returns the folder that holds the files."""
    shipped = folder / "models"
    shipped.mkdir(parents=True)
    for name in ("fashion", "fashion-classifier"):
        for _ in train_steps(small(name), blobs(), folder / name, torch.device("cpu")):
            pass
        newest = checkpoint.latest(folder / name)
        assert newest is not None
        shutil.copy(newest / "model.safetensors", shipped / f"{name}.safetensors")
    return shipped
