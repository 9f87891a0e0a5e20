"""Operator, Method, measurements -> Iterator[State] of images that agree; the job of these."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Cost
from adm.generation.inputs import Images, read_measurements
from adm.generation.job import Job
from adm.generation.labels import Classes, labels_of, positive
from adm.generation.start import Start
from adm.images import to_float, to_uint8
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.restoration import METHODS, Instrument, Method, Operator, Prior, operator_of
from adm.restoration.measurement import Forward
from adm.samplers import ImageNoise, Sampler, Sampling, State
from adm.samplers.noise import START
from adm.spec import SettingError, literal, out_of_range, parse, text

MEASURED = 2  # the draw at `START` that is the noise of a measurement


@dataclass(frozen=True, eq=False)
class Problem(Start):
    """A measurement of images, and the method that inverts it.

    Its inputs are the measurements, float32. Sampling starts at the noise of samples of the same
    seed.

    Attributes:
        operator: maps an image to its measurement.
        method: how images are sampled that agree with it.
        sigma: standard deviation of the noise of the measurement, in units of [-1, 1].
    """

    operator: Operator
    method: Method
    sigma: float = 0.0
    input_dtype: ClassVar[torch.dtype | None] = torch.float32
    limits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 10:
            raise out_of_range("sigma", "in 0..10, of images in [-1, 1]", self.sigma)

    @cached_property
    def _instruments(self) -> dict[tuple[tuple[int, int, int], torch.device], Instrument]:
        return {}

    @classmethod
    def parsed(
        cls, operator: str | Operator | Forward, method: str | Method, sigma: float = 0.0
    ) -> "Problem":
        """Return the problem of specs or objects."""
        return cls(operator_of(operator), parse(METHODS, method, "method"), sigma)

    def settings(self, model: DiffusionModel, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the default settings of the method with some changed by name.

        The number of steps is that of its paper, at most that of the model's process.

        Raises:
            SettingError: the model, the operator and the method do not fit.
        """
        check_from_noise(model)
        self.instrument(model)
        method, default = self.method, dict[str, Any]()
        if "grid" not in changes:
            default["grid"] = method.grid
            default["steps"] = min(method.steps, model.schedule.last - 1)
        if method.sampler is not None:
            default["sampler"] = method.sampler
        elif changes.get("sampler") is not None:
            raise SettingError(
                "sampler", f"{{method={method.name}}} takes its own steps; leave {{}} out"
            )
        return default | changes

    def instrument(self, model: DiffusionModel) -> Instrument:
        """Return the operator for the images of a model, made once.

        Raises:
            SettingError: it cannot be applied to them, or the method cannot take it.
        """
        place = (model.shape, model.device)
        if place not in self._instruments:
            self._instruments[place] = self._fitting(model)
        return self._instruments[place]

    def _fitting(self, model: DiffusionModel) -> Instrument:
        instrument, name = self.operator.on(model.shape, model.device), self.method.name
        if self.method.masks and instrument.mask is None:
            raise SettingError(
                "method", f"{{method={name}}} is for {{operator=inpaint}}; use another method"
            )
        if self.method.linear and instrument.adjoint is None:
            free = ", ".join(kind.name for kind in METHODS.values() if not kind.linear)
            raise SettingError(
                "method",
                f"{{method={name}}} needs a linear operator, and {literal(text(self.operator))} is "
                f"none; use one of {free}",
            )
        return instrument

    @property
    def differentiates(self) -> bool:
        return self.method.differentiates

    def input_shape(self, model: DiffusionModel) -> tuple[int, ...]:
        return self.instrument(model).shape

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        """Return the measurement, if it is an image."""
        return [to_uint8(input_)] if input_.ndim == 3 else []

    def first_index(self, model: DiffusionModel) -> int:
        return 0

    def trajectory_steps(self, levels: int) -> int:
        return self.method.states(levels)

    def cost(self, plain: Cost, model: DiffusionModel, sampling: Sampling) -> Cost:
        method, steps = self.method, sampling.grid.steps
        calls = method.calls(sampling.sampler, steps)
        network = plain.network * calls // sampling.sampler.evaluations(steps)
        return Cost(network * (1 + method.backward), plain.classifier * calls // steps)

    def states(
        self,
        model: DiffusionModel,
        prior: Prior,
        sampler: Sampler,
        x: Tensor,
        noise: ImageNoise,
        inputs: Tensor | None,
    ) -> Iterator[State]:
        assert inputs is not None, "measurements"
        y = inputs.to(model.device, copy=True)
        measurement = self.instrument(model).measured(y, self.sigma)
        return self.method.sample(prior, measurement, x, noise, sampler)

    def failure(self, model: DiffusionModel, sampling: Sampling) -> tuple[str, list[str]]:
        return self.method.name, [self.method.cure, "guide with a smaller scale"]

    def measure(self, images: Tensor, seed: int = 0) -> Tensor:
        """Measure images: (N, ...) float32 on the CPU.

        Args:
            images: (N, C, H, W), uint8 or in [-1, 1].
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
        restoration = {
            "operator": text(self.operator),
            "method": text(self.method),
            "sigma": self.sigma,
            **self.operator.manifest(),
        }
        return {"restoration": restoration}

    def job(
        self,
        generator: DiffusionGenerator,
        y: Images,
        samples: int = 1,
        classes: Classes | None = None,
        source: str | None = None,
    ) -> Job:
        """Return the job of a generator that starts here; see `Pipeline.restore_job`."""
        measured, name = read_measurements(
            "y", y, self.instrument(generator.model).shape, stored=generator.model.range
        )
        inputs = to_float(measured)
        self.operator.check(inputs)
        count, labels = len(inputs) * positive("samples", samples), None
        if classes is not None:
            labels, number = labels_of(classes, generator.classes)
            if number not in (1, len(inputs), count):
                raise SettingError(
                    "classes",
                    f"{{}} must be one, or one for each of {len(inputs)} images, got {number}",
                )
            labels = [label for label in labels or [] for _ in range(count // number)]
        return Job(
            generator, labels, count, inputs.repeat_interleave(samples, dim=0), source or name
        )
