"""Job -> Samples: its images, with a picture of them and the sample folder that holds them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from adm.data.naming import at_home
from adm.generation.animation import animation
from adm.generation.folder import check_free
from adm.generation.generate import generate
from adm.generation.generator import OnStep
from adm.generation.job import Job, chained
from adm.generation.sheet import contact_sheet
from adm.generation.writing import write_folder
from adm.pictures import png


@dataclass(frozen=True, eq=False)
class Samples:
    """Images with everything that they depend on.

    Attributes:
        chain: the job with its images, and for a cascade the first job with its images.
    """

    chain: list[tuple[Job, Tensor]]

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) uint8."""
        return self.chain[0][1]

    @cached_property
    def labels(self) -> Tensor | None:
        """(N,) int64; None for an unconditional model."""
        return self.chain[0][0].label_tensor

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.chain[0][0].generator.classes

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Samples({len(self)} images of (C, H, W) = {tuple(self.images.shape[1:])})"

    def grid(self) -> Image.Image:
        """Draw the images in one picture: a row per class, or a square without classes.

        Of many images and classes only some are shown; see `sheet.layout`.
        """
        return contact_sheet(*self.chain[0])

    def animate(self) -> bytes:
        """Sample up to 64 of the images again; return a GIF of every step, from noise to image.

        Raises:
            ValueError: they are not of a diffusion model.
        """
        return animation(self.chain)

    def save(self, out: str | Path, *, overwrite: bool = False, animate: bool = False) -> Path:
        """Write a sample folder, as `adm sample` does.

        Args:
            out: the folder.
            overwrite: whether to replace an existing sample folder.
            animate: whether to write the animation of `animate` as well.

        Raises:
            FileExistsError: `out` is not empty, and `overwrite` is not set or it is not a sample
                folder.
            ValueError: `animate` with samples that are not of a diffusion model.
        """
        path = at_home(out)
        check_free(path, overwrite)
        film = self.animate() if animate else None
        write_folder(path, self.chain, overwrite, film)
        return path

    def _repr_png_(self) -> bytes:
        """Return the picture that notebooks display."""
        return png(self.grid())


def sampled(job: Job, batch_size: int = 64, on_step: OnStep | None = None) -> Samples:
    """Sample a job, after the job that it starts from.

    Args:
        batch_size: images that are passed to the generator at a time, rounded up to whole blocks.
        on_step: called after every step with the network evaluations that it took.
    """

    def images_of(job: Job, low_res: Tensor | None, depth: int) -> Tensor:
        parts = generate(
            job.generator,
            job.label_tensor,
            range(job.count),
            batch_size=batch_size,
            low_res=low_res,
            on_step=on_step,
        )
        return torch.cat(list(parts))

    return Samples(chained(job, images_of))
