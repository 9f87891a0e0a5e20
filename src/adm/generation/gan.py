"""GANModel, LatentSampling -> GANGenerator: labels, indices -> uint8 images in one call."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from adm.adversarial import LatentSampling, truncated
from adm.generation.blocks import ModelGenerator
from adm.generation.generator import OnStep, identity
from adm.models.gan import GANModel
from adm.recipes.build import autocast_for


@dataclass(frozen=True, eq=False)
class GANGenerator(ModelGenerator[GANModel, LatentSampling]):
    """The generator of a GAN with its settings of sampling."""

    model: GANModel
    sampling: LatentSampling

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes if self.model.recipe.gan.classes is not None else ()

    @property
    def evaluations(self) -> int:
        """One: an image is one call of the network."""
        return 1

    @property
    def shared(self) -> dict[str, Any]:
        return {"seed": self.sampling.seed, "rounding": self.sampling.rounding}

    def compute(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None,
        on_step: OnStep,
    ) -> Tensor:
        model, sampling = self.model, self.sampling
        width = model.network.config.noise
        noise = truncated(sampling.seed, indices, width, sampling.truncation).to(model.device)
        labels = None if labels is None else labels.to(model.device)
        with autocast_for(sampling.precision, model.device)():
            x = model.images(noise, labels, sampling.truncation)
        if not bool(x.isfinite().all()):
            raise FloatingPointError(
                f"{model.path.name} gave NaN or infinity in {sampling.precision}; sample it in "
                "float32, or give an earlier checkpoint"
            )
        on_step(self.evaluations)
        return x

    def manifest(self) -> dict[str, Any]:
        return {"model": identity(self.model), "latent": asdict(self.sampling)}
