"""labels, indices -> uint8 images: the protocol of everything that makes images."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from adm.files import sha256
from adm.models.trained import ClassifierModel, DiffusionModel

OnStep: TypeAlias = Callable[[int], None]  # called with the number of images that took a step


class Generator(Protocol):
    """Makes images: a diffusion model with its `Sampling`, or a network of another kind.

    Sample folders, sweeps and scores know nothing more than this.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        ...

    @property
    def low_shape(self) -> tuple[int, int, int] | None:
        """(C, h, w) of the images that it starts from; None where it starts from none."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that can be asked for; empty for an unconditional generator."""
        ...

    @property
    def seed(self) -> int:
        """With an image's index, the source of all its noise."""
        ...

    @property
    def evaluations(self) -> int:
        """Of the network, per image: what `on_step` adds up to."""
        ...

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        low_res: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Make one batch: (B, C, H, W) uint8 on the CPU.

        Args:
            labels: (B,) int64; None for an unconditional batch.
            indices: (B,) global index of each image, of which its noise is a function.
            low_res: (B, C, h, w) uint8, what it starts from.
        """
        ...

    def manifest(self) -> dict[str, Any]:
        """What the images follow from, besides labels and indices, as JSON values."""
        ...


def identity(model: DiffusionModel | ClassifierModel) -> dict[str, Any]:
    """What identifies a trained network in a manifest."""
    return {
        "recipe": model.recipe.name,
        "file": model.path.name,
        "sha256": sha256(model.path),
        "trained_steps": model.trained_steps,
        "ema_decay": model.recipe.train.ema_decay,
    }
