"""DiffusionModel, Sampling, Operator, Method -> Restorer: measurements -> uint8 images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adm.generation.diffusion import DiffusionGenerator, with_grad, without_grad
from adm.generation.generator import Cost
from adm.images import to_float, to_uint8
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.restoration import METHODS, Instrument, Method, Operator, Prior, operator_of
from adm.samplers import ImageNoise, State
from adm.samplers.noise import START
from adm.spec import SettingError, parse, text

MEASURED = 2  # the draw at `START` that is the noise of a measurement


@dataclass(frozen=True, eq=False)
class Problem:
    """A measurement of images, and the method that inverts it.

    Attributes:
        operator: maps an image to its measurement.
        method: how images are sampled that agree with it.
        sigma: standard deviation of the noise of the measurement, in units of [-1, 1].
    """

    operator: Operator
    method: Method
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 10:
            raise SettingError("sigma", "in 0..10, of images in [-1, 1]", self.sigma)

    @classmethod
    def parsed(
        cls, operator: str | Operator, method: str | Method, sigma: float = 0.0
    ) -> "Problem":
        """Return the problem of specs or objects."""
        return cls(operator_of(operator), parse(METHODS, method, "method"), sigma)

    def settings(self, model: DiffusionModel, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the default settings of the method with some changed by name.

        The number of steps is that of its paper, at most that of the model's process.
        """
        method, default = self.method, dict[str, Any]()
        if "grid" not in changes:
            default["grid"] = method.grid
            default["steps"] = min(method.steps, model.schedule.last - 1)
        if method.sampler is not None:
            default["sampler"] = method.sampler
        elif changes.get("sampler") is not None:
            raise SettingError("sampler", f"left out, as {method.name} takes its own steps")
        return default | changes

    def instrument(self, model: DiffusionModel) -> Instrument:
        """Return the operator for the images of a model.

        Raises:
            SettingError: it cannot be applied to them, or the method cannot take it.
        """
        instrument, name = self.operator.on(model.shape, model.device), self.method.name
        if self.method.masks and instrument.mask is None:
            raise SettingError("method", "another one than repaint, which is for inpaint", name)
        if self.method.linear and instrument.adjoint is None:
            free = ", ".join(kind.name for kind in METHODS.values() if not kind.linear)
            spec = text(self.operator)
            raise SettingError("method", f"one of {free}, as {spec} is not linear", name)
        return instrument

    def measure(self, images: Tensor, seed: int = 0) -> Tensor:
        """Measure images: (N, ...) float32 on the CPU.

        Args:
            images: (N, C, H, W) uint8.
            seed: of the noise, with the index of an image.
        """
        channels, height, width = images.shape[1:]
        instrument = self.operator.on((channels, height, width))
        measured = []
        for number, image in enumerate(images):
            noise = ImageNoise(seed, [number], instrument.shape)
            y = instrument.forward(to_float(image[None])) + self.sigma * noise(START, MEASURED)
            measured.append((y if instrument.mask is None else y * instrument.mask).float())
        return torch.cat(measured)

    def manifest(self) -> dict[str, Any]:
        """Everything that the images depend on, as JSON values."""
        return {
            "operator": text(self.operator),
            "method": text(self.method),
            "sigma": self.sigma,
            **self.operator.manifest(),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Restorer(DiffusionGenerator):
    """A diffusion model that samples images consistent with measurements.

    Its inputs are the measurements, float32.

    Attributes:
        problem: the measurement, and the method.

    Raises:
        SettingError: the model, the operator and the method do not fit.
    """

    problem: Problem

    def __post_init__(self) -> None:
        super().__post_init__()
        check_from_noise(self.model)
        assert self.instrument is not None

    @cached_property
    def instrument(self) -> Instrument:
        """The operator for the images of the model."""
        return self.problem.instrument(self.model)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.instrument.shape

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        """Return the measurement, if it is an image."""
        return [to_uint8(input_)] if input_.ndim == 3 else []

    @property
    def input_dtype(self) -> torch.dtype:
        return torch.float32

    def noise(self, indices: Sequence[int]) -> ImageNoise:
        """Return the noise of one batch, that of samples of the same seed."""
        return ImageNoise(self.seed, indices, self.model.shape, self.model.device)

    @property
    def steps(self) -> int:
        return self.problem.method.states(self.sampling.grid.steps)

    @property
    def evaluations(self) -> int:
        return self.cost.network

    @property
    def cost(self) -> Cost:
        method, guides = self.problem.method, super().cost
        calls = method.calls(self.sampling.sampler, self.sampling.grid.steps)
        per_call = guides.network // self.sampling.sampler.evaluations(self.sampling.grid.steps)
        classifier = guides.classifier * calls // self.sampling.grid.steps
        return Cost(calls * max(per_call, 1) * (1 + method.backward), classifier)

    @torch.inference_mode(False)
    def trajectory(
        self, labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        """Restore one batch, step by step; see `DiffusionGenerator.trajectory`.

        Args:
            inputs: (B, *input_shape) float32, the measurements.
        """
        assert inputs is not None, "measurements"
        problem, noise = self.problem, self.noise(indices)
        denoise, pull = self.guided(labels, None)
        prior = Prior(denoise, self.schedule, pull, self.sampling.threshold)
        y = inputs.to(self.model.device, copy=True)
        measurement = self.instrument.measured(y, problem.sigma)
        states = problem.method.sample(prior, measurement, noise.start(), noise, self.sampler)
        return with_grad(states) if problem.method.differentiates else without_grad(states)

    def _not_finite(self, step: int, index: int) -> FloatingPointError:
        method = self.problem.method
        return FloatingPointError(
            f"{method.name} gave NaN or infinity in image {index} at step {step} of {self.steps}; "
            f"{method.cure}, or guide with a smaller scale"
        )

    def manifest(self) -> dict[str, Any]:
        return {**super().manifest(), "restoration": self.problem.manifest()}
