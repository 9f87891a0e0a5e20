"""Noise, inputs -> x_t at which sampling starts, Iterator[State]: from noise, the default.

A start is one field of a generator. Others start from an image (`generation.edit`) or sample from
noise under a measurement (`generation.restored`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from adm.diffusion import Schedule, clip
from adm.generation.generator import Cost
from adm.models.trained import DiffusionModel
from adm.restoration import Prior
from adm.samplers import ImageNoise, Sampler, Sampling, State

# Added to the index of an image that is generated from another, as in upsampling: its noise must be
# independent of the noise from which a model sampled that one under the same seed.
FROM_IMAGE = 2**48


class Start:
    """Where sampling starts: this one at pure noise.

    Attributes:
        input_dtype: dtype of the inputs; None for that of images.
        limits: whether it applies the threshold of x_0 itself, after its own gradients.
        differentiates: whether it differentiates the network.
    """

    input_dtype: ClassVar[torch.dtype | None] = None
    limits: ClassVar[bool] = False

    @property
    def differentiates(self) -> bool:
        return False

    def settings(self, model: DiffusionModel, changes: dict[str, Any]) -> dict[str, Any]:
        """Return its default settings with some changed by name.

        Raises:
            SettingError: a model cannot be sampled from there.
        """
        return changes

    def moved(self, sampling: Sampling, process: Schedule) -> Sampling:
        """Return the settings with the levels that are visited from this start.

        Args:
            process: the process that the model was trained on.
        """
        return sampling

    def check(self, model: DiffusionModel, sampling: Sampling) -> None:
        """Raise SettingError unless the model can be sampled from here with these settings."""

    def input_shape(self, model: DiffusionModel) -> tuple[int, ...] | None:
        """Return the shape of the input of an image; None for no input."""
        return model.low_shape

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        """Return pictures of an input; see `Generator.input_pictures`."""
        return ()

    def first_index(self, model: DiffusionModel) -> int:
        """Return what is added to the index of an image to draw its noise."""
        return 0 if self.input_shape(model) is None else FROM_IMAGE

    def trajectory_steps(self, levels: int) -> int:
        """Return the number of states of a trajectory that visits some levels."""
        return levels

    def cost(self, plain: Cost, model: DiffusionModel, sampling: Sampling) -> Cost:
        """Return the calls per image, by those of the same sampling from noise."""
        return plain

    def x_t(
        self, model: DiffusionModel, sampling: Sampling, noise: ImageNoise, inputs: Tensor | None
    ) -> Tensor:
        """Return the images of a batch at the noisiest level, (B, C, H, W).

        Args:
            inputs: (B, *input_shape).
        """
        return noise.start()

    def states(
        self,
        model: DiffusionModel,
        prior: Prior,
        sampler: Sampler,
        x: Tensor,
        noise: ImageNoise,
        inputs: Tensor | None,
    ) -> Iterator[State]:
        """Sample one batch.

        Args:
            prior: the guided model.
            sampler: of the levels of the prior.
            x: (B, C, H, W) as of `x_t`.
            noise: of the steps.
            inputs: (B, *input_shape).
        """
        late = prior.threshold or clip  # after guidance, by samplers that apply it there
        return sampler(prior.denoise, x, prior.schedule, noise, prior.gradient, late)

    def failure(self, model: DiffusionModel, sampling: Sampling) -> tuple[str, list[str]]:
        """Return what gave an image that is NaN or infinite, and what to do about it."""
        cures = ["use another checkpoint"]
        if any(guide.scale != guide.neutral for guide in sampling.guide):
            cures.insert(0, "guide with a smaller scale")
        if sampling.precision == "float16":
            cures.insert(0, "sample in bfloat16 or float32")
        return f"sampling {model.path.name}", cures

    def manifest(self) -> dict[str, Any]:
        """Everything about it that the images depend on, as JSON values."""
        return {}


NOISE = Start()
