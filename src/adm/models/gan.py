"""Generator, recipe, classes -> GANModel, whose statistics are those of truncated noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from adm.adversarial import truncated
from adm.models.trained import TrainedModel
from adm.networks.biggan import Generator, in_float32, make_exact, settle
from adm.recipes.schema import GANRecipe

# The noise of the statistics of batch normalisation: its seed, its first index, which no image has,
# and the images of each of its batches and of all of them.
SEED, FIRST = 0, 2**62
TOGETHER, IMAGES = 256, 4096


@dataclass(frozen=True, eq=False, repr=False)
class GANModel(TrainedModel[Generator, GANRecipe]):
    """The generator of a trained GAN.

    Attributes:
        network: the generator, with averaged weights and exact spectral normalisation.
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
