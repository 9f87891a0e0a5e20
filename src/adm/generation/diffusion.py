"""DiffusionModel, Sampling -> DiffusionGenerator: labels, indices -> images, step by step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold, process
from adm.functions import Function
from adm.generation.blocks import block_size, blocks
from adm.generation.generator import Cost, Generator, OnStep, identity
from adm.generation.guides import Networks, calls, in_stages, without_guides
from adm.generation.labels import label_of
from adm.generation.resolve import resolve
from adm.generation.start import NOISE, Start
from adm.guidance import Gradient
from adm.images import UINT8, to_float
from adm.models.compiled import check_compiles
from adm.models.pair import check_guides, classes_of, given_by
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.restoration import Prior
from adm.samplers import (
    ClassifierGuide,
    Guide,
    ImageNoise,
    Sampler,
    Sampling,
    State,
    WeakGuide,
)
from adm.samplers.noise import START
from adm.samplers.settings import Stage
from adm.spec import SettingError, literal, out_of_range, text, to_json

LOW_RES = 1  # the draw at `START` that is added to the images that an upsampler starts from


@dataclass(frozen=True, eq=False)
class DiffusionGenerator(Generator):
    """A diffusion model with its sampling settings.

    Attributes:
        model: the network, its recipe and its process.
        sampling: the sampler and everything else that images depend on, resolved; see `of`.
        classifiers: those that guide, if `sampling` has guidance by one; see `given_by`.
        weak: the weak model of autoguidance, if `sampling` has that.
        gradients: functions of the caller's by which `sampling` has guidance; see `OfSchedule`.
        start: where sampling starts: noise, an image, a measurement.
        names: classes that label the images, if these depend on none.

    Raises:
        ValueError: the model cannot be sampled with these settings, or guided by these models.
    """

    model: DiffusionModel
    sampling: Sampling
    classifiers: Sequence[ClassifierModel] = ()
    weak: DiffusionModel | None = None
    gradients: Sequence[Function] = ()
    start: Start = NOISE
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.sampling.compile:
            check_compiles(self.model.device)
        self.sampling.grid.check(self.model.schedule.last)
        self.sampling.sampler.evaluations(self.steps)
        self.sampling.sampler.check(self.model.schedule.last)
        check_guides(self.model, self.sampling, self.classifiers, self.weak, self.gradients)
        for guide in self.sampling.by(ClassifierGuide):
            if guide.classes is not None and self.classifiers:
                known = given_by(guide, self.classifiers).classes
                label_of(guide.classes, known, "guide.classes")
        check_low_res_noise(self.sampling.low_res_noise or 0, self.model, self.weak)
        for each in self.sampling.then:
            each.check(self.model.schedule.last)
            if each.classes is not None:
                label_of(each.classes, self.classes, "then.classes")
        self.start.check(self.model, self.sampling)

    @classmethod
    def of(
        cls,
        model: DiffusionModel,
        sampling: Sampling,
        classifiers: Sequence[ClassifierModel] = (),
        weak: DiffusionModel | None = None,
        gradients: Sequence[Function] = (),
        start: Start = NOISE,
    ) -> "DiffusionGenerator":
        """Return the generator of settings that are yet to be resolved, and moved by the start."""
        resolved = start.moved(resolve(model, sampling), model.schedule)
        return cls(model, resolved, classifiers, weak, gradients, start)

    @property
    def name(self) -> str:
        """The path of the model."""
        return str(self.model.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.model.shape

    @property
    def seed(self) -> int:
        return self.sampling.seed

    @property
    def block(self) -> int:
        return block_size(self.shape, self.model.device)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        return self.start.input_shape(self.model)

    @property
    def input_dtype(self) -> torch.dtype:
        return self.start.input_dtype or self.model.range.memory

    def input_pictures(self, input_: Tensor) -> Sequence[Tensor]:
        return self.start.input_pictures(input_)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the model is conditioned on, or else those of a classifier."""
        to_labels = any(each.classes is None for each in self.sampling.by(ClassifierGuide))
        if (self.conditional and self.model.classes) or to_labels:
            return classes_of(self.model, self.sampling, self.classifiers)
        return self.names

    @property
    def conditional(self) -> bool:
        """Whether the network is conditioned on the class."""
        return self.sampling.use_labels and self.model.network.config.classes is not None

    @property
    def guidance(self) -> str:
        used = [(text(guide), self._model_of(guide)) for guide in self.sampling.guide]
        specs = [f"{spec} ({model.name})" if model else spec for spec, model in used]
        return ", ".join([*specs, *(f"then {text(each)}" for each in self.sampling.then)])

    def _model_of(self, guide: Guide) -> ClassifierModel | DiffusionModel | None:
        """Return the model that was given for a guide; None for none."""
        if isinstance(guide, ClassifierGuide) and self.classifiers:
            return given_by(guide, self.classifiers)
        return self.weak if isinstance(guide, WeakGuide) else None

    @property
    def shared(self) -> dict[str, Any]:
        names = ("seed", "use_labels", "rounding", "precision", "compile")
        return {name: getattr(self.sampling, name) for name in names}

    @property
    def steps(self) -> int:
        """The number of states of a trajectory."""
        return self.start.trajectory_steps(self.sampling.grid.steps)

    @cached_property
    def cost(self) -> Cost:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Calls of the network and of the classifier per image."""
        sampling = without_guides(self.sampling) if self.model.student else self.sampling
        plain = calls(sampling, self.model.schedule)
        return self.start.cost(plain, self.model, self.sampling)

    @property
    def schedule(self) -> Schedule:
        """The model's process, respaced to the levels that are visited."""
        return self.sampling.grid.of(self.model.schedule)

    @torch.inference_mode(False)  # in which guidance could not differentiate the classifier
    def trajectory(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
    ) -> Iterator[State]:
        """Sample one batch, step by step.

        The same images in another batch may differ by rounding; those of `images` do not.

        Args:
            labels: (B,) int64; None for an unconditional batch.
            indices: (B,) global index of each image, which with the seed determines its noise.
            inputs: (B, *input_shape) of `input_dtype`, the input of each image.

        Yields:
            State after every step; `x` of the last one is (B, C, H, W), the images in [-1, 1].

        Raises:
            ValueError: there is guidance and no labels.
        """
        model, sampler, threshold = self.model, self.sampler, self.sampling.threshold
        low_res = self._diffused(inputs, indices)
        before = model.parameterization.mean_threshold(threshold) if sampler.draws else threshold
        # The x_0 of a student encodes where its step leads, and may be outside of [-1, 1].
        unlimited = model.student or self.start.limits
        denoise, pull = self.with_guides(labels, None if unlimited else before, low_res)
        noise, x = self.noise(indices), self.x_start(indices, inputs)
        prior = Prior(denoise, self.schedule, pull, threshold)
        states = self.start.states(model, prior, sampler, x, noise, inputs)
        differentiated = self.gradients or self.start.differentiates
        return with_grad(states) if differentiated else without_grad(states)

    def x_start(self, indices: Sequence[int], inputs: Tensor | None = None) -> Tensor:
        """Return x_t of one batch from which sampling starts, (B, C, H, W)."""
        return self.start.x_t(self.model, self.sampling, self.noise(indices), inputs)

    @property
    def sampler(self) -> Sampler:
        """The sampler of the respaced process."""
        return self.sampling.sampler.visiting(self.sampling.grid.visited(self.model.schedule))

    def with_guides(
        self, labels: Tensor | None, threshold: Threshold | None, low_res: Tensor | None = None
    ) -> tuple[Denoise, Gradient | None]:
        """Return the denoiser that is sampled, and the gradient that guides it; None for none.

        Args:
            labels: (B,) int64.
            threshold: of x_0, before the gradient.
            low_res: (B, C, h, w) in [-1, 1], the images that an upsampler starts from.
        """
        labels = None if labels is None else labels.to(self.model.device, copy=True)

        def part(stage: Stage) -> tuple[Denoise, Gradient | None]:
            stage_labels = self._in_stage(labels, stage)
            network_labels = stage_labels if self.conditional else None
            models = (self.model, self.classifiers, self.weak, self.gradients, stage.sampling)
            return Networks(*models, stage_labels, network_labels, low_res, threshold).with_guides()

        return in_stages(self.sampling, self.model.schedule, part)

    def ends(self, labels: Tensor | None) -> Tensor | None:
        stages = self.sampling.stages(self.sampling.grid.visited(self.model.schedule))
        return self._in_stage(labels, stages[-1])

    def _in_stage(self, labels: Tensor | None, stage: Stage) -> Tensor | None:
        """Return the labels, (B,), or that of the stage for all."""
        if stage.classes is None:
            return labels
        if labels is None:
            raise SettingError("classes", "{then} changes the classes; give those before as {}")
        return torch.full_like(labels, label_of(stage.classes, self.classes, "then.classes"))

    def _diffused(self, inputs: Tensor | None, indices: Sequence[int]) -> Tensor | None:
        """Diffuse images (B, C, h, w) to the level of `low_res_noise`, of an upsampler."""
        if inputs is None or self.model.low_shape is None:
            return None
        small, level = to_float(inputs.to(self.model.device)), self.sampling.low_res_noise
        if not level:
            return small
        assert self.model.low_shape is not None
        noise = replace(self.noise(indices), shape=self.model.low_shape)
        return process.diffuse(self.model.schedule, small, noise(START, LOW_RES), level)

    def noise(self, indices: Sequence[int]) -> ImageNoise:
        """Return the noise of one batch."""
        first = self.start.first_index(self.model)
        numbers = [first + index for index in indices]
        return ImageNoise(self.seed, numbers, self.model.shape, self.model.device)

    def images(
        self,
        labels: Tensor | None,
        indices: Sequence[int],
        inputs: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Generate any number of images: (N, C, H, W), uint8 or in [-1, 1], on the CPU.

        They are computed in blocks, so that an image depends on no other one: neither on their
        number nor on their order.

        Raises:
            FloatingPointError: a step gave NaN or infinity.
        """
        images = torch.empty((len(indices), *self.shape), dtype=self.model.range.memory)
        for block in blocks(indices, self.block):
            numbers = [indices[position] for position in block.filled]
            states = self.trajectory(
                None if labels is None else labels[block.filled],
                numbers,
                None if inputs is None else inputs[block.filled],
            )
            x = torch.empty(0)
            for step, state in enumerate(finite(states, partial(self._lost, numbers)), start=1):
                x = state.x
                if on_step is not None:
                    on_step(len(block.positions) * self.evaluations_of(step))
            made = self.model.range.sampled(x[block.places], self.sampling.rounding)
            images[block.positions] = made
        return images

    def _lost(self, indices: Sequence[int], step: int, place: int) -> FloatingPointError:
        """Return the error of an image of a batch that is NaN or infinite after a step."""
        what, cures = self.start.failure(self.model, self.sampling)
        return FloatingPointError(
            f"{what} gave NaN or infinity in image {indices[place]} at step {step} of "
            f"{self.steps}; {', or '.join(cures)}"
        )

    def manifest(self) -> dict[str, Any]:
        """Everything besides labels and indices that the images depend on, as JSON values."""
        guides = dict.fromkeys(map(self._model_of, self.sampling.by(ClassifierGuide)))
        classifiers = [identity(each) for each in guides if each is not None]
        weak = {} if self.weak is None else {"weak": identity(self.weak)}
        return {
            "model": identity(self.model),
            "classifier": classifiers[0] if len(classifiers) == 1 else classifiers or None,
            **weak,
            **(
                {"gradient": {of.name: of.sha256 for of in self.gradients}}
                if self.gradients
                else {}
            ),
            "sampling": to_json(self.sampling),
            **self.start.manifest(),
            **({} if self.model.range == UINT8 else {"range": text(self.model.range)}),
        }


def check_low_res_noise(level: int, *models: DiffusionModel | None) -> None:
    """Raise SettingError unless all models were trained with this level of noise on their input."""
    for model in filter(None, models):
        most = model.recipe.data.low_res_noise
        if level > most:
            name = literal(model.name)
            if not most:
                raise SettingError(
                    "low_res_noise",
                    f"{name} was not trained on noise (data.low_res_noise); leave {{}} out",
                )
            allowed = f"at most {most}, the level that {name} was trained on"
            raise out_of_range("low_res_noise", allowed, level)


def finite(
    states: Iterator[State], error: Callable[[int, int], FloatingPointError]
) -> Iterator[State]:
    """Yield the states of a batch, and raise an error at the first NaN or infinity.

    On a CPU, sampling stops at that step. On an accelerator, where looking at a value would wait
    for all computations, the flags stay on the device until the last step.

    Args:
        error: the step, counted from 1, and the place of the first such image -> error.
    """
    flags: list[Tensor] = []
    for state in states:
        flags.append(state.x.isfinite().flatten(1).all(1))
        if state.x.device.type == "cpu" and not flags[-1].all():
            break
        yield state
    lost = (~torch.stack(flags)).nonzero()
    if len(lost):
        step, place = lost[0].tolist()
        raise error(step + 1, place)


@torch.inference_mode(False)
@torch.no_grad()
def without_grad(states: Iterator[State]) -> Iterator[State]:
    """Yield the same states, computed without gradients; the consumer's grad mode is unchanged."""
    yield from states


@torch.inference_mode(False)
@torch.enable_grad()
def with_grad(states: Iterator[State]) -> Iterator[State]:
    """Yield the same states, computed so that guidance can differentiate the network."""
    yield from states
