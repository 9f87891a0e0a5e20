"""Job -> Samples: its images, with a picture of them and the sample folder that holds them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adm.data.naming import at_home
from adm.data.pixels import to_picture
from adm.generation.animation import animation
from adm.generation.folder import add_animation, check_free, range_of, write_folder
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.sheet import contact_sheet
from adm.pictures import png


@dataclass(frozen=True, eq=False)
class Samples:
    """Images with everything that they depend on.

    Attributes:
        job: the job that generated them.
        images: (N, C, H, W) uint8; of a model of another `data.range`, float32 in [-1, 1].
    """

    job: Job
    images: Tensor

    @cached_property
    def labels(self) -> Tensor | None:
        """(N,) int64; None for an unconditional model."""
        return self.job.label_tensor

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.job.generator.classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice) -> Tensor:
        """Return an image, (C, H, W); or several, (n, C, H, W)."""
        return self.images[index]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the images, (C, H, W)."""
        return iter(self.images)

    @property
    def values(self) -> np.ndarray:
        """The images as they are stored, (N, H, W, C) in the range of the model's data."""
        return range_of(self.job.generator.manifest()).write(self.images.permute(0, 2, 3, 1))

    @property
    def pil(self) -> list[Image.Image]:
        """The images as PIL images of 8 bits, which `images` holds as a tensor."""
        return [to_picture(image) for image in self.images]

    def __repr__(self) -> str:
        return f"Samples({len(self)} images of (C, H, W) = {tuple(self.images.shape[1:])})"

    def grid(self) -> Image.Image:
        """Draw the images in one picture: a row per class, or a square without classes.

        Of many images and classes only some are shown; see `sheet.layout`.
        """
        return contact_sheet(self.job, self.images)

    def animate(self) -> bytes:
        """Sample up to 64 of the images again; return a GIF of every step, from noise to image."""
        return animation(self.job, self.images)

    def save(self, out: str | Path, *, overwrite: bool = False, animate: bool = False) -> Path:
        """Write a sample folder, as `adm sample` does.

        Args:
            out: the folder.
            overwrite: whether to replace an existing sample folder.
            animate: whether to write the animation of `animate` as well.

        Raises:
            SettingError: `out` is not empty, and `overwrite` is not set or it is not a sample
                folder.
        """
        path = at_home(out)
        check_free(path, overwrite)
        write_folder(path, self.job, [self.images], overwrite)
        if animate:
            add_animation(path, self.job)
        return path

    def _repr_png_(self) -> bytes:
        """Return the picture that notebooks display."""
        return png(self.grid())


def sample(job: Job, on_step: OnStep | None = None) -> Samples:
    """Sample a job.

    Args:
        on_step: called after every step with the network evaluations that it took.
    """
    whole, size = range(job.count), job.generator.block
    blocks = [job.images(whole[start : start + size], on_step) for start in whole[::size]]
    return Samples(job, torch.cat(blocks))
