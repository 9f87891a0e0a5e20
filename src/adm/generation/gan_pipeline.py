"""GAN's name or path -> GANPipeline; Classes, settings -> Samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adm.adversarial import LatentSampling
from adm.adversarial.sampling import changed
from adm.generation.cascade import cascade
from adm.generation.fit import check_upsampler_steps
from adm.generation.gan import GANGenerator
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.labels import Classes, labels_of, positive
from adm.generation.samples import Samples, sampled
from adm.models.device import pick
from adm.models.gan import GANModel
from adm.models.load import load_diffusion, load_generator
from adm.models.trained import DiffusionModel


@dataclass(frozen=True, eq=False)
class GANPipeline:
    """A GAN, ready to be sampled; settings are those of `LatentSampling`, changed by name.

    The same options of `adm sample` give the same images.

    Attributes:
        model: the generator of the GAN.
        upsampler: an upsampler to apply to the images, or None.
    """

    model: GANModel
    upsampler: DiffusionModel | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that can be sampled, in the order of the labels."""
        return self.generator().classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's images."""
        return self.model.shape

    @property
    def sampling(self) -> LatentSampling:
        """The default settings, those of the model's recipe."""
        return self.model.recipe.sample

    def generator(self, **settings: Any) -> GANGenerator:
        """Return the generator with these settings, (labels, indices) -> images.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        return GANGenerator(self.model, changed(self.sampling, **settings))

    def job(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        upsampler_steps: int | None = None,
        **settings: Any,
    ) -> Job:
        """Return the job of a call of `sample` with the same arguments, without running it."""
        check_upsampler_steps(upsampler_steps, self.upsampler)
        generator = self.generator(**settings)
        base = Job(generator, *labels_of(classes, generator.classes, count))
        return base if self.upsampler is None else cascade(base, self.upsampler, upsampler_steps)

    def sample(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        batch_size: int = 64,
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> Samples:
        """Sample images.

        Args:
            classes: as for `Pipeline.sample`.
            count: number of images, if `classes` has no counts.
            batch_size: images that are sampled between two saves by `adm sample`; affects no image.
            on_step: called with the number of images after each block of them.
            settings: settings to change, by name, such as `truncation=0.5`.

        Raises:
            ValueError: a class or a setting is unknown.
            FloatingPointError: the network gave NaN or infinity.
        """
        return sampled(
            self.job(classes, count, **settings), positive("batch_size", batch_size), on_step
        )


def load_gan(
    model: str | Path,
    upsampler: str | Path | None = None,
    device: str | torch.device | None = None,
) -> GANPipeline:
    """Load a GAN for sampling.

    Args:
        model: a shipped name such as "fashion-biggan", a model file or a run folder.
        upsampler: name or path of an upsampler to apply to the images.
        device: such as "cpu" or "cuda:1"; the best available by default.

    Raises:
        ValueError: there is no such model or device, the file is damaged, or is no GAN.
    """
    place = pick(device)
    larger = None if upsampler is None else load_diffusion(upsampler, place)
    return GANPipeline(load_generator(model, place), larger)
