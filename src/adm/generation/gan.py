"""GANModel, LatentSampling -> GANGenerator: labels, indices -> uint8 images in one call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from adm.adversarial import LatentSampling, truncated
from adm.generation.blocks import block_size, blocks
from adm.generation.generator import Cost, Generator, OnStep, identity
from adm.images import ROUNDING
from adm.models.gan import GANModel
from adm.recipes.build import autocast_for


@dataclass(frozen=True, eq=False)
class GANGenerator(Generator):
    """The generator of a GAN with its sampling settings.

    Attributes:
        model: the network and its recipe.
        sampling: the truncation and everything else that images depend on.
    """

    model: GANModel
    sampling: LatentSampling

    @property
    def name(self) -> str:
        """The path of the model."""
        return str(self.model.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.model.shape

    @property
    def low_shape(self) -> None:
        """None: it starts from no images."""
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes if self.model.recipe.gan.classes is not None else ()

    @property
    def seed(self) -> int:
        return self.sampling.seed

    @property
    def evaluations(self) -> int:
        """One: an image is one call of the network."""
        return 1

    @property
    def cost(self) -> Cost:
        return Cost(1)

    @property
    def shared(self) -> dict[str, Any]:
        return {"seed": self.sampling.seed, "rounding": self.sampling.rounding}

    @property
    def block(self) -> int:
        """The number of images in a block; see `adm.generation.blocks`."""
        return block_size(self.shape, self.model.device)

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        low_res: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Generate any number of images, in blocks: (N, C, H, W) uint8 on the CPU.

        Raises:
            FloatingPointError: the network gave NaN or infinity.
        """
        found = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        for block in blocks(indices, self.block):
            filled = [indices[position] for position in block.filled]
            x = self._made(None if labels is None else labels[block.filled], filled)
            found[block.positions] = ROUNDING[self.sampling.rounding](x[block.places]).cpu()
            if on_step is not None:
                on_step(len(block.positions))
        return found

    def _made(self, labels: Tensor | None, indices: Sequence[int]) -> Tensor:
        """Return the images of these indices, (B, C, H, W) in [-1, 1]."""
        model, sampling = self.model, self.sampling
        width = model.network.config.noise
        noise = truncated(sampling.seed, indices, width, sampling.truncation).to(model.device)
        told = None if labels is None else labels.to(model.device)
        with autocast_for(sampling.precision, model.device)():
            x = model.images(noise, told, sampling.truncation)
        if not bool(x.isfinite().all()):
            raise FloatingPointError(
                f"{model.path.name} gave NaN or infinity in {sampling.precision}; sample it in "
                "float32, or give an earlier checkpoint"
            )
        return x

    def manifest(self) -> dict[str, Any]:
        return {"model": identity(self.model), "latent": asdict(self.sampling)}
