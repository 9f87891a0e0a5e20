"""Guide: what steers sampling, by a classifier's gradient or by contrast with a weaker prediction.

A gradient is that of a classifier, or the user's own. Each contrast moves the prediction of a model
away from a weaker one of the same images: that of the model without the label, of a worse model, or
of the model with its attention disturbed. All guides of a sampling add up, each in its interval. A
spec holds no path and no code: models and functions are given beside it, and it names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from adm.diffusion import Denoise, Schedule
from adm.guidance import Contrast, Gradient, between, every, scaled
from adm.samplers.interval import Interval, check_within, visited_within
from adm.spec import Checked

Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Guide(Checked):
    """The fields of all guides.

    Attributes:
        scale: its strength.
        interval: lowest and highest level of guidance, as in 300-980, in levels of the process that
            the model was trained on; all levels by default.
        every: it is evaluated at every `every`-th visited level of the interval, and reused in
            between.
        neutral: the scale that changes nothing.
    """

    scale: Finite
    interval: Interval | None = None
    every: Annotated[int, Field(ge=1)] = 1
    neutral: ClassVar[float]

    def check(self, last: int) -> None:
        """Raise SettingError unless the interval is within a process with T = `last`."""
        check_within(self.interval, last, "guide.interval")


@dataclass(frozen=True, kw_only=True)
class ByGradient(Guide):
    """Guidance by a gradient with respect to x_t.

    Attributes:
        by: which of several classifiers or functions guides, by its name; by default the first.
    """

    by: Name | None = None
    neutral: ClassVar[float] = 0.0

    def apply(self, gradient: Gradient, levels: Sequence[float]) -> Gradient:
        """Apply reuse, scale and interval to a gradient.

        Args:
            levels: the levels that the sampler visits, of the process that the model was trained
                on, ascending.
        """
        pull = gradient if self.every == 1 else every(gradient, self.every)
        pull = scaled(pull, self.scale)
        inside = visited_within(self.interval, levels)
        return pull if inside is None else between(pull, *inside)


@dataclass(frozen=True, kw_only=True)
class ClassifierGuide(ByGradient):
    """Guidance by a classifier (the paper, section 4).

    Attributes:
        scale: factor of the gradient; any finite number. Values above 1 sharpen the class.
        every: the gradient is evaluated at every `every`-th visited level of the interval, and
            reused in between. What is reused is the gradient with respect to x_t, without a scale:
            the sampler multiplies it by the factor of the level that it is at. On the exact
            classifier of a Gaussian mixture this is closer to full guidance than to reuse the
            shift of the noise or of x_0.
        classes: the class that it guides all images to, by name or number; by default that of each
            image. A classifier with other classes than those of the model needs it.
    """

    classes: Name | None = None
    name: ClassVar[str] = "classifier"


@dataclass(frozen=True, kw_only=True)
class GradientGuide(ByGradient):
    """Guidance by a gradient of one's own, the function that `--gradient` gives.

    It takes the schedule that is sampled, and returns a function of (x_t, level, prediction): the
    gradient with respect to x_t, which may differentiate the prediction.

    Attributes:
        scale: factor of the gradient; any finite number.
    """

    scale: Finite = 1.0
    name: ClassVar[str] = "gradient"


@dataclass(frozen=True, kw_only=True)
class ContrastGuide(Guide):
    """Guidance without a classifier, by contrast with a weaker prediction.

    Attributes:
        every: the weaker prediction is evaluated at every `every`-th visited level of the interval,
            and its difference reused in between; see `adm.guidance.Contrast`.
    """

    neutral: ClassVar[float] = 1.0

    @property
    def factor(self) -> float:
        """Factor of the difference, prediction - weaker one, which is added to the prediction."""
        return self.scale - self.neutral

    def apply(self, weaker: Denoise, levels: Sequence[float], schedule: Schedule) -> Contrast:
        """Return the contrast with a weaker denoiser.

        Args:
            levels: as for `ByGradient.apply`.
            schedule: of these levels.
        """
        inside = visited_within(self.interval, levels)
        return Contrast(weaker, self.factor, inside, self.every, schedule)


@dataclass(frozen=True, kw_only=True)
class FreeGuide(ContrastGuide):
    """Classifier-free guidance (Ho and Salimans 2022): away from the model without the label.

    It needs a class-conditional network that was trained with label dropout, so that it is an
    unconditional one as well.

    Attributes:
        scale: 1 is the model itself, above 1 it follows the label more, and 0 is the unconditional
            model; any finite number. w of Ho and Salimans is scale - 1.
    """

    name: ClassVar[str] = "free"


@dataclass(frozen=True, kw_only=True)
class WeakGuide(ContrastGuide):
    """Autoguidance (Karras et al. 2024): away from a worse model of the same images.

    The weak model has the data, the process and the classes of the model, such as a checkpoint of
    fewer steps, or a smaller network. Both are conditioned on the label.

    Attributes:
        scale: 1 is the model itself, above 1 leads away from what the weak model does worse, and 0
            is the weak model, which alone is evaluated then; any finite number.
    """

    name: ClassVar[str] = "weak"


@dataclass(frozen=True, kw_only=True)
class AttentionGuide(ContrastGuide):
    """Perturbed-attention guidance (Ahn et al. 2024): away from the model without attention.

    The weak prediction is that of the same network whose innermost self-attention, that of the
    middle block, is replaced by the identity: each position attends to itself alone. Both are
    conditioned on the label, if the model is.

    Attributes:
        scale: factor of the difference, so that here 0 is the model itself; any finite number.
    """

    name: ClassVar[str] = "attention"
    neutral: ClassVar[float] = 0.0


GUIDES: dict[str, type[Guide]] = {
    kind.name: kind
    for kind in (
        ClassifierGuide,
        GradientGuide,
        FreeGuide,
        WeakGuide,
        AttentionGuide,
    )
}
