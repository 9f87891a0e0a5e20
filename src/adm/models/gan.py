"""Generator, recipe, classes -> GANModel, whose statistics are those of truncated noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adm.adversarial import truncated
from adm.models.trained import described, name_of
from adm.networks.biggan import Generator, in_float32, make_exact, settle
from adm.recipes.schema import GANRecipe

# The noise of the statistics of batch normalisation: its seed, its first index, which no image has,
# and the images of each of its batches and of all of them.
SEED, FIRST = 0, 2**62
TOGETHER, IMAGES = 256, 4096


@dataclass(frozen=True, eq=False)
class GANModel:
    """The generator of a trained GAN.

    Attributes:
        network: the generator, with averaged weights and exact spectral normalisation.
        recipe: the recipe that it was trained from.
        classes: names in the order of the labels; empty for an unconditional model.
        path: the file that it was loaded from.
        trained_steps: number of optimizer steps.
        settled: the truncation that the network's statistics are for; empty before the first.
    """

    network: Generator
    recipe: GANRecipe
    classes: tuple[str, ...]
    path: Path
    trained_steps: int
    settled: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_exact(self.network)

    def __repr__(self) -> str:
        return described(self)

    @property
    def name(self) -> str:
        """The name of the run folder that it is from, or else of its file."""
        return name_of(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return (self.recipe.data.channels, *self.recipe.data.size)

    @property
    def device(self) -> torch.device:
        return self.network.first.weight.device

    @torch.no_grad()
    def images(self, noise: Tensor, labels: Tensor | None, truncation: float | None) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] of noise.

        The first call for a truncation measures the statistics of batch normalisation over
        `IMAGES` images of such noise, whose labels take turns.

        Args:
            noise: (B, N) on the model's device, truncated as `truncation` says.
            labels: (B,) int64; None without classes.
        """
        if self.settled != [truncation]:
            with in_float32(noise):  # whatever the precision of the first images
                settle(self.network, self._batches(truncation))
            self.settled[:] = [truncation]
        return self.network(noise, labels)

    def _batches(self, truncation: float | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        width, classes = self.network.config.noise, self.network.config.classes
        for start in range(0, IMAGES, TOGETHER):
            order = range(start, start + TOGETHER)
            noise = truncated(SEED, [FIRST + i for i in order], width, truncation)
            labels = None
            if classes is not None:
                labels = (torch.tensor(order) % classes).to(self.device)
            yield noise.to(self.device), labels
