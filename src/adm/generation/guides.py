"""Sampling, models, functions, labels -> Denoise with contrasts, Gradient; their calls -> Cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from adm.diffusion import Denoise, Level, Prediction, Schedule, Threshold
from adm.diffusion.prediction import Variance
from adm.diffusion.schedule import at
from adm.functions import Function, load_function
from adm.generation.generator import Cost
from adm.generation.labels import label_of
from adm.guidance import Gradient, contrasted, switched, thresholded, total
from adm.models.pair import given_by
from adm.models.trained import ClassifierModel, DiffusionModel, Network
from adm.samplers import (
    AttentionGuide,
    ByGradient,
    ClassifierGuide,
    ContrastGuide,
    FreeGuide,
    GradientGuide,
    Sampling,
)
from adm.samplers.settings import Stage
from adm.shown import shown
from adm.spec import SettingError, literal, out_of_range
from adm.training.objective import WITHHELD

# The process that is sampled, respaced to the levels visited -> the gradient at these levels, so
# that it cannot be that of others.
OfSchedule: TypeAlias = Callable[[Schedule], Gradient]


def with_guides(
    sampling: Sampling, process: Schedule, networks: "Networks | Counter"
) -> tuple[Denoise, Gradient | None]:
    """Return the denoiser with all contrasts, and the sum of all gradients; None if there are none.

    Args:
        process: the process that the model was trained on.
    """
    levels, schedule = sampling.grid.visited(process), sampling.grid.of(process)
    denoise = networks.denoise()
    contrasts = [
        each.apply(networks.denoise(each), levels, schedule) for each in sampling.by_contrast
    ]
    if contrasts:
        denoise = contrasted(denoise, *contrasts)
    pulls = [each.apply(networks.gradient(each), levels) for each in sampling.by(ByGradient)]
    return denoise, total(*pulls) if len(pulls) > 1 else next(iter(pulls), None)


def in_stages(
    sampling: Sampling,
    process: Schedule,
    part: Callable[[Stage], tuple[Denoise, Gradient | None]],
) -> tuple[Denoise, Gradient | None]:
    """Return the denoiser and the gradient of all stages of sampling, each at its own levels.

    Args:
        process: the process that the model was trained on.
    """
    stages = sampling.stages(sampling.grid.visited(process))
    parts = [(stage.top, *part(stage)) for stage in stages]
    denoise = switched([(top, each) for top, each, _ in parts])
    if all(pull is None for *_, pull in parts):
        return denoise, None
    return denoise, switched([(top, _nothing if pull is None else pull) for top, _, pull in parts])


def _nothing(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
    return torch.zeros_like(x_t)


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one batch, in one stage.

    Attributes:
        model: the diffusion model.
        classifiers: those that guide.
        weak: the weak model of autoguidance, if there is one.
        gradients: functions of the schedule that return a gradient.
        labels: (B,) int64 that the classifier guides to.
        network_labels: (B,) int64 that the diffusion networks are conditioned on; None for none.
        low_res: (B, C, h, w) images in [-1, 1] that the model is conditioned on, with their noise.
        threshold: of x_0. With contrasts it is applied after them, as the released system applies
            it to what a network predicts: the extrapolation leaves the range of images.
    """

    model: DiffusionModel
    classifiers: Sequence[ClassifierModel]
    weak: DiffusionModel | None
    gradients: Sequence[Function]
    sampling: Sampling
    labels: Tensor | None
    network_labels: Tensor | None
    low_res: Tensor | None
    threshold: Threshold | None

    def with_guides(self) -> tuple[Denoise, Gradient | None]:
        """Return the denoiser that is sampled, and the gradient that guides it."""
        sampling = without_guides(self.sampling) if self.model.student else self.sampling
        denoise, pull = with_guides(sampling, self.model.schedule, self)
        if sampling.by_contrast and self.threshold is not None:
            schedule = sampling.grid.of(self.model.schedule)
            denoise = thresholded(denoise, self.threshold, schedule)
        return denoise, pull

    def denoise(self, guide: ContrastGuide | None = None) -> Denoise:
        """Return the denoiser of the model, or the weaker one of a contrast."""
        model = self.model
        evaluate: Callable[..., Network] = model.prepared
        labels, low_res = self.network_labels, self.low_res
        if isinstance(guide, FreeGuide):
            if model.recipe.data.paired and low_res is not None:
                low_res = torch.full_like(low_res, WITHHELD)
            elif labels is None:
                raise SettingError("classes", "{guide=free} guides to classes; give {}")
            labels = None
        elif isinstance(guide, AttentionGuide):
            evaluate = model.perturbed
        elif guide is not None:
            assert self.weak is not None
            model, evaluate = self.weak, self.weak.prepared
        sampling = self.sampling
        return model.denoise(
            labels,
            sampling.grid.of(self.model.schedule),
            None if sampling.by_contrast else self.threshold,
            low_res,
            network=evaluate(sampling.precision, sampling.compile),
            scale=sampling.scale,  # of a student
            low_res_noise=sampling.low_res_noise or 0,
        )

    def gradient(self, guide: ByGradient) -> Gradient:
        """Return the gradient of a classifier or a function, without a scale."""
        sampling, labels = self.sampling, self.labels
        schedule = sampling.grid.of(self.model.schedule)
        if isinstance(guide, GradientGuide):
            return _of_function(given_by(guide, self.gradients), schedule)
        assert isinstance(guide, ClassifierGuide)
        classifier = given_by(guide, self.classifiers)
        if guide.classes is not None:
            label = label_of(guide.classes, classifier.classes)
            labels = torch.tensor([label], device=self.model.device)
        if labels is None:
            raise SettingError("classes", f"{{scale={guide.scale:g}}} guides to classes; give {{}}")
        network = classifier.prepared(sampling.precision, sampling.compile)
        return classifier.gradient(labels, schedule, network)


def without_guides(sampling: Sampling) -> Sampling:
    """Return the settings without models that guide: a student takes the scale as an input."""
    return replace(sampling, guide=sampling.in_turn[0].by(GradientGuide), then=())


def functions_of(gradient: OfSchedule | str | Sequence[OfSchedule | str] | None) -> list[Function]:
    """Return the functions of one or several, given as such or by name. This loads the latter.

    Raises:
        SettingError: it is no function.
        ValueError: as `load_function`.
    """
    given = [*gradient] if isinstance(gradient, list | tuple) else [gradient]
    functions = list[Function]()
    for each in given if gradient is not None else []:
        if isinstance(each, str):
            functions.append(load_function(each, "a gradient"))
        elif callable(each):
            functions.append(Function.of(each))
        else:
            raise out_of_range("gradient", "a function of the schedule", each)
    return functions


def with_functions(sampling: Sampling, gradients: Sequence[Function]) -> Sampling:
    """Return the settings in which functions that no guide names guide at scale 1."""
    named = {given_by(guide, gradients) for guide in sampling.by(GradientGuide)}
    others = (GradientGuide(by=each.name) for each in gradients if each not in named)
    return replace(sampling, guide=(*sampling.guide, *others))


def _of_function(function: Function, schedule: Schedule) -> Gradient:
    """Return a gradient of the caller's, which refuses what is none.

    Raises:
        ValueError: it fails, or returns no function.
    """
    compute = function(schedule)
    if not callable(compute):
        raise SettingError(
            "gradient",
            f"{{}} {literal(function.name)} returns {literal(shown(compute))}; let it return a "
            "function of x_t, level and prediction",
        )
    return lambda x_t, level, prediction: Function.of(compute).floats(
        "gradient", tuple(x_t.shape), x_t, level, prediction
    )


class Counter:
    """Stand-ins of the networks that count their calls.

    Attributes:
        network: number of evaluations of networks that denoise, the weaker ones included.
        classifier: number of gradients of classifiers.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.network = self.classifier = 0

    @property
    def cost(self) -> Cost:
        """All calls."""
        return Cost(self.network, self.classifier)

    def denoise(self, guide: ContrastGuide | None = None) -> Denoise:
        """Return a denoiser that counts its evaluations, and predicts an empty image."""

        def denoise(x_t: Tensor, level: Level) -> Prediction:
            self.network += 1
            value = at(self.schedule.posterior_variance, level, x_t)
            log = at(self.schedule.posterior_log_variance, level, x_t)
            empty = torch.zeros_like(x_t)
            return Prediction.from_x_0(self.schedule, x_t, level, empty, Variance(value, log))

        return denoise

    def gradient(self, guide: ByGradient) -> Gradient:
        """Return a gradient that counts its evaluations.

        What a function of the user's evaluates is not known.
        """

        def gradient(x_t: Tensor, level: Level, prediction: Prediction) -> Tensor:
            if isinstance(guide, ClassifierGuide):
                self.classifier += 1
            return torch.zeros_like(x_t)

        return gradient


@torch.inference_mode(False)
@torch.no_grad()
def calls(sampling: Sampling, process: Schedule) -> Cost:
    """Count the calls that sampling takes per image, by running it on an image of one pixel.

    It follows the code of the sampler and of the guidance, so that it counts any.

    Args:
        process: the process that the model was trained on.
    """
    schedule, pixel = sampling.grid.of(process), torch.zeros(1, 1, 1, 1)
    counter = Counter(schedule)
    denoise, pull = in_stages(
        sampling, process, lambda stage: with_guides(stage.sampling, process, counter)
    )
    for _ in sampling.sampler(denoise, pixel, schedule, lambda *_: pixel, pull):
        pass
    return counter.cost
